"""The state machine of one transfer: on(event, now) -> commands. It never waits.

core/filling.py decides what to ask and to write; here are the phases, and what surrounds
filling: checkpoints, digests, publishing and ending. Nothing is begun anew, published or
ended before every lane that may still write has ended.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Any

from msgspec.structs import replace

from rdl.core import messages as m
from rdl.core.events import Result, Verifying
from rdl.core.filling import Filling
from rdl.core.order import Order
from rdl.core.representation import Representation, Trust
from rdl.core.row import Row
from rdl.core.spec import Spec, about_row, asked
from rdl.core.telling import Telling
from rdl.errors import (
    AuthError,
    DigestMismatch,
    Interrupted,
    OutOfTime,
    RdlError,
)


class Phase(Enum):
    FILLING = auto()
    HASHING = auto()
    PUBLISHING = auto()
    ENDING = auto()
    DONE = auto()


class Transfer:
    """Fills one row. `phase` and `row` are for looking at; all else goes through on()."""

    def __init__(self, spec: Spec) -> None:
        self.spec, self.options, self.phase = spec, spec.options, Phase.FILLING
        self._fill = Filling(spec)
        self._error: RdlError | None = None
        self._started_at: float | None = None
        self._telling = Telling(spec.path)
        self._saves = False
        """A reader of a lazy row waits until what is here is durable."""

    def __repr__(self) -> str:
        return f"Transfer({self.phase.name}, {self._fill.lanes!r}, {self.row!r})"

    @property
    def order(self) -> Order | None:
        """Of a stream: what its reader has."""
        return self._fill.order

    @property
    def row(self) -> Row | None:
        """What is here, None while nothing is known."""
        return self._fill.row

    def on(self, event: m.Event, now: float) -> list[m.Command]:
        """Take note of one event at the time `now` (seconds, any origin, never backwards)."""
        self._fill.now, self._fill.out = now, []
        if self._started_at is None:
            self._started_at = now
        if self.phase is not Phase.DONE:
            _HANDLERS[type(event)](self, event)
            if not isinstance(event, m.Reached):
                self._proceed()
                vain = isinstance(event, m.Evicted) and not event.ranges
                if self.phase is Phase.FILLING and not vain:
                    self._fill.make_room()  # after all that was decided by what is here
        return self._fill.out

    # Events

    def _on_demand(self, event: m.Demand) -> None:
        self._fill.begin()

    def _on_want(self, event: m.Want) -> None:
        demands = self._fill.demands
        if demands is not None:
            others = demands.waiting(self.row)
            demands.want(event, self._fill.now)
            if demands.waiting(self.row) and not others:
                self._fill.sources.lead.patience.anew(self._fill.now)

    def _on_want_all(self, event: m.WantAll) -> None:
        if self._fill.demands is not None:
            self._fill.demands.everything = True

    def _on_left(self, event: m.Left) -> None:
        if self._fill.demands is not None:
            self._fill.demands.left(event.reader)

    def _on_evicted(self, event: m.Evicted) -> None:
        self._fill.evicted(event)

    def _on_invalidate(self, event: m.Invalidate) -> None:
        if self.phase is Phase.FILLING:
            self._fill.invalidate(event)

    def _on_make_way(self, event: m.MakeWay) -> None:
        self._fill.make_way(event.segment)

    def _on_save(self, event: m.Save) -> None:
        self._saves = True

    def _on_tick(self, event: m.Tick) -> None:
        """Nothing by itself: _proceed looks at the time after every event."""

    def _on_signal(self, event: m.Signal) -> None:
        if self.phase is not Phase.PUBLISHING:
            self._end(Interrupted(event.name))

    def _on_head(self, event: m.Head) -> None:
        self._fill.head(event)

    def _on_arrived(self, event: m.Arrived) -> None:
        self._fill.came(event)

    def _on_reached(self, event: m.Reached) -> None:
        self._fill.reached(event)

    def _on_consumed(self, event: m.Consumed) -> None:
        self._fill.consumed(event)

    def _on_compared(self, event: m.Compared) -> None:
        self._fill.compared(event)

    def _on_ended(self, event: m.Ended) -> None:
        self._fill.ended(event, self.phase is Phase.FILLING)

    def _on_renewed(self, event: m.Renewed) -> None:
        self._fill.renewed(event)

    def _on_found(self, event: m.Found) -> None:
        self._fill.found(event)

    def _on_synced(self, event: m.Synced) -> None:
        self._fill.saving.done()

    def _on_hashed(self, event: m.Hashed) -> None:
        if self.phase is not Phase.HASHING:
            return
        why = self._fill.digests.objection(event.digests)
        if why and self._fill.adopted and not self._fill.proved:
            self.phase = Phase.FILLING
            self._fill.disown()
        elif why and self._fill.accuse():
            self.phase = Phase.FILLING
        elif why:
            self._fill.emit(m.Quarantine())
            hint = f"the data is kept as {self.spec.path}.part.bad; rdl clean --bad removes it"
            if not self._fill.digests.wanted:
                hint += "; --verify off takes it without the server's digest"
            self._finish(DigestMismatch(self.spec.path, why, hint=hint))
        else:
            self._fill.convict()
            self._publish()

    def _on_checked(self, event: m.Checked) -> None:
        if self.phase is Phase.FILLING:
            self._fill.checked(event)

    def _on_checked_blocks(self, event: m.CheckedBlocks) -> None:
        if self.phase is Phase.FILLING:
            self._fill.checked_blocks(event)

    def _on_repeated(self, event: m.Repeated) -> None:
        self._fill.repeated(event)

    def _on_published(self, event: m.Published) -> None:
        self._finish(None)

    def _on_local_failed(self, event: m.LocalFailed) -> None:
        if event.during_sync:
            self._fill.saving.failed()
        if self.phase is Phase.ENDING:
            self._error = self._error or event.error
        else:
            self.phase = Phase.FILLING
            self._end(event.error)

    # Proceeding

    def _proceed(self) -> None:
        """After every event: take the step that waited, else fill; then look after the rest."""
        fill = self._fill
        fill.grow()
        while self._take_step():
            pass
        if self.phase is not Phase.DONE:
            if self.phase is Phase.FILLING and fill.saving.due(fill.now):
                self._checkpoint()
            elif self._saves and not fill.saving.syncing:
                self._save_now()
            self._follow_with_hash()
            self._tell_progress()
            self._wake()

    def _save_now(self) -> None:
        if self.phase is Phase.FILLING and self._fill.saving.useful:
            self._checkpoint()
        else:
            self._saves = False
            self._fill.emit(m.Saved())

    def _take_step(self) -> bool:
        """One step, if one can be taken now."""
        fill = self._fill
        if self.phase is Phase.FILLING and fill.failure is not None:
            self._end(fill.failure)
        elif self.phase is Phase.FILLING and fill.settled:
            self._finish(None, fill.settled)
        elif fill.after_drain is not None:
            if fill.writing:
                return False
            step, fill.after_drain = fill.after_drain, None
            step()
        elif self.phase is Phase.FILLING:
            self._go_on()
            return fill.after_drain is not None or fill.failure is not None
        else:
            return False
        return True

    def _go_on(self) -> None:
        fill, limit = self._fill, self.options.max_time
        if limit is not None and fill.now - (self._started_at or 0.0) >= limit:
            self._end(OutOfTime(self.spec.path, f"{limit:g} s are over"))
            return
        fill.repeat()
        if fill.row and fill.row.complete and fill.confirmed:
            if not fill.pending:
                fill.drain(self._complete)
            fill.hurry_at = None  # else Checked will tell
        else:
            fill.plan()

    def _follow_with_hash(self) -> None:
        row, demands, filling = self._fill.row, self._fill.demands, self.phase is Phase.FILLING
        if row is not None and self._fill.confirmed and filling:
            if demands is not None and not demands.fits(row):
                return  # what is read now may be let go
            fresh = self._fill.digests.follow(row)
            if fresh:
                self._fill.emit(m.Hash(fresh, self._fill.digests.algorithms))

    def _checkpoint(self) -> None:
        self._fill.saving.begin()
        self._fill.emit(m.Checkpoint())

    def _wake(self) -> None:
        if self.phase is not Phase.FILLING or self._fill.after_drain is not None:
            return  # what is waited for comes as an event
        times = [self._fill.saving.wake()]
        if self._fill.row is not None and self._fill.confirmed and self._fill.demands is None:
            times.append(self._telling.wake())
        times += self._fill.wakes()
        if self.options.max_time is not None:
            times.append((self._started_at or 0.0) + self.options.max_time)
        due = [time for time in times if time is not None]
        if due:
            self._fill.emit(m.WakeAt(max(min(due), self._fill.now)))

    # Ending

    def _complete(self) -> None:
        row = self._fill.row
        assert row is not None
        if self._fill.pending or not row.complete:
            return  # what a lane brought before it ended came again, or some of it went meanwhile
        self._tell_progress(last=True)
        if not self._fill.digests.checked:
            self._publish()
            return
        self.phase = Phase.HASHING
        rest = self._fill.digests.rest(row)
        size = row.size or 0
        self._fill.emit(m.Tell(Verifying(self.spec.path, size, rest.start - row.span.start)))
        self._fill.emit(m.Hash(rest, self._fill.digests.algorithms, last=True))

    def _publish(self) -> None:
        row = self._fill.row
        assert row is not None
        self.phase, known, lead = Phase.PUBLISHING, row.representation, self._fill.sources.lead
        if lead.left is not None:  # its validators may be of other bytes
            known = Representation(known.total)
        elif self._fill.digests.wanted and lead.known and lead.known.validator != known.validator:
            known = lead.known  # the digest joined what another URL had begun, or another version
        self._fill.emit(m.Publish(known, row.size or 0, lead.url))

    def _end(self, error: RdlError) -> None:
        """Stop, make durable what is here, and finish with this error."""
        if self.phase in (Phase.ENDING, Phase.DONE):
            return
        self.phase, self._error = Phase.ENDING, error
        self._fill.drain(self._save)

    def _save(self) -> None:
        if self._fill.saving.useful and self.row is not None:
            self._checkpoint()
            self._fill.after_drain = lambda: self._finish(self._error)
        else:
            self._finish(self._error)

    def _finish(self, error: RdlError | None, reason: str = "complete") -> None:
        self.phase = Phase.DONE
        for lane in self._fill.lanes.all():
            self._fill.drop(lane)
        result = Result(
            url=self.spec.url,
            path=self.spec.path,
            reason=error.reason if error else reason,
            resumable=error is not None and error.resumable and self._fill.kept,
            bytes_downloaded=self._fill.arrived + min(self._fill.skipped, self._fill.reused),
            bytes_reused=max(0, self._fill.reused - self._fill.skipped),
            seconds=self._fill.now - (self._started_at or 0.0),
            connections=self._fill.lanes.most,
            retries=sum(source.patience.total for source in self._fill.sources),
            completeness="unconfirmed" if self._fill.unconfirmed_end or error else "confirmed",
            range=asked(self.row, self.options.range),
            sources=self._fill.sources.shares(),
        )
        result = about_row(result, self.row, self._fill.existing, error)
        if result.trust == Trust.T2 and not self._fill.sources.alike:
            result = replace(result, trust=Trust.T1.value)
        kept = self._fill.order is None and self._fill.demands is None and result.resumable
        if isinstance(error, AuthError) and not error.hint and kept:
            error.hint = f"a new link continues what is here: rdl get NEW-URL -o {self.spec.path}"
        blocks, proved = self._fill.blocks, self._fill.proved
        proof = blocks.algorithm if blocks is not None and proved else None
        trust = Trust.T3 if self.spec.chunks_published else Trust.T4
        self._fill.emit(m.Finish(self._fill.digests.about(result, error, proof, trust), error))

    def _tell_progress(self, last: bool = False) -> None:
        row = self._fill.row
        if row is None or not self._fill.confirmed or self.phase is not Phase.FILLING:
            return
        if self._fill.demands is not None:  # its readers see what comes
            return
        flowing = self._fill.lanes.flowing()
        fact = self._telling.progress(row, self._fill.arrived, flowing, self._fill.now, last)
        if fact is not None:
            self._fill.emit(m.Tell(fact))


__all__ = ["Phase", "Spec", "Transfer"]

_HANDLERS: dict[type[m.Event], Callable[[Transfer, Any], None]] = {
    m.Demand: Transfer._on_demand,
    m.Want: Transfer._on_want,
    m.WantAll: Transfer._on_want_all,
    m.Left: Transfer._on_left,
    m.Evicted: Transfer._on_evicted,
    m.Invalidate: Transfer._on_invalidate,
    m.MakeWay: Transfer._on_make_way,
    m.Save: Transfer._on_save,
    m.Head: Transfer._on_head,
    m.Arrived: Transfer._on_arrived,
    m.Reached: Transfer._on_reached,
    m.Consumed: Transfer._on_consumed,
    m.Compared: Transfer._on_compared,
    m.Ended: Transfer._on_ended,
    m.Renewed: Transfer._on_renewed,
    m.Found: Transfer._on_found,
    m.Synced: Transfer._on_synced,
    m.Hashed: Transfer._on_hashed,
    m.Checked: Transfer._on_checked,
    m.CheckedBlocks: Transfer._on_checked_blocks,
    m.Repeated: Transfer._on_repeated,
    m.Published: Transfer._on_published,
    m.LocalFailed: Transfer._on_local_failed,
    m.Signal: Transfer._on_signal,
    m.Tick: Transfer._on_tick,
}
