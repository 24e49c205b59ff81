"""The segments in flight. One that was let in is kept, even dropped, until it says it ended:
only then can it write no more."""

from __future__ import annotations

from msgspec import Struct

from rdl.core.byterange import ByteRange
from rdl.core.gate import Ask
from rdl.core.planner import Flow
from rdl.options import Digest

WORTH_MEASURING, LEAST_SECONDS = 64 << 10, 0.05
"""What brought less says nothing of a connection's speed; what was faster may have been waiting in
the network."""
LAGGARD_SECONDS = 0.3
LEAST_KEPT = 64 << 10
PATIENT = 4
"""Times as long for what compares."""
SILENT_SECONDS, TRY_SECONDS = 10.0, 1.0


class Lane(Struct):
    """A segment in flight. Until `flowing` nothing of it may be written. `gained`: new bytes;
    `overlap`: so many bytes at the start of what was asked for are here, to be compared;
    `end`: where its body may be taken to, when `stop` is only the edge of a window; `passing`:
    bytes that come before the first wanted one, and are here already; `fresh`: it asked the URL
    as given, and where that led is the `link` of this number; `began`: of the bytes that count
    for its `source`; `beside`: others of it were in flight when this was sent; `comparing`: nothing
    new comes yet; `probe`: nor will it."""

    segment: int
    ask: Ask
    upto: int
    stop: int
    sent_at: float
    overlap: int = 0
    end: int = 0
    flowing: bool = False
    dropped: bool = False
    gained: int = 0
    framing: str = "length"
    elsewhere: bool = False
    flowing_at: float = 0.0
    reached: int = 0
    passing: int = 0
    link: int = 0
    fresh: bool = True
    source: int = 0
    began: int = 0
    beside: bool = False
    comparing: bool = False
    probe: bool = False
    promised: tuple[ByteRange, Digest] | None = None
    """What its body hashes to, if all of it is taken."""

    @property
    def at(self) -> int:
        """What comes before this is written."""
        return max(self.upto, self.reached)

    @property
    def flow(self) -> Flow:
        """What the planner needs to know of it."""
        return Flow(self.segment, self.upto, self.stop, self.reached)

    @property
    def brought(self) -> ByteRange:
        """What counts for its source of what it has reported."""
        return ByteRange(self.began, max(self.began, self.upto))

    @property
    def writes(self) -> ByteRange:
        """What it has written and not yet reported, where it may still write, and what it may still
        compare; a body never goes beyond what was asked for, though its end was moved closer."""
        start = self.upto if self.ask.suffix is not None else min(self.upto, self.ask.start)
        return ByteRange(start, max(self.at, self.stop, self.end, self.ask.stop or 0))

    @property
    def came(self) -> int:
        """How many bytes it brought."""
        return self.gained + self.at - self.upto

    def seconds_left(self, now: float) -> float:
        """At the speed it has had."""
        return (self.stop - self.upto) * (now - self.flowing_at) / max(1, self.gained)


class Like(Struct, frozen=True):
    """Lanes of this source; those that have ended had `rate` bytes a second (0: none has)."""

    source: int
    rate: float

    @classmethod
    def of(cls, lane: Lane, rate: float, now: float) -> Like:
        """Its source, after one more has ended; little says nothing of a connection's speed."""
        if lane.gained >= WORTH_MEASURING:
            fresh = lane.gained / max(LEAST_SECONDS, now - lane.flowing_at)
            rate = 0.7 * rate + 0.3 * fresh if rate else fresh
        return cls(lane.source, rate)


