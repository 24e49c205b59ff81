"""What a page shows of what is going on, as values and as an event: pure.

Names come from the network or a disk, and are made safe here; how they are escaped is the page's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import groupby
from urllib.parse import unquote

import msgspec
from msgspec import Struct

from rdl.core.byterange import ByteRange
from rdl.core.representation import Representation
from rdl.core.row import Row
from rdl.core.text import format_size, safe_text
from rdl.server.resource import FileView, View

CELLS = 120
"""Of a block map."""
SHADES = 4
MOST = 50
"""Flights that are shown."""
SAMPLES = 6
"""Pictures that a speed is measured over."""
SLOWEST = 16 << 10
"""Bytes a second that are shown: the news themselves are less."""
NONE = "No download is running."


class FilePicture(Struct, frozen=True):
    """One flight. `runs`: first cell, number of cells and shade, 1 to SHADES, of where something
    is here; `label` says the same in words."""

    path: str
    href: str
    name: str
    text: str
    label: str
    runs: list[tuple[int, int, int]]


class Picture(Struct, frozen=True):
    flights: list[FilePicture]
    summary: str
    server: str

    def event(self) -> bytes:
        """As one server-sent event; JSON has no line breaks."""
        return b"data: " + msgspec.json.encode(self) + b"\n\n"


class Counts(Struct, frozen=True):
    """Of the server: connections now, and bytes sent since its start."""

    connections: int
    sent: int


class Painter:
    """Makes one picture after the other; remembers the last ones, for speeds."""

    def __init__(self) -> None:
        self._samples: dict[str, deque[tuple[float, int]]] = {}
        self._maps: dict[str, tuple[FileView, list[tuple[int, int, int]]]] = {}

    def paint(self, view: View, counts: Counts, now: float) -> Picture:
        """`now` in seconds, of any clock."""
        flights, amounts = view.flights[:MOST], {"": counts.sent}
        amounts |= {one.path: amount_of(one) for one in flights}
        for gone in self._samples.keys() - amounts.keys():
            del self._samples[gone]
            self._maps.pop(gone, None)
        speeds = {name: self._speed(name, amount, now) for name, amount in amounts.items()}
        return Picture(
            [self._shown(one, speeds[one.path]) for one in flights],
            summary_of(view.flights),
            _server_line(view, counts, speeds[""]),
        )

    def _speed(self, name: str, amount: int, now: float) -> float | None:
        """Bytes a second; None: not known yet."""
        samples = self._samples.setdefault(name, deque(maxlen=SAMPLES))
        if samples and samples[-1][0] >= now:
            samples.pop()
        samples.append((now, amount))
        (then, before), seconds = samples[0], now - samples[0][0]
        return max(0, amount - before) / seconds if then < now else None

    def _shown(self, flight: FileView, speed: float | None) -> FilePicture:
        name = safe_text(unquote(flight.path[1:], errors="backslashreplace"))
        told = _told(flight, speed)
        label = (
            f"Blocks of {name}: {_share(flight)} here, in {_counted(len(flight.present), 'run')}"
        )
        return FilePicture(flight.path, f".{flight.path}", name, told, label, self._runs(flight))

    def _runs(self, flight: FileView) -> list[tuple[int, int, int]]:
        known = self._maps.get(flight.path)
        if known is None or (known[0].size, known[0].present) != (flight.size, flight.present):
            self._maps[flight.path] = known = flight, runs_of(flight.size, flight.present)
        return known[1]


def runs_of(size: int | None, present: Sequence[ByteRange]) -> list[tuple[int, int, int]]:
    """Cells that hold something, joined where they are of one shade."""
    if not size:
        return []
    row = Row(Representation(size), ByteRange(0, size), None)
    row.add(present)
    found, at = [], 0
    for shade, cells in groupby(map(_shade, row.coverage(CELLS))):
        width = len(list(cells))
        if shade:
            found.append((at, width, shade))
        at += width
    return found


def _shade(share: float) -> int:
    """Only what is all here, or all missing, is shown so."""
    return SHADES if share == 1 else 1 + int(share * (SHADES - 1)) if share else 0


def amount_of(flight: FileView) -> int:
    return sum(map(len, flight.present))


def summary_of(flights: Sequence[FileView]) -> str:
    """A sentence about all of them."""
    if not flights:
        return NONE
    here = sum(map(amount_of, flights))
    more = f" The first {MOST} are shown." if len(flights) > MOST else ""
    return f"{_counted(len(flights), 'download')}, {format_size(here)} here.{more}"


def _told(flight: FileView, speed: float | None) -> str:
    here, size = _share(flight), flight.size
    whole = f"{here} here" if size is None else f"{here} of {format_size(size)}"
    rate = f"{format_size(speed)}/s" if speed else ""
    readers = _counted(flight.readers, "reader")
    return ", ".join(filter(None, (whole, flight.state, rate, readers)))


def _share(flight: FileView) -> str:
    """Never rounded up: what says 100 % is complete."""
    here = amount_of(flight)
    if flight.size is None:
        return format_size(here)
    return f"{100 * here // flight.size if flight.size else 100} %"


def _server_line(view: View, counts: Counts, speed: float | None) -> str:
    said = [_counted(counts.connections, "connection")]
    if speed and speed >= SLOWEST:
        said.append(f"{format_size(speed)}/s sent")
    if view.kept is not None:
        room = f" of {format_size(view.most)}" if view.most is not None else ""
        said.append(f"cache {format_size(view.kept)}{room}")
    return ", ".join(said)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
