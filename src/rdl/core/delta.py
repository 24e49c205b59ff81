"""What of a new file is copied from old ones, and what is fetched: a pure plan over its chunks."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from itertools import pairwise

from msgspec import Struct, field

from rdl.core.blocks import Repeats
from rdl.core.byterange import ByteRange, joined
from rdl.core.chunks import Alive, Chunks, Lookup, paced, unwatched
from rdl.core.index_json import MAX_RUNS

REQUEST_BYTES = 512
"""What a request and the head of its answer cost, about."""
LEAST_GAP, MOST_GAP = 1 << 10, 64 << 10
BYTES_A_SECOND, OWN_SECONDS = 1 << 20, 0.003
"""A connection that waits for an answer could have brought so many bytes; but for so much of the
time it is we who take it, on a busy machine."""

IN_PLACE, _NOWHERE = -1, -2


class Place(Struct, frozen=True):
    """Where a chunk was found: at an offset of the seed of this number, or IN_PLACE."""

    seed: int
    at: int


class Places:
    """Where each of so many chunks was found, if it was: packed, for there are millions."""

    def __init__(self, count: int) -> None:
        self._seeds, self._at = array("i", [_NOWHERE]) * count, array("Q", [0]) * count

    def __contains__(self, number: int) -> bool:
        return self._seeds[number] != _NOWHERE

    def __setitem__(self, number: int, place: Place) -> None:
        self._seeds[number], self._at[number] = place.seed, place.at

    def get(self, number: int) -> Place | None:
        """Where this one was found."""
        seed = self._seeds[number]
        return None if seed == _NOWHERE else Place(seed, self._at[number])


class Copy(Struct, frozen=True):
    """The bytes of `range` stand at the offset `at` of a seed. IN_PLACE: they are there."""

    seed: int
    at: int
    range: ByteRange


class Delta(Struct, frozen=True):
    """The plan: what is copied, in ascending order, what is copied within the row later, and how
    many bytes are fetched, in how many runs."""

    copies: tuple[Copy, ...]
    repeats: Repeats
    fetched: int
    runs: int

    def lacking(self, chunks: Chunks) -> Iterator[int]:
        """The numbers of chunks that are to come."""
        here = bytearray(len(chunks))
        for one in self.copies:
            for number in chunks.numbers(one.range):
                here[number] = 1
        for _, number in self.repeats:
            here[number] = 1
        return (number for number, flag in enumerate(here) if not flag)

    def kept(self) -> tuple[ByteRange, ...]:
        """What is here before anything is fetched, in order."""
        return tuple(joined(one.range for one in self.copies))


def gap_for(round_trip: float) -> int:
    """Fewer bytes than this between two runs are fetched with them, where an answer takes so many
    seconds."""
    return int(min(MOST_GAP, max(LEAST_GAP, (round_trip - OWN_SECONDS) * BYTES_A_SECOND)))


def planned(
    chunks: Chunks,
    found: Places,
    repeats: Repeats,
    gap: int,
    request: int = REQUEST_BYTES,
    *,
    alive: Alive = unwatched,
) -> Delta:
    """The plan for a file of these chunks, of which those in `found` are on this disk. `request`:
    what each run costs that is fetched. What `alive` raises."""
    copies, later = list[Copy](), Repeats()
    fetched = runs = 0
    after = 0  # where the last run that is fetched ended, and what there was before it
    before = 0, 0
    for one in _spans(chunks, found, repeats, alive):
        if isinstance(one, Copy):
            copies.append(one)
        elif isinstance(one, tuple):
            later.append(*one)
        else:
            between = one.start - after
            if runs and between < gap:  # not worth a request of its own
                fetched += between
                del copies[before[0] :]
                later.cut(before[1])
            else:
                runs += 1
            fetched, after, before = fetched + len(one), one.stop, (len(copies), len(later))
    if fetched + request * runs >= chunks.span.stop:
        return Delta((), Repeats(), chunks.span.stop, 1)
    return Delta(tuple(copies), later, fetched, runs)


def _spans(
    chunks: Chunks, found: Places, repeats: Repeats, alive: Alive
) -> Iterator[Copy | tuple[int, int] | ByteRange]:
    """The whole file in order: what is copied, what is copied later, what is missing; each as long
    as it can be."""
    run: Copy | ByteRange | None = None
    owed = iter(repeats)
    repeat = next(owed, None)
    for number in paced(range(len(chunks)), alive):
        chunk, place = chunks.chunk(number), found.get(number)
        if repeat is not None and repeat[1] == number:
            if run is not None:
                yield run
            yield repeat
            run, repeat = None, next(owed, None)
        elif place is None and isinstance(run, ByteRange):
            run = ByteRange(run.start, chunk.stop)
        elif place is not None and isinstance(run, Copy) and _follows(run, place):
            run = Copy(run.seed, run.at, ByteRange(run.range.start, chunk.stop))
        else:
            if run is not None:
                yield run
            run = chunk if place is None else Copy(place.seed, place.at, chunk)
    if run is not None:
        yield run


def _follows(run: Copy, place: Place) -> bool:
    """Whether this is where the run goes on."""
    return run.seed == place.seed and run.at + len(run.range) == place.at


def repeats_in(chunks: Chunks, found: Places, alive: Alive = unwatched) -> Repeats:
    """Of chunks that stand several times in the file, those that are nowhere yet, but for the first
    of each, and stand after one that is to come or is in place. What `alive` raises."""
    places = ((number, found.get(number)) for number in paced(range(len(chunks)), alive))
    ours = array("I", (one for one, place in places if place is None or place.seed == IN_PLACE))
    known, repeats = Lookup(chunks, len(ours)), Repeats()
    for number in paced(ours, alive):
        first = known.add(number)
        same = first != number and len(chunks.chunk(first)) == len(chunks.chunk(number))
        if same and number not in found:
            repeats.append(first, number)
    return repeats


class Sown(Struct, frozen=True):
    """What was put into a part file before anything is fetched: `kept`, in order; what is to be
    copied within it; and the digests of all of it, if they are known, and whether only a server
    says so; whether what is fetched comes in tiles."""

    kept: tuple[ByteRange, ...] = ()
    repeats: Repeats = field(default_factory=Repeats)
    chunks: Chunks | None = None
    published: bool = True
    tiled: bool = False


def fewer(runs: tuple[ByteRange, ...], most: int = MAX_RUNS) -> tuple[ByteRange, ...]:
    """At most so many runs that cover these, for an index: a claim that is too large is found out
    by a digest, as any other that is wrong."""
    if len(runs) <= most:
        return runs
    gaps = [after.start - before.stop for before, after in pairwise(runs)]
    widest = sorted(range(len(gaps)), key=gaps.__getitem__)[len(runs) - most :]
    edges = [-1, *sorted(widest), len(runs) - 1]
    return tuple(
        ByteRange(runs[before + 1].start, runs[after].stop) for before, after in pairwise(edges)
    )
