"""A Store in memory for what is read here and there. It lets go of what was not read for the
longest time when it is told to."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

from rdl.core.byterange import ByteRange, joined
from rdl.storage.base import Header
from rdl.storage.volatile import Volatile

CELL = 64 << 10


class KeptStore(Volatile):
    """Bytes in cells of 64 KiB. Which bytes of a cell are here, others know."""

    def __init__(self) -> None:
        self._cells: OrderedDict[int, bytearray] = OrderedDict()
        self._lock = threading.RLock()  # files are closed as garbage, wherever that is collected

    def begin(self, header: Header) -> None:
        """Nothing is here any more."""
        with self._lock:
            self._cells.clear()

    def reserve(self, size: int) -> None:
        """Room is made as it is needed."""

    def write_at(self, offset: int, data: memoryview) -> None:
        with self._lock:
            while data:
                number, start = divmod(offset, CELL)
                part = data[: CELL - start]
                cell = self._cells.setdefault(number, bytearray(CELL))
                cell[start : start + len(part)] = part
                offset, data = offset + len(part), data[len(part) :]

    def read_into(self, offset: int, view: memoryview) -> int:
        """0 where nothing is."""
        with self._lock:
            number, start = divmod(offset, CELL)
            cell = self._cells.get(number)
            if cell is None:
                return 0
            self._cells.move_to_end(number)  # never out of it: a signal handler may raise here
            part = memoryview(cell)[start : start + len(view)]
            view[: len(part)] = part
            return len(part)

    def evict(self, size: int, wanted: Sequence[ByteRange]) -> list[ByteRange]:
        """Let go of so many bytes, but of no cell that has some of `wanted`; which they are."""
        with self._lock:
            gone: list[int] = []
            for number in self._cells:
                if len(gone) * CELL >= size:
                    break
                if not any(_cell(number).clip(range) for range in wanted):
                    gone.append(number)
            for number in gone:
                del self._cells[number]
        return list(joined(_cell(number) for number in sorted(gone)))

    def close(self, *, discard: bool = False) -> None:
        """Nothing is here any more."""
        with self._lock:
            self._cells.clear()


def _cell(number: int) -> ByteRange:
    return ByteRange(number * CELL, (number + 1) * CELL)
