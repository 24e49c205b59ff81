"""The row of bytes that one transfer fills: which version, which part of it, what is here.

Offsets are those of the representation. With an unknown complete-length there is no map:
the bytes come in order from the start, and the end makes the length known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice

from msgspec import Struct

from rdl.core.blockmap import BlockMap, block_size_for
from rdl.core.byterange import ByteRange
from rdl.core.fields import MAX_TOTAL
from rdl.core.representation import Representation
from rdl.options import RangeSpec

OVERLAP = 64 << 10
"""So many bytes before a gap are asked for again and compared when a run is continued."""
ENDLESS = MAX_TOTAL + 1
"""Stands for the end of a body whose length nobody said; no file is so long."""


class Remembered(Struct, frozen=True):
    """What the index of an earlier run says."""

    representation: Representation
    span: ByteRange | None
    present: tuple[ByteRange, ...]
    adopted: tuple[ByteRange, ...] = ()


def span_of(spec: RangeSpec | None, total: int | None) -> ByteRange | None:
    """The wanted bytes of a representation; None when the range lies outside of it."""
    if total is None:
        start = spec.start if spec else 0
        stop = spec.stop if spec and spec.stop is not None else ENDLESS
        return ByteRange(start, stop) if spec is None or spec.suffix is None else None
    if spec is None:
        return ByteRange(0, total)
    if spec.suffix is not None:
        return ByteRange(total - min(spec.suffix, total), total) if spec.suffix and total else None
    stop = total if spec.stop is None else min(spec.stop, total)
    return ByteRange(spec.start, stop) if spec.start < stop else None


def lies_outside(spec: RangeSpec | None, total: int | None) -> bool:
    """Whether a complete-length is known and no wanted byte is within it."""
    return spec is not None and total is not None and span_of(spec, total) is None


class Row:
    """One version's bytes: `span` of them are wanted."""

    def __init__(
        self, representation: Representation, span: ByteRange, block_size: int | None
    ) -> None:
        self.representation, self.span = representation, span
        total = representation.total
        self.block_size = block_size_for(total or 0, block_size)
        self._map = BlockMap(total, self.block_size) if total is not None else None
        self._owed: BlockMap | None = None
        """Bytes that come from elsewhere in the row."""
        self._upto, self._ended = span.start, False
        self._present: int | None = None
        self._head = span.start
        self._measure()

    @classmethod
    def remembered(
        cls, saved: Remembered, spec: RangeSpec | None, block_size: int | None
    ) -> Row | None:
        """The row an index describes; None when it cannot be continued as it is asked for."""
        total = saved.representation.total
        span = span_of(spec, total)
        if total is None or not span or (saved.span or ByteRange(0, total)) != span:
            return None
        row = cls(saved.representation, span, block_size)
        row.add(saved.present)
        return row

    def __repr__(self) -> str:
        return f"Row({self.representation!r}, span={self.span}, {self._map!r}, upto={self._upto})"

    def _measure(self) -> None:
        """Once, since all of it is asked for several times after each event."""
        span, total = self.span, self.representation.total
        self.trust = self.representation.trust
        """How far its validators can be; of one version they stay."""
        whole = span == ByteRange(0, ENDLESS if total is None else total)
        self.part = None if whole else span
        """The span as the index stores it: None when it is the whole."""
        self.size = len(span) if span.stop != ENDLESS else None
        """Wanted bytes, None while unknown."""

    @property
    def present_bytes(self) -> int:
        if self._map is None:
            return self._upto - self.span.start
        if self._present is None:
            whole = self.part is None
            self._present = self._map.present_bytes if whole else self._map.count(self.span)
        return self._present

    @property
    def complete(self) -> bool:
        return self.present_bytes == self.size if self._map else self._ended

    def add(self, ranges: Iterable[ByteRange]) -> None:
        """These bytes are here."""
        self._present = None
        for run in ranges:
            if self._map is None:
                self._upto = max(self._upto, run.stop)
            else:
                self._map.add(run)

    def owe(self, ranges: Iterable[ByteRange]) -> None:
        """These bytes, of a row of known length, are copies of others of it: while they are not
        here, nobody is asked for them."""
        for run in ranges:
            assert self._map is not None
            self._owed = self._owed or BlockMap(self._map.total, self.block_size)
            self._owed.add(run)

    def owes(self, range: ByteRange) -> bool:
        """Whether all of these bytes are owed."""
        return self._owed is not None and self._owed.contains(range)

    def relieve(self, range: ByteRange) -> None:
        """A body brings these bytes, so they are not owed any more."""
        if self._owed is not None:
            self._owed.discard(range)

    def due(self, range: ByteRange) -> ByteRange:
        """Of missing bytes what comes before the first that is owed."""
        if self._owed is None:
            return range
        first = next(self._owed.missing(range), ByteRange(range.start, range.start))
        return ByteRange(range.start, first.stop if first.start == range.start else range.start)

    def holds(self, range: ByteRange) -> bool:
        """Whether all of these bytes are here."""
        return self._upto >= range.stop if self._map is None else self._map.contains(range)

    def held_upto(self, offset: int) -> int:
        """Where the bytes end that are here from `offset` on; `offset` where that one is not."""
        return max(self._upto, offset) if self._map is None else self._map.held_upto(offset)

    def overlaps(self, range: ByteRange) -> bool:
        """Whether one of these bytes, of a row of known length, is here."""
        assert self._map is not None
        return self._map.count(range) > 0

    def discard(self, ranges: Iterable[ByteRange]) -> None:
        """These bytes, of a row of known length, are not here any more."""
        assert self._map is not None
        self._present = None
        for run in ranges:
            self._map.discard(run)
            if self._owed is not None:
                self._owed.discard(run)
            self._head = min(self._head, max(run.start, self.span.start))

    def end(self) -> None:
        """The body of unknown length is over: its end is where it has come to."""
        self._ended = True
        self.span = ByteRange(self.span.start, self._upto)
        self._measure()

    def head(self) -> int:
        """The end of the present bytes that start at the span's start."""
        if self._map is None:
            return self._upto
        if self._present == 0:  # of small files there is none or all
            return self.span.start
        gap = self._map.next_missing(self._head, self.span.stop)
        self._head = gap.start if gap else self.span.stop
        return self._head

    def missing(self, within: ByteRange | None = None) -> Iterator[ByteRange]:
        """Runs of wanted bytes (`within` those) that are not here, nor owed, in order."""
        if self._map is None:
            rest = ByteRange(self._upto, max(self._upto, self.span.stop))
            rest = rest if within is None else rest.clip(within)
            return iter((rest,) if rest and not self._ended else ())
        within = (
            ByteRange(self.head(), self.span.stop) if within is None else within.clip(self.span)
        )
        runs = self._map.missing(within)
        return runs if self._owed is None else chain.from_iterable(map(self._owed.missing, runs))

    def present(self, within: ByteRange | None = None) -> Iterator[ByteRange]:
        """Runs of wanted bytes (`within` those) that are here, in order."""
        within = self.span if within is None else within.clip(self.span)
        if self._map is None:
            return iter((ByteRange(self.span.start, self._upto).clip(within),))
        return self._map.present(within)

    def joint(self) -> ByteRange:
        """The gap to continue at: the first that has present bytes before it (nothing, at the
        end, counts as one), else the first of all."""
        end = ByteRange(self.span.stop, self.span.stop)
        gaps = [*islice(self.missing(), 2), end]
        return next((gap for gap in gaps if self.overlap(gap.start)), gaps[0])

    def overlap(self, at: int) -> int:
        """How many present bytes, OVERLAP at most, stand right before the offset `at`."""
        if self._map is None:
            return 0
        start = max(self.span.start, at - OVERLAP)
        while start < at and (gap := self._map.next_missing(start, at)) is not None:
            start = gap.stop
        return max(0, at - start)

    def first_gap(self) -> int:
        """Where the first missing byte is; the span's end when there is none."""
        return next((run.start for run in self.missing()), self.span.stop)

    def coverage(self, cells: int = 32) -> tuple[float, ...]:
        """The present share of equal slices of the span; empty while its size is unknown."""
        if self._map is None or not self.span:
            return ()
        size, present = len(self.span), self.present_bytes
        if present in (0, size):  # of small files all facts are such
            return (float(present > 0),) * cells
        return self._map.coverage(cells, self.span)
