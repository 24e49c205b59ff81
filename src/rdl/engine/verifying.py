"""Digests of ranges of local bytes: hashed in slices, told on the way, stopped on request.

Reads only, through a read_into that the caller gives; a verdict is the caller's.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator

from rdl.core.byterange import ByteRange, joined
from rdl.core.chunks import Chunks
from rdl.core.events import Teller, Verifying
from rdl.engine.hashing import Readable
from rdl.errors import Interrupted, LocalFileError

STEP = 1 << 20
PERIOD = 0.1
"""Seconds between two facts about one file."""


class Stop:
    """Tells every thread that hashes to end. Safe to set from a signal handler."""

    def __init__(self) -> None:
        self._signal: str | None = None

    def set(self, signal: str) -> None:
        self._signal = signal

    def check(self) -> None:
        """Raises Interrupted after set()."""
        if self._signal is not None:
            raise Interrupted(self._signal)


class Headway:
    """How much of one file was worked on: hashed, over all ranges of it, looked through or copied.

    Facts are told one at a time, at most ten a second; `tell` may be called from several
    threads, so it has a lock of its own where files share it.
    """

    def __init__(
        self,
        path: str,
        tell: Teller | None,
        clock: Callable[[], float] = time.monotonic,
        stage: str = "digests",
    ) -> None:
        self._path, self._tell, self._clock, self._stage = path, tell, clock, stage
        self._lock = threading.Lock()
        self._total = self._hashed = 0
        self._last = float("-inf")

    def expect(self, size: int) -> None:
        """So many more bytes will be."""
        with self._lock:
            self._total += size

    def advance(self, count: int) -> None:
        """So many more bytes were."""
        with self._lock:
            self._hashed += count
            now = self._clock()
            if self._tell is None or (now - self._last < PERIOD and self._hashed < self._total):
                return
            self._last = now
            fact = Verifying(self._path, self._total, self._hashed, self._stage)
        self._tell(fact)


def hash_range(
    source: Readable, wanted: ByteRange, algorithms: Iterable[str], headway: Headway, stop: Stop
) -> dict[str, str]:
    """Digests of the bytes of `wanted`: algorithm (as hashlib names it) to lower-case hex.
    Raises Interrupted, and whatever reading raises."""
    hashes = {name: hashlib.new(name) for name in algorithms}
    headway.expect(len(wanted))
    view = memoryview(bytearray(min(STEP, len(wanted))))
    for part in _parts(source, wanted, view, stop):
        for one in hashes.values():
            one.update(part)
        headway.advance(len(part))
    return {name: one.hexdigest() for name, one in hashes.items()}


def hash_chunks(
    source: Readable, size: int, chunks: Chunks, headway: Headway, stop: Stop
) -> tuple[str, tuple[ByteRange, ...]]:
    """The SHA-256 of the `size` bytes of `source`, as hex, and where they have not the digests of
    `chunks`, which cover a file from its start; what only one of the two has is among that.
    Raises as hash_range()."""
    whole, wrong, at = hashlib.sha256(), list[ByteRange](), 0
    view = memoryview(bytearray(STEP))
    headway.expect(size)
    for number in range(len(chunks)):
        chunk, digest = chunks.chunk(number), hashlib.new(chunks.algorithm)
        if chunk.stop > size:
            break
        for part in _parts(source, chunk, view, stop):
            whole.update(part)
            digest.update(part)
            headway.advance(len(part))
        if not chunks.has(number, digest.digest()):
            wrong.append(chunk)
        at = chunk.stop
    for part in _parts(source, ByteRange(at, size), view, stop):
        whole.update(part)
        headway.advance(len(part))
    if rest := ByteRange(at, max(size, chunks.span.stop)):
        wrong.append(rest)
    return whole.hexdigest(), tuple(joined(wrong))


def _parts(
    source: Readable, wanted: ByteRange, view: memoryview, stop: Stop
) -> Iterator[memoryview]:
    """These bytes, each time as many as were read into `view`."""
    at = wanted.start
    while at < wanted.stop:
        stop.check()
        count = source.read_into(at, view[: min(len(view), wanted.stop - at)])
        if count == 0:
            raise LocalFileError("file", "it is shorter than it was")
        yield view[:count]
        at += count