class Lanes:
    """Lanes by their segment. `most`: the highest number at one time."""

    def __init__(self) -> None:
        self._lanes: dict[int, Lane] = {}
        self._next, self.most = 1, 0
        self._grace = LAGGARD_SECONDS
        self._slowest, self._answered_at = SILENT_SECONDS / 3, float("-inf")

    def __repr__(self) -> str:
        return f"{list(self._lanes.values())}"

    def __len__(self) -> int:
        return len(self._lanes)

    def all(self) -> list[Lane]:
        return list(self._lanes.values())

    def add(self, ask: Ask, stop: int, now: float, overlap: int = 0, source: int = 0) -> Lane:
        """A request is sent."""
        start = ask.start + overlap
        lane = Lane(self._next, ask, start, stop, now, overlap, source=source, began=start)
        lane.beside = self.count(source) > 0
        self._lanes[lane.segment] = lane
        self._next, self.most = self._next + 1, max(self.most, len(self._lanes))
        return lane

    def give_back(self, lane: Lane) -> Lane | None:
        """What this one will not fetch is left to the one it was taken from, which is returned
        when it flows: a stream to the end of the file can go on."""
        for other in self._lanes.values():
            may = other.ask.stop is None or not other.flowing
            if other.stop == lane.upto and may and not other.dropped:
                other.stop = lane.stop
                return other if other.flowing else None
        return None

    def get(self, segment: int) -> Lane | None:
        return self._lanes.get(segment)

    def pop(self, segment: int) -> Lane | None:
        """It ended."""
        lane = self._lanes.pop(segment, None)
        if lane is not None and lane.gained >= WORTH_MEASURING:
            self._grace = LAGGARD_SECONDS
        return lane

    def trim(self, segment: int, stop: int) -> None:
        """It is to end earlier."""
        self._lanes[segment].stop = self._lanes[segment].end = stop

    def drop(self, lane: Lane) -> bool:
        """Whether it must be told to stop; one that does not flow yet is forgotten."""
        if lane.dropped or self._lanes.get(lane.segment) is not lane:
            return False
        lane.dropped = True
        if not lane.flowing:
            del self._lanes[lane.segment]
        return True

    def extend(self, limit: int) -> list[Lane]:
        """The window's edge moved on; those that were held back by it."""
        held = [lane for lane in self._lanes.values() if lane.flowing and lane.stop < lane.end]
        for lane in held:
            lane.stop = min(limit, lane.end)
        return held

    def laggard(self, now: float, like: Like, *, ordered: bool) -> Lane | None:
        """A lane much slower than others of its source that all wait for: `ordered` the first
        such one (all wait for it now, or will), else the one that will be the last."""
        flowing = [lane for lane in self._lanes.values() if lane.flowing and not lane.dropped]
        flowing = [lane for lane in flowing if lane.source == like.source]
        if self.draining():
            return None
        if ordered:
            flowing.sort(key=lambda lane: lane.upto)
            grace = self._grace / 3
        else:
            flowing = sorted(flowing, key=lambda lane: -lane.seconds_left(now))[:1]
            flowing = [lane for lane in flowing if lane.seconds_left(now) >= LAGGARD_SECONDS]
            grace = self._grace
        usual = self.usual(now, like)
        return next((lane for lane in flowing if _slow(lane, now, grace, usual)), None)

    def outrun(self, now: float, like: Like) -> Lane | None:
        """The lane of another source that will be the last, where one like these would have
        brought its rest in half the time, or is not known and may."""
        others = [lane for lane in self._lanes.values() if lane.source != like.source]
        others = [lane for lane in others if lane.flowing and now - lane.flowing_at >= self._grace]
        if not others or self.draining():
            return None
        last = max(others, key=lambda lane: lane.seconds_left(now))
        rate, seconds = self._one_more(now, like), TRY_SECONDS
        if rate is not None:
            seconds = LAGGARD_SECONDS + 2 * (last.stop - last.at) / max(1.0, rate)
        return last if last.seconds_left(now) > seconds else None

    def _one_more(self, now: float, like: Like) -> float | None:
        """Bytes a second that a further lane like these would have, when they share what their
        source gives. None: that is not known yet."""
        mine = [lane for lane in self._lanes.values() if lane.source == like.source]
        if not mine:
            return like.rate or None
        flowing = [lane for lane in mine if lane.flowing and now > lane.flowing_at]
        total = sum(lane.came / max(LEAST_SECONDS, now - lane.flowing_at) for lane in flowing)
        return total / (len(mine) + 1)

    def usual(self, now: float, like: Like) -> float:
        """Bytes a second of a lane like these: of those that flow, where three can tell, else of
        those that have ended."""
        aged = [lane for lane in self._lanes.values() if lane.flowing and not lane.dropped]
        aged = [lane for lane in aged if lane.source == like.source]
        aged = [lane for lane in aged if now - lane.flowing_at >= LAGGARD_SECONDS]
        rates = sorted(lane.came / (now - lane.flowing_at) for lane in aged)
        return rates[len(rates) // 2] if len(rates) >= 3 else like.rate

    def give_up(self, lane: Lane) -> None:
        """It is to be dropped for its slowness. Not so soon again, until one brings something:
        it may be the server that is slow."""
        self._grace *= 2

    def fair_stop(self, lane: Lane, now: float, like: Like) -> int | None:
        """Where to cut a slow lane so that an idle worker of the usual speed ends together with
        it, or a little later; None when there is too little left to share."""
        rate, rest = lane.came / (now - lane.flowing_at), lane.stop - lane.at
        keep = max(LEAST_KEPT, int(rest * rate / (rate + self.usual(now, like))))
        return lane.at + keep if rest >= 2 * keep else None

    def compared(self, lane: Lane, now: float) -> None:
        """From here on it brings something."""
        lane.comparing, lane.flowing_at = False, now

    def answered(self, lane: Lane, now: float, *, compares: bool) -> None:
        """Its response was let in."""
        lane.flowing, lane.flowing_at, lane.comparing = True, now, compares
        self._slowest, self._answered_at = max(self._slowest, now - lane.sent_at), now

    def silent(self, now: float) -> list[Lane]:
        """Those that wait three times as long as any answer took, 10 s at least, while another
        was answered since: some servers accept more connections than they serve."""
        return [lane for lane in self._passed_over() if now >= lane.sent_at + 3 * self._slowest]

    def silent_at(self) -> float | None:
        """When there may be one."""
        times = [lane.sent_at + 3 * self._slowest for lane in self._passed_over()]
        return min(times, default=None)

    def _passed_over(self) -> list[Lane]:
        waiting = [lane for lane in self._lanes.values() if not (lane.flowing or lane.dropped)]
        return [lane for lane in waiting if lane.sent_at < self._answered_at]

    def count(self, source: int) -> int:
        """How many there are of this source."""
        return sum(lane.source == source for lane in self._lanes.values())

    def probed(self, source: int) -> bool:
        """Whether this source is being compared."""
        return any(lane.source == source and lane.probe for lane in self._lanes.values())

    def alive(self, lane: Lane) -> int:
        """How many others of its source flow, or wait for an answer."""
        others = [one for one in self._lanes.values() if one is not lane and not one.dropped]
        return sum(one.source == lane.source for one in others)

    def fellows(self, lane: Lane) -> list[Lane]:
        """The other lanes of its source through which bytes come."""
        return [one for one in self.others(lane) if one.source == lane.source]

    def others(self, lane: Lane) -> list[Lane]:
        """The other lanes through which bytes come."""
        return [
            other
            for other in self._lanes.values()
            if other is not lane and other.flowing and not other.dropped
        ]

    def draining(self) -> bool:
        """Whether a dropped lane may still write."""
        return any(lane.dropped for lane in self._lanes.values())

    def flowing(self) -> int:
        """How many are receiving."""
        return sum(lane.flowing for lane in self._lanes.values())

    def flows(self) -> list[Flow]:
        """What the planner needs to know of them."""
        return [lane.flow for lane in self._lanes.values()]


def _slow(lane: Lane, now: float, grace: float, usual: float) -> bool:
    age, grace = now - lane.flowing_at, grace * (PATIENT if lane.comparing else 1)
    return age >= grace and lane.stop > lane.at and lane.came < usual * age / 3
