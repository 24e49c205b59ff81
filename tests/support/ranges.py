"""What the fields of a request ask for, as servers read them."""

from __future__ import annotations

import re
from typing import Protocol


class Fields(Protocol):
    """By their names in lower case."""

    def get(self, name: str, /) -> str | None: ...


def chosen(fields: Fields, etag: str, size: int) -> tuple[int, int, int]:
    """The status for one who asks for a file of this ETag and size, and which bytes are sent."""
    if (fields.get("if-match") or etag) not in (etag, "*"):
        return 412, 0, 0
    if fields.get("if-none-match") == etag:
        return 304, 0, 0
    span = fields.get("range") if (fields.get("if-range") or etag) == etag else None
    start, stop = asked_span(span, size) if span else (0, size)
    if span and start >= size:
        return 416, 0, 0
    return 206 if span else 200, start, stop


def asked_span(value: str, size: int) -> tuple[int, int]:
    """Start and stop in a file of `size` bytes; the start may lie beyond the end."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", value)
    assert found is not None
    first, last = found.groups()
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(size, int(last) + 1) if last else size
