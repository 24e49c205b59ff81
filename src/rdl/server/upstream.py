"""Files of one upstream, each fetched once for all who read it, and kept in a folder.

A request joins the flight that fills its file. Who asks for all of it sets a keeper to work, so
that the rest comes though nobody reads any more. Nothing here waits: what does (opening, closing,
keeping, asking whether it is current) is done by threads of its own.
"""

from __future__ import annotations

import os
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote_to_bytes

from msgspec import Struct
from msgspec.structs import replace

from rdl.api import Session
from rdl.core.representation import Match, Representation
from rdl.engine.remote_file import RemoteFile
from rdl.errors import ChangedError, PolicyError, RdlError, as_error
from rdl.lazy_files import cached_path
from rdl.options import Digest, Head, Options
from rdl.server.caching import caching_of
from rdl.server.digesting import MOST
from rdl.server.flying import LAZY, Flying, Held, reply_of, sha256_of, view_of
from rdl.server.latest import Latest
from rdl.server.meter import Meter
from rdl.server.requests import later, nowhere
from rdl.server.resource import View
from rdl.server.room import evict, remove, taken

HANDS = 16
"""Threads that open, close and ask."""
KEEPERS = 64
"""Files that are completed at the same time."""
LINGERING = 64
"""Files that stay open while they are fresh, though nobody reads them."""
SWEEP_SECONDS = TIDY_SECONDS = 1.0
FAILED_SECONDS = 2.0
"""So long after a failure newcomers hear of it without another try."""
MEASURED = 5.0
"""Seconds between two looks how much is kept, while a page shows it."""
SELDOM = 60 * 10**9
"""Nanoseconds between two notes that a file was used."""
MAX_PATH = 2000
BLOBS = "//sha256:"
"""In place of a blob's path, whatever the repository is; no path begins so."""
_BLOB = re.compile(rb"/v2/.+/blobs/sha256:([0-9a-f]{64})")
_SEGMENT = re.compile(rb"(?!\.\.?$)[^/\\\x00-\x1f\x7f]+")


class Ear(Struct, frozen=True):
    """Hears what is answered about one file; equal for the same, so that flights are shared."""

    upstream: Upstream
    name: str

    def __call__(self, head: Head) -> None:
        self.upstream.heard(self.name, head)


