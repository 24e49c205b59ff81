"""A folder of packs: chunks of files that came, found again by their digests, within a size
(docs/formats/packs.md). A pack comes and goes as a whole: what was used the longest time ago goes.

Nothing here is believed: who reads a chunk hashes it. So nothing is synced either.
"""

from __future__ import annotations

import os
import re
import secrets
import struct
import time
import zlib
from array import array
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

from msgspec import Struct

from rdl.core.byterange import ByteRange
from rdl.core.chunks import Chunks
from rdl.core.text import safe_text
from rdl.errors import LocalFileError
from rdl.storage.disk import opened_folder, read_all, told, write_all
from rdl.storage.local_file import LocalFile
from rdl.storage.platform import PosixDisk
from rdl.storage.private import private_folder

CONTROL = "packs.lock"
PACK, SHARE = 8 << 20, 16
"""Bytes of chunks in a pack; of a small cache this part of it."""
PAGE = 4096
MAGIC = int.from_bytes(b"rdlpack1", "little")
FOOT = struct.Struct("=Q16sIIQI4x")
"""Magic, algorithm, width of a digest, how many, bytes of chunks, CRC-32 of the table."""
_NAME = re.compile(r"[0-9a-f]{15}\.pack")
_FRESH = re.compile(r"[0-9a-f]{15}\.new")
"""A pack that is being written, by who has pinned it alone."""
_ALGORITHM = re.compile(rb"([a-z0-9_]+)\0*")


class Pack(Struct, frozen=True):
    """One in the folder. `size`: bytes of the disk; `used`: when it was, in ns."""

    name: str
    size: int
    used: int


class Holdings(Struct, frozen=True):
    """What a cache holds, in bytes of the disk; `locked`: of what is in use now."""

    entries: int
    used: int
    locked: int
    capacity: int | None


