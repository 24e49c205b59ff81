"""The state of filling one row, and what a failure costs.

It works on lanes, sources and the row and puts commands into `out`. What ends the transfer it
only notes, as `failure` or `settled`; steps that must wait for lanes to end wait in
`after_drain`. A source that fails for good is left to the others, while there are any.
"""

from __future__ import annotations

from collections.abc import Callable

from rdl import errors as e
from rdl.core import messages as m
from rdl.core.blocks import Blocks
from rdl.core.byterange import ByteRange
from rdl.core.demand import Demands
from rdl.core.events import Retrying, Warned
from rdl.core.identity import Dislikes
from rdl.core.lanes import Lane, Lanes
from rdl.core.link import DYING
from rdl.core.order import JOINT, Order
from rdl.core.parts import Parts
from rdl.core.proving import Digests
from rdl.core.representation import Representation, Trust
from rdl.core.row import Row
from rdl.core.saving import Saving
from rdl.core.source import Source, Sources
from rdl.core.spec import Spec
from rdl.core.tiles import Tiles

ENOUGH_GAIN = 4096
"""A request that brought so many bytes may be made again at once."""
LITTLE, MOST_CUT_EARLY = 64 << 10, 2
"""Of requests in a row that bring no more than that, beside others that flow, so many are made
again at once."""
MOST_STRIKES = 3
RESTARTS_OF_MANY = 2
"""After so many it is one stream: whole, whatever the next request would bring."""


MOST_ALONE = 20
"""So many requests alone in a row that bring nothing new are the end."""


