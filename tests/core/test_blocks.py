"""Digests of blocks: which are asked for, what is right, and what a wrong one costs."""

from __future__ import annotations

from array import array
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdl.core import messages as m
from rdl.core.blocks import Blocks
from rdl.core.byterange import ByteRange
from rdl.core.chunks import Chunks
from rdl.core.events import Warned
from rdl.core.proving import Digests
from rdl.core.representation import Representation
from rdl.core.row import Remembered, Row
from rdl.core.transfer import Phase, Spec
from rdl.errors import ChangedError, DigestMismatch
from rdl.options import BlockDigests, RangeSpec, TransferOptions
from tests.core.playing import (
    SUM,
    TOTAL,
    MiB,
    Play,
    part,
    remembered,
    repeats_of,
    rng,
    spec,
    status,
    whole,
)

SIZE = 16 * MiB
KNOWN = BlockDigests(SIZE, "sha256", ("a0", "a1", "a2", "a3"))
CHUNKS = Chunks("sha256", 1, array("Q", range(SIZE, TOTAL + 1, SIZE)), bytes.fromhex("a0a1a2a3"))


def hashed(block: ByteRange) -> str:
    """What its digest is to be."""
    return KNOWN.hexes[block.start // SIZE]


def checks(play: Play) -> list[ByteRange]:
    """The blocks that the last event made worth looking at."""
    return [block for check in play.of(m.CheckBlocks) for block in check.blocks]


def flowing(**options: Any) -> Play:
    """One stream flows."""
    play = Play(spec(blocks=KNOWN, connections=1, **options))
    play.head(part())
    return play


def whole_play(**options: Any) -> Play:
    """All is here."""
    play = flowing(**options)
    play.arrive(1, 0, TOTAL)
    if play.of(m.Checkpoint):
        play.sync()
    return play


def confirm(play: Play, *, wrong: tuple[int, ...] = ()) -> None:
    """Each check of the last event is answered; the blocks of these numbers are wrong."""
    for block in checks(play):
        bad = block.start // SIZE in wrong
        play.on(m.CheckedBlocks((block,), ("ff" if bad else hashed(block),)), 0.01)


def to_hashing(play: Play) -> None:
    """All comes, and each block is right."""
    play.arrive(1, 0, TOTAL)
    confirm(play)
    play.sync()
    play.end(1)
    assert play.phase is Phase.HASHING


def test_a_block_is_looked_at_once_when_it_is_here():
    play = flowing()
    play.arrive(1, 0, SIZE - 1)
    assert checks(play) == []
    play.arrive(1, SIZE - 1, 2 * SIZE + 5)
    assert checks(play) == [rng(0, SIZE), rng(SIZE, 2 * SIZE)]
    assert {check.algorithm for check in play.of(m.CheckBlocks)} == {"sha256"}
    play.arrive(1, 2 * SIZE + 5, TOTAL)
    assert checks(play) == [rng(2 * SIZE, 3 * SIZE), rng(3 * SIZE, TOTAL)]


def test_nothing_is_published_before_every_block_is_right():
    play = whole_play()
    blocks = checks(play) or [block for one in play.ever(m.CheckBlocks) for block in one.blocks]
    for block in blocks[:-1]:
        play.on(m.CheckedBlocks((block,), (hashed(block),)))
        assert play.phase is Phase.FILLING
    assert not [wake for wake in play.of(m.WakeAt) if wake.time <= play.now], "no busy waiting"
    play.on(m.CheckedBlocks((blocks[-1],), (hashed(blocks[-1]),)))
    play.end(1)
    assert play.phase is Phase.PUBLISHING
    play.on(m.Published())
    assert play.finish.result.verified_by == ("blocks:sha256",)
    assert play.finish.result.trust == "T4"


def test_a_digest_of_the_whole_is_checked_as_well():
    play = flowing(digests=SUM)
    to_hashing(play)
    play.on(m.Hashed({"sha256": "aa"}))
    play.on(m.Published())
    assert play.finish.result.verified_by == ("sha256",)


def test_a_wrong_block_alone_comes_again():
    play = flowing()
    play.arrive(1, 0, TOTAL)
    asked = checks(play)
    play.sync()
    play.on(m.CheckedBlocks((asked[1],), ("ff",)))
    assert play.of(m.Forget) == [m.Forget((rng(SIZE, 2 * SIZE),))]
    play.end(1)
    fetch = play.fetch
    assert (fetch.ask.start, fetch.ask.stop) == (SIZE - fetch_overlap(fetch), 2 * SIZE)
    for block in (asked[0], asked[2], asked[3]):
        play.on(m.CheckedBlocks((block,), (hashed(block),)))
    play.head(part(fetch.ask.start, 2 * SIZE))
    play.arrive(fetch.segment, SIZE, 2 * SIZE)
    assert checks(play) == [rng(SIZE, 2 * SIZE)]
    confirm(play)
    play.sync()
    play.end(fetch.segment)
    assert play.phase is Phase.PUBLISHING


def fetch_overlap(fetch: m.Fetch) -> int:
    """Bytes before the block that come again, to compare."""
    return SIZE - fetch.ask.start


def test_a_block_that_stays_wrong_is_the_end_and_the_rest_is_kept():
    play = flowing()
    play.arrive(1, 0, TOTAL)
    asked = checks(play)
    play.sync()
    play.on(m.CheckedBlocks((asked[0],), ("ff",)))
    play.end(1)
    for _ in range(2):
        fetch = play.fetch
        play.head(part(0, SIZE))
        play.arrive(fetch.segment, 0, SIZE)
        if play.of(m.Checkpoint):
            play.sync()
        play.on(m.CheckedBlocks((rng(0, SIZE),), ("ff",)))
        play.end(fetch.segment)
    assert play.transfer._fill.failure is not None
    if play.transfer._fill.saving.syncing:
        play.sync()
    for fetch in play.ever(m.Fetch):
        play.end(fetch.segment)
    assert isinstance(play.error, DigestMismatch)
    assert "bytes 0-16777215 are not what their digest says" in str(play.error)
    assert not play.ever(m.Quarantine)


def test_when_many_are_wrong_the_digests_are_of_another_file():
    many = BlockDigests(MiB, "sha256", tuple("a0" for _ in range(64)))
    play = Play(spec(blocks=many, connections=1))
    play.head(part())
    play.arrive(1, 0, TOTAL)
    asked = checks(play)
    for block in asked[:13]:
        assert play.transfer._fill.failure is None
        play.on(m.CheckedBlocks((block,), ("ff",)))
    assert isinstance(play.transfer._fill.failure, DigestMismatch)


def test_a_mirror_that_brings_some_of_a_wrong_block_each_time_is_left(monkeypatch):
    options = TransferOptions(blocks=KNOWN, connections=1)
    play = Play(Spec("http://h/f", "f", options, 1, mirrors=("http://m/f",)))
    fill = play.transfer._fill
    monkeypatch.setattr(fill, "bringers", lambda block: list(fill.sources))
    play.head(part())
    for _ in range(3):
        segment = play.fetch.segment
        play.arrive(segment, 0, SIZE)
        play.on(m.CheckedBlocks((rng(0, SIZE),), ("ff",)))
        if fill.saving.syncing:
            play.sync()
        play.end(segment)
        play.head(part())
    text = "; ".join(fact.message for fact in play.facts(Warned))
    assert "http://m/f is not used any more: it brought some of bytes 0-16777215" in text
    assert fill.failure is None


def test_a_mirror_that_brings_a_wrong_block_is_named_and_left():
    options = TransferOptions(blocks=KNOWN, connections=1)
    play = Play(Spec("http://h/f", "f", options, 1, mirrors=("http://m/f",)))
    play.head(part())
    play.arrive(1, 0, SIZE)
    block = checks(play)[0]
    play.on(m.CheckedBlocks((block,), ("ff",)))
    play.end(1)
    if play.transfer._fill.saving.syncing:
        play.sync()
    again = play.fetch
    assert again.source == 0  # nobody knows whether the mirror has anything
    play.head(part())
    play.arrive(again.segment, 0, SIZE)
    play.on(m.CheckedBlocks((block,), ("ff",)))
    text = "; ".join(fact.message for fact in play.facts(Warned))
    assert "http://h/f is not used any more: its bytes 0-16777215 are wrong" in text
    assert play.ever(m.Drop) == [m.Drop(again.segment)]
    play.end(again.segment)
    if play.transfer._fill.saving.syncing:
        play.sync()
    assert play.fetch.source == 1
    play.head(status(404))
    play.sync()
    assert isinstance(play.error, DigestMismatch)
    assert "its bytes 0-16777215 are wrong" in str(play.error)


def test_what_an_earlier_run_left_is_looked_at_too():
    saved = remembered((0, 2 * SIZE))
    options = TransferOptions(blocks=KNOWN, connections=1)
    play = Play(Spec("http://h/f", "f", options, 1, remembered=saved))
    start = play.fetch.ask.start
    play.head(part(start, TOTAL))
    assert checks(play) == []
    play.same(1)
    assert checks(play) == [rng(0, SIZE), rng(SIZE, 2 * SIZE)]


def test_digests_that_do_not_fit_are_refused():
    play = Play(spec(blocks=KNOWN))
    play.head(whole(TOTAL + 1))
    assert isinstance(play.error, ChangedError)
    assert "do not fit" in str(play.error)


def test_a_partial_that_they_do_not_fit_is_not_continued():
    saved = Remembered(Representation(TOTAL + 1, '"a"'), None, (rng(0, MiB),))
    play = Play(spec(saved, blocks=KNOWN))
    assert (play.fetch.ask.start, play.fetch.headers) == (0, ())
    play = Play(spec(saved, expected_size=TOTAL))
    assert (play.fetch.ask.start, play.fetch.headers) == (0, ())


def test_of_a_file_whose_length_nobody_said_they_are_looked_at_in_the_end():
    play = Play(spec(blocks=KNOWN))
    play.head(whole(None))
    play.arrive(1, 0, TOTAL)
    assert checks(play) == []
    play.sync()
    play.end(1)
    assert len(checks(play)) == 4
    confirm(play, wrong=(2,))
    play.sync()
    assert isinstance(play.error, DigestMismatch)


def test_a_late_answer_about_a_version_that_is_gone_says_nothing():
    play = flowing()
    play.arrive(1, 0, SIZE)
    play.on(m.CheckedBlocks((rng(SIZE, 2 * SIZE),), ("ff",)))
    assert not play.ever(m.Forget)


# The blocks alone


@given(st.integers(1, 50), st.integers(0, 200), st.data())
def test_every_block_is_due_exactly_once(size: int, total: int, data: st.DataObject):
    count = -(-total // size)
    known = BlockDigests(size, "sha256", tuple(f"{number:08x}" for number in range(count)))
    assert Chunks.of_blocks(known, total + size) is None
    chunks = Chunks.of_blocks(known, total)
    assert chunks is not None
    blocks = Blocks(chunks)
    row = Row(Representation(total, '"a"'), rng(0, total), None)
    due: list[ByteRange] = []
    while not row.complete:
        missing = next(row.missing())
        stop = data.draw(st.integers(missing.start + 1, missing.stop))
        row.add([rng(missing.start, stop)])
        due += blocks.due(row, rng(missing.start, stop))
    assert [one.start for one in due] == [number * size for number in range(count)]
    assert sum(map(len, due)) == total
    for number, block in enumerate(due):
        assert not blocks.complete
        assert blocks.judge(block, f"{number:08x}") == 0
    assert blocks.complete


def test_what_is_not_here_is_not_looked_up(monkeypatch):
    count, asked, original = 10_000, list[int](), Chunks.chunk

    def counted(chunks: Chunks, number: int) -> ByteRange:
        asked.append(number)
        return original(chunks, number)

    monkeypatch.setattr(Chunks, "chunk", counted)
    chunks = Chunks("sha256", 1, array("Q", range(10, 10 * count + 1, 10)), bytes(count))
    row = Row(Representation(10 * count, '"a"'), rng(0, 10 * count), None)
    row.add([rng(5, 35), rng(40, 45), rng(48, 50), rng(90_000, 90_010)])
    blocks = Blocks(chunks)
    assert list(blocks.due(row, rng(15, 10 * count))) == [
        rng(10, 20),
        rng(20, 30),
        rng(90_000, 90_010),
    ]
    assert len(asked) < 20


@pytest.mark.parametrize("times", [1, 3])
def test_how_often_a_block_was_wrong_is_counted(times):
    blocks = Blocks(CHUNKS)
    row = Row(Representation(TOTAL, '"a"'), rng(0, TOTAL), None)
    row.add([rng(0, SIZE)])
    for number in range(1, times + 1):
        assert list(blocks.due(row, rng(5, 6))) == [rng(0, SIZE)]
        assert list(blocks.due(row, rng(5, 6))) == []
        assert blocks.judge(rng(0, SIZE), "ff") == number
        blocks.reopen(rng(SIZE - 1, SIZE))
    assert list(blocks.doubted(rng(SIZE - 2, SIZE + 3))) == [
        rng(SIZE - 2, SIZE),
        rng(SIZE, SIZE + 3),
    ]
    list(blocks.due(row, rng(0, 1)))
    assert blocks.judge(rng(0, SIZE), "a0") == 0
    assert list(blocks.doubted(rng(SIZE - 2, SIZE + 3))) == [rng(SIZE, SIZE + 3)]


def test_where_each_block_is_right_a_wrong_digest_of_the_whole_accuses_nobody():
    made = TransferOptions(digests=SUM, blocks=KNOWN, connections=1)
    play = Play(Spec("http://h/f", "f", made, 1, mirrors=("http://m/f",)))
    play.head(part())
    to_hashing(play)
    play.on(m.Hashed({"sha256": "bb"}))
    assert isinstance(play.error, DigestMismatch)
    assert play.ever(m.Quarantine)


def test_what_comes_while_one_request_asks_alone_is_looked_at_too():
    """A server that does not understand If-Match: its other lanes end, and have brought a block."""
    play = Play(spec(blocks=KNOWN, connections=2))
    play.head(part())
    play.arrive(1, 0, MiB)
    play.head(status(412))
    play.arrive(1, MiB, SIZE + 5)
    play.end(1)
    alone = play.fetch
    assert alone.segment == 3
    assert not checks(play)
    play.head(part(alone.ask.start))
    play.same(3)
    assert checks(play) == [rng(0, SIZE)]


def overwritten() -> Play:
    """The first block was wrong; the server sends the whole for it, over what is right."""
    play = whole_play()
    play.end(1)
    assert not play.of(m.Fetch)
    for block in [block for one in play.ever(m.CheckBlocks) for block in one.blocks]:
        wrong = block.start == 0
        play.on(m.CheckedBlocks((block,), ("ff" if wrong else hashed(block),)), 0.01)
        if wrong:
            asked = play.fetch
    play.head(whole(), asked.segment)
    assert play.of(m.Receive)[0].range == rng(0, TOTAL)
    return play


def test_a_block_that_comes_again_over_what_was_right_is_looked_at_again():
    play = overwritten()
    play.arrive(play.fetch.segment, 0, 2 * SIZE)
    assert checks(play) == [rng(0, SIZE), rng(SIZE, 2 * SIZE)]
    confirm(play, wrong=(1,))
    assert play.phase is Phase.FILLING
    assert play.ever(m.Forget)[-1].ranges == (rng(SIZE, 2 * SIZE),)


def test_also_what_is_told_when_the_rest_was_right_and_it_is_to_end():
    play = overwritten()
    again = play.fetch.segment
    play.arrive(again, 0, SIZE)
    confirm(play)
    assert play.of(m.Drop)
    play.arrive(again, SIZE, SIZE + MiB)
    assert checks(play) == [rng(SIZE, 2 * SIZE)]
    play.end(again)
    if play.transfer._fill.saving.syncing:
        play.sync()
    assert not play.ever(m.Publish)
    play.on(m.CheckedBlocks((rng(SIZE, 2 * SIZE),), ("a1",)))
    assert play.ever(m.Publish)


def test_only_the_last_look_at_a_block_counts():
    """What an earlier one read may have come again since."""
    blocks, row = Blocks(CHUNKS), Row(Representation(TOTAL, '"a"'), rng(0, TOTAL), None)
    row.add([rng(0, TOTAL)])
    block = next(blocks.due(row, rng(0, 1)))
    blocks.reopen(block)
    assert list(blocks.due(row, rng(0, 1))) == [block]
    assert blocks.judge(block, "a0") == 0
    assert blocks.judge(block, "ff") == 1


@pytest.mark.parametrize("more", [{"range": RangeSpec(0, TOTAL // 2)}, {"window": 8 * MiB}])
def test_where_blocks_are_not_checked_they_decide_nothing(more: dict[str, Any]):
    """Of a part, and for a reader in order: without a validator no two bodies are joined."""
    options = TransferOptions(blocks=KNOWN, range=more.pop("range", None))
    play = Play(Spec("http://h/f", "f", options, 1, **more))
    play.head(part(0, TOTAL // 2 if options.range else TOTAL, etag=None))
    play.arrive(1, 0, MiB)
    play.reset(1)
    asked = play.next_fetch() if options.range else None
    assert asked is None or asked.ask.start == 0
    assert play.phase is (Phase.FILLING if options.range else Phase.DONE)


def test_what_was_hashed_stays_hashed_where_later_bytes_come_again():
    digests = Digests(SUM)
    row = Row(Representation(TOTAL, '"a"'), rng(0, TOTAL), None)
    row.add([rng(0, SIZE)])
    assert digests.follow(row) == rng(0, SIZE)
    digests.rewind(rng(SIZE, 2 * SIZE))
    assert digests.rest(row) == rng(SIZE, TOTAL)
    digests.rewind(rng(SIZE - 1, SIZE))
    assert digests.rest(row) == rng(0, TOTAL)


def test_a_mirror_that_leads_and_brings_a_wrong_block_is_left_for_the_url_as_given():
    options = TransferOptions(blocks=KNOWN, connections=1)
    play = Play(Spec("http://h/f", "f", options, 1, mirrors=("http://m/f",)))
    play.head(status(503))
    assert play.fetch.source == 1
    play.head(part())
    play.arrive(2, 0, SIZE)
    confirm(play, wrong=(0,))
    text = "; ".join(fact.message for fact in play.facts(Warned))
    assert "http://m/f is not used any more: its bytes 0-16777215 are wrong" in text


def test_what_an_earlier_run_adopted_goes_with_a_partial_that_does_not_fit():
    """The store has an index, and adopts nothing beside it."""
    known, adopted = Representation(TOTAL + 1, '"a"'), (rng(0, MiB),)
    saved = Remembered(known, None, adopted, adopted)
    play = Play(spec(saved, blocks=KNOWN, digests=SUM))
    assert play.fetch.ask.start == 0
    play.head(part())
    assert play.ever(m.Begin)[0].adopted == ()


def test_what_is_right_while_a_source_is_left_is_copied_all_the_same():
    digests = bytes.fromhex("a0a1a2a2")
    chunks = Chunks("sha256", 1, CHUNKS.stops, digests)
    once, again = rng(2 * SIZE, 3 * SIZE), rng(3 * SIZE, TOTAL)
    options = TransferOptions(connections=1)
    play = Play(
        Spec(
            "http://h/f",
            "f",
            options,
            1,
            mirrors=("http://m/f",),
            chunks=chunks,
            repeats=repeats_of((2, 3)),
        )
    )
    play.head(part())
    play.arrive(1, 0, SIZE)
    play.on(m.CheckedBlocks((rng(0, SIZE),), ("ff",)))
    play.end(1)
    settle(play)
    fetch = play.fetch
    play.head(part())
    play.arrive(fetch.segment, 0, 3 * SIZE)
    asked = rng(0, SIZE), rng(SIZE, 2 * SIZE), once
    play.on(m.CheckedBlocks(asked, ("ff", "a1", "a2")))
    assert play.of(m.Repeat) == []  # something is waited for
    play.end(fetch.segment)
    settle(play)
    assert play.ever(m.Repeat) == [m.Repeat(once, (again,))]


def settle(play: Play) -> None:
    """What is being made durable is."""
    if play.transfer._fill.saving.syncing:
        play.sync()
