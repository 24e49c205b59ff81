"""A small body stays in memory until it is complete: then one unnamed file is written, synced and
linked to the final name, and the part file, which was there for its lock, goes empty. No index.

Whatever needs more than that (a body that is larger or takes longer than a second, a file that
stands there already, a file system without unnamed files) is left to the part file.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress

from rdl.core.byterange import ByteRange, Extent
from rdl.core.index_json import Header
from rdl.errors import LocalFileError, NoSpaceError, TargetExists
from rdl.storage.base import Finish, Saved
from rdl.storage.disk import Disk, told, write_all
from rdl.storage.index_file import Place
from rdl.storage.names import Names
from rdl.storage.part_file import PartStore
from rdl.storage.platform import PosixDisk
from rdl.storage.publishing import Publication, mode_of

SMALL = 128 << 10
"""Bytes: what costs less to fetch again than to save. One read of a socket brings as much."""


class SmallStore:
    """The Store of `store`'s path."""

    def __init__(self, store: PartStore, disk: Disk | None = None) -> None:
        self._store, self._names = store, store.names
        self._disk: Disk = disk or PosixDisk()
        self._file = -1
        self._header: Header | None = None
        self._body: bytearray | None = None
        self._top = 0
        """What comes before this of the body may have been written."""
        self._extents: list[Extent] = []
        self._linked = False
        self._lost: LocalFileError | NoSpaceError | None = None
        """Why nothing is kept of what was here; close() says it."""
        self._lock = threading.RLock()

    def open(self) -> Saved | None:
        """As PartStore.open(); where nothing of this target stood, an unnamed file is made."""
        saved = self._store.open()
        if self._store.alone:
            self._make_unnamed()
        return saved

    def begin(self, header: Header) -> None:
        """In memory, where all of it is small and nothing of it was there before."""
        with self._lock:
            length, self._lost = header.size, None
            self._header, self._body, self._top, self._extents = header, None, 0, []
            if self._file >= 0 and length is not None and length <= SMALL:
                self._body = bytearray(length)
                return
            self._let_go()
            self._store.begin(header)

    def reserve(self, size: int) -> None:
        if self._body is None:
            self._store.reserve(size)

    def write_at(self, offset: int, data: memoryview) -> None:
        with self._lock:
            if self._body is not None:
                place = self._place_of(offset)
                self._body[place : place + len(data)] = data
                self._top = max(self._top, place + len(data))
                return
        self._store.write_at(offset, data)

    def read_into(self, offset: int, view: memoryview) -> int:
        with self._lock:
            if self._body is not None:
                place = self._place_of(offset)
                found = self._body[place : min(place + len(view), self._top)]
                view[: len(found)] = found
                return len(found)
        return self._store.read_into(offset, view)

    def record(self, extents: Sequence[Extent]) -> None:
        with self._lock:
            if self._body is not None:
                self._extents += extents
                return
        self._store.record(extents)

    def mix(self) -> None:
        with self._lock:
            if self._body is not None and self._header is not None:
                self._header = self._header.mixed()
                return
        self._store.mix()

    def forget(self, ranges: Sequence[ByteRange]) -> None:
        self._to_disk()
        self._store.forget(ranges)

    def checkpoint(self) -> None:
        """It takes long: from here on it is a part file like others."""
        self._to_disk()
        self._store.checkpoint()

    def publish(self, finish: Finish) -> None:
        with self._lock:
            if self._body is not None and len(self._body) == finish.size and self._write():
                try:
                    self._publish(finish)
                    return
                except TargetExists:
                    raise
                except (LocalFileError, NoSpaceError):
                    if self._linked:
                        raise
            self._to_disk()  # a part file may succeed, or say why not
        self._store.publish(finish)

    def quarantine(self) -> None:
        self._to_disk()
        self._store.quarantine()

    def close(self, *, discard: bool = False) -> None:
        """What is here of an incomplete body is kept as a part file, for a later run."""
        try:
            with self._lock:
                if self._body is not None and self._extents and not discard:
                    self._to_disk()
                self._body = None
        finally:
            lost, self._lost = self._lost, None
            self._let_go()
            self._store.close(discard=discard)
        if lost is not None and not discard:
            raise lost

    # What the part file knows

    @property
    def damage(self) -> str:
        """Why an index that was found was not believed."""
        return self._store.damage

    def adoptable(self) -> tuple[ByteRange, ...]:
        """As PartStore.adoptable()."""
        return self._store.adoptable()

    @property
    def disposable(self) -> bool:
        """As PartStore.disposable."""
        return self._store.disposable

    @disposable.setter
    def disposable(self, value: bool) -> None:
        self._store.disposable = value

    def _make_unnamed(self) -> None:
        try:
            index = Place(self._disk, self._store.folder, self._names.index)
            if self._disk.stat(index.folder, index.fresh_name) is not None:
                raise FileExistsError  # an index without its part file
            self._file = self._disk.open_unnamed(index.folder)
        except OSError:  # then it is a part file
            self._let_go()

    def _place_of(self, offset: int) -> int:
        return offset - (self._header.start if self._header else 0)

    def _write(self) -> bool:
        """Whether the unnamed file holds the body now."""
        try:
            write_all(self._disk, self._file, memoryview(self._body or b""), 0)
        except OSError:
            return False
        return True

    def _publish(self, finish: Finish) -> None:
        names = Names(self._names.target, "", "", "")
        if finish.mode is not None:
            mode = mode_of(finish, self._disk)
        else:  # to ask for the umask costs a tenth of all that is done with the file
            with told(self._names.target):
                mode = self._disk.fstat(self._file).mode & 0o666
        publication = Publication(
            self._disk, self._store.folder, self._file, names, None, finish, mode
        )
        publication.prepare(finish.size)
        publication.name()
        self._linked, self._extents = True, []
        with suppress(LocalFileError):  # an empty one is removed by whoever comes next
            self._store.withdraw()
        publication.settle()

    def _to_disk(self) -> None:
        """Go on as a part file with an index."""
        with self._lock:
            body, header = self._body, self._header
            if body is None or header is None:
                return
            self._body = None  # what cannot be saved now cannot be saved later
            self._let_go()
            try:
                self._store.begin(header)
                self._store.reserve(len(body))
                self._store.write_at(header.start, memoryview(body)[: self._top])
                self._store.record(self._extents)
            except (LocalFileError, NoSpaceError) as error:
                self._lost = error
                raise

    def _let_go(self) -> None:
        if self._file >= 0:
            self._disk.close(self._file)
        self._file = -1
