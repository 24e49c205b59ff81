"""Every state in which a power cut may leave the disk, after each operation of a download.

Legal: of what was not synced each write is lost, whole, torn into sectors, or only its length is
there; each change of a folder that was not synced is there or not, whatever came after it; a rename
may have added the new name and not removed the old one. After a kill all is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import islice, product
from math import prod
from pathlib import Path
from random import Random
from typing import Any

from msgspec.structs import replace

from rdl.core.byterange import Extent
from rdl.storage.disk import FileStat
from rdl.storage.memory import SECTOR, MemoryDisk
from tests.traps.stage import FOLDER, Promises

FEW = 64
"""So many states of one moment at most are all tried in order; of more, seeded samples."""
LOST, WHOLE, TORN, LENGTH, HEAD, TAIL = range(6)


@dataclass
class Written:
    """A file: what is durable, and (offset, data) of each change since; data None: cut there."""

    stat: FileStat
    durable: bytes = b""
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)


@dataclass
class Shelf:
    """A folder after some operation. `names`: what is durable; `changes`: (added, removed,
    number) of each change since."""

    files: dict[int, Written] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)
    changes: list[tuple[str, str, int]] = field(default_factory=list)


@dataclass
class Moment:
    """The disk after one operation, and what the store had promised by then."""

    after: str
    shelf: Shelf
    soft: frozenset[Extent]
    durable: frozenset[Extent]


class Recorder(MemoryDisk):
    """A disk that notes every change of itself."""

    def __init__(self, promises: Promises) -> None:
        super().__init__()
        self.moments: list[Moment] = []
        self._promises, self._shelf = promises, Shelf()

    def put(self, path: Path, data: bytes) -> None:
        """What stands there before the download."""
        self.write(path, data)
        folder = self.open_folder(path.parent)
        stat = self.stat(folder, path.name)
        self.close(folder)
        assert stat is not None
        self._shelf.names[path.name] = stat.inode
        self._shelf.files[stat.inode] = Written(stat, data)

    def start_from(self, moment: Moment) -> None:
        """Go on where another recording ended, in order."""
        load(self, moment.shelf, None)
        self._shelf = deepcopy(moment.shelf)

    def open(self, folder: int, name: str, *, create: bool = False, write: bool = True) -> int:
        file = super().open(folder, name, create=create, write=write)
        if create:
            stat = self.fstat(file)
            self._shelf.files[stat.inode] = Written(stat)
            self._shelf.changes.append((name, "", stat.inode))
            self._note(f"create {name}")
        return file

    def open_unnamed(self, folder: int) -> int:
        file = super().open_unnamed(folder)
        stat = self.fstat(file)
        self._shelf.files[stat.inode] = Written(stat)
        return file

    def link(self, file: int, folder: int, name: str) -> None:
        super().link(file, folder, name)
        self._shelf.changes.append((name, "", self.fstat(file).inode))
        self._note(f"link {name}")

    def pwrite(self, file: int, data: memoryview, offset: int) -> int:
        count = super().pwrite(file, data, offset)
        self._change(file, offset, bytes(data[:count]))
        return count

    def truncate(self, file: int, size: int) -> None:
        super().truncate(file, size)
        self._change(file, size, None)

    def sync(self, file: int, *, metadata: bool = False) -> None:
        super().sync(file, metadata=metadata)
        written = self._shelf.files[self.fstat(file).inode]
        for offset, data in written.pending:
            written.durable = changed(written.durable, offset, data)
        written.stat, written.pending = self.fstat(file), []
        self._note(f"sync {written.stat.inode}")

    def set_mode(self, file: int, mode: int) -> None:
        super().set_mode(file, mode)
        written = self._shelf.files[self.fstat(file).inode]
        written.stat = replace(written.stat, mode=mode)

    def rename(self, folder: int, old: str, new: str, *, replace: bool) -> None:
        super().rename(folder, old, new, replace=replace)
        stat = self.stat(folder, new)
        assert stat is not None
        self._shelf.changes.append((new, old, stat.inode))
        self._note(f"rename {old} {new}")

    def unlink(self, folder: int, name: str) -> None:
        super().unlink(folder, name)
        self._shelf.changes.append(("", name, 0))
        self._note(f"unlink {name}")

    def sync_folder(self, folder: int) -> None:
        super().sync_folder(folder)
        everything = [WHOLE] * len(self._shelf.changes)
        self._shelf.names = named(self._shelf, everything)
        self._shelf.changes = []
        self._note("sync-folder")

    def _change(self, file: int, offset: int, data: bytes | None) -> None:
        written = self._shelf.files[self.fstat(file).inode]
        written.pending.append((offset, data))
        what = "cut" if data is None else f"write {len(data)}"
        self._note(f"{what} at {offset} of {written.stat.inode}")

    def _note(self, what: str) -> None:
        soft, durable = frozenset(self._promises.soft), frozenset(self._promises.durable)
        self.moments.append(Moment(what, deepcopy(self._shelf), soft, durable & soft))


def changed(content: bytes, offset: int, data: bytes | None) -> bytes:
    """The content after a write, or a cut."""
    if data is None:
        return content[:offset].ljust(offset, b"\0")
    return content[:offset].ljust(offset, b"\0") + data + content[offset + len(data) :]


def named(shelf: Shelf, fates: Any) -> dict[str, int]:
    """The names when these changes are there. TORN: added, and the old one not removed."""
    names = dict(shelf.names)
    for (added, removed, number), fate in zip(shelf.changes, fates, strict=True):
        if fate == LOST:
            continue
        if removed and fate != TORN:
            names.pop(removed, None)
        if added:
            names[added] = number
    return names


def choices(shelf: Shelf) -> list[tuple[int, ...]]:
    """For each change that is not durable, what may have become of it; files first."""
    result: list[tuple[int, ...]] = []
    for number in sorted(shelf.files):
        written = shelf.files[number]
        for offset, data in written.pending:
            fates: tuple[int, ...] = (LOST, WHOLE)
            if data is not None and offset // SECTOR != (offset + len(data) - 1) // SECTOR:
                fates += (HEAD, TAIL, TORN)
            if data is not None and offset + len(data) > len(written.durable):
                fates += (LENGTH,)
            result.append(fates)
    for added, removed, _ in shelf.changes:
        result.append((LOST, WHOLE, TORN) if added and removed else (LOST, WHOLE))
    return result


def states(shelf: Shelf, random: Random) -> Iterator[tuple[int, ...]]:
    """Fates of all that is not durable: each combination once where few, else samples for ever."""
    open_to = choices(shelf)
    if prod(map(len, open_to)) <= FEW:
        everything = list(product(*open_to))
        random.shuffle(everything)
        yield from everything
        return
    while True:
        shy = random.random()  # how much is lost at all, so that extremes come up too
        yield tuple(
            random.choice(fates)
            if random.random() < 0.5
            else (LOST if random.random() < shy else 1)
            for fates in open_to
        )


def content(written: Written, fates: tuple[int, ...], random: Random) -> bytes:
    """What the file holds when this became of its changes."""
    data = written.durable
    for (offset, new), fate in zip(written.pending, fates, strict=True):
        if fate == WHOLE:
            data = changed(data, offset, new)
        elif fate != LOST and new is not None:
            data = data.ljust(offset + len(new), b"\0")
            data = _torn(data, offset, new, fate, random)
    return data


def _torn(data: bytes, offset: int, new: bytes, fate: int, random: Random) -> bytes:
    edges = [offset, *range((offset // SECTOR + 1) * SECTOR, offset + len(new), SECTOR)]
    for number, start in enumerate(edges):
        stop = edges[number + 1] if number + 1 < len(edges) else offset + len(new)
        here = {
            LENGTH: False,
            HEAD: number == 0,
            TAIL: number > 0,
            TORN: random.random() < 0.5,
        }[fate]
        if here:
            data = changed(data, start, new[start - offset : stop - offset])
    return data


def settled(shelf: Shelf, fates: tuple[int, ...], random: Random) -> Shelf:
    """A shelf on which this state is all there is, and durable."""
    files, at = {}, 0
    for number in sorted(shelf.files):
        written = shelf.files[number]
        stop = at + len(written.pending)
        files[number] = Written(written.stat, content(written, fates[at:stop], random))
        at = stop
    return Shelf(files, named(shelf, fates[at:]))


def load(
    disk: MemoryDisk, shelf: Shelf, fates: tuple[int, ...] | None, random: Random | None = None
) -> tuple[Any, ...]:
    """Fill an empty disk with a state (None: all is there); what tells it from others. Times are
    those of the last sync: nothing on disk shows that a write was lost."""
    random = random or Random(0)
    fates = tuple([WHOLE] * len(choices(shelf))) if fates is None else fates
    there = settled(shelf, fates, random)
    state = [(name, one, there.files[one].durable) for name, one in sorted(there.names.items())]
    for name, one, data in state:
        disk.write(FOLDER / name, data, shelf.files[one].stat)
    return tuple(state)


def samples(
    moments: list[Moment], count: int, seed: int
) -> Iterator[tuple[Moment, tuple[int, ...]]]:
    """At most so many (moment, fates), one of each moment in turn."""
    random = Random(seed)
    sources = [(moment, states(moment.shelf, random)) for moment in moments]

    def turns() -> Iterator[tuple[Moment, tuple[int, ...]]]:
        left = list(sources)
        while left:
            for source in list(left):
                fates = next(source[1], None)
                if fates is None:
                    left.remove(source)
                else:
                    yield source[0], fates

    return islice(turns(), count)
