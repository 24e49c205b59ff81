"""A part file that another process fills, read as its index grows; nothing is changed or locked.

Bytes count as the index says (docs/formats/index.md): each extent is read once more and compared
with its checksum before anybody has it. The index stays open, so that its last word is heard
when FILE has got its name.
"""

from __future__ import annotations

from msgspec import Struct
from xxhash import xxh3_64_intdigest

from rdl.core.byterange import ByteRange, Extent
from rdl.core.extents import Extents
from rdl.core.index import Decoded
from rdl.core.index_json import Header
from rdl.errors import ChangedError, LocalFileError
from rdl.storage.checking import session_of
from rdl.storage.disk import Disk, FileStat, read_all, told
from rdl.storage.index_file import MAX_INDEX, Place, check_ours, read_index
from rdl.storage.inspecting import believed
from rdl.storage.names import Names


class Standing(Struct, frozen=True):
    """What is here of a file now. `present`: the extents as joined runs; offsets are those of the
    representation. `running`: another process is writing it; `published`: it has its name, and
    all that was here before is in it."""

    header: Header
    extents: Extents
    present: tuple[ByteRange, ...]
    running: bool
    published: bool = False


class Named(ChangedError):
    """It has its name, and no index was seen: nothing of it was told, so nothing can be wrong."""


class Followed:
    """One part file and its index, until `close`, which leaves the folder open. LocalFileError
    where there is no part file of ours."""

    def __init__(self, disk: Disk, folder: int, names: Names) -> None:
        self._disk, self._folder, self._names = disk, folder, names
        self._index = -1
        with told(names.part):
            self._part = disk.open(folder, names.part, write=False)
            try:
                check_ours(disk, folder, disk.fstat(self._part), names.part)
            except BaseException:
                disk.close(self._part)
                raise
        self._seen: tuple[int, Decoded] | None = None
        """How long the open index was, and what it said."""
        self._known: tuple[Decoded, bool, bool] | None = None
        self._last: Standing | None = None
        """What was found last, and what it was made of."""

    @property
    def file(self) -> int:
        """The part file, whatever its name is by now; it stays this object's."""
        return self._part

    def look(self) -> Standing | None:
        """What is here now; None: another process has just begun. Raises ChangedError where it is
        another file, or what was here before is not any more; LocalFileError where no index of
        ours says what it is."""
        with told(self._names.part):
            running = self._disk.is_locked(self._part)  # first: who publishes lets go afterwards
            published = self._is_published()
            if published and running and self._named_index() is not None:
                published = False  # it is being given its mode
            decoded = self._read(follow=not published)
            if decoded is None:
                if published:
                    raise Named(self._names.part, "it has its name already")
                if not running:
                    raise LocalFileError(self._names.part, "no index says what it holds")
                return None
            known = decoded, running, published
            if self._known is not None and _same(known, self._known):
                return self._last
            now, stat = session_of(self._disk, self._part), self._disk.fstat(self._part)
        extents = believed(decoded, now, stat)
        found = Standing(decoded.header, extents, extents.ranges(), running, published)
        self._check(found, self._last)
        self._known, self._last = known, found
        return found

    def bytes_of(self, extent: Extent) -> bytes:
        """As they were recorded. Raises ChangedError where they are not, by now."""
        assert self._last is not None
        data = bytearray(extent.stop - extent.start)
        with told(self._names.part), memoryview(data) as view:
            read_all(self._disk, self._part, view, extent.start - self._last.header.start)
        if xxh3_64_intdigest(data) != extent.checksum:
            raise ChangedError(self._names.part, "it is not what its index says")
        return bytes(data)

    def close(self) -> None:
        for handle in (self._part, self._index):
            if handle >= 0:
                self._disk.close(handle)
        self._part = self._index = -1

    def _is_published(self) -> bool:
        """Whether it has its name; ChangedError where it has no name of its own any more."""
        mine = self._disk.fstat(self._part)
        if mine.same_file(self._disk.stat(self._folder, self._names.part)):
            return False
        if mine.same_file(self._disk.stat(self._folder, self._names.target)):
            return True
        raise ChangedError(self._names.part, "it was removed, or begun anew")

    def _named_index(self) -> FileStat | None:
        return self._disk.stat(self._folder, self._names.index)

    def _read(self, *, follow: bool) -> Decoded | None:
        """What the index says; with `follow` the one that has its name now."""
        named = self._named_index() if follow else None
        if named is not None and not self._is_open(named):
            place = Place(self._disk, self._folder, self._names.index)
            check_ours(self._disk, self._folder, named, place.name)
            fresh = self._disk.open(self._folder, place.name, write=False)
            if self._index >= 0:
                self._disk.close(self._index)
            self._index, self._seen = fresh, None
        if self._index < 0:
            return None
        size = self._disk.fstat(self._index).size
        if size > MAX_INDEX:
            raise LocalFileError(self._names.index, "too large to be an index")
        if self._seen is None or self._seen[0] != size:
            self._seen = size, read_index(self._disk, self._index, size)
        return self._seen[1]

    def _is_open(self, named: FileStat) -> bool:
        return self._index >= 0 and self._disk.fstat(self._index).same_file(named)

    def _check(self, now: Standing, before: Standing | None) -> None:
        """Whoever read something before reads on in the same file."""
        if before is None or before.header.representation.total is None:
            return
        if now.published and not _is_whole(now):  # the last index was not seen, or bytes adopted
            for extent in before.extents:
                self.bytes_of(extent)
            return
        if _identity(now.header) != _identity(before.header):
            raise ChangedError(self._names.part, "it is another version now")
        if not now.extents.keeps(before.extents):
            raise ChangedError(self._names.part, "some of it was wrong, and comes again")


def _is_whole(found: Standing) -> bool:
    span = found.header.wanted
    return span is not None and found.present == (span,)


def _same(known: tuple[Decoded, bool, bool], before: tuple[Decoded, bool, bool]) -> bool:
    return known[0] is before[0] and known[1:] == before[1:]


def _identity(header: Header) -> tuple[object, ...]:
    known = header.representation
    return known.total, known.etag, known.last_modified, header.span
