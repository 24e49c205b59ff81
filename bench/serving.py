"""One large file by http/1.1 from threads of this process, at so many bytes a second a connection.

A kind of server says which bytes stand where; connections are counted and requests noted.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from abc import ABC, abstractmethod
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

STEP = 64 << 10
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
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, body: bool) -> None:
        size = self.server.owner.size
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start = int(found[1]) if found else 0
        stop = min(size, int(found[2]) + 1) if found and found[2] else size
        self.server.owner.asked.append((time.monotonic(), start, stop))
        self.send_response(206 if found else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", self.server.owner.etag)
        self.send_header("Content-Length", str(stop - start))
        if found:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self.end_headers()
        if body:
            self._send(start, stop)

    def _send(self, start: int, stop: int) -> None:
        while start < stop:
            now = time.monotonic()
            self.due = max(self.due, now - BURST_SECONDS)
            if self.due > now:
                time.sleep(self.due - now)
            sent = self.server.owner.send(self.connection, start, min(STEP, stop - start))
            start, self.due = start + sent, self.due + sent / self.rate

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    owner: Serving

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * STEP)
        return connection, address

    def handle_error(self, *_: Any) -> None:
        """A client that takes its work elsewhere closes connections."""


class Serving(ABC):
    """Serves `size` bytes; a context manager."""

    etag: str

    def __init__(self, size: int) -> None:
        self.size = size
        self.asked: list[tuple[float, int, int]] = []
        """When (time.monotonic) each request came, and the bytes [start, stop) it asked for."""
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.owner = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self.url = f"http://127.0.0.1:{self._server.server_port}/data.bin"

    @abstractmethod
    def rate_of_next(self) -> float:
        """Bytes a second for one more connection."""

    @abstractmethod
    def send(self, connection: socket.socket, start: int, size: int) -> int:
        """Send some of `size` bytes that begin at `start`; how many."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
