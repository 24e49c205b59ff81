"""The front of the engine: a Session.

Only this module names concrete transports and stores.
"""

from __future__ import annotations

import atexit
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from rdl.connecting import edges_of, listened
from rdl.core.events import Fact, Result, Teller, failed
from rdl.core.representation import Representation
from rdl.core.text import redact_url, safe_text
from rdl.core.transfer import Spec, Transfer
from rdl.discovering import with_discovered
from rdl.engine.crew import Crew
from rdl.engine.driver import Driver
from rdl.engine.edges import Edges
from rdl.engine.permits import Permits
from rdl.engine.stream import REPORT, Passage, Stream, window_for
from rdl.engine.throttle import Limits
from rdl.engine.turns import run_abreast
from rdl.errors import AuthError, BusyError, Interrupted, OutOfTime, RdlError, UsageError, as_error
from rdl.landing import Landing, Sow, names_page
from rdl.options import LazyOptions, NetworkOptions, Options, RangeSpec, SessionOptions, Source
from rdl.remembered import Remembered
from rdl.sources import as_given, ceilings, limited, shown_url
from rdl.storage.base import Store
from rdl.storage.part_file import PartStore
from rdl.storage.small import SmallStore
from rdl.storage.sown_part import SownPart
from rdl.storage.window import WindowStore
from rdl.transports import Transports
from rdl.waiting import wait_for_other

if TYPE_CHECKING:
    from rdl.core.describing import Info
    from rdl.engine.remote_file import RemoteFile
    from rdl.lazy_files import LazyFiles, Way
    from rdl.transport.base import Transport

Done = Callable[[Result], None]
Networks = list[NetworkOptions]


class Target(Struct, frozen=True):
    """One download: from where, to where, how. `path` is the final name."""

    url: str | Source
    path: Path
    options: Options = field(default_factory=Options)

    def __post_init__(self) -> None:
        if not isinstance(self.path, Path):
            raise UsageError("target", f"its path is to be a pathlib.Path, not {self.path!r}")


