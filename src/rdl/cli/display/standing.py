"""The words of `rdl status`: one file in lines, a folder as a table, both also as JSON.

Pure text from a Status; whatever was read from disk passes safe_text here.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from rdl.cli.display.json_lines import SCHEMA
from rdl.cli.display.picture import ASCII, Marks, picture
from rdl.cli.display.summary import counted
from rdl.core.byterange import ByteRange
from rdl.core.text import format_size, format_time, safe_text

if TYPE_CHECKING:
    from rdl.looking import Status

MOST_RANGES = 6
_URL = 2000


def status_object(found: Status) -> dict[str, Any]:
    """The `status` object; its fields are in docs/json-events.md."""
    return {
        "schema": SCHEMA,
        "event": "status",
        "path": found.path,
        "url": found.url,
        "length": found.length,
        "block_size": found.block_size,
        "bytes_present": found.bytes_present,
        "present": found.present,
        "missing": found.missing,
        "complete": found.complete,
        "range": found.range,
        "etag": found.etag,
        "last_modified": found.last_modified,
        "trust": found.trust,
        "running": found.running,
    }


def status_lines(found: Status, width: int, marks: Marks, *, wrap: bool = False) -> list[str]:
    """One file for people, with its picture in `width` cells where it has one. `wrap`: break
    lines that are longer, between words."""
    rows = _file_rows(found) if found.block_size is None else _partial_rows(found)
    lines = [safe_text(found.path, 1000)]
    for name, text in rows:
        if text is not None:
            lines += _hung(f"  {name:<8}  ", safe_text(text, _URL), width if wrap else None)
    blocks = found.block_map() if found.block_size is not None else None
    if blocks is not None:
        first, last = found.range or (0, blocks.total - 1)
        lines += picture(blocks, ByteRange(first, last + 1), width, marks)
    return lines


def _hung(head: str, text: str, width: int | None) -> list[str]:
    """`text` after `head`, broken so that its lines begin below each other."""
    if width is None or len(head) + len(text) <= width:
        return [head + text]
    return textwrap.wrap(
        text,
        max(20, width),
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _file_rows(found: Status) -> list[tuple[str, str | None]]:
    state = "complete, and as rdl published it"
    if found.length != found.bytes_present:
        state = f"a part of {found.length} bytes, as rdl published it"
    if found.complete is None:
        state = "a file; nothing beside it tells whether it is complete"
    return [("state", state), ("size", counted(found.bytes_present)), *_validators(found)]


def _partial_rows(found: Status) -> list[tuple[str, str | None]]:
    part = None
    if found.range is not None:
        part = f"only {_pair(found.range)} of {found.length} bytes"
    adopted = None
    if found.adopted:
        adopted = f"{found.adopted} bytes that only a digest can prove"
    return [
        ("url", found.url),
        ("state", _state(found)),
        ("here", _here(found)),
        ("asked", part),
        ("adopted", adopted),
        ("present", _ranges(found.present)),
        ("missing", _ranges(found.missing) if found.length is not None else "not known"),
        *_validators(found),
        ("block", format_size(found.block_size or 0)),
    ]


def _validators(found: Status) -> list[tuple[str, str | None]]:
    trust = {
        "T2": "T2: parts can be joined by the ETag",
        "T1": "T1: parts can be joined by Last-Modified",
    }.get(found.trust, "T0: no validator joins parts")
    if found.complete is None:
        return []
    return [("etag", found.etag), ("modified", found.last_modified), ("trust", trust)]


def _state(found: Status) -> str:
    if found.running:
        return "another rdl is fetching it now"
    if found.modified is None:
        return "the part file is gone; get begins anew"
    if found.settled:
        return "stopped in order; the same command continues"
    return "cut off; the same command checks what is here and continues"


def _here(found: Status) -> str:
    size = found.wanted
    if size is None:
        return f"{counted(found.bytes_present)} of an unknown length"
    return f"{percent(found)} of {counted(size)}: {counted(found.bytes_present)}"


def percent(found: Status) -> str:
    """`40%`, rounded down: 100% is all; `?` while the length is unknown."""
    size = found.wanted
    if size is None:
        return "?"
    return f"{100 * found.bytes_present // size if size else 100}%"


def _pair(pair: tuple[int, int]) -> str:
    return f"{pair[0]}-{pair[1]}"


def _ranges(pairs: Sequence[tuple[int, int]]) -> str:
    """The first few, in the way of HTTP: both ends included."""
    if not pairs:
        return "nothing"
    shown = ", ".join(_pair(pair) for pair in pairs[:MOST_RANGES])
    more = len(pairs) - MOST_RANGES
    return shown if more <= 0 else f"{shown} and {more} more"


def table(
    partials: Sequence[Status], now: float, width: int | None, marks: Marks = ASCII
) -> list[str]:
    """A line for each partial under one that names the columns; at most `width` cells where
    one is given. `now`: seconds since the epoch."""
    from rich.cells import cell_len, set_cell_size

    from rdl.cli.display.cells import cut

    rows = [("NAME", "HERE", "SIZE", "AGE", "URL"), *(_row(one, now) for one in partials)]
    sizes = [max(cell_len(row[column]) for row in rows) for column in range(4)]
    if width is not None:
        sizes[0] = min(sizes[0], max(12, (width - sum(sizes[1:4]) - 8) // 2))
    lines = []
    for name, here, size, age, url in rows:
        line = "  ".join(
            (
                set_cell_size(cut(name, sizes[0], marks.ellipsis), sizes[0]),
                here.rjust(sizes[1]),
                size.rjust(sizes[2]),
                age.rjust(sizes[3]),
                url,
            )
        )
        lines.append(line if width is None else cut(line.rstrip(), width, marks.ellipsis))
    return lines


def _row(found: Status, now: float) -> tuple[str, str, str, str, str]:
    size, age = found.wanted, "now" if found.running else "-"
    if found.modified is not None and not found.running:
        age = format_time(max(0.0, now - found.modified))
    return (
        safe_text(PurePath(found.path).name, 255),
        percent(found),
        "?" if size is None else format_size(size),
        age,
        safe_text(found.url or "", _URL),
    )
