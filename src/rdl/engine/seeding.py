"""Looks for chunks of a new file in local ones: cut as the manifest says, by what they hash to."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial

from msgspec import Struct

from rdl.chunkers.base import Chunker
from rdl.core.byterange import ByteRange
from rdl.core.chunks import Alike, Alive, Chunks, Lookup, paced, unwatched
from rdl.core.delta import IN_PLACE, Place, Places
from rdl.core.reads import Read, filled, watched
from rdl.engine.hashing import Readable

STEP = 4 << 20

Check = Callable[[int], None]
"""Called with a number of bytes that were read; may raise."""


class Spans:
    """Ranges by the million, each as it is cut by itself."""

    def __init__(self) -> None:
        self._starts, self._stops = array("Q"), array("Q")
        self.total = 0
        """Bytes of all of them."""

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[ByteRange]:
        return map(ByteRange, self._starts, self._stops)

    def append(self, start: int, stop: int) -> None:
        self._starts.append(start)
        self._stops.append(stop)
        self.total += stop - start


class Wanted:
    """Chunks of the new file, by their digests; and where they were `found`, or are already.
    `alive` may raise in all that takes long."""

    def __init__(
        self, chunks: Chunks, found: Places | None = None, alive: Alive = unwatched
    ) -> None:
        self.chunks, self.found, self._alive = chunks, found or Places(len(chunks)), alive
        self._numbers = Lookup(chunks, sum(1 for _ in self.missing()))
        self._alike = Alike(len(chunks))
        for number in self.missing():
            if (first := self._numbers.add(number)) != number:
                self._alike.add(first, number)

    def at(self, digest: bytes, length: int, place: Place) -> bool:
        """Here is a chunk of this digest. Whether it is wanted: found now, or before."""
        number = first = self._numbers.first(digest)
        while number is not None:
            if number not in self.found and len(self.chunks.chunk(number)) == length:
                self.found[number] = place
            number = self._alike.take(number)
        return first is not None

    def lacks(self, digest: bytes, length: int) -> bool:
        """Whether a chunk of this digest is wanted, and was not found yet."""
        number = self._numbers.first(digest)
        if number is None or number in self.found:
            return False
        return len(self.chunks.chunk(number)) == length

    def held(self) -> int:
        """Bytes of those that were found."""
        return len(self.chunks.span) - sum(len(self.chunks.chunk(one)) for one in self.missing())

    def missing(self) -> Iterator[int]:
        """The numbers of those that were not found, in order."""
        numbers = paced(range(len(self.chunks)), self._alive)
        return (number for number in numbers if number not in self.found)


def in_place(
    store: Readable,
    wanted: Wanted,
    here: Collection[ByteRange],
    check: Check,
    seed: int = IN_PLACE,
) -> None:
    """Which chunks stand where they belong; looked for `here`, where a part file claims bytes, or
    in the seed of this number."""
    chunks, view = wanted.chunks, memoryview(bytearray(1))
    for run in here:
        for number in chunks.numbers(run):
            chunk = chunks.chunk(number)
            if number in wanted.found or not run.covers(chunk):
                continue
            if len(view) < len(chunk):
                view = memoryview(bytearray(len(chunk)))
            data = view[: len(chunk)]
            if filled(store.read_into, chunk.start, data) == len(chunk):
                check(len(chunk))
                if chunks.proves(number, data):
                    wanted.found[number] = Place(seed, chunk.start)


class Search(Struct, frozen=True):
    """Cuts seeds by `chunker`, and looks for what is `wanted`."""

    wanted: Wanted
    chunker: Chunker
    check: Check

    def through(
        self, seed: Readable, number: int, within: Iterable[ByteRange], rest: Spans | None = None
    ) -> None:
        """Cut these parts of the seed of this number, each by itself, and note what of them is
        wanted, and in `rest` what is not."""
        algorithm, width = self.wanted.chunks.algorithm, self.wanted.chunks.width
        make = hashlib.sha256 if algorithm == "sha256" else partial(hashlib.new, algorithm)
        view = memoryview(bytearray(STEP + 2 * self.chunker.most))
        read = watched(seed.read_into, self.check)
        for span in within:
            for at, data in cut(read, span, self.chunker, view):
                digest = make(data).digest()[:width]
                known = self.wanted.at(digest, len(data), Place(number, at))
                if rest is not None and not known:
                    rest.append(at, at + len(data))


def cut(
    read: Read, span: ByteRange, chunker: Chunker, view: memoryview
) -> Iterator[tuple[int, memoryview]]:
    """The chunks of this part of what is read, once and in order, each with its offset, in `view`
    until the next. What has become shorter ends earlier."""
    at, have = span.start, 0  # view[:have] begins at `at`
    while True:
        room = min(len(view) - have, span.stop - at - have)
        count = filled(read, at + have, view[have : have + room])
        have += count
        final = count < room or at + have == span.stop
        begun = 0
        for end in chunker.cuts(view[:have], final=final):
            yield at + begun, view[begun:end]
            begun = end
        if final:
            return
        view[: have - begun] = view[begun:have]
        at, have = at + begun, have - begun
