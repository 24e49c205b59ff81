"""A row in an order of its own: each tile once, whole chunks, and another order for each seed."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator
from itertools import accumulate

import pytest

from rdl.core import messages as m
from rdl.core import tiles as cut
from rdl.core.blockmap import block_size_for
from rdl.core.byterange import ByteRange
from rdl.core.chunks import Chunks
from rdl.core.gate import Ask
from rdl.core.planner import Flow
from rdl.core.representation import Representation
from rdl.core.row import Row
from rdl.core.tiles import Tiles
from rdl.core.transfer import Spec
from rdl.options import TransferOptions
from tests.core.playing import TOTAL, MiB, Play, part, rng, whole

STOPS = array("Q", accumulate([*random.Random(3).choices(range(1, MiB), k=99), 1]))
CHUNKS = Chunks("sha256", 1, STOPS, bytes(100))
EVEN = Chunks("sha256", 1, array("Q", range(MiB // 4, TOTAL + 1, MiB // 4)), bytes(256))


def row_of(chunks: Chunks) -> Row:
    total = chunks.span.stop
    return Row(Representation(total), chunks.span, block_size_for(total, None))


def order(chunks: Chunks, seed: int) -> list[ByteRange]:
    """All that is asked for, one after the other."""
    tiles, row, found = Tiles(chunks, seed), row_of(chunks), list[ByteRange]()
    while (gap := tiles.next(row, ())) is not None:
        found.append(gap)
        row.add([gap])
    assert row.complete
    return found


def test_each_tile_comes_once_and_is_whole_chunks() -> None:
    found = order(CHUNKS, 1)
    assert sum(map(len, found)) == len(CHUNKS.span)
    assert {one.stop for one in found} <= set(STOPS)
    assert all(cut.LEAST <= len(one) < cut.LEAST + MiB for one in found if one.stop != STOPS[-1])


def test_the_seed_names_the_order() -> None:
    first, second = order(CHUNKS, 1), order(CHUNKS, 2)
    assert first == order(CHUNKS, 1) != second
    assert sorted(first) == sorted(second)
    half = len(first) // 2
    assert 0 < len({*first[:half]} & {*second[:half]}) < half


def test_a_large_file_has_few_tiles() -> None:
    stops = array("Q", range(1 << 24, (1 << 34) + 1, 1 << 24))
    assert len(order(Chunks("sha256", 1, stops, bytes(len(stops))), 1)) == cut.MOST


def test_what_is_here_or_comes_is_not_asked_for() -> None:
    first = order(EVEN, 1)
    tiles, row = Tiles(EVEN, 1), row_of(EVEN)
    row.add([ByteRange(first[0].start, first[0].start + 9)])
    gap = tiles.next(row, ())
    assert gap == ByteRange(first[0].start + 9, first[0].stop)
    assert tiles.next(row, [Flow(1, first[0].start + 9, first[0].stop)]) == first[1]
    assert tiles.next(row, [Flow(1, 0, TOTAL)]) is None


def test_one_that_is_here_is_looked_at_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request would look at all that is done, while another tile is slow to come."""
    tiles, row, looked = Tiles(EVEN, 1), row_of(EVEN), list[ByteRange | None]()
    first = order(EVEN, 1)
    slow = Flow(1, first[0].start, first[0].stop)
    row.add(first[1:50])
    assert tiles.next(row, [slow]) == first[50]
    missing = row.missing

    def look(within: ByteRange | None = None) -> Iterator[ByteRange]:
        looked.append(within)
        return missing(within)

    monkeypatch.setattr(row, "missing", look)
    assert tiles.next(row, [slow]) == first[50]
    assert {*looked} == {first[0], first[50]}


@pytest.mark.parametrize(
    ("ask", "overlap", "first"),
    [
        (Ask(MiB - 4096, None), 4096, Ask(MiB - 4096, 2 * MiB)),
        (Ask(MiB - 4096, MiB + 7), 4096, Ask(MiB - 4096, MiB + 7)),
        (Ask(MiB, 9 * MiB), 0, Ask(MiB, 2 * MiB)),
        (Ask(TOTAL - 4096, None), 4096, Ask(TOTAL - 4096, None)),
        (Ask(ranged=False), 0, Ask(ranged=False)),
        (Ask(suffix=5), 0, Ask(suffix=5)),
    ],
)
def test_a_first_request_ends_with_its_tile(ask: Ask, overlap: int, first: Ask) -> None:
    assert Tiles(EVEN, 1).first(ask, overlap) == first


def playing(seed: int = 1, **more: object) -> Play:
    options = TransferOptions(connections=1, expected_size=TOTAL)
    spec = {"chunks": EVEN, "tiled": True} | more
    return Play(Spec("http://h/f", "f", options, seed, **spec))


def test_a_transfer_goes_through_them() -> None:
    play, asked = playing(), list[ByteRange]()
    for tile in order(EVEN, 1):
        ask, segment = play.fetch.ask, play.fetch.segment
        assert ask == Ask(tile.start, tile.stop)
        asked.append(tile)
        play.head(part(tile.start, tile.stop))
        play.arrive(segment, tile.start, tile.stop)
        play.end(segment)
    assert len(play.ever(m.Fetch)) == len(asked) == 64
    assert sum(len(one.blocks) for one in play.ever(m.CheckBlocks)) == len(EVEN)


@pytest.mark.parametrize("tiled", [True, False])
def test_what_others_have_counts_in_a_run_with_a_digest_alone(tiled: bool) -> None:
    """It comes as if their server had sent it, but only the manifest's digests speak for it."""
    play = playing(tiled=tiled)
    play.head(part(play.fetch.ask.start, play.fetch.ask.stop or TOTAL))
    kinds = [type(one) for one in play.out if isinstance(one, m.Mix | m.Receive)]
    assert kinds == [m.Mix, m.Receive][not tiled :]


def test_what_is_taken_back_comes_last() -> None:
    """Its tile is looked at no more."""
    play, tiles = playing(), order(EVEN, 1)
    lost = ByteRange(tiles[0].start, tiles[0].start + MiB // 4)
    for number, tile in enumerate(tiles):
        segment = play.fetch.segment
        assert play.fetch.ask == Ask(tile.start, tile.stop)
        play.head(part(tile.start, tile.stop))
        play.arrive(segment, tile.start, tile.stop)
        if number == 3:
            play.on(m.CheckedBlocks((lost,), ("ff",)))
        play.end(segment)
    assert play.fetch.ask == Ask(lost.start, lost.stop)


def test_a_body_that_brings_the_start_of_one() -> None:
    """The rest is asked for next."""
    play = playing()
    tile = order(EVEN, 1)[0]
    play.head(part(tile.start, tile.start + 1000))
    play.arrive(play.fetch.segment, tile.start, tile.start + 1000)
    play.end(play.fetch.segment)
    assert play.fetch.ask == Ask(tile.start + 1000, tile.stop)


def test_a_server_without_ranges() -> None:
    play = playing()
    play.head(whole())
    assert play.of(m.Receive)[0].range == rng(0, TOTAL)


def test_what_old_files_held_is_continued() -> None:
    play = playing(adopted=(rng(0, 10 * MiB),))
    assert play.fetch.ask.stop == 11 * MiB


@pytest.mark.parametrize(
    "more", [{"tiled": False}, {"chunks": Chunks("sha256", 1, array("Q"), b"")}]
)
def test_others_go_on_in_the_order_of_the_file(more: dict[str, object]) -> None:
    assert playing(**more).fetch.ask.start == 0
