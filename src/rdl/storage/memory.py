"""A disk in memory that can lose power: for simulators and tests. Deterministic.

What was written but not synced survives a power cut as a whole, not at all, or torn into
sectors; names changed but not synced survive up to some change and no further.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from random import Random

from msgspec import Struct, field

from rdl.storage.disk import FileStat

SECTOR = 512
Fault = Callable[[str, str], OSError | None]


class _Node(Struct, eq=False):
    """A file. `pending`: (offset, data) of each unsynced write; data None: truncated there."""

    inode: int
    content: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)
    reserved: int = 0
    mode: int = 0o600
    mtime_ns: int = 0
    ctime_ns: int = 0
    durable_mtime_ns: int = 0
    note: bytes | None = None
    locked_by: int | None = None


Names = dict[str, _Node]


class _Folder(Struct):
    """Names as the kernel sees them; `history`: the states since the last sync, oldest first."""

    names: Names = field(default_factory=dict)
    history: list[Names] = field(default_factory=lambda: [{}])


class MemoryDisk:
    """A Disk. `capacity` in bytes; `fault(operation, name)` may return an OSError for an
    operation to fail with (or raise what it likes); `short(length)`: how much a write takes."""

    def __init__(
        self,
        *,
        capacity: int | None = None,
        fault: Fault | None = None,
        short: Callable[[int], int] | None = None,
        local: bool = True,
    ) -> None:
        self.capacity, self.fault, self.short, self.local = capacity, fault, short, local
        self.can_allocate = True
        self._folders: dict[Path, _Folder] = {}
        self._handles: dict[int, tuple[_Folder | _Node, str]] = {}
        self._boots, self._ticks, self._numbers = 1, 1_000_000_000, 2
        self._guard = threading.RLock()

    def kill(self) -> None:
        """The process dies: handles and locks are gone, everything written stays."""
        for handle in list(self._handles):
            self.close(handle)

    def crash(self, random: Random) -> None:
        """The power is cut, and comes back."""
        self.kill()
        self._boots += 1
        nodes: set[int] = set()
        for folder in self._folders.values():
            folder.names = dict(random.choice(folder.history))
            folder.history = [dict(folder.names)]
            for node in folder.names.values():
                if node.inode not in nodes:
                    nodes.add(node.inode)
                    _after_power_cut(node, random)

    def read(self, path: Path) -> bytes | None:
        """The bytes under a name, None when there is none: for assertions."""
        node = self._folder(path.parent).names.get(path.name)
        return None if node is None else bytes(node.content)

    def write(self, path: Path, data: bytes, like: FileStat | None = None) -> None:
        """Put a durable file there, as another program would; `like`: number, times and mode are
        these, and names of one number lead to one file."""
        folder = self._folder(path.parent)
        same = [one for one in self._nodes() if like and one.inode == like.inode]
        node = same[0] if same else _Node(self._next_number(), bytearray(data), data)
        node.mtime_ns = node.ctime_ns = node.durable_mtime_ns = self._tick()
        if like is not None:
            node.inode, self._numbers = like.inode, max(self._numbers, like.inode)
            node.mtime_ns = node.durable_mtime_ns = like.mtime_ns
            node.ctime_ns, node.mode = like.ctime_ns, like.mode
            self._ticks = max(self._ticks, like.ctime_ns)
        folder.names[path.name] = node
        folder.history = [dict(folder.names)]

    def names(self, path: Path) -> list[str]:
        """The names in a folder, sorted."""
        return sorted(self._folder(path).names)

    def open_folder(self, path: Path) -> int:
        self._may("open-folder", str(path))
        return self._handle(self._folder(path), str(path))

    def entries(self, folder: int) -> list[str]:
        return sorted(self._names(folder))

    def open(self, folder: int, name: str, *, create: bool = False, write: bool = True) -> int:
        self._may("create" if create else "open", name)
        names = self._names(folder)
        if create:
            if name in names:
                raise _error(errno.EEXIST)
            node = _Node(self._next_number())
            node.mtime_ns = node.ctime_ns = node.durable_mtime_ns = self._tick()
            names[name] = node
            self._changed(folder)
        if name not in names:
            raise _error(errno.ENOENT)
        return self._handle(names[name], name)

    def open_unnamed(self, folder: int) -> int:
        self._may("open-unnamed", "")
        node = _Node(self._next_number(), mode=0o666 & ~self.umask())
        node.mtime_ns = node.ctime_ns = node.durable_mtime_ns = self._tick()
        return self._handle(node, "unnamed")

    def link(self, file: int, folder: int, name: str) -> None:
        self._may("link", name)
        names = self._names(folder)
        if name in names:
            raise _error(errno.EEXIST)
        names[name] = self._node(file)[0]
        names[name].ctime_ns = self._tick()
        self._changed(folder)

    def close(self, handle: int) -> None:
        thing, _ = self._handles.pop(handle)
        if isinstance(thing, _Node) and thing.locked_by == handle:
            thing.locked_by = None

    def stat(self, folder: int, name: str) -> FileStat | None:
        node = self._names(folder).get(name)
        return None if node is None else self._stat_of(node)

    def fstat(self, file: int) -> FileStat:
        return self._stat_of(self._node(file)[0])

    def pread(self, file: int, view: memoryview, offset: int) -> int:
        node, name = self._node(file)
        self._may("pread", name)
        with self._guard:
            data = node.content[offset : offset + len(view)]
        view[: len(data)] = data
        return len(data)

    def copy(
        self, source: int, target: int, offset: int, size: int, place: int | None = None
    ) -> int:
        view = memoryview(bytearray(size))
        place = offset if place is None else place
        return self.pwrite(target, view[: self.pread(source, view, offset)], place)

    def pwrite(self, file: int, data: memoryview, offset: int) -> int:
        node, name = self._node(file)
        self._may("pwrite", name)
        with self._guard:
            length = len(data) if self.short is None else self.short(len(data))
            room = self._room(node)
            if room is not None:
                length = min(length, max(0, room - offset))
            if length == 0 and len(data):
                raise _error(errno.ENOSPC)
            _apply(node.content, offset, bytes(data[:length]))
            node.pending.append((offset, bytes(data[:length])))
            node.mtime_ns = node.ctime_ns = self._tick()
        return length

    def sync(self, file: int, *, metadata: bool = False) -> None:
        node, name = self._node(file)
        self._may("sync", name)
        with self._guard:
            node.durable, node.pending = bytes(node.content), []
            node.durable_mtime_ns = node.mtime_ns

    def sync_folder(self, folder: int) -> None:
        self._may("sync-folder", "")
        place = self._place(folder)
        place.history = [dict(place.names)]

    def allocate(self, file: int, size: int) -> None:
        node, name = self._node(file)
        self._may("allocate", name)
        if not self.can_allocate:
            raise _error(errno.EOPNOTSUPP)
        room = self._room(node)
        if room is not None and size > room:
            raise _error(errno.ENOSPC)
        node.reserved = max(node.reserved, size)

    def truncate(self, file: int, size: int) -> None:
        node, name = self._node(file)
        self._may("truncate", name)
        with self._guard:
            _apply(node.content, size, None)
            node.pending.append((size, None))
            node.reserved = min(node.reserved, size)
            node.mtime_ns = node.ctime_ns = self._tick()

    def rename(self, folder: int, old: str, new: str, *, replace: bool) -> None:
        self._may("rename", new)
        names = self._names(folder)
        if old not in names:
            raise _error(errno.ENOENT)
        if new in names and not replace:
            raise _error(errno.EEXIST)
        names[new] = names.pop(old)
        names[new].ctime_ns = self._tick()
        self._changed(folder)

    def unlink(self, folder: int, name: str) -> None:
        self._may("unlink", name)
        if self._names(folder).pop(name, None) is None:
            raise _error(errno.ENOENT)
        self._changed(folder)

    def lock(self, file: int) -> bool:
        node, name = self._node(file)
        self._may("lock", name)
        if node.locked_by not in (None, file):
            return False
        node.locked_by = file
        return True

    def is_locked(self, file: int) -> bool:
        return self._node(file)[0].locked_by not in (None, file)

    def free(self, file: int) -> int:
        return 1 << 62 if self.capacity is None else max(0, self.capacity - self._used())

    def is_local(self, file: int) -> bool:
        return self.local

    def keeps_modes(self, folder: int) -> bool:
        return True

    def boot_id(self) -> str:
        return f"boot-{self._boots}"

    def user(self) -> int:
        return 1000

    def umask(self) -> int:
        return 0o022

    def set_mode(self, file: int, mode: int) -> None:
        self._node(file)[0].mode = mode

    def set_mtime(self, file: int, mtime_ns: int) -> None:
        self._node(file)[0].mtime_ns = mtime_ns

    def set_note(self, file: int, value: bytes) -> None:
        self._node(file)[0].note = value

    def note(self, file: int) -> bytes | None:
        return self._node(file)[0].note

    def _may(self, operation: str, name: str) -> None:
        error = self.fault(operation, name) if self.fault else None
        if error is not None:
            raise error

    def _tick(self) -> int:
        self._ticks += 1000
        return self._ticks

    def _next_number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _folder(self, path: Path) -> _Folder:
        return self._folders.setdefault(path, _Folder())

    def _handle(self, thing: _Folder | _Node, name: str) -> int:
        with self._guard:
            number = self._next_number()
            self._handles[number] = (thing, name)
        return number

    def _node(self, file: int) -> tuple[_Node, str]:
        thing, name = self._handles.get(file, (None, ""))
        if not isinstance(thing, _Node):
            raise _error(errno.EBADF)
        return thing, name

    def _place(self, folder: int) -> _Folder:
        thing, _ = self._handles.get(folder, (None, ""))
        if not isinstance(thing, _Folder):
            raise _error(errno.EBADF)
        return thing

    def _names(self, folder: int) -> Names:
        return self._place(folder).names

    def _changed(self, folder: int) -> None:
        place = self._place(folder)
        place.history.append(dict(place.names))

    def _nodes(self) -> list[_Node]:
        found = {
            node.inode: node for place in self._folders.values() for node in place.names.values()
        }
        return list(found.values())

    def _used(self) -> int:
        return sum(max(len(node.content), node.reserved) for node in self._nodes())

    def _room(self, node: _Node) -> int | None:
        """How long this file may become; None when there is no limit."""
        if self.capacity is None:
            return None
        return self.capacity - self._used() + max(len(node.content), node.reserved)

    def _stat_of(self, node: _Node) -> FileStat:
        return FileStat(
            kind="file",
            device=1,
            inode=node.inode,
            size=len(node.content),
            allocated=max(len(node.content), node.reserved),
            mtime_ns=node.mtime_ns,
            ctime_ns=node.ctime_ns,
            mode=node.mode,
            owner=self.user(),
            links=1,
        )


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    stop = offset + len(data or b"")
    if len(content) < stop:
        content.extend(bytes(stop - len(content)))
    if data is None:
        del content[offset:]
    else:
        content[offset:stop] = data


def _after_power_cut(node: _Node, random: Random) -> None:
    """Each unsynced change survives, or not, or in sectors."""
    content = bytearray(node.durable)
    for offset, data in node.pending:
        fate = random.randrange(3)
        if fate == 0:
            continue
        if fate == 1 or data is None:
            _apply(content, offset, data)
            continue
        start = 0
        while start < len(data):
            stop = min(len(data), start + SECTOR - (offset + start) % SECTOR)
            if random.random() < 0.5:
                _apply(content, offset + start, data[start:stop])
            start = stop
    if node.pending and random.random() < 0.5:
        node.mtime_ns = node.durable_mtime_ns
    node.content, node.durable, node.pending = content, bytes(content), []


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
