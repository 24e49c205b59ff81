"""By which way what is missing comes: wished for in one answer, or asked for by ranges.

A small model of what either costs (docs/formats/wishlist.md says why), without a clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log2

from msgspec import Struct

from rdl.core.byterange import ByteRange

REQUEST_SECONDS = 0.001
"""What a request for a range takes of the time of both ends, however near they are: measured."""
ALONE_SECONDS = 0.004 / (1 << 20)
"""What a byte takes longer by one answer, which is hashed on both ends as it comes, than by ranges
over several connections: measured."""
BEGIN = 2
"""Round trips before the first wish comes: a HEAD, and the wishes."""


class Line(Struct, frozen=True):
    """To a server: how long an answer takes, in seconds, and over how many connections it is
    asked."""

    round_trip: float
    connections: int


def wished(runs: Sequence[ByteRange], line: Line) -> list[ByteRange]:
    """Those of the missing runs that are wished for: the short ones, where they are so many that
    one answer is quicker."""
    each = REQUEST_SECONDS + line.round_trip / line.connections
    short = [run for run in runs if len(run) * ALONE_SECONDS < each]
    alone = sum(map(len, short)) * ALONE_SECONDS + BEGIN * line.round_trip
    return short if alone < _by_ranges(len(short), line) else []


def _by_ranges(count: int, line: Line) -> float:
    """Seconds that so many requests wait. The first is alone, then there are twice as many at a
    time as before, up to all connections."""
    most = line.connections
    doubling = min(ceil(log2(count + 1)), most.bit_length())  # rounds until there are so many
    begun = (1 << doubling) - 1
    rounds = doubling + ceil(max(0, count - begun) / most)
    return count * REQUEST_SECONDS + rounds * line.round_trip
