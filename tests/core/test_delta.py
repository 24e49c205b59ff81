"""What of a new file is copied, what is copied within it later, and what is fetched."""

from __future__ import annotations

import tracemalloc
from array import array
from hashlib import sha256
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdl.core.blocks import Blocks, Repeats
from rdl.core.byterange import ByteRange
from rdl.core.chunks import Chunks, paced
from rdl.core.delta import (
    IN_PLACE,
    LEAST_GAP,
    MOST_GAP,
    REQUEST_BYTES,
    Copy,
    Delta,
    Place,
    Places,
    fewer,
    gap_for,
    planned,
    repeats_in,
)
from rdl.core.representation import Representation
from rdl.core.row import Row
from tests.core.playing import repeats_of, rng


def chunks_of(*parts: tuple[str, int]) -> Chunks:
    """Chunks of so many bytes; those of one name are the same."""
    stops, at = array("Q"), 0
    for _, size in parts:
        at += size
        stops.append(at)
    return Chunks("sha256", 8, stops, b"".join(sha256(n.encode()).digest()[:8] for n, _ in parts))


def repeated_in(chunks: Chunks, repeats: Repeats) -> list[tuple[ByteRange, ByteRange]]:
    """What is copied within the file, and where to."""
    return [(chunks.chunk(source), chunks.chunk(place)) for source, place in repeats]


def gaps_of(delta: Delta, chunks: Chunks) -> list[ByteRange]:
    """What is neither copied nor repeated."""
    total, repeated = chunks.span.stop, repeated_in(chunks, delta.repeats)
    held = [one.range for one in delta.copies] + [again for _, again in repeated]
    held.sort(key=lambda one: one.start)
    edges = [0, *(edge for one in held for edge in (one.start, one.stop)), total]
    assert edges == sorted(edges), "nothing is put anywhere twice"
    pairs = zip(edges[::2], edges[1::2], strict=True)
    return [ByteRange(start, stop) for start, stop in pairs if start < stop]


SIZES = {"a": 1, "b": 1, "c": 700, "d": 5000, "e": 5000}
PARTS = st.lists(st.sampled_from(list(SIZES.items())), max_size=30)
FOUND = st.dictionaries(
    st.integers(0, 29), st.builds(Place, st.integers(IN_PLACE, 2), st.integers(0, 9000))
)


@given(PARTS, FOUND, st.sampled_from([0, 1, 1024, 6000]))
def test_copies_repeats_and_what_is_fetched_make_the_file(parts, found, gap):
    chunks = chunks_of(*parts)
    found = {number: place for number, place in found.items() if number < len(parts)}
    delta = planned(chunks, found, repeats_in(chunks, found), gap)
    total = sum(size for _, size in parts)
    fetched = gaps_of(delta, chunks)
    assert delta.fetched == sum(map(len, fetched))
    pays = bool(delta.copies or delta.repeats)
    assert (delta.fetched, delta.runs) == ((delta.fetched, len(fetched)) if pays else (total, 1))
    runs = delta.kept()
    assert sum(map(len, runs)) == sum(len(one.range) for one in delta.copies)
    assert all(before.stop < after.start for before, after in pairwise(runs))
    come = [*fetched, *(one.range for one in delta.copies if one.seed == IN_PLACE)]
    for source, place in repeated_in(chunks, delta.repeats):
        assert source.stop <= place.start
        assert len(source) == len(place)
        assert any(one.covers(source) or source.covers(one) for one in come)
    for one in delta.copies:
        for number in chunks.numbers(one.range):
            chunk, place = chunks.chunk(number), found[number]
            assert place == Place(one.seed, one.at + chunk.start - one.range.start)


@given(PARTS, FOUND)
def test_what_stands_again_is_fetched_once(parts, found):
    chunks = chunks_of(*parts)
    found = {number: place for number, place in found.items() if number < len(parts)}
    places = {place for _, place in repeated_in(chunks, repeats_in(chunks, found))}
    rest = {number for number in range(len(parts)) if number not in found}
    asked = [parts[number] for number in rest if chunks.chunk(number) not in places]
    assert len(asked) == len(set(asked)), "each of them once"
    assert {parts[number] for number in rest} >= set(asked)
    assert len(places) == len(rest) - len(asked)


def test_a_chunk_in_place_is_where_others_come_from():
    chunks = chunks_of(("a", 9000), ("b", 9000), ("a", 9000), ("a", 9000))
    found = {0: Place(IN_PLACE, 0), 3: Place(0, 77)}
    assert repeats_in(chunks, found) == repeats_of((0, 2))
    elsewhere = {0: Place(0, 5)}
    assert repeats_in(chunks, elsewhere) == repeats_of((2, 3))


