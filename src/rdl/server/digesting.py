"""SHA-256 of files that are served: each version of a file is read once, by one thread, beside
those who are served.

A digest belongs to one state of one file, as its strong ETag does, so it is never of another.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

TICK = 0.02
"""Clocks of file systems go in steps: of what changes twice within one, the times do not tell."""
MOST = 10_000
"""Digests that are remembered."""
WAITING = 64
STEP = 1 << 20

State = tuple[int, ...]


def state_of(stat: os.stat_result) -> State:
    """Another one after any change, once the file is no longer young."""
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def is_young(stat: os.stat_result) -> bool:
    """Whether it may change without another state."""
    return 0 <= time.time() - max(stat.st_mtime, stat.st_ctime) < TICK


class Digests:
    """Those that are known; none of its methods waits but `close`."""

    def __init__(self) -> None:
        self._known: dict[State, bytes] = {}
        self._waiting: dict[State, int] = {}
        """Descriptors of those that will be read."""
        self._lock, self._over = threading.Lock(), False
        self._hand = ThreadPoolExecutor(1, "digest")

    def of(self, state: State) -> bytes | None:
        """That of a file in this state, where it is known."""
        return self._known.get(state)

    def want(self, file: int) -> None:
        """It is open, and will be asked for again."""
        stat = os.fstat(file)
        state = state_of(stat)
        with self._lock:
            full = len(self._waiting) >= WAITING or self._over
            if full or is_young(stat) or state in self._known or state in self._waiting:
                return
            with suppress(OSError):  # there is no descriptor for it
                self._waiting[state] = os.dup(file)
                self._hand.submit(self._read, state)

    def close(self) -> None:
        with self._lock:
            self._over = True
        self._hand.shutdown(cancel_futures=True)
        for file in self._waiting.values():
            os.close(file)
        self._waiting.clear()

    def _read(self, state: State) -> None:
        with suppress(OSError):  # Linux has a niceness for each thread; others go on as they are
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        file, found = self._waiting[state], None
        with suppress(OSError):
            found = self._digest(file)
            if state_of(os.fstat(file)) != state:
                found = None
        with self._lock:
            if found is not None:
                while len(self._known) >= MOST:
                    del self._known[next(iter(self._known))]
                self._known[state] = found
            os.close(self._waiting.pop(state))

    def _digest(self, file: int) -> bytes | None:
        """None where the server ends."""
        found, at, buffer = hashlib.sha256(), 0, memoryview(bytearray(STEP))
        while count := os.preadv(file, [buffer], at):
            found.update(buffer[:count])
            at += count
            if self._over:
                return None
        return found.digest()
