"""Downloads of other processes, served while they run: what their indexes vouch for, no byte more.

One thread looks at those that somebody reads. The last byte waits until the file has its name:
who has it takes all of it for right.
"""

from __future__ import annotations

import os
import threading
import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from urllib.parse import quote

from rdl.core.byterange import ByteRange
from rdl.errors import BusyError, ChangedError, LocalFileError, RdlError
from rdl.server.answers import Facts
from rdl.server.files import FileReading, Notes, is_served, media_type
from rdl.server.requests import Reply, later, nowhere
from rdl.server.resource import FileView, View, copied
from rdl.server.version import Version, tag_and_time
from rdl.storage.disk import Disk
from rdl.storage.following import Followed, Named, Standing
from rdl.storage.inspecting import INDEX
from rdl.storage.names import Names
from rdl.storage.platform import PosixDisk

PERIOD = 0.2
"""Seconds between two looks; more where a look takes long."""
GRACE = 2.0
"""So long a reader that has all that is here waits for another process to go on; what it was
sent is on its way meanwhile."""
LOOKED_FOR = 1.0
"""Seconds between two looks for what has begun, while a page shows it."""
INTEREST = 5.0
"""So long after a page asked it is shown."""
MOST_SHOWN = 50
LINGERS = 30.0
"""So long a page shows what has ended, or failed."""
KEPT = 8
"""Extents of a file that are kept in memory when they were compared with their checksums."""


class Partial:
    """One download, while somebody reads it. What the thread finds is told by `standing`,
    `finished` (it has its name) and `error`."""

    def __init__(self, path: str, name: bytes, folder: int, followed: Followed) -> None:
        self.path, self.name, self.folder, self.followed = path, name, folder, followed
        self.standing: Standing | None = None
        self.finished: FileReading | None = None
        self.error: RdlError | None = None
        self.moving = 0
        self.readings = set[PartialReading]()
        self.shown = False
        """It is on the page, though nobody may read it."""
        self.ended_at: float | None = None
        self._right = OrderedDict[int, bytes]()

    @property
    def stopped(self) -> bool:
        """Nobody writes it, though it is not complete."""
        found = self.standing
        return found is not None and not (found.running or found.published)

    @property
    def span(self) -> ByteRange | None:
        """The bytes of the representation that the file is to hold, when that is known."""
        return self.standing.header.wanted if self.standing else None

    @property
    def validators(self) -> tuple[str | None, float | None]:
        """See tag_and_time."""
        if self.standing is None:
            return None, None
        return tag_and_time(self.standing.header.representation, self.span)

    def upto(self, offset: int) -> int:
        """The end of the bytes that are here from this one of the representation on."""
        assert self.standing is not None
        runs = self.standing.present
        place = bisect_right(runs, offset, key=lambda run: run.start) - 1
        return max(offset, runs[place].stop) if place >= 0 else offset

    def bytes_at(self, offset: int) -> memoryview:
        """Some from this one of the representation on, as they were recorded."""
        assert self.standing is not None
        extent = self.standing.extents.at(offset)
        if extent is None:
            raise ChangedError("a download", "it is not here any more")
        if extent.start not in self._right:
            self._right[extent.start] = self.followed.bytes_of(extent)
        self._right.move_to_end(extent.start)
        if len(self._right) > KEPT:
            self._right.popitem(last=False)
        return memoryview(self._right[extent.start])[offset - extent.start :]


class PartialReading:
    """One request's reading of a download; of the file, when it has its name."""

    def __init__(self, of: Partial, site: Partials) -> None:
        self._of, self._site = of, site
        self._start = 0
        self._starved_at: float | None = None
        self.changed: Callable[[], None] = lambda: None

    @property
    def facts(self) -> Facts | None:
        of = self._of
        if of.finished is not None:
            return of.finished.facts
        if isinstance(of.error, LocalFileError):
            raise nowhere()
        if of.error is not None:
            raise of.error
        span = of.span
        if span is not None and of.standing is not None and not self._site.hold:
            (etag, modified), self._start = of.validators, span.start
            return Facts(len(span), etag=etag, modified=modified, media_type=media_type(of.name))
        if of.stopped:
            raise _stopped()
        return None

    @property
    def moving(self) -> int:
        return self._of.moving

    @property
    def descriptor(self) -> int | None:
        return self._of.finished.descriptor if self._of.finished else None

    def notify(self, changed: Callable[[], None]) -> None:
        self.changed = changed

    def demand(self, wanted: ByteRange) -> None:
        """Nothing can be asked for: the other process has its own order."""
        if self._of.stopped and not self._here(wanted.start):
            raise _stopped()

    def available(self, offset: int) -> int:
        of = self._of
        if of.finished is not None:
            return of.finished.available(offset)
        if of.error is not None:
            raise of.error
        here = self._here(offset)
        now = time.monotonic()
        if here or not of.stopped:
            self._starved_at = None
        elif self._starved_at is None:
            self._starved_at = now
        elif now - self._starved_at > GRACE:
            raise ChangedError("a download", "nobody goes on with it")
        return here

    def read_into(self, offset: int, view: memoryview) -> int:
        of = self._of
        if of.finished is not None:
            return of.finished.read_into(offset, view)
        found = of.bytes_at(self._start + offset)[: self._here(offset)]
        return copied(found, 0, view)

    def close(self) -> None:
        self._site.left(self, self._of)

    def _here(self, offset: int) -> int:
        span = self._of.span
        assert span is not None
        end = self._of.upto(self._start + offset)
        return max(0, min(end, span.stop - 1) - self._start - offset)


def _stopped() -> Reply:
    return later("this download has stopped", 10)


