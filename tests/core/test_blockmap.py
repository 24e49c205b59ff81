"""The block map against a plain list of bytes that are here or not."""

from __future__ import annotations

from itertools import groupby

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdl.core.blockmap import MAX_BLOCKS, BlockMap, block_size_for
from rdl.core.byterange import ByteRange
from tests.support.timing import seconds

KiB, MiB, GiB, TiB = 1 << 10, 1 << 20, 1 << 30, 1 << 40


def runs(model: bytearray, value: int, start: int, stop: int) -> list[ByteRange]:
    found = []
    for kind, group in groupby(range(start, stop), key=lambda offset: model[offset]):
        offsets = list(group)
        if kind == value:
            found.append(ByteRange(offsets[0], offsets[-1] + 1))
    return found


@st.composite
def cases(draw: st.DrawFn) -> tuple[int, int, list[tuple[bool, int, int]], tuple[int, int]]:
    total = draw(st.integers(0, 90))
    block = draw(st.sampled_from([1, 3, 4, 8, 16, 100]))
    bound = st.integers(0, total)
    steps = draw(st.lists(st.tuples(st.booleans(), bound, bound), max_size=12))
    ask = sorted((draw(bound), draw(bound)))
    return total, block, steps, (ask[0], ask[1])


@settings(max_examples=400)
@given(cases())
def test_agrees_with_a_plain_model(
    case: tuple[int, int, list[tuple[bool, int, int]], tuple[int, int]],
) -> None:
    total, block, steps, (start, stop) = case
    row, model = BlockMap(total, block), bytearray(total)
    for adding, one, two in steps:
        low, high = min(one, two), max(one, two)
        (row.add if adding else row.discard)(ByteRange(low, high))
        model[low:high] = bytes([adding]) * (high - low)
        assert row.present_bytes == sum(model)
    asked = ByteRange(start, stop)
    assert list(row.present()) == runs(model, 1, 0, total)
    assert list(row.missing()) == runs(model, 0, 0, total)
    assert list(row.present(asked)) == runs(model, 1, start, stop)
    assert list(row.missing(asked)) == runs(model, 0, start, stop)
    assert row.count(asked) == sum(model[start:stop])
    assert row.contains(asked) == all(model[start:stop])
    assert row.complete == all(model)
    assert row.head() == (model.index(0) if 0 in model else total)
    absent, held = runs(model, 0, start, total), runs(model, 1, start, total)
    assert row.next_missing(start) == (absent[0] if absent else None)
    assert row.next_present(start) == (held[0] if held else None)
    again = BlockMap(total, block)
    for run in runs(model, 1, 0, total):
        again.add(run)
    assert again == row == row.copy()
    assert sum(row.coverage(1)) == pytest.approx(sum(model) / total if total else 1.0)


def test_a_row_of_nothing_is_complete() -> None:
    row = BlockMap(0, 4096)
    assert row.complete
    assert row.head() == 0
    assert list(row.missing()) == list(row.present()) == []
    assert row.next_missing(0) is row.next_present(0) is None
    assert row.contains(ByteRange(0, 0))
    assert row.coverage(3) == (1.0, 1.0, 1.0)
    assert repr(row) == "<BlockMap 0/0 by 4096: empty>"


def test_a_range_beyond_the_row_is_refused() -> None:
    row = BlockMap(10, 4)
    for operation in (row.add, row.discard, row.count, row.contains):
        with pytest.raises(ValueError, match="beyond"):
            operation(ByteRange(5, 11))
    assert row.present_bytes == 0
    with pytest.raises(ValueError, match="not a row"):
        BlockMap(-1, 4)


def test_a_copy_is_independent() -> None:
    row = BlockMap(100, 16)
    row.add(ByteRange(3, 40))
    twin = row.copy()
    twin.discard(ByteRange(0, 100))
    assert row.present_bytes == 37
    assert twin.present_bytes == 0
    assert row != twin
    assert row != "a row"


def test_runs_may_be_taken_while_the_map_changes() -> None:
    row = BlockMap(100, 8)
    taken = []
    for run in row.missing():
        taken.append(run)
        row.add(ByteRange(run.start, 100))
    assert taken == [ByteRange(0, 100)]


def test_coverage_of_slices() -> None:
    row = BlockMap(100, 8)
    row.add(ByteRange(0, 30))
    assert row.coverage(4) == pytest.approx((1.0, 0.2, 0.0, 0.0))
    assert row.coverage(2, ByteRange(20, 40)) == (1.0, 0.0)
    assert row.coverage(4, ByteRange(29, 31)) == (1.0, 1.0, 0.0, 0.0)
    assert row.coverage(2, ByteRange(99, 99)) == (1.0, 1.0)
    assert len(BlockMap(2, 8).coverage(5)) == 5


def test_repr_is_a_dump() -> None:
    row = BlockMap(100, 8)
    row.add(ByteRange(3, 5))
    row.add(ByteRange(16, 32))
    assert repr(row) == "<BlockMap 18/100 by 8: 3-5 16-32>"


def test_a_tebibyte_costs_by_its_runs() -> None:
    assert seconds(fill_a_tebibyte) < 2.0


def fill_a_tebibyte() -> None:
    total = TiB + 77
    row = BlockMap(total, block_size_for(total))
    for number in range(64):
        row.add(ByteRange(number * GiB * 16 + 5, (number * 16 + 8) * GiB + 9))
    assert len(list(row.missing())) == 65
    for number in range(64):
        assert row.contains(ByteRange(number * GiB * 16 + 5, (number * 16 + 8) * GiB + 9))
    assert len(row.coverage(1000)) == 1000
    row.add(ByteRange(0, total))
    assert row.complete
    assert row.head() == total
    row.discard(ByteRange(total - 1, total))
    assert row.next_missing(0) == ByteRange(total - 1, total)


@pytest.mark.parametrize(
    ("total", "asked", "size"),
    [
        (0, None, 256 * KiB),
        (64 * GiB, None, 256 * KiB),
        (64 * GiB + 1, None, 512 * KiB),
        (TiB, None, 4 * MiB),
        (MiB, 4 * KiB, 4 * KiB),
        (TiB, 4 * KiB, 4 * MiB),
        (10, 8 * MiB, 8 * MiB),
    ],
)
def test_block_size(total: int, asked: int | None, size: int) -> None:
    assert block_size_for(total, asked) == size
    assert -(-total // size) <= MAX_BLOCKS


@pytest.mark.parametrize("asked", [0, -4096, 2048, 5000, 4097])
def test_block_size_must_be_a_power_of_two(asked: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        block_size_for(100, asked)
