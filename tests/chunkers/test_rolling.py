"""Blocks of an index are found in a seed wherever they are, and nothing else is."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable
from hashlib import sha1

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdl.chunkers import groups, rolling
from rdl.chunkers.groups import right_blocks, rolling_sums
from rdl.chunkers.rolling import Sought, blocks_in_place
from rdl.core.byterange import ByteRange
from rdl.core.reads import Read
from rdl.core.zsync import Zsync
from rdl.errors import UsageError
from tests.support.zsyncs import index_of, slow_sum, sums_of

BLOCK = 64


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(f"{size} {seed}").randbytes(size)


def reading(seed: bytes) -> Read:
    """As files do at times: a part of what is asked for."""

    def read(offset: int, into: memoryview) -> int:
        part = seed[offset : offset + min(len(into), 1 << 16)]
        into[: len(part)] = part
        return len(part)

    return read


def found(index: Zsync, seed: bytes, wanted: Iterable[int] | None = None) -> dict[int, int]:
    """Where each block is; none is found twice."""

    pairs = list(Sought(index, wanted).within(reading(seed), len(seed)))
    assert len(pairs) == len(dict(pairs))
    return dict(pairs)


def assert_true(places: dict[int, int], target: bytes, seed: bytes, block: int = BLOCK) -> None:
    for number, offset in places.items():
        content = target[number * block : (number + 1) * block]
        assert seed[offset : offset + len(content)] == content, (number, offset)


@pytest.mark.parametrize("matches", [1, 2])
@pytest.mark.parametrize("size", [1, 63, 64, 65, 128, 129, 1000])
def test_a_file_is_found_in_itself(size: int, matches: int) -> None:
    target = noise(size)
    index = index_of(target, BLOCK, matches=matches)
    assert found(index, target) == {number: number * BLOCK for number in range(index.count)}
    assert found(index, b"") == {}


@pytest.mark.parametrize(("matches", "size", "count"), [(1, 65, 1), (2, 65, 0), (2, 129, 2)])
def test_a_file_without_its_last_byte(matches: int, size: int, count: int) -> None:
    index = index_of(noise(size), BLOCK, matches=matches)
    assert found(index, noise(size)[:-1]).keys() == set(range(count))


@pytest.mark.parametrize("rsum", [1, 2, 3, 4])
def test_every_alignment(rsum: int) -> None:
    target = noise(5 * BLOCK - 9)
    index = index_of(target, BLOCK, rsum=rsum)
    for shift in range(BLOCK + 2):
        seed = noise(shift, 1) + target
        assert found(index, seed) == {number: shift + number * BLOCK for number in range(5)}


def test_an_empty_file_has_no_blocks() -> None:
    assert found(index_of(b"", BLOCK), noise(1000)) == {}


def test_a_seed_that_has_nothing() -> None:
    assert found(index_of(noise(100 * BLOCK), BLOCK, rsum=2, checksum=3), noise(9000, 1)) == {}


def test_one_block_alone_is_not_enough_where_two_must_match() -> None:
    target = noise(10 * BLOCK)
    seed = noise(100, 1) + target[3 * BLOCK : 4 * BLOCK] + noise(100, 2)
    assert found(index_of(target, BLOCK, matches=2), seed) == {}
    assert found(index_of(target, BLOCK, matches=1), seed) == {3: 100}
    seed = noise(100, 1) + target[3 * BLOCK : 5 * BLOCK] + noise(100, 2)
    assert found(index_of(target, BLOCK, matches=2), seed) == {3: 100, 4: 100 + BLOCK}


def test_a_file_of_one_block_needs_no_second_one() -> None:
    target = noise(BLOCK - 5)
    assert found(index_of(target, BLOCK, matches=2), noise(77, 1) + target) == {0: 77}


def test_the_last_block_is_filled_up_with_zeros() -> None:
    target = noise(2 * BLOCK + 7)
    index = index_of(target, BLOCK)
    assert found(index, target + bytes(BLOCK)) == {0: 0, 1: BLOCK, 2: 2 * BLOCK}
    assert found(index, target + b"x") == {0: 0, 1: BLOCK}


def test_zeros_beyond_the_end_of_the_seed_are_not_there() -> None:
    target = noise(BLOCK) + bytes(BLOCK) + noise(BLOCK, 1)
    assert found(index_of(target, BLOCK), target[: BLOCK + 9]) == {}


def test_content_that_comes_several_times_is_found_for_all_its_numbers() -> None:
    one, other = noise(2 * BLOCK), noise(BLOCK, 1)
    target = one + other + one + one
    assert found(index_of(target, BLOCK), one) == {
        **{0: 0, 3: 0, 5: 0},
        **{1: BLOCK, 4: BLOCK, 6: BLOCK},
    }


def test_zeros_are_found_once_and_quickly() -> None:
    target = bytes(2000 * BLOCK) + noise(100 * BLOCK)
    seed = noise(1000, 1) + bytes(300_000) + target[-100 * BLOCK :]
    places = found(index_of(target, BLOCK, rsum=2, checksum=5), seed)
    assert len(places) == 2100
    assert_true(places, target, seed)


def test_a_block_that_overlaps_zeros_is_found_too() -> None:
    """Zeros before it are not eaten up by blocks of zeros at another alignment."""
    mixed = bytes(BLOCK // 2) + noise(BLOCK // 2)
    target = bytes(4 * BLOCK) + mixed + noise(BLOCK, 1)
    seed = bytes(4 * BLOCK + 13) + mixed + noise(BLOCK, 1)
    assert found(index_of(target, BLOCK), seed).keys() == set(range(6))


def test_only_what_is_wanted_is_looked_for() -> None:
    target = noise(10 * BLOCK)
    index = index_of(target, BLOCK)
    assert found(index, target, {2, 7}) == {2: 2 * BLOCK, 7: 7 * BLOCK}
    assert found(index, target, range(9, 10)) == {9: 9 * BLOCK}
    assert found(index, target, ()) == {}


def test_nothing_is_read_once_all_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rolling, "LEAST_WINDOW", 1024)
    monkeypatch.setattr(rolling, "LANES", 1)
    target, reads = noise(512), []
    seed = target + noise(1 << 20, 1)

    def read(offset: int, into: memoryview) -> int:
        reads.append(offset)
        into[:] = seed[offset : offset + len(into)]
        return len(into)

    assert len(list(Sought(index_of(target, BLOCK)).within(read, len(seed)))) == 8
    assert reads == [0]


@pytest.mark.parametrize("window", [1, 100, 1024])
def test_blocks_across_windows(window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rolling, "LEAST_WINDOW", window)
    monkeypatch.setattr(rolling, "LANES", 1)
    monkeypatch.setattr(groups, "STEP", 50)
    target = noise(20 * BLOCK + 3)
    seed = noise(33, 1) + target[: 9 * BLOCK] + b"more" + target[9 * BLOCK :]
    places = found(index_of(target, BLOCK), seed)
    assert places.keys() == set(range(21))
    assert_true(places, target, seed)


def test_a_seed_that_is_cut_meanwhile() -> None:
    target = noise(10 * BLOCK)
    short = target[: 5 * BLOCK + 3]

    def read(offset: int, into: memoryview) -> int:
        part = short[offset : offset + len(into)]
        into[: len(part)] = part
        return len(part)

    places = dict(Sought(index_of(target, BLOCK)).within(read, len(target)))
    assert places == {number: number * BLOCK for number in range(5)}


PARTS = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 12), st.integers(0, 200)), max_size=12
)
"""Of the target from this block on so many; before it so many bytes of something else."""


@settings(max_examples=60)
@given(PARTS, st.sampled_from([(1, 4, 16), (2, 4, 16), (2, 2, 5), (2, 3, 4)]), st.integers(0, 80))
def test_parts_of_the_target_are_found(
    parts: list[tuple[int, int, int]], lengths: tuple[int, int, int], odd: int
) -> None:
    matches, rsum, checksum = lengths
    target = noise(40 * 16 + odd) + bytes(100) + noise(100, 1)
    index = index_of(target, 16, matches=matches, rsum=rsum, checksum=checksum)
    seed, there = bytearray(), set[int]()
    for first, count, other in parts:
        seed += noise(other, other) + target[first * 16 : (first + count) * 16]
        there |= set(range(first, first + count)) if count >= matches else set()
    places = found(index, bytes(seed))
    assert_true(places, target, bytes(seed), 16)
    assert there <= places.keys() | set(range(index.count, 99))


@settings(max_examples=60)
@given(st.binary(max_size=300), st.binary(max_size=300), st.sampled_from([1, 2, 4, 16]))
def test_whatever_is_found_is_there(target: bytes, seed: bytes, block: int) -> None:
    """Short blocks of few values: what is there in all is found."""
    target, seed = bytes(byte & 1 for byte in target), bytes(byte & 1 for byte in seed)
    places = found(index_of(target, block, matches=1), seed)
    assert_true(places, target, seed, block)
    full = range(len(target) // block)
    assert {n for n in full if target[n * block : (n + 1) * block] in seed} <= places.keys()


@pytest.mark.parametrize("block", [1, 16, 100, 512])
def test_rolling_sums(block: int) -> None:
    data = bytes([255]) * 300 + noise(700)
    for width in (1, 2, 3, 4):
        sums = rolling_sums(np.frombuffer(data, np.uint8), block, width)
        assert len(sums) == len(data) - block + 1
        for at in (0, 1, 17, len(sums) - 1):
            assert int(sums[at]).to_bytes(4, "big")[-width:] == slow_sum(data[at:][:block])[-width:]


def decoys(count: int, block: int, sums: Iterable[bytes]) -> Zsync:
    """An index whose rolling sums are those of a seed, and whose MD4 is of nothing."""
    return Zsync(count * block, block, None, 2, 2, 5, b"".join(one + b"decoy" for one in sums))


def test_sums_that_prove_false_cost_a_bounded_number_of_tries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One sum of all offsets, a sum for each offset, and the same beside blocks that are there."""
    tried: list[int] = []
    original = groups.md4

    def counted(data: groups.Bytes, offsets: groups.Numbers, length: int) -> groups.Bytes:
        tried.append(len(offsets))
        return original(data, offsets, length)

    monkeypatch.setattr(groups, "md4", counted)
    size = 1 << 18
    assert found(decoys(1000, 2048, [bytes(2)] * 1000), bytes(size)) == {}
    assert 0 < sum(tried) <= 2 * groups.TRIES
    tried.clear()
    data = noise(size)
    weak = rolling_sums(np.frombuffer(data, np.uint8), 2048, 2)
    pairs = [int(weak[at + more]).to_bytes(2, "big") for at in range(9000) for more in (0, 2048)]
    assert found(decoys(18000, 2048, pairs), data) == {}
    assert 0 < sum(tried) <= 2 * groups.EFFORT * (size // 2048 + 1)
    sums = sums_of(bytes(2 * 2048), 2048, 2, 5) + (bytes(2) + b"decoy") * 2
    index = Zsync(4 * 2048, 2048, None, 2, 2, 5, sums)
    assert found(index, noise(5000) + bytes(size)).keys() == {0, 1}


def test_blocks_that_stand_in_their_place() -> None:
    target = noise(10 * BLOCK + 5)
    index = index_of(target, BLOCK, rsum=2, checksum=3)
    assert right_blocks(index, 0, memoryview(target)) == list(range(11))
    assert right_blocks(index, 10, memoryview(target)[10 * BLOCK :]) == [10]
    assert right_blocks(index, 10, memoryview(target)[10 * BLOCK : -1]) == []
    assert right_blocks(index, 3, memoryview(target)[3 * BLOCK : 6 * BLOCK - 1]) == [3, 4]
    assert right_blocks(index, 2, memoryview(target)[3 * BLOCK : 6 * BLOCK]) == []
    assert right_blocks(index, 10, memoryview(target[10 * BLOCK :] + b"beyond it")) == [10]
    wrong = bytearray(target)
    wrong[5 * BLOCK] ^= 1
    assert right_blocks(index, 0, memoryview(wrong)) == [*range(5), *range(6, 11)]


@pytest.mark.parametrize("step", [1, 3 * BLOCK, 1 << 20])
def test_blocks_that_stand_in_their_place_where_they_may(
    step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of those that are alike, and nothing of what is not to be looked at."""
    monkeypatch.setattr(rolling, "STEP", step // BLOCK * BLOCK)
    target = bytes(10 * BLOCK) + noise(10 * BLOCK + 5)
    index = index_of(target, BLOCK, rsum=2, checksum=3)
    whole = ByteRange(0, len(target))
    assert list(blocks_in_place(index, reading(target), [whole])) == list(range(21))
    some = [
        ByteRange(1, 4 * BLOCK - 1),
        ByteRange(4 * BLOCK, 7 * BLOCK),
        ByteRange(19 * BLOCK, 1 << 40),
    ]
    assert list(blocks_in_place(index, reading(target), some)) == [1, 2, 4, 5, 6, 19, 20]
    assert list(blocks_in_place(index, reading(target[:-1]), some)) == [1, 2, 4, 5, 6, 19]


def test_what_one_seed_has_is_not_looked_for_in_the_next() -> None:
    target = noise(10 * BLOCK)
    sought = Sought(index_of(target, BLOCK))
    assert list(sought.within(reading(b"short"), 5)) == []
    first, second = target[: 4 * BLOCK], noise(9) + target[2 * BLOCK :]
    assert {number for number, _ in sought.within(reading(first), len(first))} == set(range(4))
    places = dict(sought.within(reading(second), len(second)))
    assert places == {number: 9 + (number - 2) * BLOCK for number in range(4, 10)}


def test_without_numpy_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "rdl.chunkers.groups")
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(UsageError, match="numpy is not installed") as refused:
        found(index_of(b"x", BLOCK), b"x")
    assert refused.value.hint == "pip install 'rdl-get[sync]'"


def test_a_real_update() -> None:
    """A file that was edited in places, as zsyncmake's own lengths have it."""
    random_source = random.Random(5)
    old = noise(2_000_000)
    new = bytearray(old)
    for _ in range(20):
        at = random_source.randrange(len(new))
        new[at : at + random_source.randrange(50)] = noise(random_source.randrange(50), at)
    index = index_of(bytes(new), 2048, rsum=2, checksum=5)
    places = found(index, old)
    assert_true(places, bytes(new), old, 2048)
    assert index.count - 45 <= len(places) < index.count
    rebuilt = bytearray(new)
    for number, offset in places.items():
        rebuilt[number * 2048 : (number + 1) * 2048] = old[offset : offset + 2048]
    assert sha1(rebuilt[: len(new)]).digest() == sha1(new).digest()
