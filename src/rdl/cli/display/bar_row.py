"""One row of the bar as text: name, share, sizes, speed, time left, connections, block map."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from rich.cells import cell_len, set_cell_size
from rich.text import Text

from rdl.cli.display.cells import cut
from rdl.cli.display.picture import Marks, mark
from rdl.cli.display.summary import STAGES, name_of
from rdl.core.events import Progress, Result, Verifying
from rdl.core.text import format_size, format_time

MAP_CELLS = 32
_NAME_CELLS = 26


class Row(Struct):
    """What is known of a download that is running. Bytes and bytes a second."""

    path: str
    total: int | None = None
    present: int = 0
    speed: float = 0.0
    eta: float | None = None
    connections: int = 0
    coverage: tuple[float, ...] = ()
    state: str = ""
    beats: int = 0

    def progress(self, fact: Progress) -> None:
        self.total, self.present = fact.bytes_total, fact.bytes_present
        self.speed, self.eta = fact.speed, fact.eta
        self.connections, self.coverage = fact.connections, fact.coverage
        self.beats += 1
        if fact.connections:
            self.state = ""

    def verifying(self, fact: Verifying) -> None:
        share = fact.bytes_hashed / fact.bytes_total if fact.bytes_total else 1.0
        self.state = f"{STAGES[fact.stage]} {share:.0%}"

    @property
    def share(self) -> float | None:
        return min(1.0, self.present / self.total) if self.total else None


def row_text(row: Row, width: int, marks: Marks) -> Text:
    """The row in at most `width` cells; what does not fit is left out from the right, the
    block map takes what is left over."""
    name = fit(name_of(row.path), min(_NAME_CELLS, max(10, width // 5)), marks.ellipsis)
    text = Text(name, style="bold", no_wrap=True)
    for part, style in _parts(row):
        room = width - text.cell_len - 2
        fits = min(room, cell_len(part)) if part is row.state and room > 10 else cell_len(part)
        if fits > room:
            return text
        text.append("  " + fit(part, fits, marks.ellipsis), style)
    cells = min(MAP_CELLS, width - text.cell_len - 4)
    if cells >= 6:
        text.append("  " + marks.left + block_map(row, cells, marks) + marks.right, "cyan")
    return text


def _parts(row: Row) -> list[tuple[str, str]]:
    share = "    " if row.share is None else f"{int(100 * row.share):3d}%"
    sizes = format_size(row.present)
    if row.total is not None:
        sizes += f"/{format_size(row.total)}"
    parts = [(share, "bold"), (f"{sizes:<17}", "")]
    if row.state:
        return [*(parts if row.present else ()), (row.state, "yellow")]
    left = "" if row.eta is None else format_time(row.eta)
    speed = f"{format_size(row.speed)}/s" if row.speed else ""
    parts += [(f"{speed:>10}", "green"), (f"{left:>6}", "")]
    return [*parts, (f"x{row.connections:<2}", "dim")]


def block_map(row: Row, cells: int, marks: Marks) -> str:
    """`cells` characters for the whole file; a moving mark when its size is unknown."""
    if row.share is None:
        place = row.beats % (2 * cells - 2)
        here = min(place, 2 * cells - 2 - place)
        return "".join(marks.steps[-1 if cell == here else 0] for cell in range(cells))
    if not row.coverage:
        full = int(row.share * cells)
        return marks.steps[-1] * full + marks.steps[0] * (cells - full)
    return "".join(mark(share, marks) for share in resample(row.coverage, cells))


def resample(coverage: Sequence[float], cells: int) -> list[float]:
    """The mean of `coverage` over each of `cells` equal parts."""
    count = len(coverage)
    means = []
    for cell in range(cells):
        low, high = cell * count / cells, (cell + 1) * count / cells
        total = sum(
            coverage[index] * (min(high, index + 1) - max(low, index))
            for index in range(int(low), min(count, int(high) + 1))
        )
        means.append(round(total / (high - low), 9))  # all of it is 1, and nothing less is
    return means


def fit(name: str, cells: int, ellipsis: str) -> str:
    """`name` in exactly `cells` cells; the middle goes, the ending stays."""
    if cell_len(name) <= cells:
        return set_cell_size(name, cells)
    tail = name[-min(7, cells // 3) :]
    head = set_cell_size(name, max(1, cells - cell_len(tail) - 1)).rstrip()
    return set_cell_size(head + ellipsis + tail, cells)


def total_text(
    rows: Sequence[Row], finished: Sequence[Result], count: int, width: int, marks: Marks
) -> Text:
    """The line under the rows of several downloads."""
    present = sum(row.present for row in rows) + sum(one.bytes_present for one in finished)
    speed = sum(row.speed for row in rows)
    text = f"{len(finished)} of {count} files, {format_size(present)}, {format_size(speed)}/s"
    return Text(cut(text, width, marks.ellipsis), style="bold", no_wrap=True)
