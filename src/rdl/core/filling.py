"""How one row gets filled: what a response means for it, and what arrived or ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rdl import errors as e
from rdl.core import classify as c
from rdl.core import messages as m
from rdl.core.byterange import ByteRange
from rdl.core.events import Changed as ChangedFact
from rdl.core.failing import ENOUGH_GAIN, RESTARTS_OF_MANY
from rdl.core.identity import Dislikes
from rdl.core.joining import UNKNOWN, differs, vouched
from rdl.core.lanes import Lane
from rdl.core.order import Order
from rdl.core.published import of_part
from rdl.core.receiving import begins_anew, clipped
from rdl.core.representation import Representation, Trust
from rdl.core.row import Row, lies_outside
from rdl.core.source import Source
from rdl.core.spec import plan
from rdl.core.suspecting import Suspecting
from rdl.core.taking import outside

MOST_RESTARTS = 5
OTHER = "it has other bytes"


class Filling(Suspecting):
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
        lane.framing, lane.elsewhere = event.head.framing, event.elsewhere
        source = self.sources.of(lane)
        verdict = c.classify(lane.ask, event.head, self._context(source))
        if isinstance(verdict, c.Changed | c.Partial | c.Whole):  # a 200 may answer `bytes=0-`
            offered = (event.head.get("accept-ranges") or "").strip().lower() == "bytes"
            offered = offered and (source.proved or not source.ignored)
            source.ranges = event.head.status == 206 or offered
            source.proved = source.proved or event.head.status == 206
        kept = self.order is None and self.demands is None
        if isinstance(verdict, c.Partial) and self.options.verify != "off" and kept:
            promised = of_part(event.head)
            lane.promised = (verdict.range, promised) if promised else None
        _VERDICTS[type(verdict)](self, lane, verdict)

    def _context(self, source: Source) -> c.Context:
        """What its response is judged against."""
        known, decided = self.known(source), self.decided
        if self.row is not None and known is None:  # _take looks closer
            known, decided = Representation(self.row.representation.total), True
        if source is not self.sources.lead:  # it joined under that
            decided = decided or self.proving
        existing = self.existing if source is self.sources.given else None
        return c.Context(known, existing, decided, self._erratic)

    def came(self, event: m.Arrived) -> None:
        """Written bytes."""
        range, lane = event.range, self.lanes.get(event.segment)
        if self.row is None or lane is None:
            raise AssertionError(f"bytes of a segment that is not in flight: {event}")
        self._passed(lane)
        size = self._gain(lane, self.row, range.stop)
        if self._joinable():  # elsewhere a cut body was for nothing
            self.sources.of(lane).patience.progress()
        if self.order is None and not self.spec.volatile:
            self.saving.written(size, self.now)
        self.check_blocks(range)
        self._check_part(lane)
        if lane.gained >= ENOUGH_GAIN:
            self.sources.of(lane).strikes = 0
        limit = self.options.max_filesize
        if limit is not None and self._endless() and self.row.present_bytes > limit:
            self._end(e.PolicyError(self.spec.path, "the body is over --max-filesize"))

    def make_room(self) -> None:
        """Memory is to hold no more than was allowed, and what is waited for."""
        row, demands, lazy = self.row, self.demands, self.spec.lazy
        if row is None or demands is None or lazy is None or not self.spec.volatile:
            return
        if self._too_large(row) or not self._joinable():
            return
        if (surplus := row.present_bytes - lazy.keep) > 0:
            busy = [lane.writes for lane in self.lanes.all()]
            self.emit(m.Evict(surplus, (*demands.waiting(None), *busy)))

    def evicted(self, event: m.Evicted) -> None:
        """Memory has let these go."""
        if self.row is not None and event.ranges:
            self._lose(self.row, tuple(one.clip(self.row.span) for one in event.ranges))

    def invalidate(self, event: m.Invalidate) -> None:
        """A reader found these wrong."""
        if self.row is None:
            return
        if self._joinable():
            self._lose(self.row, (event.range.clip(self.row.span),))
        else:
            self.drain(self.forget)

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
        before = row.present_bytes if self.blocks is not None else 0
        row.add([fresh])
        if self.blocks is not None and row.present_bytes < before + len(fresh):
            self.blocks.reopen(fresh)  # some of it came again, over what was right or hashed
            self.digests.rewind(fresh)
        lane.upto, lane.gained, self._alone = upto, lane.gained + len(fresh), 0
        source = self.sources.of(lane)
        source.link.served(lane)
        source.gained, self.arrived = source.gained + len(fresh), self.arrived + len(fresh)
        if self.order is not None:
            self._deliver(self.order, fresh, row)
        if self.confirmed:
            self._show(row, (fresh,))
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
            source = self.sources.of(lane)
            self._passed(lane)
            self.lanes.compared(lane, self.now)
            source.link.over(lane)
            if not event.size and (lane.probe or not source.joined):
                self.drop(lane)
                self._failed(lane, e.NetworkError(source.url, "nothing was left to compare"))
                return
            self._confirm(lane)
            self._grow(lane)

    def _passed(self, lane: Lane) -> None:
        """What came before the first wanted byte is over."""
        self.skipped, lane.passing = self.skipped + lane.passing, 0

    def ended(self, event: m.Ended, filling: bool) -> None:
        """A lane is over; while `filling`, what it lacks goes back to the row."""
        lane = self.lanes.pop(event.segment)
        if lane is None:
            return
        source = self.sources.of(lane)
        source.link.over(lane)
        source.ended(lane, self.now)
        if lane.dropped or not filling:
            return
        error = event.error
        if isinstance(error, e.ChangedError) and self.adopted:
            self.disown()
        elif isinstance(error, e.ChangedError):
            self._differs(lane)
        elif error is None and lane.probe and not source.joined:
            self._failed(lane, e.NetworkError("the body ended early", "nothing was compared"))
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
        text = "what is wrong with the bytes that were here cannot be told"
        self.warn(f"{text}; all of it is fetched")
        self.adopted = ()
        self.drain(self.forget)

    # Verdicts

    def _take(self, lane: Lane, verdict: c.Partial | c.Whole) -> None:
        if self.spec.dry_run:
            ranges = self.sources.of(lane).ranges
            self.emit(m.Tell(plan(self.spec, verdict.representation, self.row, ranges)))
            self.drop(lane)
            self.settled = "dry-run"
        elif self.row is None and self._needs_all(verdict):
            self.drop(lane)
        elif self.row is None:
            self.drain(lambda: self._adopt(lane, verdict), spare=lane)
        elif self._joins(lane, verdict):
            before = self.digests.disbelieved
            self._accept(lane, verdict)
            if self.digests.disbelieved and not before and not self.decided:
                self._unjoin()

    def _needs_all(self, verdict: c.Partial | c.Whole) -> bool:
        """Whether a part of a lazy row is of no use, since nothing could be joined to it: then all
        of it is asked for, from the first byte."""
        demands, alone = self.demands, verdict.representation.trust is Trust.T0
        if demands is None or not alone or isinstance(verdict, c.Whole) or self.decided:
            return False
        if demands.streamed:  # it was, and this is what there is
            return False
        demands.streamed = True
        return True

    def _unjoin(self) -> None:
        """What the server published is not believed any more: who joined by that alone is left,
        and what it brought comes again."""
        row, alone = self.row, list[Source]()
        for source in self.sources:
            if row is None or source is self.sources.lead or source.known is None:
                continue
            if source.found or not vouched(row.representation, source.known):
                alone.append(source)
                if source.left is None:
                    self._leave(source, e.ChangedError(source.url, UNKNOWN))

        def unbring() -> None:
            for source in alone:
                self._unbring(row, source)

        if alone:
            self.drain(unbring)

    def _joins(self, lane: Lane, body: c.Partial | c.Whole) -> bool:
        """Whether it may be let in: what a source sends first shows whether it has the same."""
        source = self.sources.of(lane)
        if self.row is None or self.known(source) is not None:
            return True
        known, offered = self.row.representation, body.representation
        why = differs(known, offered)
        if not why and (self.proving or (vouched(known, offered) and not source.found)):
            source.known = offered
            return True
        if why and source is self.sources.given:  # a mirror was before it, with another file
            self._changed(lane, c.Changed(body))
        elif why or source.found:
            if not self._leave(source, e.ChangedError(source.url, why or UNKNOWN)):
                self._changed(lane, c.Changed(body))
        elif self.sources.put_aside(source):
            self.warn(f"{source.url} is used only when no other is left: {UNKNOWN}")
            self.drop(lane)
        else:
            self._changed(lane, c.Changed(body))
        return False

    def _differs(self, lane: Lane) -> None:
        """What it sends is not what is here: one of those whose bytes these are has others. The URL
        as given is believed, and digests of blocks before it; of two mirrors neither is."""
        source, believed = self.sources.of(lane), self.sources.believed
        compared = ByteRange(lane.ask.start, lane.ask.start + lane.overlap)
        others = [one for one in self.bringers(compared) if one not in (source, believed)]
        known = self.blocks is not None and not list(self.blocks.doubted(compared))
        if source is believed and not known:
            wrong = self.disclaim(others[0], OTHER) if others else False
        else:
            wrong = self.disclaim(source, OTHER, compared if others and not known else None)
        if not wrong:
            self._changed(lane, c.Changed(None, sure=True))

    def _unchanged(self, lane: Lane, verdict: c.Unchanged) -> None:
        self.drop(lane)
        self.settled = "unchanged"

    def _changed(self, lane: Lane, verdict: c.Changed) -> None:
        error = e.ChangedError(self.spec.path, "the remote file changed since this part was begun")
        body, source = verdict.body, self.sources.of(lane)
        if body is None and self.row is not None and not verdict.sure:
            self._precondition_failed(lane)
            return
        told = e.ChangedError(source.url, "it has another file now")
        aside = source not in (self.sources.lead, self.sources.given)
        if aside and self._leave(source, told):
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
            self._erratic, source.dislikes = True, Dislikes(if_match=True, if_range=True)
        self._doubted = False
        self.emit(m.Tell(ChangedFact(self.spec.path, error.why)))
        self.adopted = ()
        if self.spec.dry_run and body is not None:
            self.row = None
            self._take(lane, body)
        elif body is not None and begins_anew(body, self.options.range):
            self.drain(lambda: self._adopt(lane, body), spare=lane)
        else:
            self.sources.lead = source  # it is asked first
            self.drain(self.forget)

    def _unsatisfiable(self, lane: Lane, verdict: c.Unsatisfiable) -> None:
        self.drop(lane)
        known = self.row.representation.total if self.row else None
        if known is not None and verdict.total is not None and verdict.total != known:
            self._changed(lane, c.Changed(None, sure=True))
        elif self.row is None and self.demands is not None and self.demands.beyond():
            return
        elif self.row is None and lies_outside(self.options.range, verdict.total):
            self._end(outside(verdict.total))
        elif self.row is None and self.adopted:
            less = clipped(self.adopted, verdict.total or 0)
            self.adopted = less if less != self.adopted else ()  # what was asked for it must have
        elif self.row is None and not self.plain:
            self.plain = True  # an empty file, or a server that dislikes `bytes=0-`
        else:
            self._strike(lane, "416 to a range that exists")

    def _refused(self, lane: Lane, verdict: c.Refused) -> None:
        self.drop(lane)
        if not self._outlived(lane, verdict.error, verdict.status):
            self._failed(lane, verdict.error)

    def _put_off(self, lane: Lane, verdict: c.RetryLater) -> None:
        self.drop(lane)
        self._failed(lane, verdict.error, verdict.delay)

    def _malformed(self, lane: Lane, verdict: c.Malformed) -> None:
        self.drop(lane)
        self._strike(lane, verdict.why)


_VERDICTS: dict[type[c.Verdict], Callable[[Filling, Lane, Any], None]] = {
    c.Partial: Filling._take,
    c.Whole: Filling._take,
    c.Unchanged: Filling._unchanged,
    c.Changed: Filling._changed,
    c.Unsatisfiable: Filling._unsatisfiable,
    c.RetryLater: Filling._put_off,
    c.Refused: Filling._refused,
    c.Malformed: Filling._malformed,
}
