"""The index on disk: appended to record by record, or replaced as a whole.

After a write or a sync that failed nothing more is appended but the record that voids what
was not durable: the rest of such a file is not to be relied on.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress

from msgspec import Struct

from rdl.core.byterange import ByteRange, Extent
from rdl.core.extents import Extents
from rdl.core.index import MAGIC, MAX_EXTENT, Decoded, IndexEncoder, Stat, decode
from rdl.core.index_json import Header, SessionRecord
from rdl.errors import LocalFileError, NoSpaceError
from rdl.storage.disk import UNSUPPORTED, Disk, FileStat, opened, read_all, told, write_all

LOOSE_SIZE, PACKED_SIZE = 33, 12
"""Bytes of the index for an extent that has a record of its own, and for one in a run."""
MANY_LOOSE = 1 << 14
"""After so many records of their own the file is begun anew, with runs: it is a third as long then,
and read in a hundredth of the time."""
STEP = 1 << 20
MAX_INDEX = 1 << 28
"""A larger index file is not read: more than any that we write."""


class Place(Struct, frozen=True):
    """A folder on a disk, and the name of the index in it."""

    disk: Disk
    folder: int
    name: str

    @property
    def fresh_name(self) -> str:
        return f"{self.name}.new"


def check_ours(disk: Disk, folder: int, stat: FileStat, what: str) -> None:
    """LocalFileError unless a state file is a regular file that only this user may write.
    Where modes are made up by the mount, they say nothing."""
    if stat.kind != "file":
        why = "not a regular file"
    elif stat.owner != disk.user():
        why = "belongs to another user"
    elif stat.mode & 0o022 and disk.keeps_modes(folder):
        why = "others may write to it"
    else:
        return
    raise LocalFileError(what, why, hint="remove it if you know what it is")


def load(place: Place) -> Decoded | None:
    """Read the index; None when there is none. Raises IndexDamaged, IndexNewer and
    LocalFileError; changes nothing."""
    disk = place.disk
    with told(place.name):
        if (stat := disk.stat(place.folder, place.name)) is None:
            return None
        check_ours(disk, place.folder, stat, place.name)
        with opened(disk, place.folder, place.name) as file:
            stat = disk.fstat(file)
            check_ours(disk, place.folder, stat, place.name)
            if stat.size > MAX_INDEX:
                raise LocalFileError(place.name, "too large to be an index")
            return read_index(disk, file, stat.size)


def read_index(disk: Disk, file: int, size: int) -> Decoded:
    """So many bytes of an index that is open. Raises IndexDamaged, IndexNewer, OSError."""
    return decode(_content(disk, file, size))


def remove_left_over(place: Place) -> None:
    """Remove an index that a run began under its temporary name; LocalFileError for what is none.
    Raises OSError."""
    disk, folder, fresh = place.disk, place.folder, place.fresh_name
    if (stat := disk.stat(folder, fresh)) is None:
        return
    check_ours(disk, folder, stat, fresh)
    start = memoryview(bytearray(len(MAGIC)))
    with opened(disk, folder, fresh) as file:
        count = disk.pread(file, start, 0)
    if bytes(start[:count]) != MAGIC[:count] and any(start[:count]):  # zeros: a power cut
        raise LocalFileError(fresh, "is not ours", hint="rename it: rdl needs this name")
    disk.unlink(folder, fresh)


def remove_stale(place: Place) -> None:
    """Remove what an earlier run left, of which the lock makes it ours. Raises LocalFileError for
    an index that is none, OSError."""
    stat = place.disk.stat(place.folder, place.name)
    if stat is not None:
        check_ours(place.disk, place.folder, stat, place.name)
        place.disk.unlink(place.folder, place.name)
    with suppress(LocalFileError):  # what is not ours stays
        remove_left_over(place)
    place.disk.sync_folder(place.folder)


def _content(disk: Disk, file: int, size: int) -> bytearray:
    data = bytearray(size)
    with memoryview(data) as view:
        here = read_all(disk, file, view, 0)
    del data[here:]
    return data


class IndexFile:
    """An index that this process writes. append methods may be called from several threads;
    an append during hold() is kept back until release()."""

    def __init__(
        self, place: Place, header: Header, session: SessionRecord, known: Extents
    ) -> None:
        """Replace the index by a fresh one in which `known` is durable already; `known`
        must be synced. Raises LocalFileError, NoSpaceError."""
        self._place, self._header, self._session = place, header, session
        self._lock = threading.RLock()
        self._syncing = threading.Lock()
        """What is being synced stays open. Taken before the other one."""
        self._file, self._loose, self._room = -1, 0, 0
        self._broken = False
        self._held: list[Extent | ByteRange] | None = None
        self.dirty = False
        """Whether records were appended that no checkpoint covers."""
        with told(place.name):
            self._begin(known, ())

    def _begin(self, known: Extents, soft: Iterable[Extent]) -> None:
        """Put a file in the place of this one in which `known` is durable, and `soft` not yet.
        Raises OSError."""
        disk, folder, fresh = self._place.disk, self._place.folder, self._place.fresh_name
        remove_left_over(self._place)
        encoder, end = IndexEncoder(), 0
        file = disk.open(folder, fresh, create=True)
        try:
            self._allocate(file)
            for data in _together(self._records(encoder, known)):
                write_all(disk, file, memoryview(data), end)
                end += len(data)
            last = b"".join(encoder.extent(extent) for extent in soft)
            write_all(disk, file, memoryview(last), end)
            disk.sync(file, metadata=True)
            disk.rename(folder, fresh, self._place.name, replace=True)
            disk.sync_folder(folder)
        except BaseException:
            disk.close(file)
            with suppress(OSError):  # it may be renamed already, or the disk be gone
                disk.unlink(folder, fresh)
            raise
        self.close()
        self._file, self._encoder = file, encoder
        self._durable_end, self._end = end, end + len(last)

    def _records(self, encoder: IndexEncoder, known: Extents) -> Iterator[bytes]:
        try:
            yield encoder.begin(self._header)
            yield encoder.session(self._session)
        except ValueError as error:
            raise LocalFileError(self._place.name, f"cannot be written: {error}") from error
        yield from encoder.runs(known)
        yield encoder.checkpoint(Stat(0, 0))

    def compact(self) -> None:
        """Begin the file anew where it has many records of single extents; where that fails it
        stays as it is. LocalFileError when its name is lost over that."""
        with self._lock:
            if self._loose < MANY_LOOSE or self._broken:
                return
            self._loose = 0  # a next try is as far away
            failed: Exception | None = None
            try:
                self._begin_anew()
            except (OSError, LocalFileError, NoSpaceError) as error:
                failed = error
            with told(self._place.name):
                if self.is_in_place():
                    return
                self._broken = True
                if isinstance(failed, OSError):  # the new one has the name, and is not safe yet
                    raise failed
                raise LocalFileError(self._place.name, "was replaced under us") from failed

    def mix(self) -> None:
        """Name no validators any more. Where that fails nothing more is appended."""
        with self._syncing, self._lock, told(self._place.name):
            self._header, broken, self._broken = self._header.mixed(), self._broken, True
            if broken or not self._begin_anew():
                raise LocalFileError(self._place.name, "it cannot be written anew")
            self._broken = False

    def _begin_anew(self) -> bool:
        """With what it says; False where that cannot be read, or the name is another's. Raises
        OSError, IndexDamaged."""
        decoded = decode(_content(self._place.disk, self._file, self._end))
        readable = decoded.consumed == self._end and self.is_in_place()
        if readable:
            self._begin(decoded.durable, decoded.soft)
        return readable

    def is_in_place(self) -> bool:
        """Whether the name still leads to this file: else another writer has taken over."""
        disk = self._place.disk
        with self._lock:
            named = disk.stat(self._place.folder, self._place.name)
            return disk.fstat(self._file).same_file(named)

    def allocate_for(self, size: int) -> None:
        """Reserve room for the records of so many bytes; raises OSError."""
        count = size // MAX_EXTENT + 1
        self._room = 4096 + 2 * (count * PACKED_SIZE + min(count, MANY_LOOSE) * LOOSE_SIZE)
        self._place.disk.allocate(self._file, self._room)

    def _allocate(self, file: int) -> None:
        """A file that takes the place of this one needs as much room."""
        if self._room:
            try:
                self._place.disk.allocate(file, self._room)
            except OSError as error:
                if error.errno not in UNSUPPORTED:
                    raise

    def append(self, changes: Iterable[Extent | ByteRange]) -> None:
        """Append extents, and ranges to forget."""
        changes = list(changes)
        with self._lock:
            if self._held is not None:
                self._held += changes
            else:
                self._append_changes(changes)

    def hold(self) -> None:
        """From here on appended records wait: the data is being synced."""
        with self._lock:
            self._held = []

    def release(self, checkpoint: Stat | None) -> None:
        """Append the checkpoint, if the sync went well, then what has waited."""
        with self._lock:
            held, self._held = self._held or [], None
            if checkpoint is None:
                return
            self._append(self._encoder.checkpoint(checkpoint))
            self._durable_end, self.dirty = self._end, False
            self._append_changes(held)

    def clean(self, stat: Stat) -> None:
        """Append that the data file will not be written any more."""
        with self._lock:
            self._append(self._encoder.clean(stat))
        self.sync()

    def abort(self) -> None:
        """Void what is not durable: by a record, else by cutting the file. Raises
        LocalFileError or NoSpaceError when the disk refuses both."""
        with self._lock:
            try:
                self._append(self._encoder.abort())
            except (LocalFileError, NoSpaceError):
                with told(self._place.name):
                    self._place.disk.truncate(self._file, self._durable_end)
            self._broken = True
        self.sync()

    def sync(self) -> None:
        """Make the records durable."""
        try:
            with self._syncing, told(self._place.name):
                self._place.disk.sync(self._file)
        except LocalFileError:
            self._broken = True
            raise

    def remove(self) -> None:
        """Remove the name, if it still leads to this file; raises OSError."""
        if self.is_in_place():
            self._place.disk.unlink(self._place.folder, self._place.name)

    def close(self) -> None:
        if self._file >= 0:
            self._place.disk.close(self._file)
            self._file = -1

    def _append_changes(self, changes: list[Extent | ByteRange]) -> None:
        if not changes:
            return
        records = [
            self._encoder.extent(change)
            if isinstance(change, Extent)
            else self._encoder.forget(change)
            for change in changes
        ]
        self.dirty = True
        self._append(b"".join(records))
        self._loose += len(records)

    def _append(self, data: bytes) -> None:
        if self._broken:
            raise LocalFileError(self._place.name, "an earlier write of the index failed")
        try:
            with told(self._place.name):
                write_all(self._place.disk, self._file, memoryview(data), self._end)
                self._end += len(data)
        except BaseException:
            self._broken = True
            raise


def _together(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Small ones joined to some of a MiB at least."""
    data = bytearray()
    for one in parts:
        data += one
        if len(data) >= STEP:
            yield bytes(data)
            data.clear()
    yield bytes(data)
