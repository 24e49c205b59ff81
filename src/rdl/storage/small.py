"""A small body stays in memory until it is complete: then one unnamed file is written, synced and
given the final name. No part file, no index, nothing to clear away after a kill.

Whatever needs more than that (a body that is larger or takes longer than a second, a file that
stands there already, a file system without unnamed files) is left to the part file.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from rdl.core.byterange import ByteRange, Extent
from rdl.core.index_json import Header
from rdl.errors import LocalFileError, NoSpaceError, TargetExists
from rdl.storage.base import Finish, Saved
from rdl.storage.disk import Disk
from rdl.storage.names import Names
from rdl.storage.part_file import PartStore
from rdl.storage.platform import PosixDisk
from rdl.storage.publishing import Publication, mode_of

SMALL = 128 << 10
"""Bytes: what costs less to fetch again than to save. One read of a socket brings as much."""


class SmallStore:
    """The Store of `store`'s path, which is opened when it is needed."""

    def __init__(self, store: PartStore, disk: Disk | None = None) -> None:
        self._store, self._names = store, Names.of(store.path)
        self._disk: Disk = disk or PosixDisk()
        self._folder = self._file = -1
        self._header: Header | None = None
        self._body: bytearray | None = None
        self._top = 0
        """What comes before this of the body may have been written."""
        self._extents: list[Extent] = []
        self._lock = threading.RLock()

    def open(self) -> Saved | None:
        """As PartStore.open() where something of this target stands on disk, or no unnamed
        file can be made; else nothing is opened yet."""
        if self._is_vacant():
            return None
        self._let_go()
        return self._store.open()

    def begin(self, header: Header) -> None:
        """In memory, where all of it is small and nothing of it was there before."""
        with self._lock:
            length = len(header.span) if header.span else header.representation.total
            self._header, self._body, self._top, self._extents = header, None, 0, []
            if self._file >= 0 and length is not None and length <= SMALL:
                self._body = bytearray(length)
                return
            self._open_late()
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

    def forget(self, ranges: Sequence[ByteRange]) -> None:
        self._to_disk()
        self._store.forget(ranges)

    def checkpoint(self) -> None:
        """It takes long: from here on it is a part file like others."""
        self._to_disk()
        self._store.checkpoint()

    def publish(self, finish: Finish) -> Path:
        with self._lock:
            if self._body is not None and len(self._body) == finish.size and self._write():
                try:
                    return self._publish(finish)
                except TargetExists:
                    raise
                except (LocalFileError, NoSpaceError):  # a part file may succeed, or say why not
                    pass
            self._to_disk()
        return self._store.publish(finish)

    def quarantine(self) -> Path:
        self._to_disk()
        return self._store.quarantine()

    def close(self, *, discard: bool = False) -> None:
        """What is here of an incomplete body is kept as a part file, for a later run."""
        try:
            with self._lock:
                if self._body is not None and self._extents and not discard:
                    self._to_disk()
                self._body = None
        finally:
            self._let_go()
            self._store.close(discard=discard)

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

    def _is_vacant(self) -> bool:
        """Whether an unnamed file was made, and no file of this target stands there."""
        disk, names = self._disk, self._names
        try:
            self._folder = disk.open_folder(self._store.path.parent)
            all_names = (names.target, names.part, names.index, f"{names.index}.new")
            if any(disk.stat(self._folder, name) is not None for name in all_names):
                return False
            self._file = disk.open_unnamed(self._folder)
        except OSError:  # the part file will say what is wrong
            return False
        return True

    def _place_of(self, offset: int) -> int:
        span = self._header.span if self._header else None
        return offset - span.start if span else offset

    def _write(self) -> bool:
        """Whether the unnamed file holds the body now."""
        view, place = memoryview(self._body or b""), 0
        try:
            while view[place:] and (count := self._disk.pwrite(self._file, view[place:], place)):
                place += count
        except OSError:
            return False
        return place == len(view)

    def _publish(self, finish: Finish) -> Path:
        names = Names(self._names.target, "", "", "")
        url = self._header.url if self._header else ""
        mode = mode_of(finish, self._disk)
        publication = Publication(
            self._disk, self._folder, self._file, names, None, finish, url, mode
        )
        publication.prepare(finish.size)
        publication.rename()
        self._extents = []
        return self._store.path

    def _to_disk(self) -> None:
        """Go on as a part file with an index."""
        with self._lock:
            body, header = self._body, self._header
            if body is None or header is None:
                return
            self._open_late()
            self._store.begin(header)
            self._store.reserve(len(body))
            start = header.span.start if header.span else 0
            self._store.write_at(start, memoryview(body)[: self._top])
            self._store.record(self._extents)
            self._body = None

    def _open_late(self) -> None:
        if self._file >= 0:
            self._let_go()
            self._store.open()  # what another left meanwhile is begun anew

    def _let_go(self) -> None:
        for handle in (self._file, self._folder):
            if handle >= 0:
                self._disk.close(handle)
        self._file = self._folder = -1
