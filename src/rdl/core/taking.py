"""What of a response is let in: the row begins with it, continues with it, or compares it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from msgspec.structs import replace

from rdl import errors as e
from rdl.core import classify as c
from rdl.core import messages as m
from rdl.core.asking import Asking
from rdl.core.byterange import ByteRange
from rdl.core.delta import fewer
from rdl.core.identity import Dislikes
from rdl.core.joining import UNKNOWN, speaks
from rdl.core.lanes import Lane
from rdl.core.published import Published, quarrel
from rdl.core.receiving import keep_adopted, portion, range_ignored
from rdl.core.representation import Representation
from rdl.core.row import Row, span_of
from rdl.core.source import Source
from rdl.core.spec import QUARREL_HINT, objection, started

MUCH = 1 << 20
MOST_CHECKED = 256
"""So many blocks at a time: the digest of the whole is to follow what comes meanwhile."""


class Taking(Asking):
    """Asking, and letting in what comes."""

    def _adopt(self, lane: Lane, body: c.Partial | c.Whole) -> None:
        """A version is begun: by the first response, or anew after a change."""
        if self._begun():
            self._end(e.ChangedError(self.spec.path, "what was read cannot be continued"))
            return
        if lane.dropped:  # meanwhile its source was left: another is asked what it has
            self.forget()
            return
        source, representation = self.sources.of(lane), body.representation
        if source.found and not self.decided:  # what the server published is of the row that was
            self.drop(lane)
            self._leave_or_end(source, e.ChangedError(source.url, UNKNOWN))
            return
        span = span_of(self.options.range, representation.total)
        if self._object(representation):
            return
        if span is None:
            self.drop(lane)
            error = outside(representation.total)
            if representation.total is None:
                error = e.ProtocolError("range", "the server does not say where the file ends")
            self._end(error)
            return
        self.row = Row(representation, span, self.options.block_size)
        self._lead(source, representation)
        self.begin_blocks()
        self.existing, self._mixed = None, False
        self.digests.restart()
        self.saving.restart()
        if self.order is not None:
            self.order.begin(self.row)
        if self.demands is not None and self._too_large(self.row):
            return
        self.adopted = keep_adopted(self.row, lane, self.adopted)
        self.reused = self.row.present_bytes
        part, block_size = self.row.part, self.row.block_size
        lead = self.sources.lead
        url = "" if lead is self.sources.given else lead.url
        self.emit(m.Begin(representation, part, block_size, fewer(self.adopted), url))
        if self.row.size and self.demands is None:
            self.emit(m.Reserve(self.row.size))
        self._accept(lane, body)

    def _lead(self, source: Source, sends: Representation) -> None:
        """The row is begun with what it sends."""
        ranges = source.ranges
        for one in self.sources:
            one.forget()
        source.ranges, source.known, self.sources.lead = ranges, sends, source

    def _confirm(self, lane: Lane) -> None:
        """The first accepted response of this run: now others may join."""
        if self.row is None:
            return
        source = self.sources.of(lane)
        source.joined, source.doubted = True, source.doubted and not lane.fresh
        self._seek(lane, source)
        if self.confirmed:
            return
        self.confirmed, self._confirmed_at = True, self.now
        self._show(self.row, self.row.present())
        self.check_blocks(self.row.span)
        if self._doubted:  # it is still the same: the server does not understand If-Match
            self._doubted, source.dislikes = False, Dislikes(if_match=True)
            return
        self.emit(m.Tell(started(self.spec, self.row, self.reused, self.parallel)))
        source.growing = False

    def _show(self, row: Row, ranges: Iterable[ByteRange]) -> None:
        """Readers of a lazy row may have these bytes."""
        if self.demands is None:
            return
        if not self.demands.shown:
            self.demands.shown = True
            self.emit(m.Known(row.representation, row.size))
        if runs := tuple(ranges):
            self.emit(m.Show(runs))

    def _too_large(self, row: Row, *, parts: bool = True) -> bool:
        """Whether a row that comes in one stream is more than memory may hold; the transfer ends
        then. `parts`: the server sends them, if they can be joined."""
        lazy, size = self.spec.lazy, row.size or row.present_bytes
        streamed = not self._joinable() or not parts
        if lazy is None or not self.spec.volatile or not streamed or size <= lazy.keep:
            return False
        why = "the server sends no parts" if self._joinable() else "nothing joins parts of it"
        why += f", and {lazy.keep} bytes are kept in memory"
        self._end(e.PolicyError(self.spec.url, why, hint="open it with a path"))
        return True

    def _seek(self, lane: Lane, source: Source) -> None:
        """Where a digest decides, other mirrors may be used than the user named."""
        if self.proving and not self._sought and source is self.sources.lead:
            self._sought = True
            self.emit(m.Seek(lane.segment))

    def found(self, event: m.Found) -> None:
        """A server named some."""
        for url in event.urls:
            self.sources.add(url, found=True)

    def check_blocks(self, span: ByteRange) -> None:
        """Look at the blocks that have become whole with these bytes."""
        if self.blocks is not None and self.row is not None and self.confirmed:
            due = self.blocks.due(self.row, span)
            while some := tuple(islice(due, MOST_CHECKED)):
                self.emit(m.CheckBlocks(some, self.blocks.algorithm))

    def _grow(self, lane: Lane) -> None:
        """Ranges are proved, by the first response or, where that was a whole, by a later one."""
        source = self.sources.of(lane)
        if self.confirmed and source.ranges and self.parallel and not source.growing:
            source.growing = True
            source.growth.proven(self.now, self.now - lane.sent_at, source.gained)

    def _accept(self, lane: Lane, body: c.Partial | c.Whole) -> None:
        """Let the body in, from the first byte of it that is wanted."""
        assert self.row is not None
        source = self.sources.of(lane)
        if source is self.sources.lead:
            self._note_digests(self.row, body.representation.digests)
        proved = self.digests.checked or self.blocks or self.order
        if self.options.verify == "require" and not proved:
            self.drop(lane)
            self._end(e.DigestMissing(self.spec.path, e.NO_DIGEST, hint=e.NO_DIGEST_HINT))
            return
        ignored = range_ignored(body, lane, self.row)
        source.ignored = source.ignored or (ignored and self.confirmed)
        if ignored and self.lanes.others(lane):
            source.ranges = False  # go on with those that flow
            self.drop(lane)
            if lane.probe:
                self._leave(source, e.ProtocolError(source.url, "it sends no parts"))
                return
            if (kept := self.lanes.give_back(lane)) is not None:
                kept.end = kept.stop if self.order is None else self.row.span.stop
                self.emit(m.Trim(kept.segment, kept.stop, kept.stop < kept.end))
            return
        streamed = self.plain or (ignored and not source.proved and not lane.probe)
        if streamed and self._too_large(self.row, parts=False):
            return
        if self._cannot_compare(body):
            self.drain(lambda: self._adopt(lane, body), spare=lane)
            return
        wanted, before = portion(body, lane, self.row)
        if self.copying or (source.proved and source.ranges):
            wanted = self.row.due(wanted)
        else:
            self.row.relieve(wanted)
        limit = self.options.max_filesize
        if limit is not None and self._endless():  # one byte more shows that it is over
            wanted = wanted.clip(ByteRange(0, self.row.span.start + limit + 1))
        if isinstance(body, c.Whole):
            lane.passing = before
            if before >= MUCH:
                self.warn("the server sends no parts: what is here comes again, and is passed over")
        compare = min(before, self.comparable(wanted.start))
        if not compare:
            self._confirm(lane)
            self._grow(lane)
        if not wanted and not compare and lane.probe:  # the reader went on
            self.drop(lane)
            return
        if not wanted and not lane.probe and (self.confirmed or not compare):
            self.drop(lane)
            if self.row.first_gap() < self.row.span.stop:
                self._strike(lane, "206 that ends before what is missing")
            return
        self.lanes.answered(lane, self.now, compares=compare > 0)
        source.link.accepted(lane, compares=compare > 0)
        source.growth.served(1 + len(self.lanes.fellows(lane)))
        if source is self.sources.lead:
            source.known = body.representation
        lane.upto, lane.stop, lane.end = wanted.start, wanted.stop, wanted.stop
        lane.began = wanted.start
        if self.order is not None:
            lane.stop = min(lane.stop, max(self.order.limit, lane.upto))
        if wanted and not self._mixed:
            self._mix(self.row, body, source)
        wanted = ByteRange(lane.upto, lane.stop)
        hold = lane.stop < lane.end
        self.emit(m.Receive(lane.segment, wanted, before - compare, compare, hold))

    def _mix(self, row: Row, body: c.Partial | c.Whole, source: Source) -> None:
        """Unless what the index names speaks for this body too. In tiles what others have comes as
        if its server had sent it."""
        lead = self.sources.lead
        named = speaks(row.representation, body.representation, source, lead)
        if not named or self.tiles is not None:
            self._mixed = True
            self.emit(m.Mix())

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
            self.warn("the server publishes digests that contradict each other; none is used")
            return
        if published and not row.representation.digests:
            row.representation = replace(row.representation, digests=published)
        if self.options.verify != "off" and row.part is None and self.order is None:
            self.digests.publish(row.representation.digests)

    def _cannot_compare(self, body: c.Partial | c.Whole) -> bool:
        """A whole to continue with, but no byte of it that is here will be passed on the way to
        the first gap: then all of it is taken."""
        if self.confirmed or self.order or self.decided or not isinstance(body, c.Whole):
            return False
        if self._begun():  # nothing can be begun anew, and its validator says that it is the same
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
            self._end(outside(lane.upto))
            return
        self.unconfirmed_end = lane.framing == "close" and lane.upto < lane.stop
        if self.unconfirmed_end and self.options.strict:
            why = "the body ended with the connection, so nobody can say whether it is whole"
            self._end(e.ProtocolError(self.spec.path, why))
            return
        if self.unconfirmed_end:
            self.warn("the server did not say the length")
        self.row.end()
        if self.demands is not None:
            self.emit(m.Known(self.row.representation, self.row.size))
        self.begin_blocks()
        self.check_blocks(self.row.span)


def outside(total: int | None) -> e.ProtocolError:
    """What was asked for is not in the file."""
    return e.ProtocolError("range", f"it lies outside of the {total} bytes of the remote file")
