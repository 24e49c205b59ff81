"""The picture of a row: as wide as asked, a few lines, and honest about parts."""

from __future__ import annotations

import pytest

from rdl.cli.display.picture import ASCII, BLOCKS, MOST_LINES, Marks, picture
from rdl.core.blockmap import BlockMap
from rdl.core.byterange import ByteRange

KiB, MiB, GiB = 1 << 10, 1 << 20, 1 << 30


def mapped(total: int, *present: tuple[int, int]) -> BlockMap:
    blocks = BlockMap(total, 256 * KiB)
    for start, stop in present:
        blocks.add(ByteRange(start, stop))
    return blocks


def cells(lines: list[str]) -> str:
    return "".join(line[1:-1] for line in lines[:-1])


def test_each_character_is_an_equal_slice() -> None:
    blocks = mapped(8 * MiB, (0, 2 * MiB), (4 * MiB, 5 * MiB), (6 * MiB, 6 * MiB + 1))
    lines = picture(blocks, ByteRange(0, 8 * MiB), 18, ASCII)
    assert lines[0] == "[####....##..-...]"
    lines = picture(blocks, ByteRange(0, 8 * MiB), 10, BLOCKS)
    assert lines[0] == "▕██··█·░·▏"


@pytest.mark.parametrize("marks", [ASCII, BLOCKS])
@pytest.mark.parametrize("width", [10, 50, 80, 120, 200])
@pytest.mark.parametrize("total", [1, 7, MiB, 60_000_000, 3 * GiB, 1 << 42])
def test_it_fits_the_width(total: int, width: int, marks: Marks) -> None:
    lines = picture(mapped(total, (0, total // 2)), ByteRange(0, total), width, marks)
    assert 2 <= len(lines) <= MOST_LINES + 1
    assert {len(line) for line in lines[:-1]} == {width}
    assert len(lines[-1]) <= width


def test_only_all_and_nothing_look_so() -> None:
    total = 1 << 42
    nearly = mapped(total, (0, 5), (6, total))
    assert "-" not in cells(picture(nearly, ByteRange(0, total), 80, ASCII))
    assert cells(picture(nearly, ByteRange(0, total), 80, ASCII)).count("+") == 1
    hardly = mapped(total, (5, 6))
    assert cells(picture(hardly, ByteRange(0, total), 80, ASCII)).count("-") == 1
    full = mapped(total, (0, total))
    assert set(cells(picture(full, ByteRange(0, total), 80, ASCII))) == {"#"}


def test_it_shows_the_span_alone() -> None:
    blocks = mapped(8 * MiB, (4 * MiB, 5 * MiB))
    assert cells(picture(blocks, ByteRange(4 * MiB, 6 * MiB), 22, ASCII)) == "#" * 10 + "." * 10
    assert picture(blocks, ByteRange(0, 0), 80, ASCII) == []


def test_fewer_bytes_than_characters_are_stretched() -> None:
    blocks = mapped(3, (1, 2))
    assert cells(picture(blocks, ByteRange(0, 3), 14, ASCII)) == "....####...."
    assert blocks.coverage(3, ByteRange(0, 3)) == (0.0, 1.0, 0.0)
