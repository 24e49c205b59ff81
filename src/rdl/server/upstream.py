"""Files of one upstream, each fetched once for all who read it, and kept in a folder.

A request joins the flight that fills its file. Who asks for all of it sets a keeper to work, so
that the rest comes though nobody reads any more. Nothing here waits: what does (opening, closing,
keeping) is done by threads of its own.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote_to_bytes

from rdl.api import Session
from rdl.core.byterange import ByteRange
from rdl.core.fields import parse_http_date
from rdl.core.representation import Representation, Trust
from rdl.engine.remote_file import RemoteFile, Subscription
from rdl.errors import HTTPStatusError, RdlError
from rdl.lazy_files import cached_path
from rdl.options import LazyOptions, Options
from rdl.server.answers import BYTES, Facts
from rdl.server.requests import Reply
from rdl.server.resource import Flight, View
from rdl.server.room import evict, taken

HANDS = 16
"""Threads that open and close."""
KEEPERS = 64
"""Files that are completed at the same time."""
LAZY = LazyOptions()
FAILED_SECONDS = 2.0
"""So long after a failure newcomers hear of it without another try."""
MEASURED = 5.0
"""Seconds between two looks how much is kept, while a page shows it."""
AHEAD = 8 << 20
MAX_PATH = 2000
MOST_DIGESTS = 10_000
STEP = 1 << 20
_SEGMENT = re.compile(rb"(?!\.\.?$)[^/\\\x00-\x1f\x7f]+")


class Held:
    """One file of the upstream, while somebody reads it, or it is completed. Changes under the
    lock of its Upstream."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.file: RemoteFile | None = None
        self.error: RdlError | None = None
        self.failed_at = 0.0
        self.sha256: bytes | None = None
        self.keeping = self.verified = self.done = False
        """It is being completed; all of it is here and right; and all is known of it."""
        self.descriptor: int | None = None
        """Of the file, when it is complete."""
        self.readings = set[Flying]()


