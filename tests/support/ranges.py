"""What a Range field asks for, as servers read it."""

from __future__ import annotations

import re


def asked_span(value: str, size: int) -> tuple[int, int]:
    """Start and stop in a file of `size` bytes; the start may lie beyond the end."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", value)
    assert found is not None
    first, last = found.groups()
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(size, int(last) + 1) if last else size
