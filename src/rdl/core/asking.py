"""The state of filling one row, what is asked for next, and what a failure costs.

It works on lanes and the row and puts commands into `out`. What ends the transfer it only
notes, as `failure` or `settled`; steps that must wait for lanes to end wait in `after_drain`.
"""

from __future__ import annotations

from collections.abc import Callable

from rdl import errors as e
from rdl.core import messages as m
from rdl.core.byterange import ByteRange
from rdl.core.events import Retrying
from rdl.core.gate import Ask
from rdl.core.identity import Dislikes, Headers, worker_headers
from rdl.core.lanes import Lane, Lanes
from rdl.core.order import JOINT, Order
from rdl.core.pace import Growth, Patience
from rdl.core.planner import Claim, Steal
from rdl.core.proving import Digests
from rdl.core.receiving import Manner, next_fetch
from rdl.core.representation import Trust
from rdl.core.row import ENDLESS, Row
from rdl.core.saving import Saving
from rdl.core.source import DYING, Source
from rdl.core.spec import Spec, first_ask, lone_headers

ENOUGH_GAIN = 4096
"""A request that brought so many bytes may be made again at once."""
LITTLE, MOST_CUT_EARLY = 64 << 10, 2
"""Of requests in a row that bring no more than that, beside others that flow, so many are made
again at once."""
LOOK_SECONDS = 0.1
MOST_STRIKES, MOST_RESTARTS, MOST_CONNECTIONS = 3, 5, 8
RESTARTS_OF_MANY = 2
"""After so many it is one stream: whole, whatever the next request would bring."""