class Upstream:
    """The Site of the files below `url`, kept in the folder `cache`, `most` bytes of them. `hold`:
    only verified ones are served, when they are complete. `budget`: see Meter."""

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
        budget: int | None = None,
    ) -> None:
        self.hold, self.private, self.meter = hold, private, Meter(budget)
        self._session, self._url, self._cache = session, url.rstrip("/"), cache
        self._options, self._most = options or Options(), most
        self._taken: int | None = None
        self._measured_at = self._sweep_at = self._tidied_at = 0.0
        self._tidying, self._over = False, threading.Event()
        self._lock = threading.RLock()
        self._held: dict[str, Held] = {}
        self._digests = Latest[tuple[object, ...], bytes](MOST)
        self._hands = ThreadPoolExecutor(HANDS, "serve")
        self._keepers = ThreadPoolExecutor(KEEPERS, "keep")

    def find(self, path: str) -> Flying:
        """What a path, percent-encoded and beginning with a slash, names; a blob by its digest
        alone. Raises Reply."""
        name, digest = name_of(path)
        with self._lock:
            self._sweep()
            held = self._held.get(name)
            if held is not None and held.error is not None:
                if held.path == path and time.monotonic() - held.failed_at < FAILED_SECONDS:
                    raise reply_of(held.error, held.refusal)
                held = None
            if held is None:
                held = self._held[name] = Held(name, path, digest)
            reading = Flying(held, self, waits=held.stale)
            held.readings.add(reading)
            if reading.waits and not held.looking:
                held.looking = True
                self._hands.submit(self._look, held)
        return reading

    def keeps(self, path: str) -> bool:
        """Whether all of it was fetched, and is kept. Raises Reply."""
        return self._place(name_of(path)[0]).is_file()

    def view(self) -> View:
        with self._lock:
            found = [view_of(one) for one in self._held.values() if one.file]
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
        self._over.set()
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
            held = reading.held
            if held.file is not None:
                self._begin(reading, held.file)
            elif held.payer is None:
                held.payer = reading.client
                self._hands.submit(self._open, held)

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

    def heard(self, name: str, head: Head) -> None:
        """The upstream answered, of what is not kept yet. Raises PolicyError where it may not be
        kept: then nobody has it."""
        if head.status not in (200, 206, 304):
            return
        caching = caching_of(head, time.time())
        why = caching.why_not(shared=not self.private)
        with self._lock:
            held = self._held.get(name)
            if held is not None and not why:
                held.caching, held.said_at = caching, time.monotonic()
            if held is not None and head.status == 304:
                held.payer = ""
        if why:
            error = PolicyError(name, f"no cache may keep it for others ({why})")
            if held is not None:
                held.refusal = why
                self.failed(held, error)
            raise error

    # In threads of its own

    def _open(self, held: Held) -> None:
        try:
            place = self._place(held.name)
            file = self._session.open(
                self._url + held.path,
                place if held.digest else None,
                cache=None if held.digest else self._cache,
                options=self._options_for(held),
                lazy=LAZY,
            )
        except Exception as error:
            self.failed(held, as_error(error))
            return
        with suppress(OSError):  # for who looks what was used last, and seldom: it is a change
            kept, now = place.stat(), time.time_ns()
            if now - kept.st_atime_ns > SELDOM:
                os.utime(place, ns=(now, kept.st_mtime_ns))
        with self._lock:
            held.file = file
            for reading in tuple(held.readings):
                self._begin(reading, file)
            if self.hold and held.readings:
                self.keep(held)
            self._leave(held)
        self._ring(held)

    def _begin(self, reading: Flying, file: RemoteFile) -> None:
        """It may be over already: while those who had it before still close it, it is theirs."""
        try:
            reading.begin(file)
        except Exception as error:
            self.failed(reading.held, as_error(error))

    def _keep(self, held: Held) -> None:
        assert held.file is not None
        try:
            held.file.complete()
            with suppress(OSError):  # it is kept in memory, while another process has its place
                held.descriptor = os.open(self._place(held.name), os.O_RDONLY | os.O_NOFOLLOW)
            held.verified = True
            self._ring(held)
            self._finish(held, held.file)
        except Exception as error:  # also that it was closed: the server ends
            self.failed(held, as_error(error))
        with self._lock:
            held.keeping = False
            self._leave(held)
        self._ring(held)
        self._tidy()

    def _look(self, held: Held) -> None:
        """Ask the upstream whether it is current, for those who came since it was fresh. Where it
        has another one those who read it are cut off."""
        known, refused = held.known, None
        assert known is not None
        try:
            found = self._session.info(self._url + held.path, self._options_for(held))
            now = Representation(
                found.length, found.etag, found.last_modified, found.modified_strong
            )
            match = known.compare(now)
            if match is Match.DIFFERENT:
                self.failed(held, ChangedError(held.path, "the upstream has another one now"))
            elif match is Match.UNKNOWN:
                refused = later("it may not be shared, and somebody reads it")
        except Exception as error:
            refused = reply_of(as_error(error), held.refusal)
        with self._lock:
            held.looking = False
            for reading in held.readings:
                if reading.waits:
                    reading.waits, reading.refused = False, refused
        self._ring(held)

    def _finish(self, held: Held, file: RemoteFile) -> None:
        """It is complete, and verified as far as that goes."""
        about = file.stat()
        key = held.name, about.etag, about.modified, about.size
        known = None if about.trust < "T2" else self._digests.get(key)  # else of which version?
        digest = bytes.fromhex(held.digest.hex) if held.digest else known or sha256_of(file)
        with self._lock:
            self._digests[key] = held.sha256 = digest
        held.done = True

    def _options_for(self, held: Held) -> Options:
        """A blob is proved by its own digest."""
        options = replace(self._options, heard=Ear(self, held.name))
        if held.digest is None:
            return options
        return replace(
            options,
            transfer=replace(options.transfer, digests=(held.digest,)),
            file=replace(options.file, mode=0o600),
        )

    def _place(self, name: str) -> Path:
        return cached_path(self._cache, self._url + name, self._options)

    def _leave(self, held: Held) -> None:
        """Under the lock: where nobody needs it any more it is closed, unless it is fresh."""
        if held.busy:
            return
        idle = sum(not one.busy for one in self._held.values())
        if held.error is not None or not held.lasting or idle > LINGERING:
            self._let_go(held)

    def _let_go(self, held: Held) -> None:
        """Under the lock."""
        if self._held.get(held.name) is held and held.error is None:
            del self._held[held.name]
        if held.descriptor is not None:
            os.close(held.descriptor)
            held.descriptor = None
        file, held.file = held.file, None
        if file is not None:
            with suppress(RuntimeError):  # the server ends
                self._hands.submit(self._shut, held, file)

    def _shut(self, held: Held, file: RemoteFile) -> None:
        file.close()
        if held.refusal:
            remove(self._place(held.name))
        self._tidy()

    def _sweep(self) -> None:
        """Under the lock, now and then: what is over is forgotten."""
        now = time.monotonic()
        if now < self._sweep_at:
            return
        self._sweep_at = now + SWEEP_SECONDS
        for held in tuple(self._held.values()):
            if held.busy:
                continue
            if held.error is None:
                self._leave(held)
            elif now - held.failed_at >= FAILED_SECONDS:
                del self._held[held.name]

    def _ring(self, held: Held) -> None:
        with self._lock:
            readings = tuple(held.readings)
        for reading in readings:
            reading.ring()

    def _measure(self) -> None:
        """How much is kept."""
        with suppress(OSError):
            self._taken = taken(self._cache)

    def _tidy(self) -> None:
        """Soon, and not too often, for all of the folder is looked at: let those go that nobody
        reads, where it takes too much."""
        with self._lock, suppress(RuntimeError):  # the server ends
            if self._most is not None and not self._tidying:
                self._tidying = True
                self._keepers.submit(self._evict, self._most)

    def _evict(self, most: int) -> None:
        self._over.wait(self._tidied_at + TIDY_SECONDS - time.monotonic())
        with self._lock:
            self._tidying, self._tidied_at = False, time.monotonic()
            kept = {self._place(name).name: held for name, held in self._held.items()}

        def free(name: str) -> bool:
            with self._lock:
                held = kept.get(name)
                if held is None:
                    return True
                if held.busy or held.error is not None:
                    return False
                self._let_go(held)
            return True

        with suppress(OSError):
            evict(self._cache, most, free)


def name_of(path: str) -> tuple[str, Digest | None]:
    """By which a file is held and kept: a blob of a container registry (OCI distribution: end-2)
    by its digest. Raises Reply for a path that no file upstream may have."""
    segments = map(unquote_to_bytes, path[1:].split("/"))
    if len(path) > MAX_PATH or not all(map(_SEGMENT.fullmatch, segments)):
        raise nowhere()
    found = _BLOB.fullmatch(unquote_to_bytes(path))
    digest = Digest("sha256", found[1].decode()) if found else None
    return (f"{BLOBS}{digest.hex}" if digest else path), digest
