"""A small HTTP/1.1 origin on loopback: one seeded file, ranges, a strong ETag, and a throttle
for each connection, which is what makes several connections worth having.
"""

from __future__ import annotations

import hashlib
import random
import re
import threading
import time
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

STEP = 64 << 10
PATTERN_SIZE = 4_194_301
"""A prime: the pattern never lines up with a block, so a misplaced block shows."""


class Content:
    """`size` bytes that depend on the seed alone, without being held anywhere."""

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self._pattern = random.Random(seed).randbytes(PATTERN_SIZE)
        self.etag = f'"{hashlib.sha256(self._pattern).hexdigest()[:16]}-{size}"'

    def blocks(self, start: int, stop: int) -> Iterator[memoryview]:
        """The bytes `[start, stop)` in blocks of at most STEP."""
        pattern = memoryview(self._pattern)
        while start < stop:
            at = start % PATTERN_SIZE
            block = pattern[at : at + min(STEP, stop - start)]
            yield block
            start += len(block)

    def sha256(self) -> str:
        """The digest of the whole, as hex."""
        digest = hashlib.sha256()
        for block in self.blocks(0, self.size):
            digest.update(block)
        return digest.hexdigest()


class Origin(ThreadingHTTPServer):
    """Serves one Content at any path, `rate` bytes a second and connection."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, content: Content, rate: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.rate = content, rate
        self._lock = threading.Lock()
        self._sent = self._sending = self._most = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def sent(self) -> int:
        """Body bytes handed to the network so far."""
        return self._sent

    def take_busiest(self) -> int:
        """The most connections that sent a body at once, since the last call."""
        with self._lock:
            most, self._most = self._most, self._sending
            return most

    def count(self, size: int = 0, *, sending: int = 0) -> None:
        """Note bytes sent, and bodies begun (+1) or ended (-1)."""
        with self._lock:
            self._sent += size
            self._sending += sending
            self._most = max(self._most, self._sending)


class Handler(BaseHTTPRequestHandler):
    """GET with one range at most (RFC 9110 section 14), If-Range, If-Match, If-None-Match."""

    protocol_version = "HTTP/1.1"
    server: Origin

    def do_GET(self) -> None:
        content = self.server.content
        if self.headers.get("If-None-Match") == content.etag:
            return self._head(HTTPStatus.NOT_MODIFIED)
        if self.headers.get("If-Match", content.etag) != content.etag:
            return self._head(HTTPStatus.PRECONDITION_FAILED)
        wanted = self._wanted()
        if wanted is None:
            self._head(HTTPStatus.OK, length=content.size)
            return self._body(0, content.size)
        start, stop = wanted
        if start >= stop:
            unsatisfied = f"bytes */{content.size}"
            return self._head(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, span=unsatisfied)
        span = f"bytes {start}-{stop - 1}/{content.size}"
        self._head(HTTPStatus.PARTIAL_CONTENT, length=stop - start, span=span)
        return self._body(start, stop)

    def _wanted(self) -> tuple[int, int] | None:
        """The range asked for as `[start, stop)`; None: the whole."""
        content = self.server.content
        if self.headers.get("If-Range", content.etag) != content.etag:
            return None
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if asked is None or not any(asked.groups()):
            return None
        first, last = asked.groups()
        if not first:
            return max(0, content.size - int(last)), content.size
        return int(first), min(int(last) + 1, content.size) if last else content.size

    def _head(self, status: HTTPStatus, *, length: int = 0, span: str = "") -> None:
        self.send_response(status)
        self.send_header("ETag", self.server.content.etag)
        self.send_header("Accept-Ranges", "bytes")
        if status != HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(length))
        if span:
            self.send_header("Content-Range", span)
        self.end_headers()

    def _body(self, start: int, stop: int) -> None:
        """Send, never faster than the rate; the client may leave at any time."""
        self.server.count(sending=1)
        begun, sent = time.monotonic(), 0
        try:
            for block in self.server.content.blocks(start, stop):
                self.wfile.write(block)
                self.server.count(len(block))
                sent += len(block)
                time.sleep(max(0.0, begun + sent / self.server.rate - time.monotonic()))
        except ConnectionError:
            self.close_connection = True
        finally:
            self.server.count(sending=-1)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the terminal belongs to the demonstration."""
