"""SHA-256 of files that are served: each version of a file is read once, by one thread, beside
those who are served.

A digest belongs to one version of one file, as its strong ETag does, so it is never of another.
"""

from __future__ import annotations

import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from rdl.server.latest import Latest
from rdl.server.version import Version

MOST = 10_000
"""Digests that are remembered, here and of an upstream."""
WAITING = 64
STEP = 1 << 20


class FileDigests:
    """Those that are known; none of its methods waits but `close`."""

    def __init__(self) -> None:
        self._known = Latest[Version, bytes](MOST)
        self._waiting: dict[Version, int] = {}
        """Descriptors of those that will be read."""
        self._lock, self._over = threading.Lock(), False
        self._hand = ThreadPoolExecutor(1, "digest")

    def of(self, version: Version) -> bytes | None:
        """That of a file in this version, where it is known."""
        return self._known.get(version)

    def want(self, file: int) -> None:
        """It is open, and will be asked for again."""
        version = Version.of(file)
        with self._lock:
            full = len(self._waiting) >= WAITING or self._over
            if full or version.is_young or version in self._known or version in self._waiting:
                return
            with suppress(OSError):  # there is no descriptor for it
                self._waiting[version] = os.dup(file)
                self._hand.submit(self._read, version)

    def close(self) -> None:
        with self._lock:
            self._over = True
        self._hand.shutdown(cancel_futures=True)
        for file in self._waiting.values():
            os.close(file)
        self._waiting.clear()

    def _read(self, version: Version) -> None:
        with suppress(OSError):  # Linux has a niceness for each thread; others go on as they are
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        file, found = self._waiting[version], None
        with suppress(OSError):
            found = self._digest(file)
            if Version.of(file) != version:
                found = None
        with self._lock:
            if found is not None:
                self._known[version] = found
            os.close(self._waiting.pop(version))

    def _digest(self, file: int) -> bytes | None:
        """None where the server ends."""
        found, at, buffer = hashlib.sha256(), 0, memoryview(bytearray(STEP))
        while count := os.preadv(file, [buffer], at):
            found.update(buffer[:count])
            at += count
            if self._over:
                return None
        return found.digest()
