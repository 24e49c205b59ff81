"""A target's part file and its index, over any Disk: the Store of the real world.

Everything happens through the folder that was opened first, on names that are checked to
lead to the files that are open. Nothing foreign is written to, replaced or removed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from msgspec.structs import replace

from rdl.core.byterange import ByteRange, Extent
from rdl.core.extents import Extents
from rdl.core.index import Decoded, IndexDamaged, Stat
from rdl.core.index_json import Header
from rdl.errors import LocalFileError, NoSpaceError
from rdl.storage.base import Finish, Saved
from rdl.storage.checking import believable, extents_on_disk, session_of, written_runs
from rdl.storage.disk import NO_SPACE, UNSUPPORTED, Disk, FileStat, as_ours, told, write_all
from rdl.storage.index_file import IndexFile, Place, load, remove_stale
from rdl.storage.locking import locked
from rdl.storage.names import Names
from rdl.storage.platform import PosixDisk
from rdl.storage.publishing import Publication, check_target, mode_of


class PartStore:
    """The Store of `path`. `adopt`: accept a part file that has no index; then open() returns
    None, and begin() keeps the data where the header says that bytes were adopted.
    `preallocate` "none": reserve() only calls `warn`, with a sentence, when space is short.
    `check` is called while open() reads data, and may raise.
    `damage` says why an index found by open() was not believed, empty when it was.
    """

    def __init__(
        self,
        path: Path,
        disk: Disk | None = None,
        *,
        adopt: bool = False,
        preallocate: str = "auto",
        warn: Callable[[str], None] | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self.path, self.damage = path, ""
        self.disposable = False
        """The part file is a copy of FILE that this run made: close() removes it, unless an
        index was begun."""
        self._disk: Disk = disk or PosixDisk()
        self.names = Names.of(path)
        self._home = path.parent
        self._part = str(path).removesuffix(self.names.target) + self.names.part
        """What errors call the part file: its folder is said as the user said it."""
        self._adopt, self._preallocate = adopt, preallocate
        self._warn, self._check = warn or (lambda message: None), check
        self._folder = self._file = -1
        self._created = self._failed = self._gone = self._unknown = False
        self._indexed = True
        self._index: IndexFile | None = None
        self._header: Header | None = None
        self._target: FileStat | None = None

    def open(self) -> Saved | None:
        """Lock the part file and read the index; None when nothing usable is there.

        LocalFileError: the folder, the target, the part file or the index is not fit, and
        is left as it was; BusyError: another rdl has it.
        """
        if self._folder >= 0:
            raise LocalFileError(str(self.path), "the store is open already")
        try:
            return self._open()
        except BaseException:
            self.close()
            raise

    @property
    def alone(self) -> bool:
        """Whether none of target, part file and index stood there when it was opened."""
        return self._created and self._target is None and not self._indexed

    @property
    def folder(self) -> int:
        """The folder that was opened; it closes with the store."""
        return self._folder

    def stat(self) -> FileStat:
        """The file that is open, whatever its name is by now."""
        return self._disk.fstat(self._file)

    def withdraw(self) -> None:
        """Remove the empty part file. One that comes back after a power cut is void."""
        with told(self._part):
            self._need_named()
            self._disk.unlink(self._folder, self.names.part)
            self._gone = True

    def adoptable(self) -> tuple[ByteRange, ...]:
        """Where a part file without index holds more than zeros; reads all of it."""
        if not self._unknown:
            return ()
        with told(self._part):
            size = self._disk.fstat(self._file).size
            return written_runs(self._disk, self._file, size, check=self._check)

    def begin(self, header: Header) -> None:
        """Start the index anew; data that was not adopted is dropped."""
        self._need_file()
        keep = self._unknown and self._index is None and bool(header.adopted)
        if header.adopted and not keep:
            raise LocalFileError(self._part, "what was to be adopted is not there any more")
        if not keep:
            self._renew()
        self._start_index(header, Extents())

    def reserve(self, size: int) -> None:
        """Make `size` bytes of room; NoSpaceError names what is needed and what is free."""
        with told(self._part):
            stat = self._disk.fstat(self._file)
            free, needed = self._disk.free(self._file), max(0, size - stat.allocated)
        if self._preallocate == "none":
            if needed > free:
                self._warn(f"{needed} bytes are needed and only {free} are free")
            return
        if needed > free:
            raise self._no_room(needed, free)
        try:
            if size:
                self._disk.allocate(self._file, size)
            if self._index is not None:
                self._index.allocate_for(size)
        except OSError as error:
            if error.errno in NO_SPACE:
                raise self._no_room(needed, free) from error
            if error.errno not in UNSUPPORTED:
                raise as_ours(error, self._part) from error
            return
        with told(self._part):
            if self._disk.fstat(self._file).allocated < size:
                self._warn("the file system reserved less than asked: space may run out")

    def write_at(self, offset: int, data: memoryview) -> None:
        """Write all of `data`, which begins at `offset` of the representation."""
        place = self._place_of(offset)
        view = data.cast("B") if data.format != "B" or data.ndim != 1 else data
        with told(self._part):
            write_all(self._disk, self._file, view, place)

    def read_into(self, offset: int, view: memoryview) -> int:
        """Read at most len(view) bytes; 0 at the end of the file."""
        with told(self._part):
            return self._disk.pread(self._file, view, self._place_of(offset))

    def record(self, extents: Sequence[Extent]) -> None:
        """Append soft records: believed after a kill, not after a power cut."""
        self._need_index().append(extents)

    def forget(self, ranges: Sequence[ByteRange]) -> None:
        """Append that these bytes are not present."""
        self._need_index().append(part for part in ranges if part)

    def mix(self) -> None:
        """From here on the validators in the index do not speak for all that is recorded."""
        self._need_index().mix()

    def checkpoint(self) -> None:
        """Sync the data, then make every extent recorded before this call durable. After a
        failure nothing can be synced or published any more."""
        index = self._need_index()
        self._need_names(index)
        index.hold()
        synced: Stat | None = None
        try:
            synced = self._sync()
        finally:
            index.release(synced)
        index.sync()
        index.compact()

    def publish(self, finish: Finish) -> None:
        """Give the synced part file its final name; the index goes."""
        index = self._need_index()
        self._need_names(index)
        mode = mode_of(finish, self._disk)
        publication = Publication(
            self._disk, self._folder, self._file, self.names, self._target, finish, mode
        )
        self._sync()
        size = self._header.size if finish.size is None and self._header else finish.size
        publication.prepare(size)
        self._need_names(index)  # once more: syncing takes its time
        publication.rename()
        self._gone = True
        with suppress(LocalFileError):  # the file stands; an index without part file is ignored
            self._remove_index(index)

    def quarantine(self) -> None:
        """Rename the part file to FILE.part.bad (one is kept) and remove the index."""
        index = self._need_index()
        self._need_names(index)
        with told(self._part):
            self._disk.rename(self._folder, self.names.part, self.names.bad, replace=True)
            self._gone = True
            self._disk.sync_folder(self._folder)
        self._remove_index(index)

    def close(self, *, discard: bool = False) -> None:
        """Let go; with `discard` remove part file and index. An empty part file that this
        run created goes too."""
        if self._folder < 0:
            return
        try:
            if discard or self._is_void() or (self.disposable and self._index is None):
                self._remove()
            elif self._index is not None and not (self._gone or self._failed):
                self._close_in_order(self._index)
        finally:
            if self._index is not None:
                self._index.close()
            for handle in (self._file, self._folder):
                if handle >= 0:
                    self._disk.close(handle)
            self._index, self._file, self._folder = None, -1, -1

    def _open(self) -> Saved | None:
        with told(f"cannot use the folder {self._home}"):
            self._folder = self._disk.open_folder(self._home)
        with told(str(self.path)):
            self._target = check_target(self._disk, self._folder, self.names.target)
        return self._resume(self._lock())

    def _lock(self) -> FileStat:
        """Open or create the part file and lock it."""
        with told(f"cannot open {self._part}"):
            place = Place(self._disk, self._folder, self.names.part)
            self._file, self._created = locked(place, self._part, self.path, self._target)
            return self._disk.fstat(self._file)

    def _renew(self) -> None:
        """An empty file in the place of the part file, not the same one cut: where locks lie,
        another rdl may write to that still, or have published it."""
        with told(self._part):
            self._need_named()
            if self._disk.fstat(self._file).size == 0:
                return
            self._disk.unlink(self._folder, self.names.part)
        old, self._gone = self._file, True  # until it is locked, what has the name is nobody's
        self._lock()
        self._gone = False
        self._disk.close(old)

    def _resume(self, stat: FileStat) -> Saved | None:
        try:
            decoded = load(self._index_place())
        except IndexDamaged as error:
            self.damage = str(error)
            return None
        self._indexed = decoded is not None
        if self._created or (stat.size == 0 and decoded is None):
            return None
        if decoded is None:
            self._take_unknown()
            return None
        return self._take_known(decoded, stat)

    def _take_unknown(self) -> None:
        if not self._adopt:
            raise LocalFileError(
                self._part,
                "exists, and no index says what it holds",
                hint="--continue with a digest (--checksum) adopts it; or remove it",
            )
        self._unknown = True

    def _take_known(self, decoded: Decoded, stat: FileStat) -> Saved:
        """Believe what the index may claim and the data confirms; start a clean index."""
        with told(self._part):
            claimed = believable(decoded, session_of(self._disk, self._file))
            sound = extents_on_disk(
                self._disk, self._file, stat, decoded, claimed, check=self._check
            )
        try:
            self._sync()
        except LocalFileError:
            durable = set(decoded.durable)
            kept = Extents(extent for extent in sound if extent in durable)
            self._start_index(decoded.header, kept)
            raise
        room = ByteRange(0, stat.size)
        adopted = tuple(run.clip(room) for run in decoded.header.adopted if run.clip(room))
        header = replace(decoded.header, adopted=adopted)
        self._start_index(header, sound)
        return Saved(header, sound, len(claimed) - len(sound))

    def _start_index(self, header: Header, known: Extents) -> None:
        with told(self._part):
            session = session_of(self._disk, self._file)
        index = IndexFile(self._index_place(), header, session, known)
        if self._index is not None:
            self._index.close()
        self._index, self._header = index, header

    def _index_place(self) -> Place:
        return Place(self._disk, self._folder, self.names.index)

    def _place_of(self, offset: int) -> int:
        place = offset - (self._header.start if self._header else 0)
        if place < 0:
            raise ValueError(f"offset {offset} lies before the span of this file")
        return place

    def _sync(self) -> Stat:
        """Sync the data. A sync that failed is final: the kernel may have dropped the pages
        and say yes the next time."""
        if self._failed:
            raise LocalFileError(self._part, "an earlier sync failed")
        try:
            with told(f"cannot sync {self._part}"):
                self._disk.sync(self._file)
                stat = self._disk.fstat(self._file)
        except BaseException:
            self._failed = True
            try:
                if self._index is not None:
                    self._index.abort()
            except (LocalFileError, NoSpaceError) as error:
                self._warn(f"the index could not be cut back: {error}")
            raise
        return Stat(stat.size, stat.mtime_ns, stat.ctime_ns)

    def _need_file(self) -> None:
        if self._file < 0 or self._gone:
            raise LocalFileError(str(self.path), "the store is not open")

    def _need_index(self) -> IndexFile:
        self._need_file()
        if self._index is None:
            raise LocalFileError(str(self.path), "nothing was begun")
        return self._index

    def _need_names(self, index: IndexFile) -> None:
        """LocalFileError unless the names still lead to the files that are open."""
        with told(self._part):
            self._need_named()
            if not index.is_in_place():
                raise LocalFileError(self._part, "was replaced under us")

    def _need_named(self) -> None:
        named = self._disk.stat(self._folder, self.names.part)
        if not self._disk.fstat(self._file).same_file(named):
            raise LocalFileError(self._part, "was replaced under us")

    def _no_room(self, needed: int, free: int) -> NoSpaceError:
        if self._is_void():
            self._remove()
        return NoSpaceError(
            str(self.path), f"{needed} bytes are needed and {free} are free", hint="free some space"
        )

    def _is_void(self) -> bool:
        """Whether this run created the part file and nothing was written to it."""
        if not self._created or self._gone or self._file < 0:
            return False
        with told(self._part):
            return self._disk.fstat(self._file).size == 0

    def _remove(self) -> None:
        """Remove the part file and the index, as far as their names lead to ours."""
        with told(f"cannot remove {self._part}"):
            named = self._disk.stat(self._folder, self.names.part)
            empty = self._file >= 0 and self._disk.fstat(self._file).size == 0
            stale = self._index is None
            if empty and stale:  # while it is locked: an index that comes later is another's
                remove_stale(self._index_place())
            if self._file >= 0 and not self._gone:
                if self._disk.fstat(self._file).same_file(named):
                    self._disk.unlink(self._folder, self.names.part)
                self._gone = True
            self._disk.sync_folder(self._folder)
            if stale and not empty:  # never data without an index
                remove_stale(self._index_place())
        if self._index is not None:
            self._remove_index(self._index)

    def _remove_index(self, index: IndexFile) -> None:
        """The part file's name is gone for good by now: never data without an index."""
        with told(f"cannot remove {self.names.index}"):
            index.remove()
            self._disk.sync_folder(self._folder)

    def _close_in_order(self, index: IndexFile) -> None:
        with told(self._part):
            stat = self._disk.fstat(self._file)
        if not index.dirty and index.is_in_place():
            index.clean(Stat(stat.size, stat.mtime_ns, stat.ctime_ns))
