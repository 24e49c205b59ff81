"""Chunks by their digests, where they were found, and which of them stand several times."""

from __future__ import annotations

import hashlib
from array import array

import pytest

from rdl.core.chunks import Alike, Chunks, Lookup
from rdl.core.delta import IN_PLACE, Place, Places, repeats_in
from tests.core.playing import repeats_of

SIZE = 10


def chunks_of(contents: str, width: int = 16) -> Chunks:
    """A chunk of SIZE bytes for each letter."""
    stops = array("Q", (SIZE * (number + 1) for number in range(len(contents))))
    digests = (hashlib.sha256(one.encode()).digest()[:width] for one in contents)
    return Chunks("sha256", width, stops, b"".join(digests))


def test_chunks_are_looked_up_by_their_digests() -> None:
    chunks = chunks_of("abacbad")
    lookup = Lookup(chunks, 6)
    assert [lookup.add(number) for number in range(6)] == [0, 1, 0, 3, 1, 0]
    assert [lookup.first(chunks.digest(number)) for number in range(7)] == [0, 1, 0, 3, 1, 0, None]


def test_which_are_alike() -> None:
    alike = Alike(7)
    for number in (5, 2):
        alike.add(0, number)
    alike.add(1, 4)
    assert [alike.after(number) for number in range(7)] == [2, 4, 5, None, None, None, None]
    assert [alike.take(number) for number in (0, 2, 5)] == [2, 5, None]
    assert [alike.take(number) for number in (0, 1)] == [None, 4]


@pytest.mark.parametrize("count", [0, 1, 3, 1000])
def test_a_table_that_is_as_full_as_may_be(count: int) -> None:
    chunks = chunks_of("".join(map(chr, range(100, 100 + count + 1))))
    lookup = Lookup(chunks, count)
    assert [lookup.add(number) for number in range(count)] == list(range(count))
    assert [lookup.first(chunks.digest(number)) for number in range(count)] == list(range(count))
    assert lookup.first(chunks.digest(count)) is None


def test_where_chunks_were_found() -> None:
    places = Places(3)
    places[0], places[2] = Place(IN_PLACE, 0), Place(7, 1 << 45)
    assert [number in places for number in range(3)] == [True, False, True]
    assert [places.get(number) for number in range(3)] == [Place(-1, 0), None, Place(7, 1 << 45)]


def test_what_is_nowhere_and_stands_several_times() -> None:
    chunks, places = chunks_of("abbaab"), Places(6)
    places[0] = Place(0, 0)
    assert repeats_in(chunks, places) == repeats_of((1, 2), (3, 4), (1, 5))
