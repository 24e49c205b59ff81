"""What readers want of a row that is filled on demand, and what is asked for next.

A read that waits comes first, then what its reader will probably want, then all of it, or what
is left, where that is asked for. Offsets are those of the representation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rdl.core.byterange import ByteRange, joined
from rdl.core.gate import Ask
from rdl.core.planner import Claim, Flow, Steal, gaps, next_step
from rdl.core.reading import Want
from rdl.core.row import ENDLESS, OVERLAP, Row
from rdl.options import LazyOptions

FILL_SECONDS, FILL_BYTES = 0.5, 4 << 20
"""After so long without a read the rest is fetched, so much at a time."""
LEAST_PART, MOST_PART = 1 << 20, 8 << 20
"""Of a long read, what one request asks for."""


class Demands:
    """`everything`: all of it is wanted; `shown`: readers have bytes of this row, or know its
    length; `streamed`: parts cannot be joined, so it comes in one stream or not at all."""

    def __init__(self, options: LazyOptions, *, volatile: bool = False) -> None:
        self.options, self._volatile = options, volatile
        self._wants: dict[int, Want] = {}
        self.everything = self.shown = self.streamed = False
        self._beyond, self._last = False, float("-inf")

    def __repr__(self) -> str:
        return f"Demands({self._wants}, everything={self.everything})"

    def want(self, want: Want, now: float) -> None:
        """In place of what its reader wanted before."""
        self._wants.pop(want.reader, None)
        self._wants[want.reader], self._last = want, now

    def left(self, reader: int) -> None:
        """It wants nothing any more."""
        self._wants.pop(reader, None)

    def beyond(self) -> bool:
        """What was asked for first lies beyond the end: next the end itself is asked for. False
        when it was that."""
        before, self._beyond = self._beyond, True
        return not before and self._first() is not None

    def waiting(self, row: Row | None) -> list[ByteRange]:
        """What reads wait for, those that came first before others; once, however many do."""
        if row is None:
            return [want.range or ByteRange(0, 0) for want in self._wants.values()]
        ranges = {want.range.clip(row.span): None for want in self._wants.values() if want.range}
        return [one for one in ranges if one and not row.holds(one)]

    def active(self, row: Row | None, now: float, *, confirmed: bool) -> bool:
        """Whether anything is to be asked for. Of what an earlier run left nothing may be read
        before it is `confirmed`."""
        if self.waiting(row) or (not self.shown and (self._wants or self.everything)):
            return True
        if row is None:
            return False
        if any(next(row.missing(one), None) for one in self._aheads(row)):
            return True
        over = row.complete and (confirmed or not self.everything)
        return not over and (self.everything or self._fills(now)) and self.fits(row)

    def fill_at(self) -> float | None:
        """When filling begins."""
        return self._last + FILL_SECONDS if self.options.fill and self.shown else None

    def first(self, row: Row | None) -> tuple[Ask, int, bool]:
        """What to ask for alone, how many bytes at its start are here already, and whether it is
        only to compare these."""
        if row is None:
            return self._first_of_all(), 0, False
        waiting = self.waiting(row)
        gap = next((gap for one in waiting for gap in row.missing(one)), None)
        if gap is not None and (overlap := row.overlap(gap.start)):
            span = self._span(row, gap)
            run = next(row.missing(ByteRange(gap.start, span.stop)))
            return Ask(gap.start - overlap, run.stop), overlap, False
        at = row.joint().start
        if overlap := min(OVERLAP, row.overlap(at)):
            return Ask(at - overlap, at), overlap, True
        if not row.span:  # an empty file
            return Ask(ranged=False), 0, False
        span = self._span(row, gap or ByteRange(0, 1))
        return Ask(span.start, span.stop), 0, False

    def step(self, row: Row, flows: Sequence[Flow], level: int, now: float) -> Claim | Steal | None:
        """What one idle worker asks for, of `level`."""
        waiting = self.waiting(row)
        for range in waiting:
            step = self._come_to(row, flows, range, level)
            if step is not None:
                return step
        for ahead in self._aheads(row):
            for gap in gaps(row.missing(ahead), flows):
                return Claim(_part(gap, ahead, level))
        if not self.fits(row):
            return None
        if self.everything:
            idle = max(1, level - len(flows))
            return next_step(row.missing(), flows, MOST_PART, row.span, idle=idle)
        if self._fills(now) and not flows and not waiting:
            for gap in row.missing():
                return Claim(gap.clip(ByteRange(gap.start, gap.start + FILL_BYTES)))
        return None

    def idle(self, row: Row, flow: Flow) -> bool:
        """Whether nobody waits for what this one brings."""
        rest = ByteRange(flow.upto, max(flow.upto, flow.stop))
        return not any(rest.clip(range) for range in self.waiting(row))

    def uncovered(self, row: Row, flows: Sequence[Flow]) -> bool:
        """Whether a read waits for something that nobody brings."""
        ranges = joined(sorted(self.waiting(row), key=lambda one: one.start))
        return any(next(gaps(row.missing(range), flows), None) for range in ranges)

    def fits(self, row: Row) -> bool:
        """Whether all of it can be here at the same time."""
        return not self._volatile or (row.size or 0) <= self.options.keep

    def _fills(self, now: float) -> bool:
        at = self.fill_at()
        return at is not None and now >= at

    def _first(self) -> ByteRange | None:
        return next((want.range for want in self._wants.values() if want.range), None)

    def _first_of_all(self) -> Ask:
        range = self._first()
        if self.streamed or (self.everything and range is None):
            return Ask()
        if range is None or self._beyond:
            return Ask(suffix=self.options.least)
        span = self._aligned(range)
        return Ask(span.start, span.stop)

    def _aligned(self, range: ByteRange) -> ByteRange:
        """In whole blocks, with what its reader will probably want next, and not too short."""
        block = max(1, self.options.block)
        wants = (one for one in self._wants.values() if one.range and one.range.clip(range))
        aheads = (self._ahead_of(one) for one in wants)
        stop = max(range.stop, range.start + self.options.least, *aheads)
        return ByteRange(range.start // block * block, -(-stop // block) * block)

    def _span(self, row: Row, range: ByteRange) -> ByteRange:
        span = self._aligned(range).clip(row.span)
        return span if span.stop != ENDLESS else ByteRange(span.start, range.stop)

    def _aheads(self, row: Row) -> Iterator[ByteRange]:
        wanted = dict.fromkeys((one.range, self._ahead_of(one)) for one in self._wants.values())
        for range, ahead in wanted:
            if range is not None and ahead > range.stop:
                yield ByteRange(range.stop, ahead).clip(row.span)

    def _ahead_of(self, want: Want) -> int:
        """Of memory each reader has its share: what is fetched ahead for one shall not put out what
        another waits for, nor be put out by that, to be fetched again and again."""
        if want.range is None or not self._volatile:
            return want.ahead
        keep, wanted = self.options.keep, sum(len(one) for one in self.waiting(None))
        room = max(0, min(keep // 2, keep - wanted))
        return min(want.ahead, want.range.stop + room // len(self._wants))

    def _come_to(
        self, row: Row, flows: Sequence[Flow], range: ByteRange, level: int
    ) -> Claim | Steal | None:
        """What brings the bytes that this read waits for."""
        for gap in gaps(row.missing(range), flows):
            span = self._span(row, ByteRange(gap.start, range.stop))
            around = next(
                (one for one in gaps(row.missing(span), flows) if one.stop > gap.start), gap
            )
            part = _part(around, span, level)
            if part.stop <= gap.start:  # a long block: what is waited for comes first
                part = _part(ByteRange(gap.start, around.stop), span, level)
            return Claim(part)
        for gap in row.missing(range):
            for flow in flows:
                if flow.at <= gap.start < flow.stop and gap.start - flow.at > self.options.max_jump:
                    start = gap.start // self.options.block * self.options.block
                    if start <= flow.at:  # else nothing is left of it, and so on for ever
                        start = gap.start
                    return Steal(flow.segment, ByteRange(start, flow.stop))
        return None


def _part(gap: ByteRange, span: ByteRange, level: int) -> ByteRange:
    """What of a gap one request asks for, when `level` share the span."""
    size = min(MOST_PART, max(LEAST_PART, len(span) // max(1, level)))
    return gap.clip(ByteRange(gap.start, gap.start + size))