class Packs:
    """Those in `folder`, of `most` bytes; a context manager. Without `most` nothing is made there:
    to look, and to clear. Entering raises LocalFileError or NoSpaceError, the rest OSError."""

    def __init__(
        self, folder: Path, most: int | None = None, disk: PosixDisk | None = None
    ) -> None:
        self.folder, self._most, self._disk = folder, most, disk or PosixDisk()
        self._handle = self._control = -1
        self._pinned = set[str]()
        self._old, self._free, self._unseen = deque[Pack](), 0, 0
        """When the folder was looked at: the packs, and the room; and what was put there since."""

    def __enter__(self) -> Self:
        try:
            with told(safe_text(str(self.folder))):
                if self._most is not None:
                    self._refuse_another()
                    private_folder(self.folder)
                self._handle = self._disk.open_folder(self.folder)
                self._open_control()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        """All that it pinned is let go."""
        for handle in (self._control, self._handle):
            if handle >= 0:
                self._disk.close(handle)
        self._handle = self._control = -1

    def is_another(self) -> bool:
        """Whether the folder is for something else: there are files in it, and no mark of ours."""
        return _is_another(self._disk, self._handle)

    def packs(self) -> list[Pack]:
        """What was used last comes last."""
        return sorted(self._entries(), key=lambda one: (one.used, one.name))

    def table(self, pack: Pack) -> Chunks | None:
        """The chunks in it and where they stand; None where it is gone, or is none."""
        with suppress(OSError):
            file = self._disk.open(self._handle, pack.name, write=False)
            try:
                return self._table(file)
            finally:
                self._disk.close(file)
        return None

    def pin(self, pack: Pack) -> bool:
        """Use it: it stays until this is closed. False where it is just going."""
        if pack.name not in self._pinned:
            if not self._disk.pin(self._control, _number(pack.name), alone=False):
                return False
            self._pinned.add(pack.name)
        with suppress(OSError):  # gone, before it was pinned: then it cannot be read either
            file = self._disk.open(self._handle, pack.name, write=True)
            try:
                self._disk.set_mtime(file, time.time_ns())
            finally:
                self._disk.close(file)
        return True

    def drop(self, pack: Pack) -> bool:
        """Let it go, unless somebody else uses it. Whether it went."""
        return self._remove(pack.name)

    def add(self, file: LocalFile, chunks: Chunks, numbers: Iterable[int]) -> None:
        """Keep these chunks of a file, each once, as far as there is room for them. Raises also
        LocalFileError, where the file cannot be read, and leaves then what it had kept."""
        assert self._most is not None
        largest = min(PACK, self._most // SHARE)
        group, size, left = list[int](), 0, self._most
        self._look()
        for number in _once(chunks, numbers):
            length = len(chunks.chunk(number))
            if group and size + length > largest:
                left -= self._write(file, chunks, group)
                group, size = [], 0
            if size + length > left:
                continue
            group.append(number)
            size += length
        if group:
            self._write(file, chunks, group)
        self._look()  # another process may have put something there too
        self._make_room(0)

    def clear(self) -> tuple[int, int]:
        """Let all go that nobody uses: how many, and how many bytes."""
        self._sweep()
        gone = [one for one in self.packs() if self.drop(one)]
        return len(gone), sum(one.size for one in gone)

    def holdings(self) -> Holdings:
        """What is here now."""
        packs = self.packs()
        locked = sum(one.size for one in packs if self._is_used(one))
        return Holdings(len(packs), sum(one.size for one in packs), locked, self._capacity())

    def _refuse_another(self) -> None:
        """Raises LocalFileError, OSError."""
        with suppress(FileNotFoundError), opened_folder(self._disk, self.folder) as handle:
            if _is_another(self._disk, handle):
                shown, why = safe_text(str(self.folder)), "holds other files, and is no cache"
                raise LocalFileError(shown, why, hint="name a folder of its own; it will be made")

    def _is_used(self, pack: Pack) -> bool:
        return self._control >= 0 and self._disk.is_pinned(self._control, _number(pack.name))

    def _remove(self, name: str) -> bool:
        number = _number(name)
        if self._control < 0 or not self._disk.pin(self._control, number, alone=True):
            return False
        try:
            with suppress(FileNotFoundError):
                self._disk.unlink(self._handle, name)
        finally:
            self._pinned.discard(name)
            self._disk.unpin(self._control, number)
        return True

    def _open_control(self) -> None:
        """The file whose bytes are locked for packs; it says the size too."""
        disk = self._disk
        with suppress(FileExistsError):
            if self._most is not None and disk.stat(self._handle, CONTROL) is None:
                disk.close(disk.open(self._handle, CONTROL, create=True))
        with suppress(FileNotFoundError):
            self._control = disk.open(self._handle, CONTROL)
        if self._most is not None and self._capacity() != self._most:
            write_all(disk, self._control, memoryview(b"%020d\n" % self._most), 0)

    def _capacity(self) -> int | None:
        if self._control < 0:
            return None
        text = bytearray(20)
        read_all(self._disk, self._control, memoryview(text), 0)
        return int(text) if text.isdigit() else None

    def _entries(self) -> Iterator[Pack]:
        for name in self._disk.entries(self._handle):
            stat = self._disk.stat(self._handle, name) if _NAME.fullmatch(name) else None
            if stat and stat.kind == "file":
                yield Pack(name, _rounded(stat.size), stat.mtime_ns)

    def _table(self, file: int) -> Chunks | None:
        disk, size, foot = self._disk, self._disk.fstat(file).size, bytearray(FOOT.size)
        read_all(disk, file, memoryview(foot), max(0, size - FOOT.size))
        magic, name, width, count, data, check = FOOT.unpack(foot)
        algorithm = _ALGORITHM.fullmatch(name)
        if magic != MAGIC or not algorithm or size != data + count * (8 + width) + FOOT.size:
            return None
        table = bytearray(count * (8 + width))
        read_all(disk, file, memoryview(table), data)
        if zlib.crc32(table) != check:
            return None
        stops = array("Q", bytes(table[: 8 * count]))
        return Chunks(algorithm[1].decode(), width, stops, bytes(table[8 * count :]))

    def _write(self, file: LocalFile, chunks: Chunks, group: list[int]) -> int:
        """Make a pack of these; bytes of the disk that it takes, 0 where there is no room."""
        stops, digests, runs, size = array("Q"), bytearray(), list[ByteRange](), 0
        for number in group:
            span = chunks.chunk(number)
            size += len(span)
            stops.append(size)
            digests += chunks.digest(number)
            if runs and runs[-1].stop == span.start:
                runs[-1] = ByteRange(runs[-1].start, span.stop)
            else:
                runs.append(span)
        table = stops.tobytes() + bytes(digests)
        name, count = chunks.algorithm.encode(), len(group)
        foot = FOOT.pack(MAGIC, name, chunks.width, count, size, zlib.crc32(table))
        whole = _rounded(size + len(table) + len(foot))
        if not self._make_room(whole):
            return 0
        self._put(file, runs, table + foot)
        self._free, self._unseen = self._free - whole, self._unseen + whole
        return whole

    def _put(self, file: LocalFile, runs: list[ByteRange], rest: bytes) -> None:
        disk, name = self._disk, f"{secrets.randbits(60):015x}"
        disk.pin(self._control, _number(name), alone=True)
        try:
            self._make(file, runs, rest, f"{name}.new")
            disk.rename(self._handle, f"{name}.new", f"{name}.pack", replace=False)
        finally:
            disk.unpin(self._control, _number(name))

    def _make(self, file: LocalFile, runs: list[ByteRange], rest: bytes, name: str) -> None:
        disk, end = self._disk, 0
        made = disk.open(self._handle, name, create=True)
        try:
            for run in runs:
                at = run.start
                while at < run.stop:
                    count = file.copy_to(made, at, run.stop - at, end)
                    at, end = at + count, end + count
            write_all(disk, made, memoryview(rest), end)
            disk.set_mtime(made, time.time_ns())
        except BaseException:
            with suppress(OSError):
                disk.unlink(self._handle, name)
            raise
        finally:
            disk.close(made)

    def _look(self) -> None:
        """How much room there is now, and what may go."""
        assert self._most is not None
        self._old, self._unseen = deque(self.packs()), 0
        self._free = self._most - self._sweep() - sum(one.size for one in self._old)

    def _make_room(self, size: int) -> bool:
        """Let the oldest go until there is room for so many bytes. Whether there is."""
        assert self._most is not None
        if self._unseen + size > self._most // SHARE:
            self._look()
        while size > self._free and self._old:
            one = self._old.popleft()
            self._free += one.size if self.drop(one) else 0
        return size <= self._free

    def _sweep(self) -> int:
        """Remove what killed runs left; bytes of what running ones write."""
        disk, size = self._disk, 0
        for name in filter(_FRESH.fullmatch, disk.entries(self._handle)):
            stat = disk.stat(self._handle, name)
            if stat and stat.kind == "file" and not self._remove(name):
                size += _rounded(stat.size)
        return size


def default_folder() -> Path:
    """Where the user's caches are (XDG Base Directory Specification)."""
    folder = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(folder):  # the specification says to ignore it then
        folder = os.path.join(os.path.expanduser("~"), ".cache")
    return Path(folder) / "rdl" / "chunks"


def _is_another(disk: PosixDisk, folder: int) -> bool:
    names = {*disk.entries(folder)}
    ours = CONTROL in names or any(map(_NAME.fullmatch, names))
    return bool(names) and not ours


def _once(chunks: Chunks, numbers: Iterable[int]) -> Iterator[int]:
    seen = set[bytes]()
    for number in numbers:
        if (digest := chunks.digest(number)) not in seen and chunks.chunk(number):
            seen.add(digest)
            yield number


def _number(name: str) -> int:
    """Of the byte that is locked for it."""
    return int(name[:15], 16)


def _rounded(size: int) -> int:
    return -(-size // PAGE) * PAGE
