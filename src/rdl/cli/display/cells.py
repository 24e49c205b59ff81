"""Text in the cells of a terminal: wide characters take two."""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size


def cut(text: str, cells: int, ellipsis: str) -> str:
    """`text` in at most `cells` cells (1 at least); where its end goes, the mark says so."""
    if cell_len(text) <= cells:
        return text
    return set_cell_size(text, max(0, cells - 1)).rstrip() + ellipsis
