"""Chunks of a new file in local ones."""

from __future__ import annotations

from array import array

import pytest

from rdl.chunkers.rolling import Sought
from rdl.core.chunks import Chunks
from rdl.core.delta import MOST_GAP, Place, gap_for
from rdl.core.zsync import Zsync
from rdl.engine.seeding import Wanted
from rdl.errors import Interrupted


class Counting(dict[int, Place]):
    """Counts how often it was asked."""

    asked = 0

    def __contains__(self, key: object) -> bool:
        self.asked += 1
        return super().__contains__(key)


def test_a_file_of_zeros_takes_no_square_of_its_chunks() -> None:
    count, digest, found = 1000, b"16 bytes of them", Counting()
    chunks = Chunks("sha256", 16, array("Q", range(10, 10 * count + 10, 10)), digest * count)
    wanted = Wanted(chunks)
    wanted.found = found
    assert all(wanted.at(digest, 10, Place(0, number)) for number in range(count))
    assert len(found) == count
    assert found.asked <= 2 * count


def test_it_ends_before_a_long_index_is_prepared() -> None:
    def alive() -> None:
        raise Interrupted("SIGINT")

    chunks = Chunks("sha256", 16, array("Q", [10]), b"16 bytes of them")
    with pytest.raises(Interrupted):
        Wanted(chunks, alive=alive)
    with pytest.raises(Interrupted):
        Sought(Zsync(10, 512, None, 1, 4, 16, bytes(20)), alive=alive)


def test_a_round_trip_that_nobody_has_measured() -> None:
    assert gap_for(float("inf")) == MOST_GAP
