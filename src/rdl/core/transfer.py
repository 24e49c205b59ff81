"""The state machine of one transfer: on(event, now) -> commands. It never waits.

One segment asks first; when it proves ranges and a validator, more join. What fails goes
back to the row. Nothing is begun anew, published or ended while old bytes may still be
written: such a step waits in `_after_drain` until every flowing segment has ended.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Any

from rdl.core import messages as m
from rdl.core.byterange import ByteRange
from rdl.core.classify import (
    Changed,
    Context,
    Malformed,
    Partial,
    Refused,
    RetryLater,
    Unchanged,
    Unsatisfiable,
    Verdict,
    Whole,
    classify,
)
from rdl.core.events import Changed as ChangedFact
from rdl.core.events import Result, Retrying, Started, Verifying, Warned
from rdl.core.gate import Ask
from rdl.core.identity import Headers, worker_headers
from rdl.core.lanes import Lane, Lanes
from rdl.core.pace import Growth, Patience
from rdl.core.planner import HASH_WINDOW, Claim, Steal, next_step
from rdl.core.proving import Digests
from rdl.core.representation import Representation, Trust
from rdl.core.row import ENDLESS, Row, span_of
from rdl.core.saving import Saving
from rdl.core.spec import Spec, about_row, first_ask, lone_headers, objection, plan
from rdl.core.telling import Teller
from rdl.errors import (
    ChangedError,
    DigestMismatch,
    Interrupted,
    NetworkError,
    OutOfTime,
    ProtocolError,
    RdlError,
)
from rdl.options import RangeSpec

ENOUGH_GAIN = 4096
"""A request that brought so many bytes may be made again at once."""
MOST_STRIKES, MOST_RESTARTS, MOST_CONNECTIONS = 3, 5, 8


class Phase(Enum):
    FILLING = auto()
    HASHING = auto()
    PUBLISHING = auto()
    ENDING = auto()
    DONE = auto()


class Transfer:
    """Fills one row. `phase` and `row` are for looking at; all else goes through on()."""

    def __init__(self, spec: Spec) -> None:
        options = spec.options
        self.spec, self.options, self.phase = spec, options, Phase.FILLING
        saved = spec.remembered
        self.row = Row.remembered(saved, options.range, options.block_size) if saved else None
        self._digests = Digests(options.digests)
        if self.row and not self._joinable():
            self.row = None
        if self.row and spec.adoptable:
            self.row.add([ByteRange(0, spec.adoptable)])
        self._reused = self.row.present_bytes if self.row else 0
        self._lanes = Lanes()
        self._ranges = self._confirmed = self._plain = False
        self._existing = spec.existing if self.row is None else None
        self._adopted = spec.adoptable
        self._patience = Patience(options.retry, options.retry_max_time, spec.seed)
        self._growth = Growth(MOST_CONNECTIONS, options.connections)
        self._exhausted: RdlError | None = None
        self._strikes = self._restarts = 0
        self._after_drain: Callable[[], None] | None = None
        self._error: RdlError | None = None
        self._arrived = 0
        self._saving = Saving()
        self._unconfirmed = False
        self._started_at: float | None = None
        self._teller = Teller(spec.path)
        self._now = 0.0
        self._out: list[m.Command] = []

    def __repr__(self) -> str:
        return f"Transfer({self.phase.name}, {self._lanes!r}, {self.row!r})"

    def on(self, event: m.Event, now: float) -> list[m.Command]:
        """Take note of one event at the time `now` (seconds, any origin, never backwards)."""
        self._now, self._out = now, []
        if self._started_at is None:
            self._started_at = now
        if self.phase is not Phase.DONE:
            _HANDLERS[type(event)](self, event)
            self._proceed()
        return self._out

    # Events

    def _on_demand(self, event: m.Demand) -> None:
        if self.row:
            self._object(self.row.representation)

    def _on_tick(self, event: m.Tick) -> None:
        """Nothing by itself: _proceed looks at the time after every event."""

    def _on_signal(self, event: m.Signal) -> None:
        if self.phase is not Phase.PUBLISHING:
            self._end(Interrupted(event.name))

    def _on_head(self, event: m.Head) -> None:
        lane = self._lanes.get(event.segment)
        if lane is None or lane.dropped:
            return
        known = self.row.representation if self.row else None
        lane.framing = event.head.framing
        context = Context(known, self._existing, bool(self._digests.wanted))
        verdict = classify(lane.ask, event.head, context)
        if event.head.status == 206 and isinstance(verdict, Partial | Whole):
            self._ranges = True
        _VERDICTS[type(verdict)](self, lane, verdict)

    def _on_arrived(self, event: m.Arrived) -> None:
        extent, lane = event.extent, self._lanes.get(event.segment)
        if self.row is None or lane is None:
            raise AssertionError(f"bytes of a segment that is not in flight: {event}")
        self.row.add([extent.range])
        self._emit(m.Record((extent,)))
        size = extent.stop - extent.start
        lane.upto, lane.gained = max(lane.upto, extent.stop), lane.gained + size
        self._arrived += size
        self._patience.progress()
        self._saving.written(size, self._now)

    def _on_ended(self, event: m.Ended) -> None:
        lane = self._lanes.pop(event.segment)
        if lane is None or lane.dropped or self.phase is not Phase.FILLING:
            return
        error = event.error
        if error is None and lane.flowing and lane.stop == ENDLESS:
            self._end_of_unknown(lane)
        elif error is None and lane.upto < lane.stop:
            error = NetworkError("the body ended early", f"{lane.stop - lane.upto} bytes short")
        if error is not None:
            self._failed(lane, error)

    def _on_synced(self, event: m.Synced) -> None:
        self._saving.done()

    def _on_hashed(self, event: m.Hashed) -> None:
        if self.phase is not Phase.HASHING:
            return
        why = self._digests.objection(event.digests)
        if why and self._adopted:
            text = "the adopted bytes are not of this file; all of it is fetched"
            self._emit(m.Tell(Warned(self.spec.path, text)))
            self._adopted, self.phase = 0, Phase.FILLING
            self._forget()
        elif why:
            self._emit(m.Quarantine())
            hint = "the data is kept beside it as .part.bad"
            self._finish(DigestMismatch(self.spec.path, why, hint=hint))
        else:
            self._publish()

    def _on_published(self, event: m.Published) -> None:
        self._finish(None)

    def _on_local_failed(self, event: m.LocalFailed) -> None:
        if event.during_sync:
            self._saving.failed()
        if self.phase is Phase.ENDING:
            self._error = self._error or event.error
        else:
            self.phase = Phase.FILLING
            self._end(event.error)

    # Verdicts

    def _take(self, lane: Lane, verdict: Partial | Whole) -> None:
        if self.spec.dry_run:
            self._emit(m.Tell(plan(self.spec, verdict.representation, self.row, self._ranges)))
            self._drop(lane)
            self._finish(None, "dry-run")
        elif self.row is None:
            self._drain(lambda: self._adopt(lane, verdict), spare=lane)
        else:
            self._confirm(lane)
            self._accept(lane, verdict)

    def _unchanged(self, lane: Lane, verdict: Unchanged) -> None:
        self._drop(lane)
        self._finish(None, "unchanged")

    def _changed(self, lane: Lane, verdict: Changed) -> None:
        error = ChangedError(self.spec.path, "the remote file changed since this part was begun")
        body = verdict.body
        if self.options.on_change == "fail" or self._restarts >= MOST_RESTARTS:
            self._end(error)
            return
        if body is not None and self._object(body.representation):
            return
        self._restarts += 1
        self._emit(m.Tell(ChangedFact(self.spec.path, error.why)))
        spec = self.options.range or RangeSpec()
        self._adopted = 0
        usable = isinstance(body, Whole) or (
            body is not None and spec.suffix is None and body.range.start == spec.start
        )
        if usable and body is not None:
            self._drain(lambda: self._adopt(lane, body), spare=lane)
        else:
            self._drain(self._forget)

    def _unsatisfiable(self, lane: Lane, verdict: Unsatisfiable) -> None:
        self._drop(lane)
        known = self.row.representation.total if self.row else None
        if known is not None and verdict.total is not None and verdict.total != known:
            self._changed(lane, Changed(None))
        elif self.row is None and self.options.range is not None and not self._plain:
            self._end(ProtocolError("range", "it lies outside of the remote file"))
        elif self.row is None and self._adopted:
            self._adopted = 0  # there are more bytes here than the file has
        elif self.row is None and not self._plain:
            self._plain = True  # an empty file, or a server that dislikes `bytes=0-`
        else:
            self._strike(lane, "416 to a range that exists")

    def _retry_later(self, lane: Lane, verdict: RetryLater) -> None:
        self._drop(lane)
        self._failed(lane, verdict.error, verdict.delay)

    def _refused(self, lane: Lane, verdict: Refused) -> None:
        self._drop(lane)
        self._failed(lane, verdict.error)

    def _malformed(self, lane: Lane, verdict: Malformed) -> None:
        self._drop(lane)
        self._strike(lane, verdict.why)

    # Taking a body

    def _adopt(self, lane: Lane, body: Partial | Whole) -> None:
        """A version is begun: by the first response, or anew after a change."""
        representation = body.representation
        span = span_of(self.options.range, representation.total)
        if self._object(representation):
            return
        if span is None:
            self._drop(lane)
            self._end(ProtocolError("range", "it lies outside of the remote file"))
            return
        self.row = Row(representation, span, self.options.block_size)
        self._existing, self._reused = None, 0
        self._digests.restart()
        self._saving.restart()
        self._keep_adopted(lane)
        part, block_size = self.row.part, self.row.block_size
        self._emit(m.Begin(representation, part, block_size, self._adopted))
        if self.row.size:
            self._emit(m.Reserve(self.row.size))
        self._confirm(lane)
        self._accept(lane, body)

    def _keep_adopted(self, lane: Lane) -> None:
        """Count the adopted bytes as present, when the answer continues them."""
        assert self.row is not None
        total = self.row.representation.total
        if not self._adopted or total is None or self._adopted > total or not lane.ask.start:
            self._adopted = 0
            return
        self.row.add([ByteRange(0, self._adopted)])
        self._reused = self._adopted

    def _confirm(self, lane: Lane) -> None:
        """The first accepted response of this run: now others may join."""
        if self._confirmed or self.row is None:
            return
        self._confirmed = True
        trust = self.row.representation.trust.value
        self._emit(
            m.Tell(
                Started(
                    self.spec.url,
                    self.spec.path,
                    self.row.size,
                    self._reused,
                    trust,
                    self._parallel(),
                )
            )
        )
        if self._parallel():
            self._growth.proven(self._now, self._now - lane.sent_at, self._arrived)

    def _accept(self, lane: Lane, body: Partial | Whole) -> None:
        """Let the body in: a part as asked; of a whole what follows the first gap."""
        assert self.row is not None
        span = self.row.span
        if isinstance(body, Partial):
            wanted, skip = body.range.clip(ByteRange(0, max(lane.stop, span.start))).clip(span), 0
        else:
            total = self.row.representation.total
            ignored = lane.ask.start > 0 or (total is not None and lane.stop < total)
            if lane.ask.ranged and ignored and self._lanes.others(lane):
                self._drop(lane)
                self._strike(lane, "the range was ignored")
                return
            wanted = ByteRange(self._first_gap(), span.stop)
            skip = wanted.start
        if not wanted or self.row.complete:
            self._drop(lane)
            return
        lane.upto, lane.stop, lane.flowing = wanted.start, wanted.stop, True
        self._emit(m.Receive(lane.segment, wanted, skip))

    def _first_gap(self) -> int:
        assert self.row is not None
        return next((run.start for run in self.row.missing()), self.row.span.stop)

    def _object(self, representation: Representation) -> bool:
        """Whether policy forbids this representation; then the transfer ends."""
        error = objection(self.spec, representation)
        if error is not None:
            self._end(error)
        return error is not None

    def _end_of_unknown(self, lane: Lane) -> None:
        assert self.row is not None
        self._unconfirmed = lane.framing == "close"
        if self._unconfirmed and self.options.strict:
            why = "the body ended with the connection, so nobody can say whether it is whole"
            self._end(ProtocolError(self.spec.path, why))
            return
        if self._unconfirmed:
            self._emit(m.Tell(Warned(self.spec.path, "the server did not say the length")))
        self.row.end()

    # Failing

    def _failed(self, lane: Lane, error: RdlError, delay: float | None = None) -> None:
        """A request came to nothing, or to less than was asked."""
        others = bool(self._lanes.others(lane))
        if others and lane.gained == 0:
            self._growth.refused(self._now, len(self._lanes.others(lane)))
        if error.permanent and not others:
            self._end(error)
            return
        going_on = self._patience.failure(self._now, delay, lane.gained >= ENOUGH_GAIN)
        if not going_on and not error.permanent:
            self._exhausted = error
            return
        wait = max(0.0, self._patience.not_before - self._now)
        fact = Retrying(self.spec.path, str(error), self._patience.failures, wait)
        self._emit(m.Tell(fact))
        self._forget_unless_joinable()

    def _strike(self, lane: Lane, why: str) -> None:
        """A response broke the rules; after three, a plain single stream is the last resort."""
        self._strikes += 1
        error = ProtocolError(self.spec.url, why)
        if self._strikes < MOST_STRIKES:
            error.permanent = False
            self._failed(lane, error)
        elif not self._plain:
            self._plain = True
            self._drain(self._forget_unless_joinable)
        else:
            self._end(error)

    def _forget_unless_joinable(self) -> None:
        """Where parts cannot be joined, the next response starts from the first byte."""
        if self.row is not None and not self._joinable():
            self._forget()

    def _forget(self) -> None:
        """Ask from the start; what is on disk stays until a response was accepted."""
        self.row, self._confirmed, self._ranges = None, False, False

    # Proceeding

    def _proceed(self) -> None:
        """After every event: take the step that waited, else fill; then look after the rest."""
        if self._confirmed and self._parallel():
            self._growth.tick(self._now, self._arrived)
        while self._after_drain is not None or self.phase is Phase.FILLING:
            if self._after_drain is None:
                self._fill()
                if self._after_drain is None:
                    break
            if self._saving.syncing or self._lanes.draining():
                break
            step, self._after_drain = self._after_drain, None
            step()
        if self.phase is not Phase.DONE:
            if self.phase is Phase.FILLING and self._saving.due(self._now):
                self._checkpoint()
            self._follow_with_hash()
            self._tell_progress()
            self._wake()

    def _fill(self) -> None:
        limit = self.options.max_time
        if limit is not None and self._now - (self._started_at or 0.0) >= limit:
            self._end(OutOfTime(self.spec.path, f"{limit:g} s are over"))
        elif self.row and self.row.complete and self._confirmed:
            self._drain(self._complete)
        else:
            self._plan()

    def _plan(self) -> None:
        if self._exhausted is not None:
            if not self._lanes:
                self._end(self._exhausted)
            return
        if self._now < self._patience.not_before:
            return
        if self.row is None or not self._confirmed or not self._parallel():
            if not self._lanes:
                self._ask_first()
            return
        while len(self._lanes) < self._growth.level:
            within = self.row.span
            if self._digests.wanted:
                reach = min(within.stop, self.row.head() + HASH_WINDOW)
                within = ByteRange(within.start, reach)
            flows, min_split = self._lanes.flows(), self.options.min_split
            step = next_step(self.row.missing(), flows, min_split, within)
            if step is None:
                return
            self._begin_step(step)

    def _begin_step(self, step: Claim | Steal) -> None:
        assert self.row is not None
        if isinstance(step, Steal):
            self._lanes.trim(step.segment, step.range.start)
            self._emit(m.Trim(step.segment, step.range.start))
        ask = Ask(step.range.start, step.range.stop)
        self._fetch(ask, step.range.stop, worker_headers(self.row.representation))

    def _ask_first(self) -> None:
        """One request alone: the first, or one after another where parts cannot run at once."""
        ask = (
            Ask(ranged=False)
            if self._plain
            else first_ask(self.row, self.options.range, self._adopted)
        )
        headers = lone_headers(self.row, self._existing) if ask.ranged else ()
        self._fetch(ask, ENDLESS if ask.stop is None else ask.stop, headers)

    def _fetch(self, ask: Ask, stop: int, headers: Headers) -> None:
        lane = self._lanes.add(ask, stop, self._now)
        self._emit(m.Fetch(lane.segment, ask, headers))

    def _follow_with_hash(self) -> None:
        if self.row is not None and self._confirmed and self.phase is Phase.FILLING:
            fresh = self._digests.follow(self.row)
            if fresh:
                self._emit(m.Hash(fresh))

    def _checkpoint(self) -> None:
        self._saving.begin()
        self._emit(m.Checkpoint())

    def _wake(self) -> None:
        if self.phase is not Phase.FILLING:
            return
        times = [self._saving.wake()]
        if self._patience.not_before > self._now:
            times.append(self._patience.not_before)
        if self.options.max_time is not None:
            times.append((self._started_at or 0.0) + self.options.max_time)
        if self._confirmed and self._parallel():
            times.append(self._growth.wake())
        due = [time for time in times if time is not None]
        if due:
            self._emit(m.WakeAt(max(min(due), self._now)))

    # Ending

    def _complete(self) -> None:
        assert self.row is not None
        self._tell_progress(last=True)
        if not self._digests.wanted:
            self._publish()
            return
        self.phase = Phase.HASHING
        rest = self._digests.rest(self.row)
        size = self.row.size or 0
        self._emit(m.Tell(Verifying(self.spec.path, size, rest.start - self.row.span.start)))
        self._emit(m.Hash(rest, last=True))

    def _publish(self) -> None:
        assert self.row is not None
        self.phase = Phase.PUBLISHING
        self._emit(m.Publish(self.row.representation))

    def _end(self, error: RdlError) -> None:
        """Stop, make durable what is here, and finish with this error."""
        if self.phase in (Phase.ENDING, Phase.DONE):
            return
        self.phase, self._error = Phase.ENDING, error
        self._drain(self._save)

    def _save(self) -> None:
        if self._saving.useful and self.row is not None:
            self._checkpoint()
            self._after_drain = lambda: self._finish(self._error)
        else:
            self._finish(self._error)

    def _finish(self, error: RdlError | None, reason: str = "complete") -> None:
        self.phase = Phase.DONE
        for lane in self._lanes.all():
            self._drop(lane)
        result = Result(
            url=self.spec.url,
            path=self.spec.path,
            reason=error.reason if error else reason,
            resumable=error.resumable if error else False,
            bytes_downloaded=self._arrived,
            bytes_reused=self._reused,
            seconds=self._now - (self._started_at or 0.0),
            connections=self._lanes.most,
            retries=self._patience.total,
            completeness="unconfirmed" if self._unconfirmed else "confirmed",
        )
        result = about_row(result, self.row, self._existing, error)
        self._emit(m.Finish(self._digests.about(result, error), error))

    # Small things

    def _emit(self, command: m.Command) -> None:
        self._out.append(command)

    def _joinable(self) -> bool:
        """Whether parts from several responses may stand in one file."""
        if self.row is None or self.row.representation.total is None:
            return False
        return self.row.representation.trust is not Trust.T0 or bool(self._digests.wanted)

    def _parallel(self) -> bool:
        return self._ranges and self._joinable() and not self._plain

    def _drop(self, lane: Lane) -> None:
        if self._lanes.drop(lane):
            self._emit(m.Drop(lane.segment))

    def _drain(self, then: Callable[[], None], spare: Lane | None = None) -> None:
        """Drop all segments but `spare`; take the step when none can write any more."""
        for lane in self._lanes.all():
            if lane is not spare:
                self._drop(lane)
        self._after_drain = then

    def _tell_progress(self, last: bool = False) -> None:
        if self.row is None or not self._confirmed or self.phase is not Phase.FILLING:
            return
        flowing = self._lanes.flowing()
        fact = self._teller.progress(self.row, self._arrived, flowing, self._now, last)
        if fact is not None:
            self._emit(m.Tell(fact))


__all__ = ["Phase", "Spec", "Transfer"]

_HANDLERS: dict[type[m.Event], Callable[[Transfer, Any], None]] = {
    m.Demand: Transfer._on_demand,
    m.Head: Transfer._on_head,
    m.Arrived: Transfer._on_arrived,
    m.Ended: Transfer._on_ended,
    m.Synced: Transfer._on_synced,
    m.Hashed: Transfer._on_hashed,
    m.Published: Transfer._on_published,
    m.LocalFailed: Transfer._on_local_failed,
    m.Signal: Transfer._on_signal,
    m.Tick: Transfer._on_tick,
}

_VERDICTS: dict[type[Verdict], Callable[[Transfer, Lane, Any], None]] = {
    Partial: Transfer._take,
    Whole: Transfer._take,
    Unchanged: Transfer._unchanged,
    Changed: Transfer._changed,
    Unsatisfiable: Transfer._unsatisfiable,
    RetryLater: Transfer._retry_later,
    Refused: Transfer._refused,
    Malformed: Transfer._malformed,
}
