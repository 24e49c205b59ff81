"""How a file is made of chunks, as a manifest or another program's index says, and which of them
stand in local files. What is not found is fetched.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import Protocol

from msgspec import Struct

from rdl.chunkers import CannotCut, chunker_of
from rdl.chunkers.rolling import Sought, blocks_in_place
from rdl.core import manifest as rdlm
from rdl.core.byterange import ByteRange
from rdl.core.caibx import Caibx
from rdl.core.chunks import Alive, Chunks, Lookup, paced, unwatched
from rdl.core.delta import IN_PLACE, Place, Places, gap_for
from rdl.core.manifest import Manifest, Sizes
from rdl.core.reads import Carrier, watched
from rdl.core.zsync import Zsync
from rdl.engine.hashing import Readable
from rdl.engine.seeding import Search, Spans, Wanted, in_place
from rdl.seeds import Seeds, Watch, recall
from rdl.storage.local_file import LocalFile

ABREAST = 8
FIRST = 16 << 10
"""Bytes that are read first: all that is needed of a small manifest."""
AT_ONCE = 1 << 20
"""Bytes of a manifest in one request, about."""
MOST_FINE = 1 << 20
"""Fine chunks that are looked for; of what is missing beyond them whole coarse ones are fetched."""
ROUND_TRIP = 0.02
"""Seconds that an answer takes, where that is not known."""
MANY, SAMPLES, SAMPLE = 2048, 32, 16
"""Where more coarse chunks are missing, so many runs of so many are looked at first: where those
have nothing in common with the seeds, fine chunks of all would be read for nothing."""

LEAST_BLOCK = 512
"""Bytes of a block of a .zsync that is looked for: of the smallest that `zsyncmake` takes by itself
a quarter. An index of as many blocks as it may have already takes a second for a MiB of a seed, and
with smaller ones two, four, and so on."""


class Timed(Carrier, Protocol):
    """A manifest, here or at a server."""

    @property
    def round_trip(self) -> float:
        """How long an answer takes, in seconds."""
        ...


class Found(Struct, frozen=True):
    """The chunks of the new file, and where each of those was found that were. `checked`: their
    digests are good enough to prove them."""

    chunks: Chunks
    places: Places
    checked: bool = True

    def came(self) -> Iterator[int]:
        """Those that no seed has: what was fetched, now or before."""
        for number in range(len(self.chunks)):
            place = self.places.get(number)
            if place is None or place.seed == IN_PLACE:
                yield number


class Recipe(Protocol):
    """How a file of `total` bytes is made; `sha256` of it, or another digest, by its algorithm."""

    @property
    def total(self) -> int: ...

    @property
    def digests(self) -> dict[str, str]: ...

    @property
    def proves(self) -> bool:
        """Whether it has digests that tell if what was put together is right."""
        ...

    @property
    def round_trip(self) -> float: ...

    def find(self, part: Readable, here: Sequence[ByteRange], seeds: Seeds, check: Watch) -> Found:
        """Look in the part file, of which this is claimed to be `here`, and in the seeds."""
        ...


class _Local(Struct, frozen=True):
    """What is on this disk: the part file, of which this is claimed to be `here`, and the seeds."""

    part: Readable
    here: Sequence[ByteRange]
    seeds: Seeds
    check: Watch

    def look(
        self, wanted: Wanted, chunker: str, sizes: Sizes, within: list[Spans] | None = None
    ) -> list[Spans]:
        """Find what is wanted in these parts of the seeds, or all of them: then, what of each is
        not."""
        cutter = None
        if len(self.seeds):
            cutter = chunker_of(chunker, sizes.least, sizes.average, sizes.most)
        sought = self.seeds.size if within is None else sum(one.total for one in within)
        self.check.expect(sought + sum(map(len, self.here)))
        in_place(self.part, wanted, self.here, self.check)
        search = cutter and Search(wanted, cutter, self.check)
        rests = _through(self.seeds, search, within) if search else []
        recall(self.seeds, wanted, self.check)
        return rests


class Manifested:
    """By a manifest of our own: fine chunks are read of it where coarse ones are missing."""

    proves = True

    def __init__(self, carrier: Timed) -> None:
        self._carrier = carrier
        first = self._carrier.read_at(0, FIRST)
        head = rdlm.parse_head(first[: rdlm.HEAD_BYTES], carrier.size())
        rest = max(0, head.length_of_coarse - len(first))
        first = (first + carrier.read_at(len(first), rest))[: head.length_of_coarse]
        self._manifest = rdlm.parse_coarse(head, first)
        self.total, self.digests = self._manifest.total, {"sha256": self._manifest.sha256}
        self._alive: Alive = unwatched
        self.ask: Callable[[Manifest, Sequence[int]], Mapping[int, bytes] | None] | None = None
        """Asks in one request for what it has of these coarse chunks; None where that fails."""

    @property
    def round_trip(self) -> float:
        return self._carrier.round_trip

    @property
    def chunks(self) -> Chunks:
        """The coarse ones."""
        return self._manifest.coarse

    def find(self, part: Readable, here: Sequence[ByteRange], seeds: Seeds, check: Watch) -> Found:
        self._alive = partial(check, 0)
        cutting = self._manifest.cutting
        wanted = Wanted(self._manifest.coarse, alive=self._alive)
        local = _Local(part, here, seeds, check)
        rests = local.look(wanted, cutting.chunker, cutting.coarse)
        if any(rests) or here or seeds.recalls:  # else no fine chunk can be found
            missing = self._once(wanted)
            some = _spread(missing)
            finer = self._finer(wanted, some, local, rests)
            if len(some) < len(missing) and self._pays(wanted, finer, some):
                finer = self._finer(wanted, missing, local, rests)
            wanted = finer
        return Found(wanted.chunks, wanted.found)

    def _finer(
        self, wanted: Wanted, numbers: Sequence[int], local: _Local, rests: list[Spans]
    ) -> Wanted:
        """Looked for with the fine chunks of these coarse ones; where none is found they are of no
        use, and only cost."""
        cutting, fine = self._manifest.cutting, self._fine(numbers)
        finer = self._moved(wanted, {}, fine)
        local.look(finer, cutting.chunker, cutting.fine, rests)
        at, useful = 0, dict[int, bytes]()
        for number in paced(range(len(wanted.chunks)), self._alive):
            after = at + (self._manifest.counts[number] if number in fine else 1)
            if number in fine and any(one in finer.found for one in range(at, after)):
                useful[number] = fine[number]
            at = after
        return self._moved(finer, fine, useful, self._again(wanted, useful))

    def _again(self, wanted: Wanted, useful: Mapping[int, bytes]) -> dict[int, int]:
        """Coarse chunks that are missing too, and are like the one of which fine ones are useful:
        they are made of the same."""
        chunks, counts, again = wanted.chunks, self._manifest.counts, dict[int, int]()
        known, room = Lookup(chunks, len(useful)), MOST_FINE
        for number in useful:
            known.add(number)
            room -= counts[number]
        for number in wanted.missing() if useful else ():
            first = known.first(chunks.digest(number))
            if first in (None, number) or counts[first] != counts[number]:
                continue
            if len(chunks.chunk(first)) == len(chunks.chunk(number)) and counts[first] <= room:
                again[number], room = first, room - counts[first]
        return again

    def _pays(self, wanted: Wanted, finer: Wanted, numbers: Sequence[int]) -> bool:
        """Whether the fine chunks of these coarse ones have found more than what says them."""
        said = sum(len(rdlm.fine_range(self._manifest, one, one + 1)) for one in numbers)
        return finer.held() - wanted.held() > said

    def _moved(
        self,
        wanted: Wanted,
        before: Mapping[int, bytes],
        after: Mapping[int, bytes],
        again: Mapping[int, int] | None = None,
    ) -> Wanted:
        """What has the fine chunks of some coarse ones, with those of others instead, and of those
        that come `again`; what was found of chunks that both have stays."""
        again = again or {}
        after = {**after, **{number: after[first] for number, first in again.items()}}
        chunks = rdlm.refined(self._manifest, after, self._alive)
        found, begun = Places(len(chunks)), dict.fromkeys(again.values(), 0)
        at = to = 0
        for number, count in enumerate(paced(self._manifest.counts, self._alive)):
            was, will = (count if number in fine else 1 for fine in (before, after))
            if number in begun:
                begun[number] = at
            start = begun[again[number]] if number in again else at
            for one in range(will if was == will or number in again else 0):
                place = wanted.found.get(start + one)
                if place is not None and (start == at or place.seed != IN_PLACE):
                    found[to + one] = place
            at, to = at + was, to + will
        return Wanted(chunks, found, self._alive)

    def _once(self, wanted: Wanted) -> array[int]:
        """What was not found, once of each digest, and not more than can be looked for."""
        missing, room = array("Q", wanted.missing()), MOST_FINE
        known, once = Lookup(wanted.chunks, len(missing)), array("Q")
        for number in paced(missing, self._alive):
            if known.add(number) == number:
                if (room := room - self._manifest.counts[number]) < 0:
                    break
                once.append(number)
        return once

    def _fine(self, numbers: Sequence[int]) -> Mapping[int, bytes]:
        """What the manifest has of these coarse chunks, in one answer, or read in parts that lie
        close together."""
        if len(numbers) and self.ask and (found := self.ask(self._manifest, numbers)) is not None:
            return found
        with ThreadPoolExecutor(ABREAST, "manifest") as pool:
            return dict(chain.from_iterable(pool.map(self._read_fine, self._near(numbers))))

    def _near(self, numbers: Sequence[int]) -> Iterator[list[int]]:
        group: list[int] = []
        gap, start, end = gap_for(self.round_trip), 0, 0
        for number in paced(numbers, self._alive):
            range = rdlm.fine_range(self._manifest, number, number + 1)
            if group and (range.start - end > gap or range.stop - start > AT_ONCE):
                yield group
                group = []
            if not group:
                start = range.start
            group.append(number)
            end = range.stop
        if group:
            yield group

    def _read_fine(self, numbers: list[int]) -> list[tuple[int, bytes]]:
        whole = rdlm.fine_range(self._manifest, numbers[0], numbers[-1] + 1)
        data = memoryview(self._carrier.read_at(whole.start, len(whole)))
        found = []
        for number in numbers:
            range = rdlm.fine_range(self._manifest, number, number + 1)
            record = data[range.start - whole.start : range.stop - whole.start]
            found.append((number, bytes(record)))
        return found


class Listed:
    """By a blob index of casync or desync: chunks of one level, and no digest of the whole."""

    proves = True

    def __init__(self, index: Caibx, round_trip: float) -> None:
        self.index, self.total, self.round_trip = index, index.total, round_trip
        self.digests: dict[str, str] = {}

    def find(self, part: Readable, here: Sequence[ByteRange], seeds: Seeds, check: Watch) -> Found:
        index, wanted = self.index, Wanted(self.index.chunks, alive=partial(check, 0))
        sizes = Sizes(index.least, index.average, index.most)
        _Local(part, here, seeds, check).look(wanted, "buzhash", sizes)
        return Found(index.chunks, wanted.found)


class Tiled:
    """By digests of blocks of one size, as metalinks have them: a block counts where it stands in
    its own place, in the part file or in a seed."""

    proves = True

    def __init__(self, chunks: Chunks, digests: dict[str, str], round_trip: float) -> None:
        self._chunks, self.total = chunks, chunks.span.stop
        self.digests, self.round_trip = digests, round_trip

    def find(self, part: Readable, here: Sequence[ByteRange], seeds: Seeds, check: Watch) -> Found:
        wanted = Wanted(self._chunks, alive=partial(check, 0))
        check.expect(seeds.size + sum(map(len, here)))
        in_place(part, wanted, here, check)

        def look(seed: LocalFile, number: int) -> None:
            in_place(seed, wanted, (ByteRange(0, seed.size),), check, number)

        for number in range(len(seeds)):
            seeds.using(number, partial(look, number=number), None)
        recall(seeds, wanted, check)
        return Found(self._chunks, wanted.found)


class Rolled:
    """By a .zsync index: blocks of one size, found at any offset by sums that are short. Nothing
    but the SHA-1 of the whole proves them."""

    def __init__(self, index: Zsync, round_trip: float) -> None:
        self._index, self.total, self.round_trip = index, index.total, round_trip
        self.digests = {"sha1": index.sha1} if index.sha1 else {}
        self.proves = index.sha1 is not None

    def find(self, part: Readable, here: Sequence[ByteRange], seeds: Seeds, check: Watch) -> Found:
        index, size = self._index, self._index.block
        if size < LEAST_BLOCK and (here or len(seeds)):
            raise CannotCut("zsync index", f"blocks of {size} bytes are not looked for")
        stops = array("Q", (min(end, self.total) for end in range(size, self.total + size, size)))
        found, alive = Places(len(stops)), partial(check, 0)
        check.expect(seeds.size + sum(map(len, here)))
        if here:
            for block in blocks_in_place(index, watched(part.read_into, check), here):
                found[block] = Place(IN_PLACE, block * size)
        if len(seeds):
            blocks = paced(range(len(stops)), alive)
            sought = Sought(index, (one for one in blocks if one not in found), alive)

        def look(seed: LocalFile, number: int) -> None:
            for block, at in sought.within(watched(seed.read_into, check), seed.size):
                found[block] = Place(number, at)

        for number in range(len(seeds)):
            seeds.using(number, partial(look, number=number), None)
        return Found(Chunks("", 0, stops, b""), found, checked=False)


def _through(seeds: Seeds, search: Search, within: Sequence[Spans] | None = None) -> list[Spans]:
    """Look in these parts of each seed, or in all of it: then, what of each is not wanted."""
    rests = [Spans() for _ in range(len(seeds))]

    def look(seed: LocalFile, number: int) -> None:
        if within is None:
            search.through(seed, number, (ByteRange(0, seed.size),), rests[number])
        else:
            search.through(seed, number, within[number])

    for number in range(len(seeds)):
        seeds.using(number, partial(look, number=number), None)
    return rests


def _spread(numbers: array[int]) -> array[int]:
    """All of them, or some runs of many."""
    if len(numbers) <= MANY:
        return numbers
    starts = (len(numbers) * run // SAMPLES for run in range(SAMPLES))
    return array("Q", (one for start in starts for one in numbers[start : start + SAMPLE]))