class Session:
    """Downloads that share connections and limits. Safe to use from several threads.

    A context manager; leaving it closes the connections.
    """

    def __init__(self, options: SessionOptions | None = None) -> None:
        self.options = options or SessionOptions()
        self._limits = Limits(self.options)
        self._small = Remembered(self._read)
        self._transports = Transports()
        self._drivers: set[Driver] = set()
        self._crew = Crew(self._transports.sweep)
        self._files: LazyFiles | None = None
        self._lock = threading.Lock()
        self._interrupted: str | None = None

    def get(self, target: Target, tell: Teller | None = None, *, sow: Sow | None = None) -> Result:
        """Download one target to its end. Raises RdlError; `tell` hears facts meanwhile
        (called from the thread that called get). `sow`: what is on this disk already."""
        result, error = self._run(target, tell, sow)
        if error is not None:
            error.result = result
            raise error
        return result

    def get_all(
        self,
        targets: Iterable[Target],
        tell: Teller | None = None,
        done: Done | None = None,
    ) -> list[Result]:
        """Download many, `options.parallel` at a time. Never raises for one target: failures
        are results with an exit code and `error`. `tell` and `done` may be called from
        several threads, one at a time. After interrupt(), unstarted targets are results
        with reason "interrupted". Results come in the order of the targets."""
        lock = threading.Lock()

        def tell_one(fact: Fact) -> None:
            if tell is not None:
                with lock:
                    tell(fact)

        def run(target: Target) -> Result:
            result = self._outcome(target, tell_one)
            if done is not None:
                with lock:
                    done(result)
            return result

        wanted = list(targets)
        if len(wanted) == 1:
            return [run(wanted[0])]
        most = max(1, min(self.options.parallel, len(wanted)))
        budget = zip(wanted, ceilings([one.url for one in wanted], most), strict=True)
        wanted = [replace(one, options=limited(one.options, limit)) for one, limit in budget]
        return run_abreast(
            len(wanted), most, lambda number: run(wanted[number]), partial(self.interrupt, "SIGINT")
        )

    def stream(
        self,
        url: str | Source,
        options: Options | None = None,
        tell: Teller | None = None,
        ranges: Sequence[RangeSpec] = (),
    ) -> Stream:
        """Read `url` in order, or `ranges` of it in the order given; nothing is kept on disk.

        Digests of the options are those of all that is read. Of the options `file` says
        nothing here; `tell` hears facts from another thread.
        """
        options = options or Options()
        url, options = self._as_given(url, options, whole=not ranges)
        digests = options.transfer.digests
        wanted: list[RangeSpec | None] = [*ranges] or [options.transfer.range]
        for one in wanted:
            if one is not None and not one.sensible:
                raise UsageError("range", "it is empty, or begins before the file does")
        plain = replace(options, transfer=replace(options.transfer, digests=()))

        def opener(range: RangeSpec | None, known: Representation | None) -> Passage:
            own = replace(plain, transfer=replace(plain.transfer, range=range))
            spec = Spec(
                redact_url(url),
                redact_url(url),
                own.transfer,
                secrets.randbits(32),
                page_name=bool(digests) or names_page(url),
                window=window_for(own.transfer.connections),
                pinned=known,
                renewable=options.renew is not None,
                mirrors=tuple(map(redact_url, options.mirrors)),
            )
            return self._pass(url, own, spec, tell)

        return Stream(opener, wanted, digests, verify=options.transfer.verify)

    def open(
        self,
        url: str | Source,
        path: str | os.PathLike[str] | None = None,
        *,
        cache: str | os.PathLike[str] | None = None,
        options: Options | None = None,
        lazy: LazyOptions | None = None,
        tell: Teller | None = None,
    ) -> RemoteFile:
        """Open `url` to read of it here and there; nothing is asked before the first read.

        What is fetched is kept, and continued by a later run: at `path`, which is the file's name
        when all of it is here, or in the folder `cache`; without either in memory. Those who open
        the same in the same way share it, and `tell` of the first of them hears facts, from another
        thread.
        """
        from rdl.lazy_files import LazyFiles, Way
        from rdl.opening import Means

        with self._lock:
            if self._files is None:
                check, permits = partial(self.checker, None, ""), Permits(self.options.connections)
                works = self._discovered, self._edges, self._begin, self._over
                self._files = LazyFiles(Means(*works, check, permits))
        where = None if path is None else Path(path), None if cache is None else Path(cache)
        way = Way(url, *where, options or Options(), lazy or LazyOptions())
        return self._files.open(way, open_again, tell)

    def info(self, url: str, options: Options | None = None) -> Info:
        """As rdl.info, over the connections of this session."""
        from rdl.looking import info

        url, options = as_given(url, options or Options(), whole=False)
        with self.reaching(options.network) as transport:
            return info(url, transport=listened(transport, options))

    def reaching(self, network: NetworkOptions) -> AbstractContextManager[Transport]:
        """Servers, over the connections of this session."""
        return self._transports.using(network)

    def _begin(
        self, transfer: Transfer, edges: Edges, options: Options, tell: Teller | None = None
    ) -> Driver:
        driver = Driver(transfer, edges, options.file, tell, self._crew)
        self._drivers.add(driver)
        if self._interrupted is not None:
            driver.signal(self._interrupted)
        return driver

    def _over(self, driver: Driver, networks: Networks) -> None:
        self._drivers.discard(driver)
        self._transports.done(networks)

    def _pass(self, url: str, options: Options, spec: Spec, tell: Teller | None) -> Passage:
        store = WindowStore(spec.window or 0)
        passage, transfer = Passage(store, spec.window or 0), Transfer(spec)
        edges, networks = self._edges(url, options, store)
        edges = replace(
            edges,
            deliver=passage.deliver,
            report=REPORT,
            awaited=passage.awaits,
            volatile=True,
            reader=passage,
        )
        driver = self._begin(transfer, edges, options, tell)
        passage.run(driver, transfer, partial(self._over, driver, networks))
        return passage

    def _as_given(
        self, url: str | Source, options: Options, name: str = "", *, whole: bool = True
    ) -> tuple[str, Options]:
        """With the digests that are to be found; none is of a part."""
        whole = whole and options.transfer.range is None
        url, options = as_given(url, options, whole=whole)
        return url, with_discovered(url, name, options, self._small.read, whole=whole)

    def _discovered(self, url: str, options: Options) -> Options:
        return with_discovered(url, "", options, self._small.read, whole=True)

    def _read(self, url: str, options: Options) -> bytes:
        with self.stream(url, options) as stream:
            return stream.read()

    def interrupt(self, signal: str) -> None:
        """Ask every running download to save its state and end ("SIGINT", "SIGTERM",
        "SIGHUP"); may be called from a signal handler."""
        self._interrupted = signal
        for driver in tuple(self._drivers):
            driver.signal(signal)

    def close(self) -> None:
        """End what still runs, close lazy files and every connection."""
        if self._files is not None:
            self._files.close()
        for driver in tuple(self._drivers):
            driver.signal("SIGTERM")
        self._transports.close()
        self._crew.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _outcome(self, target: Target, tell: Teller) -> Result:
        """What became of a target, whatever happened."""
        result = Result(shown_url(target.url), str(target.path))
        resumable: bool | None = None
        try:
            if self._interrupted is not None:
                raise Interrupted(self._interrupted)
            result, error = self._run(target, tell)
            resumable = result.resumable
        except Exception as raised:
            error = as_error(raised)
        return result if error is None else failed(result, error, resumable=resumable)

    def _run(
        self, target: Target, tell: Teller | None, sow: Sow | None = None
    ) -> tuple[Result, RdlError | None]:
        """To its end; where another rdl is writing it, and that is wished, after that one."""
        file, limit = target.options.file, target.options.transfer.max_time
        check = self.checker(limit, str(target.path))
        while True:
            try:
                return self._run_now(target, tell, sow)
            except BusyError:
                if not file.join:
                    raise
            wait_for_other(target.path, tell, check)

    def _run_now(
        self, target: Target, tell: Teller | None, sow: Sow | None
    ) -> tuple[Result, RdlError | None]:
        url, options = self._as_given(target.url, target.options, target.path.name)
        network = options.network
        if not target.path.name:
            raise UsageError(safe_text(str(target.path)) or "path", "names no file")
        check = self.checker(options.transfer.max_time, str(target.path))
        shown = redact_url(url)
        landing = Landing(target.path, shown, options, check=check)
        if (early := landing.already_there()) is not None:
            landing.sweep()
            return early, None
        part = (PartStore if sow is None else SownPart)(
            target.path,
            adopt=options.file.adopt,
            preallocate=options.file.preallocate,
            warn=lambda text: landing.warn(text, tell),
            check=check,
        )
        store = part if isinstance(part, SownPart) else SmallStore(part)
        try:
            transfer = Transfer(landing.spec_for(url, store, sow, tell))
            edges, networks = self._edges(url, options, store)
            edges = edges if sow is None else replace(edges, transport=sow.reach(edges.transport))
            try:
                result, error = self._drive(Driver(transfer, edges, options.file, tell, self._crew))
            finally:
                self._transports.done(networks)
            if isinstance(error, AuthError) and network.user is not None:
                error.after_login()
        except BaseException:
            with suppress(RdlError):
                store.close()
            landing.leave(done=False)
            raise
        return landing.close(store, result, error, tell), error

    def checker(self, max_time: float | None, what: str) -> Callable[[], None]:
        """To be called during long work on the file `what`: raises where that should end."""
        begun = time.monotonic()

        def check() -> None:
            if self._interrupted is not None:
                raise Interrupted(self._interrupted)
            if max_time is not None and time.monotonic() - begun > max_time:
                raise OutOfTime(what, f"{max_time:g} s are over")

        return check

    def _drive(self, driver: Driver) -> tuple[Result, RdlError | None]:
        self._drivers.add(driver)
        try:
            if self._interrupted is not None:
                driver.signal(self._interrupted)
            return driver.run()
        finally:
            self._drivers.discard(driver)

    def _edges(self, url: str, options: Options, store: Store) -> tuple[Edges, Networks]:
        return edges_of(url, options, store, self._transports, self._limits)


_session: tuple[int, Session] | None = None
_lock = threading.Lock()


def shared_session() -> Session:
    """Of all who open without one of their own, in this process."""
    global _session
    with _lock:
        if _session is None or _session[0] != os.getpid():
            _session = os.getpid(), Session()
            atexit.register(_close, *_session)
        return _session[1]


def _close(process: int, session: Session) -> None:
    """A fork has the connections of its parent."""
    if process == os.getpid():
        session.close()


def open_again(way: Way, at: int) -> RemoteFile:
    """A lazy file that was pickled."""
    file = shared_session().open(
        way.url, way.path, cache=way.cache, options=way.options, lazy=way.lazy
    )
    file.seek(at)
    return file
