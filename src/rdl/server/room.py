"""How much a cache folder holds of ours, and what goes where it is too much: what was used the
longest time ago. Files that go meanwhile take nothing; others' do not count, and never go.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from rdl.core.text import safe_text
from rdl.errors import LocalFileError
from rdl.storage.disk import opened_folder, told
from rdl.storage.names import PRIVATE, SUFFIXES, Names
from rdl.storage.packs import Holdings
from rdl.storage.platform import PosixDisk
from rdl.storage.private import private_folder
from rdl.storage.publishing import read_published

_NAME = re.compile(f"([0-9a-f]{{40}})({'|'.join(map(re.escape, SUFFIXES))})?")


def claim(cache: Path) -> None:
    """Make the folder where it is missing. Raises LocalFileError, also where others may write to
    it, or where it is for something else: there are files in it, and none of ours."""
    private_folder(cache)
    with told(shown := safe_text(str(cache), 200)):
        others = any(not one.name.startswith(PRIVATE) for one in cache.iterdir())
        if others and not _files(cache):
            hint = "name a folder of its own; it will be made"
            raise LocalFileError(shown, "holds other files, and is no cache", hint=hint)


def taken(cache: Path) -> int:
    """Bytes of the disk. Raises OSError where the folder cannot be read."""
    return sum(sum(map(_allocated, files)) for files in _files(cache).values())


def evict(cache: Path, most: int, free: Callable[[str], bool]) -> None:
    """Let files go that are surely ours, with what stands beside them, until it takes `most`;
    where the file system keeps no notes, those that are named so. `free`: whether the one of this
    name may go. Raises OSError."""
    surplus, found, disk = taken(cache) - most, _files(cache), PosixDisk()
    with opened_folder(disk, cache) as folder:
        noted = disk.keeps_notes(folder)
    for name in sorted(found, key=lambda name: max(map(_used_at, found[name]))):
        if surplus > 0 and (not noted or _is_ours(cache / name)) and free(name):
            surplus -= sum(map(_allocated, found[name]))
            for entry in found[name]:
                with suppress(OSError):
                    os.unlink(entry)


def remove(place: Path) -> None:
    """What is kept under this name."""
    for suffix in ("", *SUFFIXES):
        with suppress(OSError):
            place.with_name(place.name + suffix).unlink()


def _allocated(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_blocks * 512
    except FileNotFoundError:
        return 0


def _used_at(entry: os.DirEntry[str]) -> float:
    try:
        return entry.stat(follow_symlinks=False).st_atime
    except FileNotFoundError:
        return 0.0


def holdings(cache: Path) -> Holdings:
    """What the folder of a pull-through cache holds; of how much it may hold only who serves it
    knows. Raises OSError."""
    found = _files(cache)
    sizes = {name: sum(map(_allocated, files)) for name, files in found.items()}
    locked = sum(size for name, size in sizes.items() if not _is_free(cache, name))
    return Holdings(len(found), sum(sizes.values()), locked, None)


def let_go(cache: Path) -> tuple[int, int]:
    """All that is surely ours, and that nobody fetches: how many files, and bytes of the disk.
    Raises OSError."""
    before = holdings(cache)
    evict(cache, 0, lambda name: _is_ours(cache / name) and _is_free(cache, name))
    after = holdings(cache)
    return before.entries - after.entries, before.used - after.used


def _files(cache: Path) -> dict[str, list[os.DirEntry[str]]]:
    """By the names of those that are named as ours."""
    found = dict[str, list[os.DirEntry[str]]]()
    with os.scandir(cache) as entries:
        for entry in entries:
            if name := _NAME.fullmatch(entry.name):
                found.setdefault(name[1], []).append(entry)
    return found


def _is_ours(place: Path) -> bool:
    """Whether it was noted so when it got its name, or its index stands there: others, too, name
    files by 40 digits."""
    index = place.with_name(Names.of(place).index)
    return index.is_file() or read_published(place) is not None


def _is_free(cache: Path, name: str) -> bool:
    """Whether no process fetches it."""
    disk, folder = PosixDisk(), os.open(cache, os.O_RDONLY | os.O_DIRECTORY)
    try:
        file = disk.open(folder, Names.of(cache / name).part, write=False)
    except FileNotFoundError:
        return True
    finally:
        os.close(folder)
    try:
        return not disk.is_locked(file)
    finally:
        disk.close(file)