class Failing:
    """The state of filling. `row`: None until a response was accepted, or an index continued;
    `confirmed`: this run has accepted one; `plain`: ranges are not asked for any more."""

    def __init__(self, spec: Spec) -> None:
        options = spec.options
        self.spec, self.options, self.now = spec, options, 0.0
        self.out: list[m.Command] = []
        self.failure: e.RdlError | None = None
        self.settled = ""
        self.after_drain: Callable[[], None] | None = None
        self.lanes, self.sources = Lanes(), Sources(spec)
        self.saving, self.digests = Saving(), Digests(options.digests)
        self.confirmed = self.plain = self.unconfirmed_end = self._doubted = False
        self._erratic = False
        """Each answer has other validators: what was asked for is told by the digest alone."""
        self._mixed = False
        """The index names no validators any more: they do not speak for all that is here."""
        self._exhausted: e.RdlError | None = None
        self.accused: Source | None = None
        """The source whose bytes came again when the digest was wrong."""
        self._restarts, self._sought, self._alone = 0, False, 0
        self._joint = JOINT
        self.order = Order(spec.window) if spec.window else None
        chunks = spec.chunks if spec.tiled else None
        self.tiles = Tiles(chunks, spec.seed) if chunks is not None and chunks.span else None
        self.demands = Demands(spec.lazy, volatile=spec.volatile) if spec.lazy else None
        saved = spec.remembered
        self._had = spec.pinned is not None and saved is not None and any(saved.present)
        """Readers had bytes of it in a run before this one."""
        self.arrived = self.skipped = 0
        self.adopted = spec.adoptable
        self.row = Row.remembered(saved, options.range, options.block_size) if saved else None
        if self.row and not (self._joinable() and self._wanted(self.row)):
            self.row, self.adopted = None, ()  # what was adopted goes with its index
        if self.row:
            self.row.add(self.adopted)
        if self.row is None:
            self.sources.lead = self.sources.given
        else:
            self.sources.lead.known = self.row.representation
        self.reused = self.row.present_bytes if self.row else 0
        self.blocks: Blocks | None = None
        self.parts = Parts()
        self.copying = set[ByteRange]()
        """Places of Repeats that are not answered."""
        self.begin_blocks()
        self.existing = spec.existing if self.row is None else None

    def _wanted(self, row: Row) -> bool:
        """Whether this is as long as the file that is asked for is known to be."""
        total, options = row.representation.total or 0, self.options
        sized = options.expected_size in (None, total)
        return sized and not (self.spec.has_blocks and self.spec.blocks(total) is None)

    def begin_blocks(self) -> None:
        """A row is begun: its blocks are to be checked, where their digests are known."""
        self.parts, self.blocks = Parts(), None
        row, size = self.row, self.row.size if self.row else None
        if row is None or size is None or not self.spec.has_blocks or self.order or self.demands:
            return
        chunks = self.spec.blocks(size)
        if chunks is None:
            self._end(e.ChangedError(self.spec.path, f"digests of blocks do not fit {size} bytes"))
            return
        self.blocks = Blocks(chunks, self.spec.repeats)
        row.owe(map(chunks.chunk, self.spec.repeats.places))

    @property
    def decided(self) -> bool:
        """Whether digests tell whether the bytes are right before anybody has them."""
        if self.demands is not None:
            return False
        return bool(self.digests.wanted) or (self.spec.has_blocks and self.order is None)

    @property
    def proving(self) -> bool:
        """The same, of those that servers publish too: nothing else need vouch for who joins."""
        return self.decided or (self.demands is None and bool(self.digests.checked))

    def forget(self) -> None:
        """Ask from the start; what is on disk stays until a response was accepted."""
        if self._begun():
            self._end(e.ChangedError(self.spec.path, "what was read cannot be continued"))
            return
        self.row, self.confirmed = None, False
        for source in self.sources:
            source.forget()

    def drain(self, then: Callable[[], None], spare: Lane | None = None) -> None:
        """Drop all segments but `spare`; take the step when none can write any more."""
        for lane in self.lanes.all():
            if lane is not spare:
                self.drop(lane)
        self.after_drain = then

    def drop(self, lane: Lane) -> None:
        """Stop a lane."""
        self.sources.of(lane).link.over(lane)
        if self.lanes.drop(lane):
            self.emit(m.Drop(lane.segment))

    @property
    def writing(self) -> bool:
        """Whether something may still be written, or is made durable, for what is to end."""
        return bool(self.saving.syncing or self.lanes.draining() or self.copying)

    def emit(self, command: m.Command) -> None:
        self.out.append(command)

    def warn(self, text: str) -> None:
        """What the user should know, and stops nothing."""
        self.emit(m.Tell(Warned(self.spec.path, text)))

    # Failing

    def _failed(self, lane: Lane, error: e.RdlError, delay: float | None = None) -> None:
        """A request came to nothing, or to less than was asked."""
        source = self.sources.of(lane)
        delay = error.delay if delay is None else delay
        if not lane.gained and not source.link.give_back(lane):
            source.link.suspect(lane)
        self._joint = min(JOINT, lane.gained // 16)  # of bodies that are cut it is to be little
        others = len(self.lanes.fellows(lane))
        gained = lane.gained >= ENOUGH_GAIN and self._joinable()
        source.cut_early = source.cut_early + 1 if lane.gained < LITTLE else 0
        surplus = not lane.gained or source.cut_early > MOST_CUT_EARLY
        if others and surplus:  # it serves the others: this is about their number
            source.growth.refused(self.now, others)
            source.patience.surplus(self.now, delay)
        elif error.permanent and (lane.beside or self.lanes.alive(lane)):
            # Those that wait may be served, and of several nodes another may have it.
            source.growth.refused(self.now, self.lanes.alive(lane))
        elif self._stuck():
            self._end(error)
            return
        elif error.permanent:
            self._leave_or_end(source, error)
            return
        elif not source.patience.failure(self.now, delay, gained):
            if not self._leave(source, error):
                self._exhausted = self.sources.blame(error)
            return
        self._retry(source, error, source.patience.failures)

    def _retry(self, source: Source, error: e.RdlError, attempt: int) -> None:
        """What is missing will be asked for again. `attempt`: 0 where none was in vain."""
        wait = max(0.0, source.not_before - self.now)
        self.emit(m.Tell(Retrying(self.spec.path, str(error), attempt, wait)))
        self._forget_unless_joinable()
        here = self.lanes or self.arrived or self.row is None or self.row.present_bytes
        if not here and any(not one.found for one in self.sources.besides(source)):
            self.forget()  # another may begin it: there is nothing to show it to

    def _leave(self, source: Source, error: e.RdlError) -> bool:
        """Use it no more. False when it is the last one, and nothing is done then."""
        rest = self.sources.besides(source)
        if not rest:
            return False
        source.left = error
        why = error.why if error.what == source.url else str(error)
        self.warn(f"{source.url} is not used any more: {why}")
        for lane in self.lanes.all():
            if lane.source == source.number:
                self.drop(lane)
        if self.confirmed and not any(one.joined for one in rest):
            self.ask_alone()
        else:
            self._forget_unless_joinable()
        return True

    def _leave_or_end(self, source: Source, error: e.RdlError) -> None:
        if not self._leave(source, error):
            self._end(self.sources.blame(error))

    def ask_alone(self) -> None:
        """One request, which compares as that of a run does that continues another, before others
        may join. Where that comes to nothing again and again there is no use in it."""
        self.confirmed = False
        if not self._in_vain():
            self.drain(self._forget_unless_joinable)

    def _in_vain(self) -> bool:
        """Whether it was asked for what is here already, to compare, too often; the transfer ends
        then."""
        self._alone += 1
        if self._alone > MOST_ALONE:
            why = "what it sends ends before anything new has come, again and again"
            self._end(e.NetworkError(self.spec.url, why))
        return self._alone > MOST_ALONE

    def _outlived(self, lane: Lane, error: e.RdlError, status: int) -> bool:
        """Whether a refusal means that the link, or the URL, has had its time, so that a new one
        is asked for. One that was never good has not."""
        source = self.sources.of(lane)
        if lane.elsewhere and not lane.fresh:
            flowing = sum(one.link == lane.link for one in self.lanes.fellows(lane))
            if flowing and source.link.young(lane, self.now):  # it is about their number
                source.growth.refused(self.now, flowing)
            elif not source.link.suspect(lane, refused=True):  # others have said so
                self._forget_unless_joinable()
                return True
            source.patience.total += 1
            self._retry(source, error, 0)
            return True
        another = source.renewable and status in DYING
        if self.lanes.alive(lane) or self._stuck() or not (another or self._led_on(lane)):
            return False
        if not source.link.refuse(another=another):
            return False
        source.patience.total += 1
        self._retry(source, error, source.link.refused)
        return True

    def _led_on(self, lane: Lane) -> bool:
        """Whether it asked for a new link after others were good in this run."""
        source = self.sources.of(lane)
        good = self.confirmed or self.arrived > 0 if source is self.sources.given else source.joined
        return lane.elsewhere and good

    def _strike(self, lane: Lane, why: str) -> None:
        """A response broke the rules; after three, a plain single stream is the last resort."""
        source = self.sources.of(lane)
        source.strikes += 1
        error = e.ProtocolError(source.url, why)
        if source.strikes < MOST_STRIKES:
            error.permanent = False
            self._failed(lane, error)
        elif self._leave(source, error):
            return
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
        source = self.sources.of(lane)
        source.link.suspect(lane)
        if self.confirmed and not source.dislikes.if_match:
            if source is self.sources.lead:
                self._doubted = True
                self.ask_alone()
            else:
                source.joined, source.dislikes = False, Dislikes(if_match=True)
                self.drop(lane)
        else:
            self.drop(lane)
            self._strike(lane, "412 to a request without If-Match")

    # Looking

    def known(self, source: Source) -> Representation | None:
        """What it sends, as far as that is known."""
        if self.row is not None and source is self.sources.lead:
            return self.row.representation
        return source.known if self.row else None

    @property
    def kept(self) -> bool:
        """Whether a later run can use what is here; nothing is here yet counts as well."""
        return self.row is None or self._joinable() or not self.row.present_bytes

    def _joinable(self) -> bool:
        """Whether parts from several responses may stand in one file."""
        if self.row is None or self.row.representation.total is None:
            return False
        return self.row.trust is not Trust.T0 or self.decided

    def _stuck(self) -> bool:
        """Whether bytes were delivered that nothing can be joined to."""
        return self._begun() and not self._joinable()

    def _begun(self) -> bool:
        """Whether a reader has bytes of this row, so that it cannot be begun anew."""
        if self.demands is not None:
            return self.demands.shown or self._had
        return self.order is not None and self.row is not None and self.order.begun(self.row)

    def _endless(self) -> bool:
        """Whether the end of the body will tell how long the file is."""
        return self.row is not None and self.row.representation.total is None

    def _end(self, error: e.RdlError) -> None:
        self.failure = self.failure or error
