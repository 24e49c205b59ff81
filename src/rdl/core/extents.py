"""Extents by the million: runs of them that follow one another, as packed numbers.

An extent is 12 bytes here and no object; objects are made where one is looked at.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate, pairwise

from rdl.core.byterange import ByteRange, Extent, joined


class Run:
    """Extents without a gap between them, from `start` to `stop`: the length and the checksum
    of each."""

    __slots__ = ("checksums", "lengths", "start", "stop")

    def __init__(self, start: int, stop: int, lengths: array[int], checksums: array[int]) -> None:
        self.start, self.stop, self.lengths, self.checksums = start, stop, lengths, checksums

    @classmethod
    def of(cls, extent: Extent) -> Run:
        lengths, checksums = array("I", (extent.stop - extent.start,)), array("Q")
        checksums.append(extent.checksum)
        return cls(extent.start, extent.stop, lengths, checksums)

    @classmethod
    def packed(cls, start: int, lengths: bytes, checksums: bytes) -> Run:
        """From little-endian numbers, u32 and u64."""
        sizes, sums = array("I"), array("Q")
        sizes.frombytes(lengths)
        sums.frombytes(checksums)
        _swap(sizes, sums)
        return cls(start, start + sum(sizes), sizes, sums)

    def pack(self) -> tuple[bytes, bytes]:
        """The other way."""
        sizes, sums = self.lengths[:], self.checksums[:]
        _swap(sizes, sums)
        return sizes.tobytes(), sums.tobytes()

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[Extent]:
        edges = pairwise(accumulate(self.lengths, initial=self.start))
        for (start, stop), checksum in zip(edges, self.checksums, strict=True):
            yield Extent(start, stop, checksum)

    def append(self, other: Run) -> None:
        """Add what begins where this ends."""
        self.stop = other.stop
        self.lengths += other.lengths
        self.checksums += other.checksums

    def without(self, start: int, stop: int) -> Iterator[Run]:
        """What is left without the extents that have a byte in `[start, stop)`: two runs at
        most."""
        edges = list(accumulate(self.lengths, initial=self.start))
        low, high = bisect_right(edges, start) - 1, bisect_left(edges, stop)
        if low > 0:
            yield Run(self.start, edges[low], self.lengths[:low], self.checksums[:low])
        if 0 <= high < len(self):
            yield Run(edges[high], self.stop, self.lengths[high:], self.checksums[high:])

    def between(self, start: int, stop: int) -> Run | None:
        """Those of `[start, stop)`, at whose ends extents end too; None where one does not."""
        edges = list(accumulate(self.lengths, initial=self.start))
        low, high = bisect_left(edges, start), bisect_left(edges, stop)
        if edges[low : low + 1] != [start] or edges[high : high + 1] != [stop]:
            return None
        return Run(start, stop, self.lengths[low:high], self.checksums[low:high])

    def parts(self, most: int) -> Iterator[Run]:
        """The same in runs of `most` extents."""
        start = self.start
        for at in range(0, len(self), most):
            lengths = self.lengths[at : at + most]
            stop = start + sum(lengths)
            yield Run(start, stop, lengths, self.checksums[at : at + most])
            start = stop


class Extents:
    """Disjoint extents, ascending."""

    def __init__(self, extents: Iterable[Extent] = ()) -> None:
        self._starts: list[int] = []
        self._runs: list[Run] = []
        for extent in extents:
            self.add(Run.of(extent))

    def __len__(self) -> int:
        return sum(map(len, self._runs))

    def __iter__(self) -> Iterator[Extent]:
        for run in self._runs:
            yield from run

    def copy(self) -> Extents:
        twin = Extents()
        twin._starts = list(self._starts)
        twin._runs = [Run(o.start, o.stop, o.lengths[:], o.checksums[:]) for o in self._runs]
        return twin

    def before(self, stop: int) -> Extents:
        """Those of which no byte lies at `stop` or beyond."""
        if not self._runs or self._runs[-1].stop <= stop:
            return self
        twin = self.copy()
        twin.drop(stop, self._runs[-1].stop)
        return twin

    @property
    def runs(self) -> tuple[Run, ...]:
        return tuple(self._runs)

    def ranges(self) -> tuple[ByteRange, ...]:
        """The bytes that they cover."""
        return tuple(joined(ByteRange(run.start, run.stop) for run in self._runs))

    def at(self, offset: int) -> Extent | None:
        """The one that this byte is in."""
        run = self._run_at(offset)
        if run is None:
            return None
        edges = list(accumulate(run.lengths, initial=run.start))
        place = bisect_right(edges, offset) - 1
        return Extent(edges[place], edges[place + 1], run.checksums[place])

    def keeps(self, others: Extents) -> bool:
        """Whether all of those are here, with the same checksums."""
        return all(map(self._keeps, others.runs))

    def _keeps(self, run: Run) -> bool:
        at = run.start
        while at < run.stop:
            mine = self._run_at(at)
            if mine is None:
                return False
            stop = min(run.stop, mine.stop)
            here, there = mine.between(at, stop), run.between(at, stop)
            if here is None or there is None:
                return False
            if (here.lengths, here.checksums) != (there.lengths, there.checksums):
                return False
            at = stop
        return True

    def _run_at(self, offset: int) -> Run | None:
        place = bisect_right(self._starts, offset) - 1
        return self._runs[place] if place >= 0 and offset < self._runs[place].stop else None

    def add(self, run: Run) -> None:
        """Add a run, which from now on belongs to this; it touches none of those here."""
        place = bisect_left(self._starts, run.start)
        if place and self._runs[place - 1].stop == run.start:
            self._runs[place - 1].append(run)
            return
        self._starts.insert(place, run.start)
        self._runs.insert(place, run)

    def drop(self, start: int, stop: int) -> None:
        """Remove every extent that has a byte in `[start, stop)`, as a whole."""
        low = max(0, bisect_right(self._starts, start) - 1)
        if low < len(self._runs) and self._runs[low].stop <= start:
            low += 1
        high = bisect_left(self._starts, stop, low)
        if low < high:
            left = [rest for run in self._runs[low:high] for rest in run.without(start, stop)]
            self._runs[low:high] = left
            self._starts[low:high] = [run.start for run in left]

    def take_all(self, other: Extents) -> None:
        """Move all of `other`, none of which touches one here, to this one."""
        if not self._runs:
            self._runs, other._runs = other._runs, self._runs
            self._starts, other._starts = other._starts, self._starts
            return
        for run in other._runs:
            self.add(run)
        other.clear()

    def clear(self) -> None:
        self._starts.clear()
        self._runs.clear()


def _swap(*numbers: array[int]) -> None:
    if sys.byteorder == "big":
        for one in numbers:
            one.byteswap()