def test_a_file_of_one_chunk_again_and_again_takes_little_memory():
    count = 20_000
    chunks = Chunks("sha256", 8, array("Q", range(10, 10 * count + 1, 10)), bytes(8) * count)
    places = Places(count)
    tracemalloc.start()
    try:
        delta = planned(chunks, places, repeats_in(chunks, places), 1)
        blocks = Blocks(chunks, delta.repeats)
        row = Row(Representation(10 * count, '"a"'), rng(0, 10 * count), None)
        row.add([rng(0, 10)])
        assert list(blocks.due(row, rng(0, 10))) == [rng(0, 10)]
        assert blocks.judge(rng(0, 10), "00" * 8) == 0
        assert blocks.next_repeat() == (rng(0, 10), rng(10, 20))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (len(delta.repeats), delta.fetched) == (count - 1, 10)
    assert peak < 50 * count


def test_the_same_digest_of_another_length_is_no_repeat():
    assert repeats_in(chunks_of(("a", 900), ("a", 901)), {}) == Repeats()


def test_neighbours_of_one_seed_are_one_copy():
    chunks = chunks_of(("a", 9000), ("b", 10), ("c", 9000), ("d", 9000))
    found = {0: Place(0, 100), 1: Place(0, 9100), 2: Place(1, 9110)}
    delta = planned(chunks, found, Repeats(), 1024)
    assert delta.copies == (Copy(0, 100, rng(0, 9010)), Copy(1, 9110, rng(9010, 18010)))
    assert delta.kept() == (rng(0, 18010),)
    assert (delta.fetched, delta.runs) == (9000, 1)


def test_what_is_not_worth_a_request_comes_along():
    chunks = chunks_of(("a", 9000), ("b", 1000), ("c", 9000), ("d", 90000))
    found = {1: Place(0, 0), 3: Place(0, 1000)}
    assert planned(chunks, found, Repeats(), 1001).fetched == 19000
    assert planned(chunks, found, Repeats(), 1000).fetched == 18000


def test_less_than_the_requests_cost_is_not_copied():
    chunks = chunks_of(("a", REQUEST_BYTES), ("b", 2000))
    delta = planned(chunks, {0: Place(0, 0)}, Repeats(), 1)
    assert (delta.copies, delta.repeats, delta.fetched) == ((), Repeats(), 2000 + REQUEST_BYTES)
    assert planned(chunks_of(), {}, Repeats(), 1).copies == ()


@pytest.mark.parametrize(
    ("seconds", "gap"), [(0.0, LEAST_GAP), (0.01, 7340), (9.0, MOST_GAP), (1e9, MOST_GAP)]
)
def test_what_a_gap_is_worth(seconds, gap):
    assert gap_for(seconds) == gap


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), max_size=40), st.integers(1, 9))
def test_fewer_runs_cover_all_of_them(steps, most):
    runs, at = list[ByteRange](), 0
    for gap, size in steps:
        runs.append(ByteRange(at + gap, at + gap + size))
        at += gap + size
    found = fewer(tuple(runs), most)
    assert len(found) == min(most, len(runs))
    assert all(any(wide.covers(run) for wide in found) for run in runs)
    assert all(before.stop < after.start for before, after in pairwise(found))
    lost = sum(map(len, found)) - sum(map(len, runs))
    between = sorted(after.start - before.stop for before, after in pairwise(runs))
    assert lost == sum(between[: max(0, len(runs) - most)]), "the narrowest gaps are closed"


def test_the_chunks_of_a_span_that_goes_beyond_them():
    chunks = chunks_of(("a", 10), ("b", 20))
    assert chunks.numbers(rng(5, 11)) == range(2)
    assert chunks.numbers(rng(29, 99)) == range(1, 2)
    assert not chunks.numbers(rng(30, 99))
    assert not chunks.numbers(rng(5, 5))
    assert not chunks_of().numbers(rng(0, 5))


def test_what_takes_long_can_be_ended():
    class Over(Exception):
        """It is to end."""

    def alive():
        raise Over

    chunks = chunks_of(("a", 900), ("b", 900))
    places = Places(2)
    for work in (
        lambda: repeats_in(chunks, places, alive),
        lambda: planned(chunks, places, Repeats(), 1, alive=alive),
        lambda: list(paced(range(3), alive)),
    ):
        with pytest.raises(Over):
            work()
