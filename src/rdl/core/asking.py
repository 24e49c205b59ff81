"""What is asked for next, and of which source.

One request alone, until a response was let in and parts are known to belong together; then as
many as each source is worth. A further source first shows that it has what is here already.
"""

from __future__ import annotations

from rdl import errors as e
from rdl.core import messages as m
from rdl.core.byterange import ByteRange
from rdl.core.failing import RESTARTS_OF_MANY, Failing
from rdl.core.gate import Ask
from rdl.core.identity import Headers, resume_headers, unchanged_headers, worker_headers
from rdl.core.lanes import Lane
from rdl.core.pace import WORTH_SECONDS
from rdl.core.planner import Claim, Steal
from rdl.core.receiving import Manner, next_fetch
from rdl.core.row import ENDLESS, OVERLAP
from rdl.core.source import MOST_AT_ONCE, Source
from rdl.core.spec import Spec, first_ask

LOOK_SECONDS, PROBE_SECONDS = 0.1, 0.2
LEAST_PROBE, CRAWL_SECONDS = 4096, 5.0
"""So many bytes are to be here to compare a mirror's with, or any after so long."""


class Asking(Failing):
    """Failing, and asking again."""

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        self.hurry_at: float | None = None
        """When to look again whether a lane is slow that all wait for, or gets no answer, or
        whether another source is worth while."""
        self._confirmed_at = 0.0
        self._heir: Source | None = None
        """Who takes what a slower source was to bring."""

    @property
    def parallel(self) -> bool:
        """Whether several lanes may fill this row."""
        steady = self._restarts < RESTARTS_OF_MANY or self._erratic
        return self.sources.ranges and self._joinable() and steady and not self.plain

    @property
    def may_grow(self) -> bool:
        """Whether more lanes may help: not while a reader in order has enough to take."""
        return self.confirmed and self.parallel and not (self.order and self.order.ahead)

    def grow(self) -> None:
        """Look at what each source brings, and how many connections to it are worth it."""
        if not self.may_grow:
            for source in self.sources:
                source.growth.pause()
            return
        left = (self.row.size or 0) - self.row.present_bytes if self.row else 0
        for source in self.sources:
            source.growth.tick(self.now, source.gained, left)

    def wakes(self) -> list[float | None]:
        """When something is to be looked at."""
        times: list[float | None] = []
        for source in self.sources.usable():
            times += [time for time in source.pauses() if time > self.now]
            if self.may_grow:
                times.append(source.growth.wake())
        times.append(self.hurry_at)
        if self.demands is not None and (fill_at := self.demands.fill_at()) is not None:
            times += [fill_at] if fill_at > self.now else []
        return times

    def plan(self) -> None:
        """Ask for what may be asked for now."""
        self.hurry_at = None
        if self._exhausted is not None:
            if not self.lanes:
                self._end(self._exhausted)
            return
        confirmed, demands = self.confirmed, self.demands
        if demands is not None and not demands.active(self.row, self.now, confirmed=confirmed):
            return
        given, usable = self.sources.given, self.sources.usable()
        if self.existing is not None and given.left is None:  # whether it is current that says
            usable = [given]
        ready = [one for one in usable if self.now >= one.patience.not_before]
        if not ready:
            return
        if self.row is None or not self.confirmed or not self.parallel:
            asked = next((one for one in ready if self._may_ask(one)), None)
            if asked is not None and not self.lanes:
                self._ask_first(asked)
            return
        self._drop_silent()
        self._drop_idle()
        if not self.lanes and all(one.doubted or not one.joined for one in usable):
            self.ask_alone()  # nothing may be here any more to compare them with
            return
        fresh: list[Lane] = []
        if len(ready) > 1:  # what is left is for the fastest
            heir = self._heir
            ready.sort(key=lambda one: (one is not heir, -self.lanes.usual(self.now, one.like)))
        use, most = sum(one.joined for one in ready), self.options.connections
        for source in ready:
            if source.joined and source.ranges and not source.doubted:
                level = min(self._level(source), self.sources.share(source, ready, most))
                self._ask_more(source, level, fresh)
            elif source.doubted or (not source.joined and use < MOST_AT_ONCE):
                use += 1
                self._probe(source)
        for lane in fresh:  # after all trims: workers that flow run on while others are started
            source = self.sources.of(lane)
            known = self.known(source)
            self._send(lane, worker_headers(known, source.dislikes) if known else ())
        times = [time for time in (self.hurry_at, self.lanes.silent_at()) if time is not None]
        self.hurry_at = min(times, default=None)

    def _ask_more(self, source: Source, level: int, fresh: list[Lane]) -> None:
        """Up to `level` lanes of this source."""
        assert self.row is not None
        begun = 0
        while self.lanes.count(source.number) < level:
            if self._full() or not self._may_ask(source, begun):
                return
            step = next_fetch(self.row, self.lanes, self._manner()) or self._share(source)
            if step is None:
                return
            if source.link.dead and not self._shows(step):
                self._doubt(source)
                return
            fresh.append(self._begin_step(source, step, fresh))
            begun += 1
            self._heir = None

    def _shows(self, step: Claim | Steal) -> bool:
        """Whether a new link shows by the body of this step that it is the same file."""
        assert self.row is not None
        claims = isinstance(step, Claim) and self.comparable(step.range.start) > 0
        return claims or not self.row.present_bytes

    def _doubt(self, source: Source) -> None:
        """A new link of it is to be compared before others may follow; those that flow from the
        old one go on."""
        if any(one.joined for one in self.sources.besides(source)):
            if self._in_vain():
                return
            source.joined = False
            self._look_at(self.now)  # the only connection may have been its share
        elif self.lanes.flowing() and self.comparable(self._common()) >= LEAST_PROBE:
            source.doubted = True
            if not self._in_vain():
                self._probe(source)
        else:
            self.ask_alone()

    def _probe(self, source: Source) -> None:
        """Ask it for bytes that are here, to compare: whether it has the same."""
        assert self.row is not None
        if self.lanes.probed(source.number) or self._full() or not self._may_ask(source):
            return
        spent = self.now - self._confirmed_at
        left = (self.row.size or 0) - self.row.present_bytes
        early = spent < PROBE_SECONDS or left * spent < self.arrived * WORTH_SECONDS
        if early and not source.doubted:
            self._look_at(self.now + PROBE_SECONDS)
            return
        at = self._common()
        size = min(OVERLAP, self.comparable(at))
        least = LEAST_PROBE if spent < CRAWL_SECONDS else 1
        if size < min(least, self.row.size or 0):
            self._look_at(self.now + PROBE_SECONDS)
            return
        lane = self.lanes.add(Ask(at - size, at), at, self.now, size, source.number)
        lane.probe = True
        self._send(lane, ())

    def _full(self) -> bool:
        """Whether there are as many connections as the user wants, in all."""
        most = self.options.connections
        return most is not None and len(self.lanes) >= most

    def _common(self) -> int:
        """Before which offset there is something to compare."""
        assert self.row is not None
        head = self.row.head()
        return head if self.order else max(head, self.row.joint().start)

    def _look_at(self, time: float) -> None:
        self.hurry_at = time if self.hurry_at is None else min(self.hurry_at, time)

    def _may_ask(self, source: Source, begun: int = 0) -> bool:
        """Whether it can take a request now, after the `begun` ones that are not sent yet. A new
        link is asked for by one alone."""
        link = source.link
        if link.waits(self.now) or (link.dead and begun):
            return False
        if link.due:
            link.due, link.renewing = False, True
            self.emit(m.Renew())
        return not link.renewing

    def renewed(self, event: m.Renewed) -> None:
        """There is a new URL, or none to be had."""
        source = self.sources.given
        source.link.renewing = source.growing = False
        if event.error is not None:
            self._leave_or_end(source, event.error)

    def _send(self, lane: Lane, headers: Headers) -> None:
        fresh = self.sources.of(lane).link.ask(lane, self.now)
        idle = False
        if self.demands is not None and self.row is not None:
            idle = self.demands.idle(self.row, lane.flow)
        self.emit(m.Fetch(lane.segment, lane.ask, headers, fresh, lane.source, idle))

    def _drop_silent(self) -> None:
        """What gets no answer while others do is left to those."""
        for lane in self.lanes.silent(self.now):
            source = self.sources.of(lane)
            self.drop(lane)
            left = self.lanes.count(source.number)
            if left or len(self.sources) == 1:
                source.growth.refused(self.now, left)
            else:
                self._failed(lane, e.NetworkError(source.url, "no answer"))

    def _drop_idle(self) -> None:
        """Where all connections are in use, what nobody waits for makes room for a read."""
        demands, row, flows = self.demands, self.row, self.lanes.flows()
        if demands is None or row is None or not demands.uncovered(row, flows):
            return
        if self.lanes.draining():  # one makes room already
            return
        if len(self.lanes) >= self.sources.level(self.options.connections):
            flows = [flow for flow in flows if flow.stop > flow.upto]  # what compares is needed
            idle = [flow for flow in flows if demands.idle(row, flow)]
            if idle:
                self.make_way(max(idle, key=lambda flow: flow.stop - flow.upto).segment)

    def make_way(self, segment: int) -> None:
        """Drop this one, unless somebody waits for what it brings."""
        lane, row, demands = self.lanes.get(segment), self.row, self.demands
        if lane is None or row is None or demands is None or not self.parallel:
            return
        if demands.idle(row, lane.flow):
            self.drop(lane)

    def _level(self, source: Source) -> int:
        """How many may be in flight. An offer of ranges (`Accept-Ranges`) is tried by one more."""
        untried = not source.proved and not source.growth.settled
        return min(2, source.growth.ceiling) if untried else source.growth.level

    def _manner(self) -> Manner:
        least = self.options.min_split if self.order is None else self.order.least
        level = self.sources.level(self.options.connections)
        hashed = bool(self.digests.checked)
        return Manner(least, self.order, hashed, level, self.demands, self.now, self.tiles)

    def _share(self, source: Source) -> Steal | None:
        """A lane is slow while a worker is idle: that one takes what it will bring earlier, or
        all of it."""
        ordered = self.order is not None
        laggard = self.lanes.laggard(self.now, source.like, ordered=ordered)
        if laggard is None and len(self.sources) > 1:
            laggard = self.lanes.outrun(self.now, source.like)
            self._heir = source if laggard else self._heir
        if laggard is None:
            if self.lanes.flowing():
                self._look_at(self.now + LOOK_SECONDS)
            return None
        if ordered and (stop := self.lanes.fair_stop(laggard, self.now, source.like)) is not None:
            return Steal(laggard.segment, ByteRange(stop, laggard.stop))
        self.lanes.give_up(laggard)
        self.drop(laggard)
        return None

    def _begin_step(self, source: Source, step: Claim | Steal, fresh: list[Lane]) -> Lane:
        """A lane for this step. What is taken from a `fresh` one, it has not asked for yet; a gap
        is asked for with some of what stands before it, to compare."""
        start, stop, overlap = step.range.start, step.range.stop, 0
        if isinstance(step, Claim):
            most = LEAST_PROBE if source.link.dead else self._joint
            if self.decided and not source.link.dead:  # they tell what is wrong: no need to compare
                most = 0 if self.blocks is not None else min(most, len(step.range) // 16)
            overlap = min(most, self.comparable(start))
        if isinstance(step, Steal):
            self.lanes.trim(step.segment, start)
            unsent = [lane for lane in fresh if lane.segment == step.segment]
            for lane in unsent:
                lane.ask = Ask(lane.ask.start, start)
            if not unsent:
                self.emit(m.Trim(step.segment, start))
        return self.lanes.add(Ask(start - overlap, stop), stop, self.now, overlap, source.number)

    def comparable(self, at: int) -> int:
        """How many bytes right before the offset `at` are here to compare others with."""
        assert self.row is not None
        here = self.row.overlap(at)
        return here if self.order is None else min(here, self.order.comparable(at))

    def _ask_first(self, source: Source) -> None:
        """One request alone: the first, or one after another where parts cannot run at once."""
        ask, overlap, probe = Ask(ranged=False), 0, False
        if not self.plain and self.demands is not None and self._joinable_if_any():
            ask, overlap, probe = self.demands.first(self.row)
        elif not self.plain:
            few = self.arrived or self.spec.chunks is not None  # which prove what was here before
            most = LEAST_PROBE if few else OVERLAP
            ask, overlap = first_ask(self.row, self.options.range, self.adopted, most)
            ask = ask if self.tiles is None else self.tiles.first(ask, overlap)
        headers = self._conditions(source) if ask.ranged or not self.row else ()
        stop = ENDLESS if ask.stop is None else ask.stop
        lane = self.lanes.add(ask, stop, self.now, overlap, source.number)
        lane.probe = probe
        self._send(lane, headers)

    def _joinable_if_any(self) -> bool:
        """Whether a row that was begun may be continued anywhere."""
        return self.row is None or (self._joinable() and not self.confirmed)

    def _conditions(self, source: Source) -> Headers:
        """The preconditions of that request."""
        if self.row is not None:
            known = self.known(source)
            return resume_headers(known, source.dislikes) if known else ()
        existing = self.existing if source is self.sources.given else None
        return unchanged_headers(existing) if existing is not None else ()
