"""A reader in order: how many lanes fetch ahead of one that is slow, and of one that is not."""

import pytest

from rdl.core import messages as m
from rdl.core.byterange import ByteRange
from rdl.core.order import Order
from rdl.core.representation import Representation
from rdl.core.row import Row
from rdl.core.spec import Spec
from rdl.options import TransferOptions
from tests.core.playing import TOTAL, MiB, Play, part

WINDOW = 16 * MiB


@pytest.mark.parametrize(
    ("delivered", "consumed", "ahead"),
    [(0, 0, False), (8, 0, True), (8, 1, False), (16, 0, True), (24, 16, True), (20, 16, False)],
)
def test_a_reader_with_half_a_window_to_take_is_what_is_waited_for(delivered, consumed, ahead):
    order = Order(WINDOW)
    order.begin(Row(Representation(TOTAL), ByteRange(0, TOTAL), None))
    order.deliver(delivered * MiB)
    order.consumed = consumed * MiB
    assert order.ahead is ahead


def fetches(*, slow_reader):
    """How many requests are made for a reader that takes what comes at once, or takes nothing;
    after 10 MiB in a tenth of a second 2 MiB come in each."""
    play = Play(Spec("http://h/f", "f", TransferOptions(), 1, True, window=WINDOW))
    play.head(part())
    [receive] = play.ever(m.Receive)
    play.arrive(receive.segment, 0, 10 * MiB, after=0.1)
    for at in range(10 * MiB, 16 * MiB, MiB // 4):
        if not slow_reader:
            play.on(m.Consumed(at))
        play.arrive(receive.segment, at, at + MiB // 4, after=0.0125)
        play.on(m.Tick())
    return len(play.ever(m.Fetch))


def test_more_lanes_come_only_for_a_reader_that_waits():
    assert fetches(slow_reader=False) > 1
    assert fetches(slow_reader=True) == 1
