"""A picture of what is here: the row cut into equal slices, a character for each.

Pure: from a block map and a width in cells to lines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from rdl.core.text import format_size

if TYPE_CHECKING:
    from rdl.core.blockmap import BlockMap
    from rdl.core.byterange import ByteRange

MOST_LINES = 4
BLOCKS_A_CELL = 4
"""A further line is begun where a character would stand for more blocks than this."""


class Marks(Struct, frozen=True):
    """The characters: `steps` for nothing, little, much and all of a slice, the frame, and
    what stands where the end of a text was cut off."""

    steps: str
    left: str
    right: str
    ellipsis: str


BLOCKS = Marks("·░▒█", "▕", "▏", "…")
ASCII = Marks(".-+#", "[", "]", "~")


def marks_for(encoding: str) -> Marks:
    """Block characters where the terminal has them."""
    return BLOCKS if encoding.lower().replace("-", "") == "utf8" else ASCII


def picture(blocks: BlockMap, span: ByteRange, width: int, marks: Marks) -> list[str]:
    """At most MOST_LINES lines of `width` cells (10 at least), framed, and one that explains
    them. A large file gets more lines; of an empty span there is no picture."""
    if not span:
        return []
    across = max(10, width) - 2
    count = -(-len(span) // blocks.block_size)
    lines = max(1, min(MOST_LINES, count // (across * BLOCKS_A_CELL)))
    cells = across * lines
    text = "".join(mark(share, marks) for share in blocks.coverage(cells, span))
    rows = [text[start : start + across] for start in range(0, cells, across)]
    return [*(marks.left + row + marks.right for row in rows), _legend(span, cells, width, marks)]


def mark(share: float, marks: Marks) -> str:
    """Only what is all here, or all missing, is shown so."""
    if share in (0.0, 1.0):
        return marks.steps[3 if share else 0]
    return marks.steps[1 if share < 0.5 else 2]


def _legend(span: ByteRange, cells: int, width: int, marks: Marks) -> str:
    missing, little, much, here = tuple(marks.steps)
    each = format_size(max(1, len(span) / cells))
    said = [f"{here} here", f"{little}{much} in part", f"{missing} missing", f"one is {each}"]
    while len(said) > 1 and len("   ".join(said)) + 1 > width:
        said.pop()
    return " " + "   ".join(said)
