"""What stands several times in a file: it is fetched once, and copied when it is right."""

from __future__ import annotations

from array import array
from typing import Any

from rdl.core import messages as m
from rdl.core.blocks import Blocks, Repeats
from rdl.core.byterange import ByteRange
from rdl.core.chunks import Chunks
from rdl.core.representation import Representation
from rdl.core.row import Row
from rdl.core.transfer import Phase, Spec
from rdl.errors import DigestMismatch, Interrupted
from rdl.options import Digest, TransferOptions
from tests.core.playing import TOTAL, MiB, Play, part, repeats_of, rng, status, whole

SIZE = 16 * MiB
BLOCKS = [rng(at, at + SIZE) for at in range(0, TOTAL, SIZE)]
CHUNKS = Chunks("sha256", 1, array("Q", range(SIZE, TOTAL + 1, SIZE)), bytes.fromhex("a0a1a0a0"))
REPEATS = repeats_of((0, 2), (0, 3))
COPY = m.Repeat(BLOCKS[0], (BLOCKS[2], BLOCKS[3]))
COPIED = m.Repeated(COPY.places)


def playing(repeats: Repeats = REPEATS, **more: Any) -> Play:
    """A file of four blocks, three of which are the same."""
    digests = more.pop("digests", ())
    options = TransferOptions(connections=1, expected_size=TOTAL, digests=digests)
    return Play(Spec("http://h/f", "f", options, 1, chunks=CHUNKS, repeats=repeats, **more))


def right(play: Play, *numbers: int) -> list[m.Command]:
    """These blocks have their digests."""
    hexes = tuple(CHUNKS.digest(number).hex() for number in numbers)
    return play.on(m.CheckedBlocks(tuple(BLOCKS[number] for number in numbers), hexes), 0.01)


def wrong(play: Play, *numbers: int) -> list[m.Command]:
    """These have not."""
    blocks = tuple(BLOCKS[number] for number in numbers)
    return play.on(m.CheckedBlocks(blocks, ("ff",) * len(blocks)), 0.01)


def half() -> Play:
    """What is fetched has come; the first block is looked at."""
    play = playing()
    play.head(part())
    play.arrive(1, 0, SIZE)
    return play


def test_it_is_fetched_once_and_copied_when_it_is_right():
    play = playing()
    play.head(part())
    assert play.of(m.Receive)[0].range == rng(0, 2 * SIZE)
    play.arrive(1, 0, 2 * SIZE)
    play.sync()
    play.end(1)
    assert not play.ever(m.Repeat)
    right(play, 0, 1)
    assert play.of(m.Repeat) == [COPY]
    play.on(COPIED)
    assert play.of(m.CheckBlocks) == [
        m.CheckBlocks((BLOCKS[2],), "sha256"),
        m.CheckBlocks((BLOCKS[3],), "sha256"),
    ]
    right(play, 2, 3)
    assert play.phase is Phase.PUBLISHING
    assert len(play.ever(m.Fetch)) == 1


def test_a_wrong_block_is_not_copied():
    play = half()
    wrong(play, 0)
    assert not play.ever(m.Repeat)


def test_what_became_right_while_a_drain_waited_is_copied_after_it():
    play = half()
    play.transfer._fill.ask_alone()
    right(play, 0)
    assert not play.ever(m.Repeat)
    play.end(1)
    assert play.of(m.Repeat) == [COPY]


def test_what_was_copied_while_a_drain_waited_is_here():
    play = half()
    right(play, 0)
    play.transfer._fill.ask_alone()
    play.on(COPIED)
    assert play.transfer.row is not None
    assert all(play.transfer.row.holds(place) for place in COPY.places)


def test_a_drain_waits_for_copies():
    play = half()
    right(play, 0)
    play.on(m.Signal("SIGTERM"))
    play.end(1)
    assert not play.ever(m.Finish)
    play.on(m.Repeated(COPY.places, copied=False))
    if play.transfer._fill.saving.syncing:
        play.sync()
    assert isinstance(play.error, Interrupted)


def test_what_was_copied_of_a_block_that_came_again_is_looked_at_and_fetched():
    play = half()
    right(play, 0)
    play.transfer._fill._lose(play.transfer.row, (BLOCKS[0],))
    play.on(COPIED)
    wrong(play, 2)
    assert m.Forget((BLOCKS[2],)) in play.out
    play.arrive(1, SIZE, 2 * SIZE)
    play.end(1)
    asked = list[ByteRange]()
    for _ in range(2):
        ask = play.fetch.ask
        play.head(part(ask.start, ask.stop))
        play.fill(play.fetch.segment, ask.start, ask.stop)
        asked.append(rng(ask.start, ask.stop))
    assert asked == [BLOCKS[0], BLOCKS[2]]


def test_a_stream_of_all_brings_what_was_owed():
    play = playing()
    play.head(whole())
    assert play.of(m.Receive)[0].range == rng(0, TOTAL)
    play.arrive(1, 0, SIZE)
    right(play, 0)
    assert not play.ever(m.Repeat), "it would write where the stream does"
    play.reset(1)
    assert not play.ever(m.Repeat)


def test_few_places_at_a_time(monkeypatch):
    monkeypatch.setattr("rdl.core.suspecting.MOST_COPIED", 1)
    play = half()
    right(play, 0)
    assert play.of(m.Repeat) == [m.Repeat(BLOCKS[0], (BLOCKS[2],))]
    play.on(m.Repeated((BLOCKS[2],)))
    assert play.of(m.Repeat) == [m.Repeat(BLOCKS[0], (BLOCKS[3],))]


