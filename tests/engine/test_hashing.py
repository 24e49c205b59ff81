"""Digests of blocks: each of its own bytes, however they are read."""

from __future__ import annotations

import hashlib
import random
from itertools import pairwise

import pytest

from rdl.core.byterange import ByteRange
from rdl.engine.hashing import STEP, Follower
from rdl.errors import LocalFileError

DATA = random.Random(3).randbytes(4 * STEP)


class Counting:
    """Bytes that are read at most so many at a time, and how often."""

    def __init__(self, data: bytes, most: int) -> None:
        self.data, self.most, self.reads = data, most, 0

    def read_into(self, offset: int, view: memoryview) -> int:
        self.reads += 1
        found = self.data[offset : offset + min(self.most, len(view))]
        view[: len(found)] = found
        return len(found)


def digests(ranges: list[ByteRange]) -> tuple[str, ...]:
    return tuple(hashlib.sha256(DATA[one.start : one.stop]).hexdigest() for one in ranges)


@pytest.mark.parametrize("most", [1000, STEP])
def test_each_block_has_its_own_digest(most: int) -> None:
    edges = [0, 1, 700, 5000, 5000 + STEP, 5000 + 3 * STEP, len(DATA) - 10, len(DATA)]
    ranges = [ByteRange(start, stop) for start, stop in pairwise(edges)]
    apart = [ranges[0], ranges[2], ranges[3], ranges[6], ranges[1]]
    store = Counting(DATA, most)
    assert Follower(store).digests_of(ranges, "sha256") == digests(ranges)
    assert Follower(store).digests_of(apart, "sha256") == digests(apart)


def test_small_blocks_that_follow_one_another_are_read_together() -> None:
    ranges = [ByteRange(at, at + 64) for at in range(0, STEP, 64)]
    store = Counting(DATA, STEP)
    assert Follower(store).digests_of(ranges, "sha256") == digests(ranges)
    assert store.reads == 1


def test_blocks_that_are_not_there() -> None:
    store = Counting(DATA[:100], STEP)
    with pytest.raises(LocalFileError, match="shorter"):
        Follower(store).digests_of([ByteRange(0, 90), ByteRange(90, 110)], "sha256")
    assert store.reads == 2