class Asking:
    """The state of filling. `row`: None until a response was accepted, or an index continued;
    `confirmed`: this run has accepted one; `plain`: ranges are not asked for any more."""

    def __init__(self, spec: Spec) -> None:
        options = spec.options
        self.spec, self.options, self.now = spec, options, 0.0
        self.out: list[m.Command] = []
        self.failure: e.RdlError | None = None
        self.settled = ""
        self.after_drain: Callable[[], None] | None = None
        self.lanes, self.source = Lanes(), Source()
        self.saving, self.digests = Saving(), Digests(options.digests)
        self.patience = Patience(options.retry, options.retry_max_time, spec.seed)
        self.growth = Growth(MOST_CONNECTIONS, options.connections)
        self.confirmed = self.plain = self.unconfirmed_end = False
        self._ranges = self._doubted = self._proved = self._ignored = self._growing = False
        self.hurry_at: float | None = None
        """When to look again whether a lane is slow that all wait for, or gets no answer."""
        self._dislikes = Dislikes()
        self._erratic = False
        """Each answer has other validators: what was asked for is told by the digest alone."""
        self._exhausted: e.RdlError | None = None
        self._strikes = self._restarts = self._cut_early = 0
        self._joint = JOINT
        self.order = Order(spec.window) if spec.window else None
        self.arrived = self.skipped = 0
        self.adopted = spec.adoptable
        saved = spec.remembered
        self.row = Row.remembered(saved, options.range, options.block_size) if saved else None
        if self.row and not self._joinable():
            self.row = None
        if self.row:
            self.row.add(spec.adoptable)
        self.reused = self.row.present_bytes if self.row else 0
        self.existing = spec.existing if self.row is None else None

    def forget(self) -> None:
        """Ask from the start; what is on disk stays until a response was accepted."""
        if self._begun():
            self._end(e.ChangedError(self.spec.path, "what was read cannot be continued"))
            return
        self.row, self.confirmed, self._ranges = None, False, False

    def drain(self, then: Callable[[], None], spare: Lane | None = None) -> None:
        """Drop all segments but `spare`; take the step when none can write any more."""
        for lane in self.lanes.all():
            if lane is not spare:
                self.drop(lane)
        self.after_drain = then

    def drop(self, lane: Lane) -> None:
        """Stop a lane."""
        self.source.over(lane)
        if self.lanes.drop(lane):
            self.emit(m.Drop(lane.segment))

    def emit(self, command: m.Command) -> None:
        self.out.append(command)

    @property
    def parallel(self) -> bool:
        """Whether several lanes may fill this row."""
        steady = self._restarts < RESTARTS_OF_MANY or self._erratic
        return self._ranges and self._joinable() and steady and not self.plain

    @property
    def may_grow(self) -> bool:
        """Whether more lanes may help: not while a reader in order has enough to take."""
        return self.confirmed and self.parallel and not (self.order and self.order.ahead)

    # Failing

    def _failed(self, lane: Lane, error: e.RdlError, delay: float | None = None) -> None:
        """A request came to nothing, or to less than was asked."""
        if not lane.gained and not self.source.give_back(lane):
            self.source.suspect(lane)
        self._joint = min(JOINT, lane.gained // 16)  # of bodies that are cut it is to be little
        others = len(self.lanes.others(lane))
        gained = lane.gained >= ENOUGH_GAIN and self._joinable()
        self._cut_early = self._cut_early + 1 if lane.gained < LITTLE else 0
        surplus = not lane.gained or self._cut_early > MOST_CUT_EARLY
        if others and surplus:  # it serves the others: this is about their number
            self.growth.refused(self.now, others)
            self.patience.surplus(self.now, delay)
        elif error.permanent and self.lanes.alive(lane):  # those that wait may be served
            self.growth.refused(self.now, self.lanes.alive(lane))
        elif error.permanent or self._stuck():
            self._end(error)
            return
        elif not self.patience.failure(self.now, delay, gained):
            self._exhausted = error
            return
        self._retry(error, self.patience.failures)

    def _retry(self, error: e.RdlError, attempt: int) -> None:
        """What is missing will be asked for again. `attempt`: 0 where none was in vain."""
        wait = max(0.0, max(self.patience.not_before, self.source.not_before()) - self.now)
        self.emit(m.Tell(Retrying(self.spec.path, str(error), attempt, wait)))
        self._forget_unless_joinable()

    def _outlived(self, lane: Lane, error: e.RdlError, status: int) -> bool:
        """Whether a refusal means that the link, or the URL, has had its time, so that a new one
        is asked for. One that was never good has not."""
        if lane.elsewhere and not lane.fresh:
            flowing = sum(one.link == lane.link for one in self.lanes.others(lane))
            if flowing and self.source.young(lane, self.now):  # it is about their number
                self.growth.refused(self.now, flowing)
            elif not self.source.suspect(lane, refused=True):  # others have said so
                self._forget_unless_joinable()
                return True
            self.patience.total += 1
            self._retry(error, 0)
            return True
        another = self.spec.renewable and status in DYING
        if self.lanes.alive(lane) or self._stuck() or not (another or self._led_on(lane)):
            return False
        if not self.source.refuse(another=another):
            return False
        self.patience.total += 1
        self._retry(error, self.source.refused)
        return True

    def _led_on(self, lane: Lane) -> bool:
        """Whether it asked for a new link after others were good in this run."""
        return lane.elsewhere and (self.confirmed or self.arrived > 0)

    def _strike(self, lane: Lane, why: str) -> None:
        """A response broke the rules; after three, a plain single stream is the last resort."""
        self._strikes += 1
        error = e.ProtocolError(self.spec.url, why)
        if self._strikes < MOST_STRIKES:
            error.permanent = False
            self._failed(lane, error)
        elif not self.plain and not self._stuck():
            self.plain = True
            self.drain(self._forget_unless_joinable)
        else:
            self._end(error)

    def _forget_unless_joinable(self) -> None:
        """Where parts cannot be joined, the next response starts from the first byte."""
        if self.row is not None and not self._joinable():
            self.forget()

    def _precondition_failed(self, lane: Lane) -> None:
        """A 412 has no body to tell the new version by: ask alone, before anything is dropped."""
        self.source.suspect(lane)
        if self.confirmed and not self._dislikes.if_match:
            self.confirmed, self._doubted = False, True
            self.drain(self._forget_unless_joinable)
        else:
            self.drop(lane)
            self._strike(lane, "412 to a request without If-Match")

    # Asking

    def plan(self) -> None:
        """Ask for what may be asked for now."""
        self.hurry_at = None
        if self._exhausted is not None:
            if not self.lanes:
                self._end(self._exhausted)
            return
        if self.now < self.patience.not_before:
            return
        if self.row is None or not self.confirmed or not self.parallel:
            if not self.lanes and self._may_ask():
                self._ask_first()
            return
        self._drop_silent()
        fresh: list[Lane] = []
        while len(self.lanes) < self._level() and self._may_ask(len(fresh)):
            step = next_fetch(self.row, self.lanes, self._manner()) or self._share()
            if step is None:
                break
            if self.source.dead and not self._shows(step):
                self._doubt()
                break
            fresh.append(self._begin_step(step, fresh))
        headers = worker_headers(self.row.representation, self._dislikes) if fresh else ()
        for lane in fresh:  # after all trims: workers that flow run on while others are started
            self._send(lane, headers)
        times = [time for time in (self.hurry_at, self.lanes.silent_at()) if time is not None]
        self.hurry_at = min(times, default=None)

    def _shows(self, step: Claim | Steal) -> bool:
        """Whether a new link shows by the body of this step that it is the same file."""
        assert self.row is not None
        claims = isinstance(step, Claim) and self.comparable(step.range.start) > 0
        return claims or not self.row.present_bytes

    def _doubt(self) -> None:
        """Ask alone, and compare as a run does that continues another, before others may join."""
        self.confirmed = False
        self.drain(self._forget_unless_joinable)

    def _may_ask(self, begun: int = 0) -> bool:
        """Whether the source can take a request now, after the `begun` ones that are not sent yet.
        A new link is asked for by one alone."""
        if self.source.waits(self.now) or (self.source.dead and begun):
            return False
        if self.source.due:
            self.source.due, self.source.renewing = False, True
            self.emit(m.Renew())
        return not self.source.renewing

    def renewed(self, event: m.Renewed) -> None:
        """There is a new URL, or none to be had."""
        self.source.renewing = self._growing = False
        if event.error is not None:
            self._end(event.error)

    def _send(self, lane: Lane, headers: Headers) -> None:
        fresh = self.source.ask(lane, self.now)
        self.emit(m.Fetch(lane.segment, lane.ask, headers, fresh))

    def _drop_silent(self) -> None:
        """What gets no answer while others do is left to those."""
        silent = self.lanes.silent(self.now)
        for lane in silent:
            self.drop(lane)
        if silent:
            self.growth.refused(self.now, len(self.lanes))

    def _level(self) -> int:
        """How many may be in flight. An offer of ranges (`Accept-Ranges`) is tried by one more."""
        untried = not self._proved and not self.growth.settled
        return min(2, self.growth.ceiling) if untried else self.growth.level

    def _manner(self) -> Manner:
        least = self.options.min_split if self.order is None else self.order.least
        return Manner(least, self.order, bool(self.digests.checked), self.growth.level)

    def _share(self) -> Steal | None:
        """A lane is slow while a worker is idle: that one takes what it will bring earlier, or
        all of it."""
        ordered = self.order is not None
        laggard = self.lanes.laggard(self.now, ordered=ordered)
        if laggard is None:
            self.hurry_at = self.now + LOOK_SECONDS if self.lanes.flowing() else None
            return None
        if ordered and (stop := self.lanes.fair_stop(laggard, self.now)) is not None:
            return Steal(laggard.segment, ByteRange(stop, laggard.stop))
        self.lanes.give_up(laggard)
        self.drop(laggard)
        return None

    def _begin_step(self, step: Claim | Steal, fresh: list[Lane]) -> Lane:
        """A lane for this step. What is taken from a `fresh` one, it has not asked for yet; a gap
        is asked for with some of what stands before it, to compare."""
        start, stop, overlap = step.range.start, step.range.stop, 0
        if isinstance(step, Claim):
            most = JOINT if self.source.dead else self._joint
            overlap = min(most, self.comparable(start))
        if isinstance(step, Steal):
            self.lanes.trim(step.segment, start)
            unsent = [lane for lane in fresh if lane.segment == step.segment]
            for lane in unsent:
                lane.ask = Ask(lane.ask.start, start)
            if not unsent:
                self.emit(m.Trim(step.segment, start))
        return self.lanes.add(Ask(start - overlap, stop), stop, self.now, overlap)

    def comparable(self, at: int) -> int:
        """How many bytes right before the offset `at` are here to compare others with."""
        assert self.row is not None
        here = self.row.overlap(at)
        return here if self.order is None else min(here, self.order.comparable(at))

    def _ask_first(self) -> None:
        """One request alone: the first, or one after another where parts cannot run at once."""
        ask, overlap = Ask(ranged=False), 0
        if not self.plain:
            ask, overlap = first_ask(self.row, self.options.range, self.adopted)
        headers = (
            lone_headers(self.row, self.existing, self._dislikes)
            if ask.ranged or not self.row
            else ()
        )
        stop = ENDLESS if ask.stop is None else ask.stop
        lane = self.lanes.add(ask, stop, self.now, overlap)
        self._send(lane, headers)

    @property
    def kept(self) -> bool:
        """Whether a later run can use what is here; nothing is here yet counts as well."""
        return self.row is None or self._joinable() or not self.row.present_bytes

    def _joinable(self) -> bool:
        """Whether parts from several responses may stand in one file."""
        if self.row is None or self.row.representation.total is None:
            return False
        return self.row.representation.trust is not Trust.T0 or bool(self.digests.wanted)

    def _stuck(self) -> bool:
        """Whether bytes were delivered that nothing can be joined to."""
        return self._begun() and not self._joinable()

    def _begun(self) -> bool:
        """Whether a reader in order has bytes of this row, so that it cannot be begun anew."""
        return self.order is not None and self.row is not None and self.order.begun(self.row)

    def _endless(self) -> bool:
        """Whether the end of the body will tell how long the file is."""
        return self.row is not None and self.row.representation.total is None

    def _end(self, error: e.RdlError) -> None:
        self.failure = self.failure or error
