"""A scripted server with one file, and a real driver over a real part file."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rdl.core.events import Fact, Result
from rdl.core.fields import ResponseHead
from rdl.core.row import Remembered
from rdl.core.transfer import Spec, Transfer
from rdl.engine.driver import Driver
from rdl.engine.edges import Edges
from rdl.engine.throttle import Throttle
from rdl.errors import NetworkError, RdlError
from rdl.options import TransferOptions
from rdl.storage.base import Store
from rdl.storage.part_file import PartStore
from rdl.transport.base import Request
from rdl.transport.scripted import Answer, ScriptedTransport

STEP = 10_000
URL = "http://server/file"


def content_of(size: int, seed: int = 1) -> bytes:
    """Bytes that depend on the seed alone."""
    return random.Random(seed).randbytes(size)


def _same(step: bytes | RdlError) -> bytes | RdlError:
    return step


class Server:
    """Serves `content` with a strong ETag; what `trouble` returns instead comes first."""

    def __init__(self, content: bytes, *, cut: int | None = None, ranges: bool = True) -> None:
        self.content, self.cut, self.ranges, self.etag = content, cut, ranges, '"1"'
        self.sent = 0
        self.trouble: Callable[[Request], Answer | None] = lambda request: None
        self.transport = ScriptedTransport(self.answer)

    def answer(self, request: Request) -> Answer:
        """One response."""
        if (instead := self.trouble(request)) is not None:
            return instead
        fields, total = dict(request.headers), len(self.content)
        start, stop, status = 0, total, 200
        headers = [("etag", self.etag)]
        if fields.get("If-Match", self.etag) != self.etag:
            return Answer(ResponseHead(412, content_length=0))
        if "Range" in fields and self.ranges and fields.get("If-Range", self.etag) == self.etag:
            first, last = fields["Range"].removeprefix("bytes=").split("-")
            start, stop = int(first), min(total, int(last) + 1 if last else total)
            status = 206
            headers.append(("content-range", f"bytes {start}-{stop - 1}/{total}"))
        head = ResponseHead(status, tuple(headers), content_length=stop - start)
        steps = self.body(self.content[start:stop])
        return Answer(head, map(_same, steps))  # no generator: it is closed by another thread

    def body(self, data: bytes) -> Iterator[bytes | RdlError]:
        """The bytes in steps; a reset after `cut` of them."""
        for at in range(0, len(data), STEP):
            if self.cut is not None and at >= self.cut:
                yield NetworkError("server", "reset")
                return
            self.sent += len(data[at : at + STEP])
            yield data[at : at + STEP]


def download(
    server: Server,
    path: Path,
    *,
    store: Any = None,
    tell: Callable[[Fact], None] | None = None,
    started: Callable[[Driver], None] = lambda driver: None,
    **options: Any,
) -> tuple[Result, RdlError | None]:
    """One run, as a process would do it; an earlier run's part is continued."""
    own: Store = store(PartStore(path)) if store else PartStore(path)
    saved = own.open()
    known = None
    if saved is not None:
        header = saved.header
        known = Remembered(header.representation, header.span, saved.extents.ranges())
    made = TransferOptions(**options)
    transfer = Transfer(Spec(URL, str(path), made, 1, True, known))
    driver = Driver(
        transfer, Edges(URL, server.transport, own, Throttle(None), Throttle(None)), None, tell
    )
    started(driver)
    try:
        return driver.run()
    finally:
        own.close()


class Wrapped:
    """A store whose named methods are replaced."""

    def __init__(self, store: Store, **instead: Callable[..., Any]) -> None:
        self._store, self._instead = store, instead

    def __getattr__(self, name: str) -> Any:
        return self._instead.get(name) or getattr(self._store, name)


__all__ = ["STEP", "URL", "Server", "Wrapped", "content_of", "download"]
