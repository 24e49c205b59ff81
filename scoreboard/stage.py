"""The server's side of a play: one file in its versions, answered honestly unless a row says
otherwise, over the scripted origin of the tests.

A body is sent in paced blocks, so that several connections run at once and a kill has a middle.
"""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from tests.support.origin import END, Seen, Step, Wait

BLOCK = 64 << 10
DATE = "Wed, 18 Nov 2026 12:00:00 GMT"
DATES = ("Mon, 02 Nov 2026 08:00:00 GMT", "Tue, 10 Nov 2026 09:30:00 GMT")
PLAIN = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Version:
    """The bytes, and the strong validators that belong to them."""

    data: bytes
    etag: str
    modified: str


@dataclass(frozen=True, slots=True)
class Asked:
    """One request; `number` counts from 0 over all connections. `start` and `stop` (half-open)
    are those of its Range, None without one, `stop` also where the range is open."""

    number: int
    method: str
    fields: dict[str, str]
    start: int | None = None
    stop: int | None = None

    @property
    def continues(self) -> bool:
        """Whether it asks for what does not begin at the first byte."""
        return bool(self.start)


@dataclass(frozen=True, slots=True)
class Reply:
    """A response to be altered: `replace(reply, body=...)`. `length` and `span` None: not
    said. `surplus` follows the body; `cut` ends the connection after so many bytes of it."""

    status: str
    body: bytes = b""
    length: int | None = None
    span: str | None = None
    etag: str | None = None
    modified: str | None = None
    media: str = PLAIN
    coding: str | None = None
    protocol: str = "HTTP/1.1"
    surplus: bytes = b""
    cut: int | None = None

    def head(self) -> bytes:
        """As it goes over the wire."""
        named = {
            "Date": DATE,
            "Content-Type": self.media,
            "Content-Length": self.length,
            "Content-Range": self.span,
            "Content-Encoding": self.coding,
            "ETag": self.etag,
            "Last-Modified": self.modified,
        }
        lines = [f"{name}: {value}" for name, value in named.items() if value is not None]
        return "\r\n".join([f"{self.protocol} {self.status}", *lines, "", ""]).encode()


Script = Callable[["Stage", Asked], Reply]


class Stage:
    """What one play's server holds. `now` is the number of the version that it has."""

    def __init__(self, script: Script, size: int, later: int, pause: float) -> None:
        """`size` and `later`: bytes of the first version and of the one that follows it;
        `pause`: seconds between two blocks."""
        self.size, self.now, self._pause = size, 0, pause
        self.versions = [
            Version(random.Random(number).randbytes(length), f'"v{number}"', DATES[number])
            for number, length in enumerate((size, later))
        ]
        self._script = script
        self._lock = threading.Lock()
        self.requests = self.sent = self.busy = 0
        self.reached = threading.Event()
        """Set when half of the file was sent."""

    @property
    def cut(self) -> int:
        """Where rows cut a body: 3/8 of the file."""
        return self.size * 3 // 8

    def answer(self, connection: int, turn: int, seen: Seen) -> Iterator[Step]:
        """The steps of one answer, for the scripted origin."""
        with self._lock:
            asked = _asked(self.requests, seen)
            self.requests += 1
            reply = self._script(self, asked)
            self.busy += 1
        try:
            yield from self._steps(asked, reply)
        finally:
            with self._lock:
                self.busy -= 1

    def _steps(self, asked: Asked, reply: Reply) -> Iterator[Step]:
        yield reply.head()
        if asked.method == "HEAD":
            return
        body = reply.body[: reply.cut] + reply.surplus
        for at in range(0, len(body), BLOCK):
            block = body[at : at + BLOCK]
            yield block
            self._count(len(block))
            yield Wait(self._pause)
        if reply.cut is not None or (reply.length is None and reply.body):
            yield END

    def _count(self, sent: int) -> None:
        with self._lock:
            self.sent += sent
            if self.sent >= self.size // 2:
                self.reached.set()

    def honest(self, asked: Asked) -> Reply:
        """What RFC 9110 wants, preconditions included (sections 13.2.2, 14.2 and 15.5.17)."""
        have = self.versions[self.now]
        base = Reply("200 OK", have.data, len(have.data), etag=have.etag, modified=have.modified)
        validators, fields = (have.etag, have.modified), asked.fields
        for name in ("if-match", "if-unmodified-since"):
            if fields.get(name, "*") not in (*validators, "*"):
                return replace(base, status="412 Precondition Failed", body=b"", length=0)
        if fields.get("if-none-match", fields.get("if-modified-since")) in validators:
            return replace(base, status="304 Not Modified", body=b"", length=None)
        if asked.start is None or fields.get("if-range", have.etag) not in validators:
            return base
        return part(base, asked.start, asked.stop)


def part(whole: Reply, start: int, stop: int | None) -> Reply:
    """The 206 for `[start, stop)` of a 200, or the 416."""
    total = len(whole.body)
    if start >= total:
        status = "416 Range Not Satisfiable"
        return replace(whole, status=status, body=b"", length=0, span=f"bytes */{total}")
    body = whole.body[start:stop]
    span = f"bytes {start}-{start + len(body) - 1}/{total}"
    return replace(whole, status="206 Partial Content", body=body, length=len(body), span=span)


def _asked(number: int, seen: Seen) -> Asked:
    method, fields = seen.line.partition(" ")[0], seen.fields
    found = re.fullmatch(r"bytes=([0-9]+)-([0-9]*)", fields.get("range", ""))
    if found is None:
        return Asked(number, method, fields)
    stop = int(found[2]) + 1 if found[2] else None
    return Asked(number, method, fields, int(found[1]), stop)
