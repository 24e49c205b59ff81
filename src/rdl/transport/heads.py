"""Reads a response head, strictly (h11), under a deadline and with limits (RFC 9112).

Bodies are not read here; what arrived behind the head stays in h11's buffer.
"""

from __future__ import annotations

import re
import socket
import time
from contextlib import suppress

import h11

from rdl.core.fields import MAX_TOTAL
from rdl.errors import NetworkError, ProtocolError
from rdl.transport.base import ResponseHead
from rdl.transport.tls import is_readable

MAX_HEAD = 64 * 1024
"""Bytes of all heads that answer one request, interim ones included."""
MAX_FIELDS = 200
MAX_INTERIM = 16
_READ = 80 * 1024
"""A small file comes together with its head: one step of the engine less."""
TLS_ALERT = b"\x15\x03"
SPEAKS_TLS = "the server speaks TLS here: https:// in place of http://"
_TOLD_SO = re.compile(
    rb"plain HTTP request was sent to HTTPS port"  # nginx
    rb"|speaking plain HTTP to an SSL-enabled server"  # Apache
    rb"|sent an HTTP request to an HTTPS server"  # those written in Go
)
_DIGITS = re.compile(r"[0-9]{1,19}")


class Stale(Exception):
    """The connection ended before any byte of the answer came."""


def send(sock: socket.socket, data: bytes, timeout: float, label: str) -> None:
    """Raises Stale when the peer has gone, NetworkError when it takes nothing."""
    sock.settimeout(timeout)
    try:
        sock.sendall(data)
    except TimeoutError as error:
        raise NetworkError(label, f"takes no request within {timeout:g} s") from error
    except OSError as error:
        raise Stale from error


def read_head(
    sock: socket.socket, wire: h11.Connection, timeout: float, label: str
) -> h11.Response:
    """The final response head. Raises Stale, NetworkError (late, cut), ProtocolError."""
    return HeadReader(sock, wire, timeout, label).read()


class HeadReader:
    """Of one response, `timeout` seconds from now at most; it may go on in another thread."""

    def __init__(
        self, sock: socket.socket, wire: h11.Connection, timeout: float, label: str
    ) -> None:
        self._sock, self._wire, self._label = sock, wire, label
        self._deadline = time.monotonic() + timeout
        self._received = self._interim = 0
        self._event: h11.Response | None = None

    def read(self) -> h11.Response:
        """As read_head()."""
        while (event := self._event or self._next()) is None:
            self._receive(max(self._deadline - time.monotonic(), 0.001))
        return event

    def status(self, seconds: float) -> int | None:
        """The code, when all of the head has come within so many seconds: it waits once, at most.
        Raises as read()."""
        if self._event is None and is_readable(self._sock, seconds):
            with suppress(BlockingIOError):  # poll(2) may be wrong
                self._receive(0)
                self._event = self._next()
        return self._event.status_code if self._event is not None else None

    def _next(self) -> h11.Response | None:
        while True:
            try:
                event = self._wire.next_event()
            except h11.RemoteProtocolError as error:
                raise ProtocolError(self._label, "the response head is malformed") from error
            if isinstance(event, h11.Response):
                size = self._received - len(self._wire.trailing_data[0])
                check_limits(self._label, size, event)
                return event
            if not isinstance(event, h11.InformationalResponse):
                return None
            self._interim += 1
            if event.status_code == 101 or self._interim > MAX_INTERIM:
                raise ProtocolError(self._label, "unexpected interim responses")

    def _receive(self, timeout: float) -> None:
        if self._received > MAX_HEAD:
            raise ProtocolError(self._label, "the response head is too large")
        begun = self._received > 0
        data = receive(self._sock, self._deadline, self._label, timeout, begun=begun)
        if not begun and data.startswith(TLS_ALERT):
            raise ProtocolError(self._label, "the answer is not HTTP", hint=SPEAKS_TLS)
        self._received += len(data)
        self._wire.receive_data(data)


def receive(
    sock: socket.socket, deadline: float, label: str, timeout: float, *, begun: bool
) -> bytes:
    """Some bytes of a head. Raises NetworkError; Stale for an end when nothing has begun;
    BlockingIOError where nothing has come and `timeout` is 0."""
    try:
        sock.settimeout(timeout)
        data = sock.recv(_READ)
        if data and time.monotonic() < deadline:
            return data
    except BlockingIOError:
        raise
    except TimeoutError as error:
        raise NetworkError(label, "no response in time") from error
    except OSError as error:
        if begun:
            raise NetworkError(label, "connection lost within the response head") from error
        raise Stale from error
    if data:
        raise NetworkError(label, "no complete response head in time")
    if begun:
        raise NetworkError(label, "connection closed within the response head")
    raise Stale


def check_limits(label: str, size: int, event: h11.Response) -> None:
    """Raises ProtocolError for a head that is too large."""
    if size > MAX_HEAD or len(event.headers) > MAX_FIELDS:
        raise ProtocolError(label, "the response head is too large")


def wants_tls(event: h11.Response, wire: h11.Connection) -> bool:
    """Whether it says that it does, in as much of the body as came with the head."""
    return event.status_code == 400 and bool(_TOLD_SO.search(wire.trailing_data[0]))


def make_head(event: h11.Response, method: str, url: str, label: str) -> ResponseHead:
    """The head as a value, with the framing of its body (RFC 9112 section 6.3).

    Raises ProtocolError for a Content-Length that no file can have.
    """
    headers = tuple(
        (name.decode("ascii").lower(), value.decode("latin-1"))
        for name, value in event.headers.raw_items()
    )
    fields = dict(headers)
    length = content_length(fields.get("content-length"), label)
    if method == "HEAD" or event.status_code in (204, 304):
        framing = "none"
    elif "transfer-encoding" in fields:
        framing, length = "chunked", None
    else:
        framing = "close" if length is None else "length"
    return ResponseHead(
        status=event.status_code,
        headers=headers,
        framing=framing,
        content_length=length,
        url=url,
    )


def content_length(text: str | None, label: str) -> int | None:
    """The value of Content-Length; h11 has refused signs, lists and conflicts before."""
    if text is None:
        return None
    if not _DIGITS.fullmatch(text) or int(text) > MAX_TOTAL:
        raise ProtocolError(label, "Content-Length is not a possible size")
    return int(text)
