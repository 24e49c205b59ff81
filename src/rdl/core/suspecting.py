"""Bytes that are here and prove wrong: whose they are, and that they come again.

What one of several sources brought is known to the byte. Digests of blocks and of parts tell
which bytes are wrong; one of the whole only that some are.
"""

from __future__ import annotations

from rdl import errors as e
from rdl.core import messages as m
from rdl.core.blocks import Blocks
from rdl.core.byterange import ByteRange
from rdl.core.lanes import Lane
from rdl.core.row import Row
from rdl.core.source import Source
from rdl.core.taking import Taking

MOST_TIMES = 3
MOST_COPIED = 256
"""Places that are copied to at a time."""


class Suspecting(Taking):
    """Taking, and taking back."""

    def bringers(self, range: ByteRange) -> list[Source]:
        """The sources of which some of these bytes are."""
        brought = {one.number: list(one.brought) for one in self.sources}
        for lane in self.lanes.all():
            brought[lane.source].append(lane.brought)
        return [one for one in self.sources if any(run.clip(range) for run in brought[one.number])]

    def accuse(self) -> bool:
        """The digest is wrong: what one source brought is fetched again from the others. Whether
        there is one, and others; the lead is the last to be accused. Where each block is right
        nobody is: then the digests contradict each other."""
        if self.proved:
            return False
        accused = [one for one in self.sources if one.brought]
        accused.sort(key=lambda one: (one is self.sources.lead, sum(map(len, one.brought))))
        for source in accused:
            size = sum(map(len, source.brought))
            if self.disclaim(source, f"the digest is wrong: {size} bytes from there come again"):
                self.accused = source
                return True
        return False

    def convict(self) -> None:
        """The digest is right."""
        if self.accused is not None:
            self.warn(f"{self.accused.url} sent wrong bytes; they came again from elsewhere")

    def disclaim(self, source: Source, why: str, also: ByteRange | None = None) -> bool:
        """Leave it, and fetch again what it brought (and `also` these bytes). False when there is
        no other."""
        if source.left is None and not self._leave(source, e.ChangedError(source.url, why)):
            return False
        if self._begun() and (also or source.brought or self._brings(source)):
            self._end(e.ChangedError(self.spec.path, "what was read cannot be trusted"))
        else:
            row = self.row
            self.drain(lambda: self._unbring(row, source, also))
        return True

    def _brings(self, source: Source) -> bool:
        """Whether something of it is here that came in requests under way."""
        lanes = self.lanes.all()
        return any(lane.source == source.number and lane.brought for lane in lanes)

    def _unbring(self, row: Row | None, source: Source, also: ByteRange | None = None) -> None:
        """Nothing that it brought is here any more."""
        if row is not None and row is self.row and self._joinable():
            brought = (*source.brought, *([also] if also else []))
            if self.blocks is not None:
                brought = tuple(part for one in brought for part in self.blocks.doubted(one))
            if brought:
                self._lose(row, brought)
        self._forget_unless_joinable()

    @property
    def proved(self) -> bool:
        """Whether the digest of each block says that it is right."""
        return self.blocks is not None and self.blocks.complete

    @property
    def pending(self) -> bool:
        """Whether digests of blocks or parts are still computed."""
        return bool(self.parts) or (self.blocks is not None and not self.blocks.complete)

    def _check_part(self, lane: Lane) -> None:
        """A body that was promised to have a digest was taken, all of it."""
        if lane.promised is None or lane.upto < lane.promised[0].stop:
            return
        (part, digest), lane.promised = lane.promised, None
        if self.parts.believed:
            if self.parts.expect(part, digest, lane.source):
                self.emit(m.Check(part, digest.algorithm))
            else:
                self.warn("the server says one Content-Digest of two parts; none is used")

    def checked(self, event: m.Checked) -> None:
        """What a part hashes to."""
        row, source = self.row, self.parts.judge(event.range, event.hex)
        if row is not None and source is not None and row.holds(event.range):
            self._misled(row, event.range, self.sources.number(source))

    def checked_blocks(self, event: m.CheckedBlocks) -> None:
        """What these blocks hash to."""
        known = self.blocks
        for block, found in zip(event.blocks, event.hexes, strict=True):
            if known is not None and self.blocks is known:
                self._judge_block(known, block, found)

    def repeat(self) -> None:
        """Copy what is owed, and stands in blocks that are right: a little at a time, because an
        end has to wait for it."""
        row, blocks, places = self.row, self.blocks, dict[ByteRange, list[ByteRange]]()
        if row is None or blocks is None:
            return
        while len(self.copying) < MOST_COPIED and (found := blocks.next_repeat()) is not None:
            source, place = found
            if row.owes(place) and not row.holds(place) and place not in self.copying:
                self.copying.add(place)
                places.setdefault(source, []).append(place)
        for source, those in places.items():
            self.emit(m.Repeat(source, tuple(those)))

    def repeated(self, event: m.Repeated) -> None:
        """Copies have been made in the row, or could not be."""
        self.copying.difference_update(event.places)
        if self.row is None or not event.copied:
            return
        for place in event.places:
            if self.blocks is not None and self.row.overlaps(place):
                self.blocks.reopen(place)  # some of it came meanwhile
        self.row.add(event.places)
        for place in event.places:
            self.check_blocks(place)

    def _misled(self, row: Row, part: ByteRange, source: Source) -> None:
        """A part is not what its server says of it: it comes again, three times at most."""
        source.misled += 1
        why = f"bytes {part.start}-{part.stop - 1} are not what its Content-Digest says"
        if self._joinable():
            self._lose(row, (part,))
        else:
            self.drain(self.forget)
        if source.misled < MOST_TIMES:
            self.warn(f"{why}, and come again")
        else:
            hint = "--verify off takes them without it"
            self._leave_or_end(source, e.DigestMismatch(source.url, why, hint=hint))

    def _judge_block(self, blocks: Blocks, block: ByteRange, found: str) -> None:
        """A wrong one comes again, and who sent all of it sends no more."""
        row, times = self.row, blocks.judge(block, found)
        if not times or row is None or not row.holds(block):
            return
        shown = f"bytes {block.start}-{block.stop - 1}"
        bringers = self.bringers(block)
        left = any(one.left is not None for one in bringers)
        if not bringers:
            blocks.excuse(block)
        if len(bringers) == 1 and not left:
            source, why = bringers[0], f"its {shown} are wrong"
            joined = any(one.joined for one in self.sources.besides(source))
            # else it may do better, and the mirrors may have nothing
            if joined or times > 1 or source is not self.sources.given:
                left = self._leave(source, e.DigestMismatch(source.url, why))
        elif len(bringers) > 1 and not left and times >= MOST_TIMES:  # one of them, each time
            source = next(one for one in bringers if one is not self.sources.believed)
            why = f"it brought some of {shown}, which are wrong again and again"
            left = self._leave(source, e.DigestMismatch(source.url, why))
        hopeless = times >= MOST_TIMES or blocks.hopeless
        if left and not self._joinable():
            blocks.forgive()
            self.drain(self.forget)
            return
        if not left and (hopeless or not self._joinable()):
            why = f"{shown} are not what their digest says"
            self._end(e.DigestMismatch(self.spec.path, why))
            return
        if left:
            blocks.forgive()
        else:
            self.warn(f"{shown} were wrong, and come again")
        self._lose(row, (block,))

    def _lose(self, row: Row, ranges: tuple[ByteRange, ...]) -> None:
        """These bytes are to come again."""
        row.discard(ranges)
        for range in ranges:
            for lane in self.lanes.all():
                if lane.brought.clip(range):
                    self.sources.of(lane).bring(lane.brought)
                    lane.began = lane.upto
            for source in self.sources:
                source.lose(range)
            if self.blocks is not None:
                self.blocks.reopen(range)
            self.parts.forget(range)
            self.digests.rewind(range)
        self.emit(m.Forget(ranges))
