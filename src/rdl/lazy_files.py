"""The lazy files of a session: who opens the same in the same way shares a flight."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import Counter
from collections.abc import Callable, Hashable
from functools import partial
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from rdl.core.events import Teller
from rdl.engine.flights import Flight
from rdl.engine.remote_file import Boarding, RemoteFile
from rdl.errors import UsageError
from rdl.opening import Means, Opened
from rdl.options import LazyOptions, Options, Source
from rdl.sources import as_given, shown_url
from rdl.storage.private import private_folder

SIZES = "block", "least", "max_jump", "read_ahead", "keep"
"""What of LazyOptions counts bytes."""


class Way(Struct, frozen=True):
    """How a file is opened."""

    url: str | Source
    path: Path | None
    cache: Path | None
    options: Options
    lazy: LazyOptions


def cached_path(folder: Path, url: str, options: Options) -> Path:
    """Where a cache folder keeps this: a name that says nothing, in a folder that is the user's
    alone. What is asked for with another login, or another secret in the URL, is another file.
    Raises LocalFileError."""
    private_folder(folder)
    network = options.network
    login = (
        *(network.user, network.password, network.headers),
        *map(str, (network.cookies, network.cert, network.netrc_file)),
    )
    key = f"{url.partition('#')[0]}\n{login}"
    return folder / hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:40]


def _sensible(lazy: LazyOptions, name: str) -> bool:
    size = getattr(lazy, name)
    return type(size) is int and size >= (name in ("block", "least"))


def _key(way: Way) -> Hashable:
    """The same for those who share a flight. A Source that has no hash, as a plain dataclass, is
    nobody else's."""
    try:
        hash(way)
    except TypeError:
        return object()
    return way


class LazyFiles:
    """Those of a session that are open. Safe to use from several threads."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._lock = threading.RLock()  # files are closed as garbage, too
        self._flights: dict[Hashable, Flight] = {}
        self._readers: Counter[Hashable] = Counter()
        self._leaving: dict[Hashable, Flight] = {}
        """Those whose last reader has gone, and that still let go of what they have."""
        self._process = os.getpid()

    def open(
        self, way: Way, again: Callable[[Way, int], RemoteFile], tell: Teller | None = None
    ) -> RemoteFile:
        """One more reader. `again`: opens it when it was pickled. Raises UsageError, and
        LocalFileError for a cache folder that is not the user's alone."""
        if way.options.transfer.range is not None or way.options.dry_run:
            raise UsageError("open", "a range, or a dry run, makes no sense of a file that is open")
        if way.path is not None and way.cache is not None:
            raise UsageError("open", "it is kept at a path or in a cache, not both")
        if wrong := [one for one in SIZES if not _sensible(way.lazy, one)]:
            raise UsageError("open", f"LazyOptions({wrong[0]}=...) makes no sense")
        way = replace(
            way, path=way.path and way.path.absolute(), cache=way.cache and way.cache.absolute()
        )
        key = _key(way)
        while (flight := self._board(key, way, tell)) is None:
            self._let_go(key, self._leaving.get(key))  # or it would be found busy
        name = shown_url(way.url)
        leave = partial(self._leave, key, flight)
        return RemoteFile(Boarding(flight, way.lazy, name, leave, again, way))

    def close(self) -> None:
        """None of them can be read any more."""
        with self._lock:
            flights = tuple(self._flights.values())
            self._flights.clear()
        for flight in flights:
            flight.close()

    def _leave(self, key: Hashable, flight: Flight) -> None:
        if self._process != os.getpid():  # a thread may have had the lock at the fork
            return
        with self._lock:
            self._readers[key] -= 1
            last = not self._readers[key] and self._flights.get(key) is flight
            if last:
                del self._flights[key], self._readers[key]
                self._leaving[key] = flight
        if last:
            self._let_go(key, flight)

    def _board(self, key: Hashable, way: Way, tell: Teller | None) -> Flight | None:
        """None while another one like it still lets go of what it has."""
        with self._lock:
            if key in self._leaving:
                return None
            if key not in self._flights:
                self._flights[key] = Flight(self._ground(way, tell))
            self._readers[key] += 1
            return self._flights[key]

    def _let_go(self, key: Hashable, flight: Flight | None) -> None:
        if flight is not None:
            flight.close()
        with self._lock:
            if self._leaving.get(key) is flight:
                self._leaving.pop(key, None)

    def _ground(self, way: Way, tell: Teller | None) -> Opened:
        url, options = as_given(way.url, way.options, whole=True)
        path, private = way.path, way.path is None and way.cache is not None
        if path is None and way.cache is not None:
            path = cached_path(way.cache, url, options)
            options = replace(options, file=replace(options.file, mode=0o600))
        options = replace(options, file=replace(options.file, adopt=False))  # read before proved
        return Opened(url, options, self._means, path, lazy=way.lazy, private=private, tell=tell)
