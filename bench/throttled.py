"""One file by http, at so many bytes a second a connection; one connection of eight much slower.

Connections are counted from restart() on, so that every run meets the same server.
"""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

STEP = 64 << 10
OF = 8
"""One of so many connections is slow."""
SLOWER = 10
BURST_SECONDS = 0.02
"""What a sender that overslept may make up for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 60
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.rate, self.due = self.server.owner.rate_of_next(), 0.0

    def do_GET(self) -> None:
        size = self.server.owner.size
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start = int(found[1]) if found else 0
        stop = min(size, int(found[2]) + 1) if found and found[2] else size
        self.send_response(206 if found else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", '"throttled"')
        self.send_header("Content-Length", str(stop - start))
        if found:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self.end_headers()
        self._send(start, stop)

    def _send(self, start: int, stop: int) -> None:
        while start < stop:
            now = time.monotonic()
            self.due = max(self.due, now - BURST_SECONDS)
            if self.due > now:
                time.sleep(self.due - now)
            file = self.server.owner.file
            sent = os.sendfile(self.connection.fileno(), file, start, min(STEP, stop - start))
            start, self.due = start + sent, self.due + sent / self.rate

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    owner: Throttled

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * STEP)
        return connection, address

    def handle_error(self, *_: Any) -> None:
        """A client that takes its work elsewhere closes connections."""


class Throttled:
    """Serves `path` at `rate` bytes a second and connection; a context manager."""

    def __init__(self, path: Path, rate: int) -> None:
        self.size, self._rate = path.stat().st_size, rate
        self.file = os.open(path, os.O_RDONLY)
        self._lock = threading.Lock()
        self._count, self._slow = 0, 0
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.owner = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self.url = f"http://127.0.0.1:{self._server.server_port}/data.bin"

    def restart(self, slow: int) -> None:
        """Count connections from 0 again; number `slow` of each eight is the slow one."""
        with self._lock:
            self._count, self._slow = 0, slow % OF

    @property
    def connections(self) -> int:
        """How many were made since restart()."""
        return self._count

    def rate_of_next(self) -> float:
        """Bytes a second for one more connection."""
        with self._lock:
            number, self._count = self._count, self._count + 1
            return self._rate / (SLOWER if number % OF == self._slow else 1)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        os.close(self.file)
