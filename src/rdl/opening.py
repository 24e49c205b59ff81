"""Opening a remote file: what a flight stands on, in memory, at a path, or in a cache folder."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from rdl.core.blockmap import block_size_for
from rdl.core.byterange import ByteRange
from rdl.core.events import Result, Teller, Warned
from rdl.core.representation import Representation
from rdl.core.row import Remembered
from rdl.core.spec import Spec
from rdl.core.text import redact_url
from rdl.core.transfer import Transfer
from rdl.engine.driver import Driver
from rdl.engine.edges import Edges
from rdl.engine.flights import Flight
from rdl.engine.ground import Known
from rdl.engine.hashing import Readable
from rdl.engine.permits import Permits
from rdl.errors import (
    BusyError,
    ChangedError,
    LocalFileError,
    NoSpaceError,
    RdlError,
)
from rdl.landing import Landing, names_page
from rdl.options import LazyOptions, NetworkOptions, Options
from rdl.storage.base import Header, Store
from rdl.storage.disk import FileStat
from rdl.storage.kept import KeptStore
from rdl.storage.local_file import LocalFile
from rdl.storage.part_file import PartStore
from rdl.storage.reopening import reopened

CONNECTIONS = 4
"""To one lazy file, where the user does not say."""
GONE = "what was here could not be opened again"


class Means(Struct, frozen=True):
    """What a session lends to a flight."""

    discovered: Callable[[str, Options], Options]
    """With the digests that are to be found; it may ask servers, and take long."""
    edges: Callable[[str, Options, Store], tuple[Edges, list[NetworkOptions]]]
    begin: Callable[[Transfer, Edges, Options, Teller | None], Driver]
    over: Callable[[Driver, list[NetworkOptions]], None]
    checker: Callable[[], Callable[[], None]]
    permits: Permits


class PublishedFile:
    """A file under its final name, only read, and watched: others may write to it."""

    def __init__(self, path: Path) -> None:
        self._file = LocalFile(path)
        self._file.__enter__()
        self._part: PartStore | None = None

    def of(self, part: PartStore) -> PublishedFile:
        """This was published from `part`. Reads may be under way there: it closes with this."""
        self._part = part
        return self

    def read_into(self, offset: int, view: memoryview) -> int:
        count = self._file.read_into(offset, view)
        self._file.check_at_rest()
        return count

    @property
    def stat(self) -> FileStat:
        return self._file.stat

    def unlock(self) -> None:
        """Nobody reads there any more."""
        if self._part is not None:
            self._part.close()
            self._part = None

    @property
    def size(self) -> int:
        return len(self._file.span(None))

    def close(self, *, discard: bool = False) -> None:
        self.unlock()
        self._file.__exit__()


class Opened:
    """The ground of one flight (engine/ground.py). `path`: None: in memory. `private`: it is a
    cache's, so that it is kept in memory where another process has it."""

    def __init__(
        self,
        url: str,
        options: Options,
        means: Means,
        path: Path | None,
        *,
        lazy: LazyOptions,
        private: bool = False,
        tell: Teller | None = None,
    ) -> None:
        self.url = redact_url(url)
        self._url, self._options, self._lazy = url, options, lazy
        self._means, self._tell = means, tell
        self._path, self._private = path, private
        self._store: KeptStore | PartStore | PublishedFile | None = None if path else KeptStore()
        self._spent: list[PublishedFile] = []
        self._landing: Landing | None = None
        self._begun = False
        self._running: tuple[Driver, list[NetworkOptions]] | None = None

    @property
    def store(self) -> Readable:
        if self._store is None:
            raise LocalFileError(self.url, GONE)
        return self._store

    @property
    def room(self) -> int | None:
        return self._lazy.keep if self._path is None else None

    def launch(self, flight: Flight, known: Known | None) -> Driver | Result:
        """The first one looks at what is there; the others go on with what is known."""
        if not self._begun:
            self._options, self._begun = self._means.discovered(self._url, self._options), True
        saved: Remembered | None = None
        if self._store is None and known is not None:
            raise LocalFileError(self.url, GONE)
        if self._store is None and self._path is not None:
            begun = self._look(flight, self._path)
            if isinstance(begun, Result):
                return begun
            saved = begun
        if known is not None and not known.joinable:
            raise ChangedError(
                self.url, "it was cut, and nothing tells whether it is still the same"
            )
        if isinstance(self._store, PublishedFile) and self._path is not None and known is not None:
            # it was invalidated while it was published
            self._reopen(self._path, self._store, known)
        saved = known.remembered if known else saved
        assert isinstance(self._store, KeptStore | PartStore)
        edges, networks = self._means.edges(self._url, self._options, self._store)
        edges = replace(
            edges,
            awaited=flight.awaits,
            volatile=self._path is None,
            watcher=flight,
            permits=self._means.permits,
        )
        transfer = Transfer(self._spec(flight, saved, known))
        driver = self._means.begin(transfer, edges, self._options, self._tell)
        self._running = driver, networks
        return driver

    def landed(self, flight: Flight, result: Result, error: RdlError | None) -> None:
        """A file that stands there already is read where it is."""
        if self._running is not None:
            self._means.over(*self._running)
            self._running = None
        if error is None and result.reason == "unchanged" and self._landing and self._path:
            self._read_there(flight, self._path, self._landing.existing)
        elif error is None and self._path and isinstance(self._store, PartStore):
            self._watch(self._path, self._store)

    def evict(self, size: int, wanted: Sequence[ByteRange]) -> Sequence[ByteRange]:
        return self._store.evict(size, wanted) if isinstance(self._store, KeptStore) else ()

    def undo(self, range: ByteRange, known: Known) -> None:
        """A published file loses its name, where it still is that file."""
        if isinstance(self._store, PartStore):
            self._store.forget((range,))
        elif isinstance(self._store, PublishedFile) and self._path is not None:
            self._reopen(self._path, self._store, known, range)
            self._close_spent()

    def close(self) -> None:
        self._close_spent()
        if self._store is not None:
            with suppress(LocalFileError, NoSpaceError):
                self._store.close()
            self._store = None

    def _close_spent(self) -> None:
        """Nobody reads there."""
        while self._spent:
            self._spent.pop().close()

    def _reopen(
        self, path: Path, old: PublishedFile, known: Known, wrong: ByteRange | None = None
    ) -> None:
        """It is a partial again; `old` is closed when nobody can read there any more."""
        block = block_size_for(known.representation.total or 0)
        header = Header(self.url, known.representation, block)
        old.unlock()
        wrong = wrong or ByteRange(0, 0)
        self._store = reopened(path, header, known.present, wrong, stood=old.stat)
        self._spent.append(old)

    def _look(self, flight: Flight, path: Path) -> Result | Remembered | None:
        """A cache that another process has, or that is damaged, is no reason not to read."""
        try:
            return self._look_at(flight, path)
        except (BusyError, LocalFileError) as error:
            if not self._private:
                raise
            if self._tell is not None:
                self._tell(Warned(self.url, f"what is read is kept in memory: {error}"))
            self._path, self._store, self._landing = None, KeptStore(), None
            return None

    def _look_at(self, flight: Flight, path: Path) -> Result | Remembered | None:
        check = self._means.checker()
        landing = Landing(path, self.url, self._options, check=check, lazy=True, own=self._private)
        self._landing = landing
        if (early := landing.already_there()) is not None:
            self._read_there(flight, path, landing.noted())
            return early
        store = PartStore(path, check=check)
        try:
            saved = landing.open(store, None)
        except BaseException:
            store.close()
            raise
        self._store = store
        return saved

    def _watch(self, path: Path, part: PartStore) -> None:
        """What was published is read as any file that stands there; of one that was moved
        already, what is open."""
        with suppress(RdlError):
            file = PublishedFile(path)
            if file.stat.same_file(part.stat()):
                self._store = file.of(part)
            else:
                file.close()

    def _read_there(self, flight: Flight, path: Path, known: Representation | None) -> None:
        if self._store is not None:
            self._store.close(discard=True)
        self._store = file = PublishedFile(path)
        flight.known(known or Representation(file.size), file.size)
        flight.show((ByteRange(0, file.size),))

    def _spec(self, flight: Flight, saved: Remembered | None, known: Known | None) -> Spec:
        spec = self._plain_spec(saved)
        transfer, size = spec.options, flight.expected_size
        transfer = replace(
            transfer,
            connections=transfer.connections or CONNECTIONS,
            expected_size=transfer.expected_size if size is None else size,
        )
        spec = replace(spec, options=transfer, lazy=self._lazy, volatile=self._path is None)
        if known is None:
            return spec
        return replace(spec, existing=None, adopted=(), pinned=known.representation)

    def _plain_spec(self, saved: Remembered | None) -> Spec:
        if self._landing is not None:
            return self._landing.spec(self._url, saved)
        return Spec(
            self.url,
            self.url,
            self._options.transfer,
            secrets.randbits(32),
            page_name=names_page(self._url),
            remembered=saved,
            renewable=self._options.renew is not None,
            mirrors=tuple(map(redact_url, self._options.mirrors)),
        )
