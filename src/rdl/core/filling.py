"""How one row gets filled: what a response means for it, what failed, what to ask next.

It works on lanes and the row and puts commands into `out`. What ends the transfer it only
notes, as `failure` or `settled`; steps that must wait for lanes to end wait in `after_drain`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rdl import errors as e
from rdl.core import classify as c
from rdl.core import messages as m
from rdl.core.byterange import ByteRange
from rdl.core.events import Changed as ChangedFact
from rdl.core.events import Retrying, Warned
from rdl.core.gate import Ask
from rdl.core.identity import Dislikes, Headers, worker_headers
from rdl.core.lanes import Lane, Lanes
from rdl.core.pace import Growth, Patience
from rdl.core.planner import Claim, Steal
from rdl.core.proving import Digests
from rdl.core.receiving import begins_anew, keep_adopted, next_fetch, portion, range_ignored
from rdl.core.representation import Representation, Trust
from rdl.core.row import ENDLESS, Row, lies_outside, span_of
from rdl.core.saving import Saving
from rdl.core.spec import Spec, first_ask, lone_headers, objection, plan, started

ENOUGH_GAIN = 4096
"""A request that brought so many bytes may be made again at once."""
MOST_STRIKES, MOST_RESTARTS, MOST_CONNECTIONS = 3, 5, 8


class Filling:
    """The state of filling. `row`: None until a response was accepted, or an index continued;
    `confirmed`: this run has accepted one; `plain`: ranges are not asked for any more."""

    def __init__(self, spec: Spec) -> None:
        options = spec.options
        self.spec, self.options, self.now = spec, options, 0.0
        self.out: list[m.Command] = []
        self.failure: e.RdlError | None = None
        self.settled = ""
        self.after_drain: Callable[[], None] | None = None
        self.lanes, self.saving, self.digests = Lanes(), Saving(), Digests(options.digests)
        self.patience = Patience(options.retry, options.retry_max_time, spec.seed)
        self.growth = Growth(MOST_CONNECTIONS, options.connections)
        self.confirmed = self.plain = self.unconfirmed_end = False
        self._ranges = self._doubted = False
        self._dislikes = Dislikes()
        self._exhausted: e.RdlError | None = None
        self._strikes = self._restarts = 0
        self.arrived, self.adopted = 0, spec.adoptable
        saved = spec.remembered
        self.row = Row.remembered(saved, options.range, options.block_size) if saved else None
        if self.row and not self._joinable():
            self.row = None
        if self.row and spec.adoptable:
            self.row.add([ByteRange(0, spec.adoptable)])
        self.reused = self.row.present_bytes if self.row else 0
        self.existing = spec.existing if self.row is None else None

    # What the heart tells

    def begin(self) -> None:
        """Somebody wants the row."""
        if self.row:
            self._object(self.row.representation)

    def head(self, event: m.Head) -> None:
        """A response head: classify it and do what the verdict asks for."""
        lane = self.lanes.get(event.segment)
        if lane is None or lane.dropped:
            return
        known = self.row.representation if self.row else None
        lane.framing = event.head.framing
        context = c.Context(known, self.existing, bool(self.digests.wanted))
        verdict = c.classify(lane.ask, event.head, context)
        if isinstance(verdict, c.Changed | c.Partial | c.Whole):  # a 200 may answer `bytes=0-`
            offered = (event.head.get("accept-ranges") or "").strip().lower() == "bytes"
            self._ranges = event.head.status == 206 or offered
        _VERDICTS[type(verdict)](self, lane, verdict)

    def came(self, event: m.Arrived) -> None:
        """Written bytes."""
        range, lane = event.range, self.lanes.get(event.segment)
        if self.row is None or lane is None:
            raise AssertionError(f"bytes of a segment that is not in flight: {event}")
        self.row.add([range])
        size = len(range)
        lane.upto, lane.gained = max(lane.upto, range.stop), lane.gained + size
        self.arrived += size
        if self._joinable():  # elsewhere a cut body was for nothing
            self.patience.progress()
        self.saving.written(size, self.now)
        if lane.gained >= ENOUGH_GAIN:
            self._strikes = 0
        limit = self.options.max_filesize
        if limit is not None and self._endless() and self.row.present_bytes > limit:
            self._end(e.PolicyError(self.spec.path, "the body is over --max-filesize"))

    def compared(self, event: m.Compared) -> None:
        """What a run continues is still the same: now others may join."""
        lane = self.lanes.get(event.segment)
        if lane is not None and not lane.dropped:
            self._confirm(lane)

    def ended(self, event: m.Ended, filling: bool) -> None:
        """A lane is over; while `filling`, what it lacks goes back to the row."""
        lane = self.lanes.pop(event.segment)
        if lane is None or lane.dropped or not filling:
            return
        error = event.error
        if isinstance(error, e.ChangedError) and self.adopted:
            self.disown()
        elif isinstance(error, e.ChangedError):
            self._changed(lane, c.Changed(None, sure=True))
        elif error is None and lane.flowing and self._endless():
            self._end_of_unknown(lane)
        elif error is None and lane.upto < lane.stop:
            short = f"{lane.stop - lane.upto} bytes short"
            self._failed(lane, e.NetworkError("the body ended early", short))
        elif error is not None:
            self._failed(lane, error)

    def disown(self) -> None:
        """The adopted bytes proved to be others: begin without them."""
        text = "the adopted bytes are not of this file; all of it is fetched"
        self.emit(m.Tell(Warned(self.spec.path, text)))
        self.adopted = 0
        self.drain(self.forget)

    def forget(self) -> None:
        """Ask from the start; what is on disk stays until a response was accepted."""
        self.row, self.confirmed, self._ranges = None, False, False

    def drain(self, then: Callable[[], None], spare: Lane | None = None) -> None:
        """Drop all segments but `spare`; take the step when none can write any more."""
        for lane in self.lanes.all():
            if lane is not spare:
                self.drop(lane)
        self.after_drain = then

    def drop(self, lane: Lane) -> None:
        """Stop a lane."""
        if self.lanes.drop(lane):
            self.emit(m.Drop(lane.segment))

    def emit(self, command: m.Command) -> None:
        self.out.append(command)

    @property
    def parallel(self) -> bool:
        """Whether several lanes may fill this row."""
        return self._ranges and self._joinable() and not self.plain

    # Verdicts

    def _take(self, lane: Lane, verdict: c.Partial | c.Whole) -> None:
        if self.spec.dry_run:
            self.emit(m.Tell(plan(self.spec, verdict.representation, self.row, self._ranges)))
            self.drop(lane)
            self.settled = "dry-run"
        elif self.row is None:
            self.drain(lambda: self._adopt(lane, verdict), spare=lane)
        else:
            self._accept(lane, verdict)

    def _unchanged(self, lane: Lane, verdict: c.Unchanged) -> None:
        self.drop(lane)
        self.settled = "unchanged"

    def _changed(self, lane: Lane, verdict: c.Changed) -> None:
        error = e.ChangedError(self.spec.path, "the remote file changed since this part was begun")
        body = verdict.body
        if body is None and self.row is not None and not verdict.sure:
            self._precondition_failed(lane)
            return
        if self.options.on_change == "fail" or self._restarts >= MOST_RESTARTS:
            self._end(error)
            return
        if body is not None and self._object(body.representation):
            return
        self._restarts += 1
        self.emit(m.Tell(ChangedFact(self.spec.path, error.why)))
        self.adopted = 0
        if body is not None and begins_anew(body, self.options.range):
            self.drain(lambda: self._adopt(lane, body), spare=lane)
        else:
            self.drain(self.forget)

    def _unsatisfiable(self, lane: Lane, verdict: c.Unsatisfiable) -> None:
        self.drop(lane)
        known = self.row.representation.total if self.row else None
        if known is not None and verdict.total is not None and verdict.total != known:
            self._changed(lane, c.Changed(None, sure=True))
        elif self.row is None and lies_outside(self.options.range, verdict.total):
            self._end(e.ProtocolError("range", "it lies outside of the remote file"))
        elif self.row is None and self.adopted:
            self.adopted = 0  # there are more bytes here than the file has
        elif self.row is None and not self.plain:
            self.plain = True  # an empty file, or a server that dislikes `bytes=0-`
        else:
            self._strike(lane, "416 to a range that exists")

    def _refused(self, lane: Lane, verdict: c.Refused | c.RetryLater) -> None:
        self.drop(lane)
        self._failed(lane, verdict.error, verdict.delay)

    def _malformed(self, lane: Lane, verdict: c.Malformed) -> None:
        self.drop(lane)
        self._strike(lane, verdict.why)

    # Taking a body

    def _adopt(self, lane: Lane, body: c.Partial | c.Whole) -> None:
        """A version is begun: by the first response, or anew after a change."""
        representation = body.representation
        span = span_of(self.options.range, representation.total)
        if self._object(representation):
            return
        if span is None:
            self.drop(lane)
            self._end(e.ProtocolError("range", "it lies outside of the remote file"))
            return
        self.row = Row(representation, span, self.options.block_size)
        self.existing = None
        self.digests.restart()
        self.saving.restart()
        self.adopted = self.reused = keep_adopted(self.row, lane, self.adopted)
        part, block_size = self.row.part, self.row.block_size
        self.emit(m.Begin(representation, part, block_size, self.adopted))
        if self.row.size:
            self.emit(m.Reserve(self.row.size))
        self._accept(lane, body)

    def _confirm(self, lane: Lane) -> None:
        """The first accepted response of this run: now others may join."""
        if self.confirmed or self.row is None:
            return
        self.confirmed = True
        if self._doubted:  # it is still the same: the server does not understand If-Match
            self._doubted, self._dislikes = False, Dislikes(if_match=True)
            return
        self.emit(m.Tell(started(self.spec, self.row, self.reused, self.parallel)))
        if self.parallel:
            self.growth.proven(self.now, self.now - lane.sent_at, self.arrived)

    def _accept(self, lane: Lane, body: c.Partial | c.Whole) -> None:
        """Let the body in, from the first byte of it that is wanted."""
        assert self.row is not None
        if range_ignored(body, lane, self.row) and self.lanes.others(lane):
            self._ranges = False  # go on with those that flow
            self.drop(lane)
            if (kept := self.lanes.give_back(lane)) is not None:
                self.emit(m.Trim(kept.segment, kept.stop))
            return
        wanted, before = portion(body, lane, self.row)
        compare = 0 if self.confirmed else min(before, self.row.overlap(wanted.start))
        if not compare:
            self._confirm(lane)
        if not wanted and not compare:
            self.drop(lane)
            if not self.row.complete:
                self._strike(lane, "206 that ends before what is missing")
            return
        lane.upto, lane.stop, lane.flowing = wanted.start, wanted.stop, True
        self.emit(m.Receive(lane.segment, wanted, before - compare, compare))

    def _object(self, representation: Representation) -> bool:
        """Whether policy forbids this representation; then the transfer ends."""
        error = objection(self.spec, representation)
        if error is not None:
            self._end(error)
        return error is not None

    def _end_of_unknown(self, lane: Lane) -> None:
        assert self.row is not None
        self.unconfirmed_end = lane.framing == "close" and lane.upto < lane.stop
        if self.unconfirmed_end and self.options.strict:
            why = "the body ended with the connection, so nobody can say whether it is whole"
            self._end(e.ProtocolError(self.spec.path, why))
            return
        if self.unconfirmed_end:
            self.emit(m.Tell(Warned(self.spec.path, "the server did not say the length")))
        self.row.end()

    # Failing

    def _failed(self, lane: Lane, error: e.RdlError, delay: float | None = None) -> None:
        """A request came to nothing, or to less than was asked."""
        others = len(self.lanes.others(lane))
        gained = lane.gained >= ENOUGH_GAIN and self._joinable()
        if others and not lane.gained:  # it serves the others: this is about their number
            self.growth.refused(self.now, others)
            self.patience.surplus(self.now, delay)
        elif error.permanent:
            self._end(error)
            return
        elif not self.patience.failure(self.now, delay, gained):
            self._exhausted = error
            return
        wait = max(0.0, self.patience.not_before - self.now)
        fact = Retrying(self.spec.path, str(error), self.patience.failures, wait)
        self.emit(m.Tell(fact))
        self._forget_unless_joinable()

    def _strike(self, lane: Lane, why: str) -> None:
        """A response broke the rules; after three, a plain single stream is the last resort."""
        self._strikes += 1
        error = e.ProtocolError(self.spec.url, why)
        if self._strikes < MOST_STRIKES:
            error.permanent = False
            self._failed(lane, error)
        elif not self.plain:
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
        if self.confirmed:
            self.confirmed, self._doubted = False, True
            self.drain(self._forget_unless_joinable)
        else:
            self.drop(lane)
            self._strike(lane, "412 to a request without If-Match")

    # Asking

    def plan(self) -> None:
        """Ask for what may be asked for now."""
        if self._exhausted is not None:
            if not self.lanes:
                self._end(self._exhausted)
            return
        if self.now < self.patience.not_before:
            return
        if self.row is None or not self.confirmed or not self.parallel:
            if not self.lanes:
                self._ask_first()
            return
        while len(self.lanes) < self.growth.level:
            step = next_fetch(self.row, self.lanes, self.options)
            if step is None:
                return
            self._begin_step(step)

    def _begin_step(self, step: Claim | Steal) -> None:
        assert self.row is not None
        if isinstance(step, Steal):
            self.lanes.trim(step.segment, step.range.start)
            self.emit(m.Trim(step.segment, step.range.start))
        ask = Ask(step.range.start, step.range.stop)
        self._fetch(ask, worker_headers(self.row.representation, self._dislikes))

    def _ask_first(self) -> None:
        """One request alone: the first, or one after another where parts cannot run at once."""
        ask, overlap = Ask(ranged=False), 0
        if not self.plain:
            ask, overlap = first_ask(self.row, self.options.range, self.adopted)
        headers = lone_headers(self.row, self.existing) if ask.ranged or not self.row else ()
        self._fetch(ask, headers, overlap)

    def _fetch(self, ask: Ask, headers: Headers, overlap: int = 0) -> None:
        stop = ENDLESS if ask.stop is None else ask.stop
        lane = self.lanes.add(ask, stop, self.now, overlap)
        self.emit(m.Fetch(lane.segment, ask, headers))

    def _joinable(self) -> bool:
        """Whether parts from several responses may stand in one file."""
        if self.row is None or self.row.representation.total is None:
            return False
        return self.row.representation.trust is not Trust.T0 or bool(self.digests.wanted)

    def _endless(self) -> bool:
        """Whether the end of the body will tell how long the file is."""
        return self.row is not None and self.row.representation.total is None

    def _end(self, error: e.RdlError) -> None:
        self.failure = self.failure or error


_VERDICTS: dict[type[c.Verdict], Callable[[Filling, Lane, Any], None]] = {
    c.Partial: Filling._take,
    c.Whole: Filling._take,
    c.Unchanged: Filling._unchanged,
    c.Changed: Filling._changed,
    c.Unsatisfiable: Filling._unsatisfiable,
    c.RetryLater: Filling._refused,
    c.Refused: Filling._refused,
    c.Malformed: Filling._malformed,
}
