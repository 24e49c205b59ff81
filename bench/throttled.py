"""One file by http, at so many bytes a second a connection; one connection of `every` slower.

Connections are counted from restart() on, so that every run meets the same server.
"""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

from bench.serving import Serving

OF = 8
"""One of so many connections is slow, where nothing else is said."""
SLOWER = 10


class Throttled(Serving):
    """Serves `path` at `rate` bytes a second and connection; one connection of `every` gets a
    `slower`th of that. A context manager."""

    etag = '"throttled"'

    def __init__(self, path: Path, rate: int, *, every: int = OF, slower: int = SLOWER) -> None:
        super().__init__(path.stat().st_size)
        self._rate, self._every, self._slower = rate, every, slower
        self._file = os.open(path, os.O_RDONLY)
        self._lock = threading.Lock()
        self._count, self._slow = 0, 0

    def restart(self, slow: int) -> None:
        """Count connections from 0 again; number `slow` of each `every` is the slow one."""
        with self._lock:
            self._count, self._slow = 0, slow % self._every

    @property
    def connections(self) -> int:
        """How many were made since restart()."""
        return self._count

    def rate_of_next(self) -> float:
        with self._lock:
            number, self._count = self._count, self._count + 1
            return self._rate / (self._slower if number % self._every == self._slow else 1)

    def send(self, connection: socket.socket, start: int, size: int) -> int:
        return os.sendfile(connection.fileno(), self._file, start, size)

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        os.close(self._file)