class Flying:
    """One request's reading of a file that may be in flight. `moving` grows while something
    comes."""

    def __init__(self, held: Held, upstream: Upstream) -> None:
        self.held, self._upstream = held, upstream
        self.moving = 0
        self._subscription: Subscription | None = None
        self._changed: Callable[[], None] = lambda: None
        self._closed = False

    @property
    def facts(self) -> Facts | None:
        try:
            self._raise()
        except RdlError as error:
            raise reply_of(error) from error
        subscription, held = self._subscription, self.held
        known = subscription.representation if subscription else None
        size = subscription.size if subscription else None
        if known is None or size is None or (self._upstream.hold and not held.done):
            if self._upstream.hold and size is not None:
                self._upstream.keep(held)
            return None
        return facts_of(known, size, held.sha256, private=self._upstream.private)

    @property
    def descriptor(self) -> int | None:
        return self.held.descriptor

    def notify(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._upstream.attach(self)

    def demand(self, wanted: ByteRange) -> None:
        subscription = self._subscription
        assert subscription is not None
        size = subscription.size or 0
        if len(wanted) == size:
            self._upstream.keep(self.held)
        if subscription.ready(wanted.start) < wanted.stop:
            subscription.want(wanted.start, wanted.stop, min(wanted.stop + AHEAD, size))

    def available(self, offset: int) -> int:
        self._raise()
        held, subscription = self.held, self._subscription
        assert subscription is not None
        end = subscription.ready(offset)
        if held.keeping and not held.verified and end == subscription.size:
            end -= 1  # who has the last byte takes all of it for right
        return max(0, end - offset)

    def read_into(self, offset: int, view: memoryview) -> int:
        assert self._subscription is not None
        return self._subscription.read_into(offset, view)

    def close(self) -> None:
        self._closed = True
        if self._subscription is not None:
            self._subscription.close()
        self._upstream.left(self)

    def begin(self, file: RemoteFile) -> None:
        """The file is open."""
        if not self._closed and self._subscription is None:
            self._subscription = file.subscribe(self.ring)
            if self._subscription.size is None:
                self._subscription.want(0, 0)

    def ring(self) -> None:
        """Something may be new; from any thread."""
        self.moving += 1
        self._changed()

    def _raise(self) -> None:
        """What ended the fetching ends the reading."""
        found = self._subscription.error if self._subscription else None
        if isinstance(found, RdlError) and self.held.error is None:
            self._upstream.failed(self.held, found)
        if self.held.error is not None:
            raise self.held.error


def facts_of(known: Representation, size: int, sha256: bytes | None, *, private: bool) -> Facts:
    """What the head says. The ETag is ours, and the same while a file is fetched and afterwards:
    made of what joins parts upstream, else of the digest, when that is known."""
    tag: str | None = None
    if known.trust is not Trust.T0:
        tag = hashlib.blake2b(_said(known, size), digest_size=12).hexdigest()
    elif sha256 is not None:
        tag = sha256.hex()[:32]
    return Facts(
        size,
        etag=None if tag is None else f'"{tag}"',
        modified=parse_http_date(known.last_modified),
        sha256=sha256,
        media_type=known.media_type or BYTES,
        private=private,
    )


def _said(known: Representation, size: int) -> bytes:
    return repr((known.etag, known.last_modified, size)).encode()


class Upstream:
    """The Site of the files below `url`, kept in the folder `cache`, `most` bytes of them. `hold`:
    only verified ones are served, when they are complete. A context manager."""

    def __init__(
        self,
        session: Session,
        url: str,
        cache: Path,
        *,
        options: Options | None = None,
        hold: bool = False,
        private: bool = False,
        most: int | None = None,
    ) -> None:
        self.hold, self.private = hold, private
        self._session, self._url, self._cache = session, url.rstrip("/"), cache
        self._options, self._most = options or Options(), most
        self._taken: int | None = None
        self._measured_at = 0.0
        self._lock = threading.RLock()
        self._held: dict[str, Held] = {}
        self._digests = dict[tuple[object, ...], bytes]()
        self._hands = ThreadPoolExecutor(HANDS, "serve")
        self._keepers = ThreadPoolExecutor(KEEPERS, "keep")

    def find(self, path: str) -> Flying:
        """What a path, percent-encoded and beginning with a slash, names. Raises Reply."""
        check_path(path)
        with self._lock:
            held = self._held.get(path)
            if held is not None and held.error is not None:
                if time.monotonic() - held.failed_at < FAILED_SECONDS:
                    raise reply_of(held.error)
                held = None
            if held is None:
                held = self._held[path] = Held(path)
                self._hands.submit(self._open, held)
            reading = Flying(held, self)
            held.readings.add(reading)
        return reading

    def view(self) -> View:
        with self._lock:
            found = [flight_of(one) for one in self._held.values() if one.file]
        if time.monotonic() - self._measured_at > MEASURED:
            self._measured_at = time.monotonic()
            with suppress(RuntimeError):  # the server ends
                self._hands.submit(self._measure)
        return View(tuple(sorted(found, key=lambda one: one.path)), self._taken, self._most)

    def front(self) -> None:
        """What there is only the upstream knows."""

    def close(self) -> None:
        """What is being fetched ends; partials are kept."""
        with self._lock:
            every = tuple(self._held.values())
            self._held.clear()
        self._session.interrupt("SIGTERM")
        for held in every:
            if held.file is not None:
                held.file.close()
        self._keepers.shutdown(cancel_futures=True)
        self._hands.shutdown(cancel_futures=True)

    # What readings say

    def attach(self, reading: Flying) -> None:
        """It is to be told of what comes."""
        with self._lock:
            if reading.held.file is not None:
                self._begin(reading, reading.held.file)

    def keep(self, held: Held) -> None:
        """All of it is wanted: it comes, whoever reads on."""
        with self._lock:
            if not (held.keeping or held.done or held.error):
                held.keeping = True
                self._keepers.submit(self._keep, held)

    def failed(self, held: Held, error: RdlError) -> None:
        """All who read it end with this, and for a while those who come."""
        with self._lock:
            if held.error is None:
                held.error, held.failed_at = error, time.monotonic()
        self._ring(held)

    def left(self, reading: Flying) -> None:
        """It needs nothing any more."""
        with self._lock:
            reading.held.readings.discard(reading)
            self._leave(reading.held)

    # In threads of its own

    def _open(self, held: Held) -> None:
        try:
            file = self._session.open(
                self._url + held.path, cache=self._cache, options=self._options, lazy=LAZY
            )
        except RdlError as error:
            self.failed(held, error)
            return
        with suppress(OSError):  # for who looks what was used last
            place = self._place(held.path)
            os.utime(place, ns=(time.time_ns(), place.stat().st_mtime_ns))
        with self._lock:
            held.file = file
            for reading in tuple(held.readings):
                self._begin(reading, file)
            self._leave(held)
        self._ring(held)

    def _begin(self, reading: Flying, file: RemoteFile) -> None:
        """It may be over already: while those who had it before still close it, it is theirs."""
        try:
            reading.begin(file)
        except RdlError as error:
            self.failed(reading.held, error)

    def _keep(self, held: Held) -> None:
        assert held.file is not None
        try:
            held.file.complete()
            held.verified = True
            self._ring(held)
            self._finish(held, held.file)
        except RdlError as error:
            self.failed(held, error)
        except ValueError:
            """It was closed: the server ends."""
        with self._lock:
            held.keeping = False
            self._leave(held)
        self._ring(held)
        if self._most is not None:
            self._evict(self._most)

    def _finish(self, held: Held, file: RemoteFile) -> None:
        """It is complete, and verified as far as that goes."""
        about = file.stat()
        key = held.path, about.etag, about.modified, about.size
        if key not in self._digests:
            if len(self._digests) >= MOST_DIGESTS:
                self._digests.clear()
            self._digests[key] = _sha256_of(file)
        held.sha256 = self._digests[key]
        with suppress(OSError):
            held.descriptor = os.open(self._place(held.path), os.O_RDONLY | os.O_NOFOLLOW)
        held.done = True

    def _place(self, path: str) -> Path:
        return cached_path(self._cache, self._url + path, self._options)

    def _leave(self, held: Held) -> None:
        """Under the lock: where nobody needs it any more it is closed."""
        if held.readings or held.keeping:
            return
        if self._held.get(held.path) is held and held.error is None:
            del self._held[held.path]
        if held.descriptor is not None:
            os.close(held.descriptor)
            held.descriptor = None
        file, held.file = held.file, None
        if file is not None:
            with suppress(RuntimeError):  # the server ends
                self._hands.submit(file.close)

    def _ring(self, held: Held) -> None:
        with self._lock:
            readings = tuple(held.readings)
        for reading in readings:
            reading.ring()

    def _measure(self) -> None:
        """How much is kept."""
        with suppress(OSError):
            self._taken = taken(self._cache)

    def _evict(self, most: int) -> None:
        """Let those go that nobody reads."""
        with self._lock:
            busy = {self._place(path).name for path in self._held}
        evict(self._cache, most, busy)


def flight_of(held: Held) -> Flight:
    """As a page shows it."""
    assert held.file is not None
    size, present = held.file.look()
    state = "complete" if held.done else "downloading" if held.keeping else "in parts"
    state = "failed" if held.error else state
    return Flight(held.path, size, present, len(held.readings), state)


def _sha256_of(file: RemoteFile) -> bytes:
    found, at = hashlib.sha256(), 0
    while data := file.read_at(at, STEP):
        found.update(data)
        at += len(data)
    return found.digest()


def reply_of(error: RdlError) -> Reply:
    """What a reader is told who comes after it failed."""
    if isinstance(error, HTTPStatusError) and error.status in (404, 410):
        return Reply(error.status, "the upstream has it not")
    return Reply(502, "this cannot be read now")


def check_path(path: str) -> None:
    """Raises Reply for one that no file upstream may have."""
    segments = map(unquote_to_bytes, path[1:].split("/"))
    if len(path) > MAX_PATH or not all(map(_SEGMENT.fullmatch, segments)):
        raise Reply(404, "nothing is here")
