"""How one row gets filled: what a response means for it, and what arrived or ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from rdl import errors as e
from rdl.core import classify as c
from rdl.core import messages as m
from rdl.core.asking import ENOUGH_GAIN, MOST_RESTARTS, RESTARTS_OF_MANY, Asking
from rdl.core.byterange import ByteRange
from rdl.core.events import Changed as ChangedFact
from rdl.core.events import Warned
from rdl.core.identity import Dislikes
from rdl.core.lanes import Lane
from rdl.core.order import Order
from rdl.core.published import Published, quarrel
from rdl.core.receiving import begins_anew, clipped, keep_adopted, portion, range_ignored
from rdl.core.representation import Representation
from rdl.core.row import Row, lies_outside, span_of
from rdl.core.spec import QUARREL_HINT, objection, plan, started

MUCH = 1 << 20


class Filling(Asking):
    """A row being filled, told by events."""

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
        lane.framing, lane.elsewhere = event.head.framing, event.elsewhere
        context = c.Context(known, self.existing, bool(self.digests.wanted), self._erratic)
        verdict = c.classify(lane.ask, event.head, context)
        if isinstance(verdict, c.Changed | c.Partial | c.Whole):  # a 200 may answer `bytes=0-`
            offered = (event.head.get("accept-ranges") or "").strip().lower() == "bytes"
            offered = offered and (self._proved or not self._ignored)
            self._ranges = event.head.status == 206 or offered
            self._proved = self._proved or event.head.status == 206
        _VERDICTS[type(verdict)](self, lane, verdict)

    def came(self, event: m.Arrived) -> None:
        """Written bytes."""
        range, lane = event.range, self.lanes.get(event.segment)
        if self.row is None or lane is None:
            raise AssertionError(f"bytes of a segment that is not in flight: {event}")
        self._passed(lane)
        size = self._gain(lane, self.row, range.stop)
        if self._joinable():  # elsewhere a cut body was for nothing
            self.patience.progress()
        if self.order is None:  # a stream has nothing to save
            self.saving.written(size, self.now)
        if lane.gained >= ENOUGH_GAIN:
            self._strikes = 0
        limit = self.options.max_filesize
        if limit is not None and self._endless() and self.row.present_bytes > limit:
            self._end(e.PolicyError(self.spec.path, "the body is over --max-filesize"))

    def reached(self, event: m.Reached) -> None:
        """Bytes that are written, and will be reported."""
        lane = self.lanes.get(event.segment)
        if lane is not None:
            lane.reached = max(lane.reached, event.at)
            if self.order is not None and self.row is not None:
                self._gain(lane, self.row, event.at)

    def _gain(self, lane: Lane, row: Row, upto: int) -> int:
        """All that this lane brings is here up to `upto`; how many bytes that is more."""
        if upto <= lane.upto:
            return 0
        fresh = ByteRange(lane.upto, upto)
        row.add([fresh])
        lane.upto, lane.gained = upto, lane.gained + len(fresh)
        self.source.served(lane)
        self.arrived += len(fresh)
        if self.order is not None:
            self._deliver(self.order, fresh, row)
        return len(fresh)

    def _deliver(self, order: Order, range: ByteRange, row: Row) -> None:
        head = row.head()
        order.note(range, head)
        if order.deliver(head):
            self.emit(m.Deliver(head))

    def consumed(self, event: m.Consumed) -> None:
        """The reader took bytes: the window moves on."""
        if self.order is None:
            return
        self.order.consumed = max(self.order.consumed, event.upto)
        for lane in self.lanes.extend(self.order.limit):
            self.emit(m.Trim(lane.segment, lane.stop, lane.stop < lane.end))

    def compared(self, event: m.Compared) -> None:
        """What a run continues is still the same: now others may join."""
        lane = self.lanes.get(event.segment)
        if lane is not None and not lane.dropped:
            self._passed(lane)
            self.source.over(lane)
            self._confirm(lane)
            self._grow(lane)

    def _passed(self, lane: Lane) -> None:
        """What came before the first wanted byte is over."""
        self.skipped, lane.passing = self.skipped + lane.passing, 0

    def ended(self, event: m.Ended, filling: bool) -> None:
        """A lane is over; while `filling`, what it lacks goes back to the row."""
        lane = self.lanes.pop(event.segment, self.now)
        if lane is not None:
            self.source.over(lane)
        if lane is None or lane.dropped or not filling:
            return
        error = event.error
        if isinstance(error, e.ChangedError) and self.adopted:
            self.disown()
        elif isinstance(error, e.ChangedError):
            self._changed(lane, c.Changed(None, sure=True))
        elif error is None and lane.flowing and self._endless():
            self._end_of_unknown(lane)
        elif error is None and lane.flowing and not self.confirmed:
            self._failed(lane, e.NetworkError("the body ended early", "nothing new in it"))
        elif error is None and lane.upto < lane.stop:
            short = f"{lane.stop - lane.upto} bytes short"
            self._failed(lane, e.NetworkError("the body ended early", short))
        elif error is not None:
            self._failed(lane, error)

    def disown(self) -> None:
        """The adopted bytes proved to be others: begin without them."""
        text = "what is wrong with the bytes that were here cannot be told; all of it is fetched"
        self.emit(m.Tell(Warned(self.spec.path, text)))
        self.adopted = ()
        self.drain(self.forget)

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
        if self._begun() or self.options.on_change == "fail" or self._restarts >= MOST_RESTARTS:
            self._end(error)
            return
        if body is not None and self._object(body.representation):
            return
        if self.order is not None:
            self.order.frozen = True
        self._restarts += 1
        if self.digests.wanted and self._restarts >= RESTARTS_OF_MANY:
            self._erratic, self._dislikes = True, Dislikes(if_match=True, if_range=True)
        self._doubted = False
        self.emit(m.Tell(ChangedFact(self.spec.path, error.why)))
        self.adopted = ()
        if self.spec.dry_run and body is not None:
            self.row = None
            self._take(lane, body)
        elif body is not None and begins_anew(body, self.options.range):
            self.drain(lambda: self._adopt(lane, body), spare=lane)
        else:
            self.drain(self.forget)

    def _unsatisfiable(self, lane: Lane, verdict: c.Unsatisfiable) -> None:
        self.drop(lane)
        known = self.row.representation.total if self.row else None
        if known is not None and verdict.total is not None and verdict.total != known:
            self._changed(lane, c.Changed(None, sure=True))
        elif self.row is None and lies_outside(self.options.range, verdict.total):
            self._end(_outside(verdict.total))
        elif self.row is None and self.adopted:
            self.adopted = clipped(self.adopted, verdict.total or 0)  # here is more than it has
        elif self.row is None and not self.plain:
            self.plain = True  # an empty file, or a server that dislikes `bytes=0-`
        else:
            self._strike(lane, "416 to a range that exists")

    def _refused(self, lane: Lane, verdict: c.Refused | c.RetryLater) -> None:
        self.drop(lane)
        if not (
            isinstance(verdict, c.Refused) and self._outlived(lane, verdict.error, verdict.status)
        ):
            self._failed(lane, verdict.error, verdict.delay)

    def _malformed(self, lane: Lane, verdict: c.Malformed) -> None:
        self.drop(lane)
        self._strike(lane, verdict.why)

    # Taking a body

    def _adopt(self, lane: Lane, body: c.Partial | c.Whole) -> None:
        """A version is begun: by the first response, or anew after a change."""
        if self._begun():
            self._end(e.ChangedError(self.spec.path, "what was read cannot be continued"))
            return
        representation = body.representation
        span = span_of(self.options.range, representation.total)
        if self._object(representation):
            return
        if span is None:
            self.drop(lane)
            error = _outside(representation.total)
            if representation.total is None:
                error = e.ProtocolError("range", "the server does not say where the file ends")
            self._end(error)
            return
        self.row = Row(representation, span, self.options.block_size)
        self.existing = None
        self.digests.restart()
        self.saving.restart()
        if self.order is not None:
            self.order.begin(self.row)
        self.adopted = keep_adopted(self.row, lane, self.adopted)
        self.reused = self.row.present_bytes
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
        self._growing = False

    def _grow(self, lane: Lane) -> None:
        """Ranges are proved, by the first response or, where that was a whole, by a later one."""
        if self.confirmed and self.parallel and not self._growing:
            self._growing = True
            self.growth.proven(self.now, self.now - lane.sent_at, self.arrived)

    def _accept(self, lane: Lane, body: c.Partial | c.Whole) -> None:
        """Let the body in, from the first byte of it that is wanted."""
        assert self.row is not None
        self._note_digests(self.row, body.representation.digests)
        if self.options.verify == "require" and not self.digests.checked and not self.order:
            self.drop(lane)
            self._end(e.DigestMissing(self.spec.path, e.NO_DIGEST, hint=e.NO_DIGEST_HINT))
            return
        ignored = range_ignored(body, lane, self.row)
        self._ignored = self._ignored or (ignored and self.confirmed)
        if ignored and self.lanes.others(lane):
            self._ranges = False  # go on with those that flow
            self.drop(lane)
            if (kept := self.lanes.give_back(lane)) is not None:
                kept.end = kept.stop if self.order is None else self.row.span.stop
                self.emit(m.Trim(kept.segment, kept.stop, kept.stop < kept.end))
            return
        if self._cannot_compare(body):
            self.drain(lambda: self._adopt(lane, body), spare=lane)
            return
        wanted, before = portion(body, lane, self.row)
        limit = self.options.max_filesize
        if limit is not None and self._endless():  # one byte more shows that it is over
            wanted = wanted.clip(ByteRange(0, self.row.span.start + limit + 1))
        if isinstance(body, c.Whole):
            lane.passing = before
            if before >= MUCH:
                text = "the server sends no parts: what is here comes once more, and is passed over"
                self.emit(m.Tell(Warned(self.spec.path, text)))
        compare = min(before, self.comparable(wanted.start))
        if not compare:
            self._confirm(lane)
            self._grow(lane)
        if not wanted and (self.confirmed or not compare):
            self.drop(lane)
            if not self.row.complete:
                self._strike(lane, "206 that ends before what is missing")
            return
        self.lanes.answered(lane, self.now)
        self.source.accepted(lane, compares=compare > 0)
        self.growth.served(self.lanes.flowing())
        lane.upto, lane.stop, lane.end = wanted.start, wanted.stop, wanted.stop
        if self.order is not None:
            lane.stop = min(lane.stop, max(self.order.limit, lane.upto))
        wanted = ByteRange(lane.upto, lane.stop)
        hold = lane.stop < lane.end
        self.emit(m.Receive(lane.segment, wanted, before - compare, compare, hold))

    def _note_digests(self, row: Row, published: tuple[Published, ...]) -> None:
        """What the server says the whole hashes to. Where its answers contradict each other, none
        is believed: some hash the part that they send."""
        if self.digests.disbelieved:
            return
        decided = self.digests.wanted or self.options.verify == "off" or row.part is not None
        if not decided and (why := quarrel(published)):
            self._end(e.DigestMismatch(self.spec.path, why, hint=QUARREL_HINT))
            return
        if row.representation.contradicts(published):
            self.digests.disbelieve()
            row.representation = replace(row.representation, digests=())
            text = "the server publishes digests that contradict each other; none is used"
            self.emit(m.Tell(Warned(self.spec.path, text)))
            return
        if published and not row.representation.digests:
            row.representation = replace(row.representation, digests=published)
        if self.options.verify != "off" and row.part is None and self.order is None:
            self.digests.publish(row.representation.digests)

    def _cannot_compare(self, body: c.Partial | c.Whole) -> bool:
        """A whole to continue with, but no byte of it that is here will be passed on the way to
        the first gap: then all of it is taken."""
        if self.confirmed or self.order or self.digests.wanted or not isinstance(body, c.Whole):
            return False
        assert self.row is not None
        here = self.row.present_bytes > 0
        return here and (self.row.complete or self.row.first_gap() == self.row.span.start)

    def _object(self, representation: Representation) -> bool:
        """Whether policy forbids this representation; then the transfer ends."""
        error = objection(self.spec, representation)
        if error is not None:
            self._end(error)
        return error is not None

    def _end_of_unknown(self, lane: Lane) -> None:
        assert self.row is not None
        if self.row.span.start > 0 and lane.upto <= self.row.span.start:
            self._end(_outside(lane.upto))
            return
        self.unconfirmed_end = lane.framing == "close" and lane.upto < lane.stop
        if self.unconfirmed_end and self.options.strict:
            why = "the body ended with the connection, so nobody can say whether it is whole"
            self._end(e.ProtocolError(self.spec.path, why))
            return
        if self.unconfirmed_end:
            self.emit(m.Tell(Warned(self.spec.path, "the server did not say the length")))
        self.row.end()


def _outside(total: int | None) -> e.ProtocolError:
    return e.ProtocolError("range", f"it lies outside of the {total} bytes of the remote file")


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
