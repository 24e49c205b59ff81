"""Digests of ranges of local bytes: hashed in slices, told on the way, stopped on request.

Reads only, through a read_into that the caller gives; a verdict is the caller's.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable

from rdl.core.byterange import ByteRange
from rdl.core.events import Fact, Verifying
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


class Tally:
    """How much of one file went into digests, over all ranges of it that are hashed.

    Facts are told one at a time, at most ten a second; `tell` may be called from several
    threads, so it has a lock of its own where files share it.
    """

    def __init__(
        self,
        path: str,
        tell: Callable[[Fact], None] | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path, self._tell, self._clock = path, tell, clock
        self._lock = threading.Lock()
        self._total = self._hashed = 0
        self._last = float("-inf")

    def expect(self, size: int) -> None:
        """So many more bytes will be hashed."""
        with self._lock:
            self._total += size

    def advance(self, count: int) -> None:
        """So many more bytes were hashed."""
        with self._lock:
            self._hashed += count
            now = self._clock()
            if self._tell is None or (now - self._last < PERIOD and self._hashed < self._total):
                return
            self._last = now
            fact = Verifying(self._path, self._total, self._hashed)
        self._tell(fact)


def hash_range(
    source: Readable, wanted: ByteRange, algorithms: Iterable[str], tally: Tally, stop: Stop
) -> dict[str, str]:
    """Digests of the bytes of `wanted`: algorithm (as hashlib names it) to lower-case hex.
    Raises Interrupted, and whatever reading raises."""
    hashes = {name: hashlib.new(name) for name in algorithms}
    tally.expect(len(wanted))
    view, at = memoryview(bytearray(min(STEP, len(wanted)))), wanted.start
    while at < wanted.stop:
        stop.check()
        count = source.read_into(at, view[: min(len(view), wanted.stop - at)])
        if count == 0:
            raise LocalFileError("file", "it is shorter than it was")
        for one in hashes.values():
            one.update(view[:count])
        at += count
        tally.advance(count)
    return {name: one.hexdigest() for name, one in hashes.items()}
