"""Pure questions about rows and bodies: what to ask for next, what of a body is written."""

from __future__ import annotations

from msgspec import Struct

from rdl.core.byterange import ByteRange, Runs
from rdl.core.classify import Partial, Whole
from rdl.core.demand import Demands
from rdl.core.lanes import Lane, Lanes
from rdl.core.order import Order
from rdl.core.planner import HASH_WINDOW, Claim, Steal, next_step
from rdl.core.row import Row
from rdl.core.tiles import Tiles
from rdl.options import RangeSpec


def portion(body: Partial | Whole, lane: Lane, row: Row) -> tuple[ByteRange, int]:
    """The range to write, and how many bytes of the body come before it.

    A part is taken as asked; of a whole what follows the first gap.
    """
    if isinstance(body, Partial):
        asked = ByteRange(0, max(lane.stop, row.span.start))
        part = body.range.clip(asked).clip(row.span)
        overlap = min(lane.overlap, len(part))
        return ByteRange(part.start + overlap, part.stop), overlap
    rest = ByteRange(row.first_gap(), row.span.stop)
    return rest, rest.start if rest else 0


def keep_adopted(row: Row, lane: Lane, adopted: Runs) -> Runs:
    """Count the adopted bytes as present when the answer continues them; which they are."""
    total = row.representation.total
    if total is None or not lane.overlap:
        return ()
    kept = clipped(adopted, total)
    row.add(kept)
    return kept


def clipped(runs: Runs, total: int) -> Runs:
    """What of them lies before `total`."""
    parts = (run.clip(ByteRange(0, total)) for run in runs)
    return tuple(part for part in parts if part)


def range_ignored(body: Partial | Whole, lane: Lane, row: Row) -> bool:
    """Whether the whole came where a part was asked for."""
    if isinstance(body, Partial) or not lane.ask.ranged:
        return False
    total = row.representation.total
    return lane.ask.start > 0 or (total is not None and lane.stop < total)


def begins_anew(body: Partial | Whole, wanted: RangeSpec | None) -> bool:
    """Whether a row of another version can be begun with this very body."""
    spec = wanted or RangeSpec()
    return isinstance(body, Whole) or (spec.suffix is None and body.range.start == spec.start)


class Manner(Struct, frozen=True):
    """How a row is filled: nothing is split below `least` bytes, for a reader in `order`, as
    `demands` say at the time `now`, by `tiles`, or `hashed` meanwhile, by `level` connections."""

    least: int
    order: Order | None
    hashed: bool
    level: int
    demands: Demands | None = None
    now: float = 0.0
    tiles: Tiles | None = None


def next_fetch(row: Row, lanes: Lanes, manner: Manner) -> Claim | Steal | None:
    """What an idle worker asks for. A reader in order gets tiles of its window. When the row is
    hashed, first what is near its head: the digest should be ready with the last byte; what is
    further only when that is taken."""
    flows, least, order = lanes.flows(), manner.least, manner.order
    idle = max(1, manner.level - len(flows))
    if manner.demands is not None:
        return manner.demands.step(row, flows, manner.level, manner.now)
    if order is not None:
        tile = order.tile(manner.level)
        return next_step(row.missing(), flows, least, order.within(row), tile)
    if manner.tiles is not None and (gap := manner.tiles.next(row, flows)) is not None:
        return Claim(gap)
    if manner.hashed:
        near = ByteRange(row.span.start, min(row.span.stop, row.head() + HASH_WINDOW))
        step = next_step(row.missing(), flows, least, near, idle=idle)
        if step is not None:
            return step
    return next_step(row.missing(), flows, least, row.span, idle=idle)