class Partials:
    """Those of one Site. `hold`: nothing is sent before a file has its name; `notes`: with
    the ETags that files keep when they get it."""

    def __init__(self, notes: Notes, *, hold: bool = False) -> None:
        self.hold, self._notes = hold, notes
        self._disk: Disk = PosixDisk()
        self._lock, self._bell = threading.Lock(), threading.Event()
        self._partials = list[Partial]()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._root, self._asked_at, self._looked_at = -1, 0.0, 0.0
        """The folder that a page shows, and when it was asked about, and looked into."""

    def find(self, folder: int, name: bytes, path: str) -> PartialReading:
        """The download of this name in a folder, which is taken over. Raises LocalFileError."""
        with self._lock:
            found = next((one for one in self._partials if _is_open(one, path)), None)
            if found is not None:
                self._disk.close(folder)
            else:
                found = self._begin(folder, name, path)
                self._partials.append(found)
            reading = PartialReading(found, self)
            found.readings.add(reading)
        self._start()
        return reading

    def view(self, root: int) -> View | None:
        """Those in this folder, and those elsewhere that somebody reads."""
        self._root, self._asked_at = root, time.monotonic()
        if self._asked_at - self._looked_at > INTEREST:
            self._start()
            return None
        with self._lock:
            found = {one.path: view_of(one) for one in self._partials if one.standing}
        return View(tuple(found[path] for path in sorted(found)))

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="follow", daemon=True)
            self._thread.start()
        self._bell.set()

    def _begin(self, folder: int, name: bytes, path: str) -> Partial:
        try:
            names = Names.of(Path(os.fsdecode(name)))
            return Partial(path, name, folder, Followed(self._disk, folder, names))
        except BaseException:
            self._disk.close(folder)
            raise

    def left(self, reading: PartialReading, of: Partial) -> None:
        """It needs nothing any more; with the last one the thread lets go of the files."""
        with self._lock:
            of.readings.discard(reading)
        self._bell.set()

    def close(self) -> None:
        self._closing = True
        self._bell.set()
        if self._thread is not None:
            self._thread.join()
        for one in self._partials:
            self._close(one)

    # In a thread of its own

    def _watch(self) -> None:
        pause = 0.0
        while not self._closing:
            self._bell.wait(pause if self._partials or self._wanted() else None)
            self._bell.clear()
            begun = time.monotonic()
            looks = self._wanted() and begun - self._looked_at > LOOKED_FOR
            if looks:
                self._look_for_more()
            for one in tuple(self._partials):
                if not self._let_go(one) and one.finished is None and one.error is None:
                    self._look(one)
            if looks:
                self._looked_at = time.monotonic()
            pause = max(PERIOD, 5 * (time.monotonic() - begun))

    def _wanted(self) -> bool:
        """Whether a page shows them."""
        return time.monotonic() - self._asked_at < INTEREST

    def _look_for_more(self) -> None:
        """What has begun in the folder of the page."""
        found = islice(targets(self._disk.entries(self._root)), MOST_SHOWN)
        for name in found:
            path = f"/{quote(os.fsencode(name), safe='')}"
            with self._lock, suppress(OSError, LocalFileError):
                if not any(_is_open(one, path) for one in self._partials):
                    one = self._begin(os.dup(self._root), os.fsencode(name), path)
                    one.shown = True
                    self._partials.append(one)

    def _let_go(self, one: Partial) -> bool:
        with self._lock:
            if one.readings or (one.shown and self._wanted() and not self._is_old(one)):
                return False
            self._partials.remove(one)
        self._close(one)
        return True

    def _is_old(self, one: Partial) -> bool:
        """It ended some time ago, or there are too many of that kind."""
        if one.ended_at is None:
            return False
        late = time.monotonic() - LINGERS
        return one.ended_at < late or one.standing is None or len(self._partials) > 2 * MOST_SHOWN

    def _close(self, one: Partial) -> None:
        one.followed.close()
        self._disk.close(one.folder)
        if one.finished is not None:
            one.finished.close()

    def _look(self, one: Partial) -> None:
        """What is new is told to all who read it."""
        before = one.standing
        try:
            found = one.followed.look()
            if found is not None:
                one.standing = found
            if found is not None and found.published:
                one.finished = self._finish(one)
        except Named:
            one.finished = self._finish(one)
        except RdlError as error:
            one.error = error
        except OSError:  # there is no descriptor for it
            one.error = BusyError("a download", "too many files are open")
        if one.finished or one.error:
            one.ended_at = time.monotonic()
        grown = one.standing is not before
        one.moving += grown
        if not (grown or one.stopped or one.finished or one.error):
            return
        with self._lock:
            readings = tuple(one.readings)
        for reading in readings:
            reading.changed()

    def _finish(self, one: Partial) -> FileReading:
        file = os.dup(one.followed.file)
        etag, _ = one.validators
        if etag is not None:
            self._notes.tags[Version.of(file)] = etag
        return FileReading(file, one.name, self._notes)


def view_of(one: Partial) -> FileView:
    """As a page shows it."""
    found, span = one.standing, one.span
    assert found is not None
    start = span.start if span else found.header.start
    here = tuple(ByteRange(run.start - start, run.stop - start) for run in found.present)
    state = "complete" if found.published else "downloading" if found.running else "stopped"
    state = "failed" if one.error else state
    return FileView(one.path, None if span is None else len(span), here, len(one.readings), state)


def targets(names: Iterable[str]) -> Iterator[str]:
    """What the downloads are called whose indexes are among these names."""
    for name in names:
        target = name.removesuffix(INDEX)
        is_one = name.endswith(INDEX) and is_served(os.fsencode(target))
        if is_one and Names.of(Path(target)).index == name:
            yield target


def _is_open(one: Partial, path: str) -> bool:
    return one.path == path and one.finished is None and one.error is None
