"""How much a cache folder takes, and what goes where it is too much: what was used the longest
time ago. Files that go meanwhile take nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_NAME = re.compile("[0-9a-f]{40}")


def taken(cache: Path) -> int:
    """Bytes of the disk. Raises OSError where the folder cannot be read."""
    with os.scandir(cache) as entries:
        return sum(map(_allocated, entries))


def evict(cache: Path, most: int, free: Callable[[str], bool]) -> None:
    """Let files of ours go, with what stands beside them, until it takes `most`. `free`: whether
    the one of this name may go. Raises OSError."""
    found = dict[str, list[os.DirEntry[str]]]()
    with os.scandir(cache) as entries:
        for entry in entries:
            found.setdefault(entry.name.partition(".")[0], []).append(entry)
    sizes = {name: sum(map(_allocated, files)) for name, files in found.items()}
    oldest = sorted(found, key=lambda name: max(map(_used_at, found[name])))
    surplus = sum(sizes.values()) - most
    for name in oldest:
        if surplus > 0 and _NAME.fullmatch(name) and free(name):
            surplus -= sizes[name]
            for entry in found[name]:
                with suppress(OSError):
                    os.unlink(entry)


def remove(place: Path) -> None:
    """What is kept under this name."""
    for path in place.parent.glob(f"{place.name}*"):
        with suppress(OSError):
            path.unlink()


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
