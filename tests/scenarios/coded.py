"""A loopback server with switches. Its one file says at every place where that is."""

from __future__ import annotations

import struct
import sys
import threading
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.support.ranges import chosen

KiB, MiB, GiB = 1 << 10, 1 << 20, 1 << 30
BLOCK = 256 * KiB
STEP = 32 * KiB


def coded(start: int, stop: int, salt: int = 0) -> bytes:
    """Bytes [start, stop) of a file in which every 8 bytes hold their own offset."""
    first, last = start // 8, -(-stop // 8)
    numbers: array[int] = array("Q", range(first * 8, last * 8, 8))
    if sys.byteorder == "little":
        numbers.byteswap()
    data = numbers.tobytes()
    if salt:
        mask = int.from_bytes(struct.pack(">Q", salt) * (last - first))
        data = (int.from_bytes(data) ^ mask).to_bytes(len(data))
    return data[start - first * 8 : stop - first * 8]


@dataclass
class Asked:
    """One request, when and from which port it came, and how many bytes of body it got.

    `gone`: the client closed the connection before the end.
    """

    at: float
    fields: dict[str, str]
    sent: int = 0
    peer: int = 0
    gone: bool = False


@dataclass
class Origin:
    """One file, position-coded, with a strong ETag; the other fields are switches."""

    size: int = 0
    salt: int = 0
    etag: str = '"one"'
    statuses: list[int] = field(default_factory=list)
    """For the first requests, instead of an answer."""
    always: int | None = None
    retry_after: str | None = None
    hold_after: int | None = None
    """So many bytes of body are sent, then nothing until `go` is set."""
    delay: float = 0.0
    claim: int | None = None
    """The length that is announced instead of the size."""
    start_shift: int = 0
    total_shift: int = 0
    part_etag: str | None = None
    repr_digest: str | None = None
    extra: tuple[tuple[str, str], ...] = ()
    """Fields of every answer."""
    ignore_if_range: bool = False
    ranges: bool = True
    """False: Range is ignored, and nothing says that it is not."""
    claims_ranges: bool = False
    """With `ranges` off: says all the same that it has them."""
    heads: bool = True
    """False: 405 to HEAD."""
    lengths: bool = True
    """False: no Content-Length; a body ends with its connection."""
    broken_at: int | None = None
    """This byte is never sent: a body that comes to it is cut before it."""
    before: Callable[[Asked, int], None] | None = None
    """Called before each step of a body, with its offset; may wait, or raise OSError to cut."""
    finished: Callable[[], None] = lambda: None
    """Called when a connection is over."""
    log: list[Asked] = field(default_factory=list)
    peak: int = 0

    def __post_init__(self) -> None:
        self.go, self.held = threading.Event(), threading.Event()
        self._lock, self._active, self._sent = threading.Lock(), 0, 0
        origin = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            timeout = 20

            def do_GET(self) -> None:
                origin.answer(self)

            do_HEAD = do_GET

            def finish(self) -> None:
                super().finish()
                origin.finished()

            def log_message(self, *_: Any) -> None:
                """The log is the list of requests."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                """A client that goes away is part of many scenarios."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/file.bin"

    @property
    def port(self) -> int:
        return int(self._server.server_port)

    @property
    def content(self) -> bytes:
        return coded(0, self.size, self.salt)

    @property
    def sent(self) -> int:
        return sum(asked.sent for asked in self.log)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self.go.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """One response; counts how many are under way."""
        asked = Asked(time.monotonic(), {k.lower(): v for k, v in request.headers.items()})
        asked.peer = request.client_address[1]
        with self._lock:
            self.log.append(asked)
            self._active += 1
            self.peak = max(self.peak, self._active)
            status = self.statuses.pop(0) if self.statuses else self.always
        try:
            time.sleep(self.delay)
            if status is not None:
                self._refuse(request, status)
            else:
                self._serve(request, asked)
        except OSError:
            asked.gone = True
            raise
        finally:
            with self._lock:
                self._active -= 1

    def _refuse(self, request: BaseHTTPRequestHandler, status: int) -> None:
        request.send_response(status)
        request.send_header("Content-Length", "0")
        for name, value in self.extra:
            request.send_header(name, value)
        if self.retry_after is not None:
            request.send_header("Retry-After", self.retry_after)
        request.end_headers()

    def _serve(self, request: BaseHTTPRequestHandler, asked: Asked) -> None:
        size = self.size if self.claim is None else self.claim
        if request.command == "HEAD" and not self.heads:
            self._refuse(request, 405)
            return
        deaf = {"if-none-match": True, "if-range": self.ignore_if_range, "range": not self.ranges}
        fields = {name: one for name, one in asked.fields.items() if not deaf.get(name)}
        status, start, stop = chosen(fields, self.etag, size)
        if status == 412:
            self._refuse(request, 412)
            return
        if status == 416:
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{size}")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        self._head(request, status == 206, start, stop, size)
        if request.command == "GET":
            self._body(request, asked, start, stop)

    def _head(
        self, request: BaseHTTPRequestHandler, part: bool, start: int, stop: int, size: int
    ) -> None:
        request.send_response(206 if part else 200)
        if self.ranges or self.claims_ranges:
            request.send_header("Accept-Ranges", "bytes")
        if self.lengths:
            request.send_header("Content-Length", str(stop - start))
        else:
            request.send_header("Connection", "close")
        if etag := (part and start and self.part_etag) or self.etag:
            request.send_header("ETag", etag)
        for name, value in self.extra:
            request.send_header(name, value)
        if self.repr_digest is not None:
            request.send_header("Repr-Digest", self.repr_digest)
        if part:
            first = start + (self.start_shift if start else 0)
            last = stop - 1 + (self.start_shift if start else 0)
            total = size + (self.total_shift if start else 0)
            request.send_header("Content-Range", f"bytes {first}-{last}/{total}")
        request.end_headers()

    def _body(self, request: BaseHTTPRequestHandler, asked: Asked, start: int, stop: int) -> None:
        at, salt = start, self.salt
        while at < stop:
            step = min(STEP, stop - at)
            if self.broken_at is not None and at <= self.broken_at:
                step = min(step, self.broken_at - at)
                if step == 0:
                    request.close_connection = True
                    return
            if self.before is not None:
                self.before(asked, at)
            if self.hold_after is not None and not self.go.is_set():
                step = min(step, self.hold_after - self._sent)
                if step <= 0:
                    self.held.set()
                    self.go.wait(20)
                    continue
            request.wfile.write(self.bytes_of(at, at + step, salt))
            at += step
            with self._lock:
                asked.sent += step
                self._sent += step

    def bytes_of(self, start: int, stop: int, salt: int) -> bytes:
        """These bytes of the file."""
        return coded(start, stop, salt)

    def replace(self, **switches: Any) -> None:
        """Set switches for what comes next, forget the log, and hold nothing any more."""
        for name, value in switches.items():
            setattr(self, name, value)
        self.go.set()
        self.log.clear()


@dataclass
class Holding(Origin):
    """A server of these bytes instead."""

    data: bytes = b""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.size = len(self.data)

    @property
    def content(self) -> bytes:
        return self.data

    def bytes_of(self, start: int, stop: int, salt: int) -> bytes:
        """These bytes of what it holds."""
        return self.data[start:stop]
