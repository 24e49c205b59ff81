"""A Source behind the interface of a transport: its bytes come as a server's would.

What it says is checked, and after each read whether it is still what the head said: bytes of
two versions never meet, and a source that breaks its contract is named in an error.
"""

from __future__ import annotations

import hashlib
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from urllib.parse import quote

from rdl.core.byterange import ByteRange
from rdl.core.digest import parse_digest
from rdl.core.fields import MAX_TOTAL, ResponseHead
from rdl.core.text import redact_url, safe_text
from rdl.errors import ChangedError, NetworkError, ProtocolError, RdlError, UsageError
from rdl.options import Source
from rdl.transport.answering import Selected, answer
from rdl.transport.base import Exchange, Lineage, Request, Transport

LARGEST_BLOCK = 16 << 20
AT_ONCE = 1 << 20
"""Bytes of one read of blocks, where several fit into them."""
LONGEST_TAG, RUN = 900, 24


def url_of(source: Source) -> str:
    """By what the engine, the index and people know it. Raises UsageError."""
    name = getattr(source, "name", None)
    if not isinstance(name, str) or not name:
        raise UsageError("source", "it is neither a URL nor a Source with a name")
    return f"source:///{quote(name, safe='/', errors='surrogatepass')}"


class OwnTransport:
    """Answers for `source`; what is asked of another URL goes `beyond`."""

    def __init__(self, source: Source, beyond: Transport) -> None:
        self._source, self._url, self._beyond = source, url_of(source), beyond

    def ask(self, request: Request) -> None:
        """The caller's code may take long."""

    def open(self, request: Request) -> Exchange:
        if request.url != self._url or request.lineage is not None:
            return self._beyond.open(request)
        what = safe_text(redact_url(self._url))
        return OwnExchange(request, self._source, selected(self._source, what))

    def close(self) -> None:
        self._beyond.close()


def selected(source: Source, what: str, modified: float | None = None) -> Selected:
    """What it says of itself. Raises RdlError; `what` it is called there."""
    with _trusting(what):
        tag = source.validator
        size, digest, block = source.size(), source.digest, source.block_size
    for wrong, why in (
        (tag is not None and (type(tag) is not str or not tag), "its validator is no text"),
        (type(size) is not int or not 0 <= size <= MAX_TOTAL, "its size is no number of bytes"),
        (digest is not None and type(digest) is not str, "its digest is no text"),
        (
            block is not None and (type(block) is not int or not 0 < block <= LARGEST_BLOCK),
            f"its block size is not one of 1 to {LARGEST_BLOCK} bytes",
        ),
    ):
        if wrong:
            raise ProtocolError(what, why)
    etag = _tag(tag) if tag else None
    return Selected(size, etag, modified, _repr_digest(digest, what), block)


def _tag(validator: str) -> str:
    """A strong ETag, in groups: it is not to be taken for a hash, which speaks for other URLs
    too."""
    text = quote(validator, safe="", errors="surrogatepass")
    if len(text) > LONGEST_TAG:
        text = hashlib.sha256(text.encode()).hexdigest()
    return f'"{":".join(text[at : at + RUN] for at in range(0, len(text), RUN))}"'


def _repr_digest(text: str | None, what: str) -> str | None:
    if text is None:
        return None
    try:
        digest = parse_digest(text)
    except UsageError as error:
        raise ProtocolError(what, f"its digest makes no sense: {error}") from error
    name = digest.algorithm.replace("sha", "sha-")
    return f"{name}=:{b64encode(bytes.fromhex(digest.hex)).decode()}:"


@contextmanager
def _trusting(what: str) -> Iterator[None]:
    """Whatever goes wrong in the caller's code is an RdlError that names its source."""
    try:
        yield
    except RdlError:
        raise
    except BaseException as bug:
        alone = threading.current_thread() is threading.main_thread()
        if alone and not isinstance(bug, Exception):  # Ctrl-C, and not of the source
            raise
        raise ProtocolError(what, f"it failed: {safe_text(repr(bug), 200)}") from bug


class OwnExchange:
    """A request to a Source: what it `has` was looked at just before. `done` is called once, when
    nothing reads any more; `ours`: it raises RdlError alone, and a read takes no time, so that a
    reader in order may do it itself."""

    head: ResponseHead
    lineage: Lineage | None = None
    public = False

    def __init__(
        self,
        request: Request,
        source: Source,
        has: Selected,
        done: Callable[[], None] = lambda: None,
        *,
        ours: bool = False,
    ) -> None:
        self._what = safe_text(redact_url(request.url))
        self._source, self._has, self._done, self._ours = source, has, done, ours
        self.head, self._left = answer(request, has, time.time())
        self._rest = memoryview(b"")
        """Of the blocks that were read: what was not asked for yet."""
        self._closed, self._reading, self._ended = False, threading.Lock(), False

    def ready(self) -> bool:
        return self._ours or bool(self._rest)

    def readinto(self, view: memoryview) -> int:
        """As much as one read brings. Raises ChangedError where the source is not the same any
        more, and what the source raises."""
        with self._reading:
            if self._closed:
                raise NetworkError(self._what, "closed")
            view = view[: len(self._left)]
            count = 0
            if view:
                count = self._take(view) if self._has.block else self._read(self._left.start, view)
            self._left = ByteRange(self._left.start + count, self._left.stop)
        if self._closed:
            self.close()
        return count

    def _take(self, view: memoryview) -> int:
        """From whole blocks: as many at once as `view` asks for."""
        if not self._rest:
            self._rest = self._blocks(self._left.start, len(view))
        count = min(len(view), len(self._rest))
        view[:count], self._rest = self._rest[:count], self._rest[count:]
        return count

    def _blocks(self, at: int, size: int) -> memoryview:
        """Those that hold the bytes from `at` on."""
        block = self._has.block or 1
        first, most = at // block * block, max(1, AT_ONCE // block) * block
        stop = min(-(-(at + size) // block) * block, first + most, self._has.size)
        buffer = memoryview(bytearray(stop - first))
        count = self._read(first, buffer)
        if first + count < self._has.size:
            whole = count // block * block
            if count != whole:
                raise ProtocolError(self._what, f"{count} bytes at {first} are no whole blocks")
        return buffer[at - first : count]

    def _read(self, offset: int, view: memoryview) -> int:
        with nullcontext() if self._ours else _trusting(self._what):  # else: a signal's, perhaps
            with view[:] as lent:
                count = self._source.read(offset, lent)
            tag = self._source.validator
            same = _tag(tag) if tag else None
        if type(count) is not int or not 0 <= count <= len(view):
            why = f"it says {safe_text(repr(count), 40)} where {len(view)} bytes at {offset} "
            raise ProtocolError(self._what, f"{why}were asked for")
        if same != self._has.etag:
            raise ChangedError(self._what, "it changed while it was read")
        if count == 0:
            raise ProtocolError(self._what, f"it ended at {offset} of {self._has.size} bytes")
        return count

    def close(self) -> None:
        """A read under way is not woken; who reads ends it then."""
        self._closed = True
        if self._reading.acquire(blocking=False):
            try:
                ended, self._ended = self._ended, True
            finally:
                self._reading.release()
            if not ended:
                self._done()
