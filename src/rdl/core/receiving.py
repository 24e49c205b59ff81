"""Pure questions about rows and bodies: what to ask for next, what of a body is written."""

from __future__ import annotations

from rdl.core.byterange import ByteRange
from rdl.core.classify import Partial, Whole
from rdl.core.lanes import Lane, Lanes
from rdl.core.planner import HASH_WINDOW, Claim, Steal, next_step
from rdl.core.row import Row
from rdl.options import RangeSpec, TransferOptions


def portion(body: Partial | Whole, lane: Lane, row: Row) -> tuple[ByteRange, int]:
    """The range to write and the bytes of the body to drop before it.

    A part is taken as asked; of a whole what follows the first gap.
    """
    if isinstance(body, Partial):
        asked = ByteRange(0, max(lane.stop, row.span.start))
        return body.range.clip(asked).clip(row.span), 0
    start = row.first_gap()
    return ByteRange(start, row.span.stop), start


def range_ignored(body: Partial | Whole, lane: Lane, row: Row) -> bool:
    """Whether the whole came where a part was asked for."""
    if isinstance(body, Partial) or not lane.ask.ranged:
        return False
    total = row.representation.total
    return lane.ask.start > 0 or (total is not None and lane.stop < total)


def begins_anew(body: Partial | Whole | None, wanted: RangeSpec | None) -> bool:
    """Whether a row of another version can be begun with this very body."""
    spec = wanted or RangeSpec()
    if isinstance(body, Partial):
        return spec.suffix is None and body.range.start == spec.start
    return body is not None


def next_fetch(row: Row, lanes: Lanes, options: TransferOptions) -> Claim | Steal | None:
    """What an idle worker asks for. With a digest wanted, first what is near the hashed head:
    the digest should be ready with the last byte; what is further only when that is taken."""
    flows, least = lanes.flows(), options.min_split
    if options.digests:
        near = ByteRange(row.span.start, min(row.span.stop, row.head() + HASH_WINDOW))
        step = next_step(row.missing(), flows, least, near)
        if step is not None:
            return step
    return next_step(row.missing(), flows, least, row.span)