def test_a_row_owes_what_nobody_is_asked_for():
    row = Row(Representation(TOTAL, '"a"'), rng(0, TOTAL), None)
    assert not row.owes(BLOCKS[0])
    assert row.due(rng(5, TOTAL)) == rng(5, TOTAL)
    row.relieve(BLOCKS[0])
    row.owe([rng(100, 200), rng(300, 400)])
    assert list(row.missing()) == [rng(0, 100), rng(200, 300), rng(400, TOTAL)]
    assert row.due(rng(5, TOTAL)) == rng(5, 100)
    assert row.due(rng(150, 250)) == rng(150, 150)
    assert row.due(rng(210, 290)) == rng(210, 290)
    assert row.owes(rng(110, 200))
    assert not row.owes(rng(110, 201))
    row.relieve(rng(100, 150))
    row.discard([rng(300, 400)])
    assert list(row.missing()) == [rng(0, 150), rng(200, TOTAL)]
    row.add([rng(0, 150), rng(200, TOTAL)])
    assert not row.complete
    row.add([rng(150, 200)])
    assert row.complete


def test_a_repeat_is_told_once_and_only_while_it_is_right():
    row = Row(Representation(TOTAL, '"a"'), rng(0, TOTAL), None)
    blocks = Blocks(CHUNKS, REPEATS)
    row.add([BLOCKS[0], BLOCKS[2]])
    assert list(blocks.due(row, rng(0, TOTAL))) == [BLOCKS[0], BLOCKS[2]]
    assert blocks.judge(BLOCKS[2], "a0") == 0
    assert blocks.next_repeat() is None, "nothing is copied from a copy"
    assert blocks.judge(BLOCKS[0], "a0") == 0
    assert blocks.next_repeat() == (BLOCKS[0], BLOCKS[2])
    blocks.reopen(BLOCKS[0])
    assert blocks.next_repeat() is None, "it comes again"
    assert list(blocks.due(row, BLOCKS[0])) == BLOCKS[:1]
    assert blocks.judge(BLOCKS[0], "a0") == 0
    assert blocks.next_repeat() == (BLOCKS[0], BLOCKS[2])
    assert blocks.next_repeat() == (BLOCKS[0], BLOCKS[3])
    assert blocks.next_repeat() is None


def test_an_answer_that_nobody_waits_for_changes_nothing():
    row, blocks = Row(Representation(TOTAL, '"a"'), rng(0, TOTAL), None), Blocks(CHUNKS)
    row.add([BLOCKS[0]])
    assert blocks.judge(BLOCKS[0], "a0") == 0
    assert list(blocks.due(row, BLOCKS[0])) == BLOCKS[:1]
    blocks.reopen(BLOCKS[0])
    assert list(blocks.due(row, BLOCKS[0])) == BLOCKS[:1]
    assert blocks.judge(BLOCKS[0], "a0") == 0
    assert blocks.judge(BLOCKS[0], "ff") == 1, "what was read last counts"


def test_blocks_that_nobody_brought_do_not_speak_against_the_digests():
    count = 64
    chunks = Chunks("sha256", 1, array("Q", range(MiB, TOTAL + 1, MiB)), bytes(count))
    options = TransferOptions(connections=1, expected_size=TOTAL)
    old = rng(0, 40 * MiB)
    play = Play(Spec("http://h/f", "f", options, 1, chunks=chunks, adopted=(old,)))
    play.head(part(play.fetch.ask.start))
    play.same(1)
    asked = tuple(block for check in play.of(m.CheckBlocks) for block in check.blocks)
    play.on(m.CheckedBlocks(asked, ("ff",) * len(asked)))
    assert play.transfer._fill.failure is None
    assert len(play.of(m.Forget)) == len(asked) == 40


def test_adopted_bytes_that_do_not_begin_the_file_and_a_stream_of_all():
    play = playing(Repeats(), adopted=(BLOCKS[1],))
    play.head(whole())
    assert play.of(m.Begin)[0].adopted == (BLOCKS[1],)
    assert play.of(m.Receive)[0].range == rng(0, TOTAL)


def test_what_was_hashed_and_came_again_is_hashed_anew():
    play = playing(Repeats(), adopted=(BLOCKS[1],), digests=(Digest("sha256", "aa"),))
    play.head(whole())
    play.arrive(1, 0, SIZE)
    assert play.of(m.Hash)[0].range == rng(0, 2 * SIZE)
    play.arrive(1, SIZE, TOTAL)
    assert play.of(m.Hash)[0].range == rng(0, TOTAL)


def test_a_server_that_has_all_and_refuses_each_range_is_asked_without():
    play = playing(Repeats(), adopted=(BLOCKS[0],))
    for _ in range(4):
        if not play.fetch.ask.ranged:
            break
        segment = play.fetch.segment
        play.head(status(416, content_range=f"bytes */{TOTAL}"))
        play.end(segment)
    assert not play.fetch.ask.ranged


def test_blocks_that_are_right_and_a_whole_that_is_not():
    play = playing(adopted=(BLOCKS[0],), digests=(Digest("sha256", "aa"),))
    play.head(part(play.fetch.ask.start))
    play.same(1)
    right(play, 0)
    play.on(COPIED)
    play.arrive(1, SIZE, 2 * SIZE)
    play.sync()
    play.end(1)
    right(play, 1, 2, 3)
    assert play.phase is Phase.HASHING
    play.on(m.Hashed({"sha256": "bb"}))
    assert play.of(m.Quarantine) == [m.Quarantine()]
    assert isinstance(play.error, DigestMismatch), "nobody is accused, and nothing comes again"


def test_a_stream_of_all_ends_where_a_copy_is_being_made():
    play = half()
    right(play, 0)
    assert play.of(m.Repeat) == [COPY]
    play.reset(1)
    fetch = play.fetch
    play.head(whole(), fetch.segment)
    (receive,) = play.of(m.Receive)
    assert receive.range == rng(SIZE, 2 * SIZE)
