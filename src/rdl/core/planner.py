"""What to ask for next: a pure function of what is here, what is on its way, and the limits.

Few long segments: an idle worker takes the first gap that nobody fills, else half of the
largest rest of another's segment; several take equal parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from rdl.core.byterange import ByteRange

HASH_WINDOW = 64 << 20
"""With a digest asked for, nothing further than this ahead of the hashed head is begun."""


class Flow(Struct, frozen=True):
    """A segment in flight: bytes up to `upto` are reported, `stop` is its end; up to `reached`
    (if that is more) they have been written."""

    segment: int
    upto: int
    stop: int
    reached: int = 0

    @property
    def at(self) -> int:
        """What comes before this is written."""
        return max(self.upto, self.reached)


class Claim(Struct, frozen=True):
    """Ask for this gap."""

    range: ByteRange


class Steal(Struct, frozen=True):
    """Let `segment` end at `range.start` and ask for `range` elsewhere."""

    segment: int
    range: ByteRange


def gaps(missing: Iterable[ByteRange], flows: Sequence[Flow]) -> Iterator[ByteRange]:
    """The missing runs that no flow is filling, in order."""
    ordered = sorted(flows, key=lambda flow: flow.upto)
    for run in missing:
        start = run.start
        for flow in ordered:
            if flow.stop <= start or flow.upto >= run.stop:
                continue
            if flow.upto > start:
                yield ByteRange(start, flow.upto)
            start = max(start, flow.stop)
        if start < run.stop:
            yield ByteRange(start, run.stop)


def next_step(
    missing: Iterable[ByteRange],
    flows: Sequence[Flow],
    min_split: int,
    within: ByteRange,
    most: int | None = None,
    *,
    idle: int = 1,
) -> Claim | Steal | None:
    """What one idle worker should do, or None when it is better left idle.

    `within` is what may be begun now; a gap that the window cuts short is left until at least
    `min_split` of it may be begun, unless nothing else is in flight. `most`: bytes of a claim.
    `idle`: so many workers look for something to do.
    """
    min_split = max(1, min_split)
    for gap in gaps(missing, flows):
        part = gap.clip(within)
        if part and (part == gap or len(part) >= min_split or not flows):
            return Claim(part if most is None else part.clip(ByteRange(0, part.start + most)))
    return _steal(flows, min_split, within, idle)


def _steal(flows: Sequence[Flow], min_split: int, within: ByteRange, idle: int) -> Steal | None:
    """The end of the largest rest: half of it, or less where several idle workers will come to
    it. So many of them, that all parts end up alike."""
    rests = [(_rest(flow).clip(within), flow.segment) for flow in flows]
    rest, segment = max(rests, key=lambda one: len(one[0]), default=(ByteRange(0, 0), 0))
    if len(rest) < 2 * min_split:
        return None
    total = sum(len(one) for one, _ in rests)
    parts = max(1, min(len(flows) + idle, total // min_split))
    takers = max(1, min(idle, round(len(rest) * parts / total) - 1))
    size = max(min_split, len(rest) // (takers + 1))
    return Steal(segment, ByteRange(_aligned(rest.stop - size, rest), rest.stop))


def _rest(flow: Flow) -> ByteRange:
    return ByteRange(min(flow.at, flow.stop), flow.stop)


def _aligned(place: int, rest: ByteRange) -> int:
    """The place on a 64 KiB boundary where the rest is long enough for that not to matter."""
    return place & ~0xFFFF if len(rest) >= 1 << 20 else place
