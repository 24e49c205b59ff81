"""Which files a cache folder lets go: those that were used the longest time ago."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_NAME = re.compile("[0-9a-f]{40}")


def evict(cache: Path, most: int, free: Callable[[str], bool]) -> None:
    """Until it holds `most` bytes. `free`: whether the one of this name may go."""
    found = dict[str, list[os.DirEntry[str]]]()
    with os.scandir(cache) as entries:
        for entry in entries:
            found.setdefault(entry.name.partition(".")[0], []).append(entry)
    sizes = {name: sum(map(_allocated, files)) for name, files in found.items()}
    oldest = sorted(found, key=lambda name: max(map(_used, found[name])))
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
    return entry.stat(follow_symlinks=False).st_blocks * 512


def _used(entry: os.DirEntry[str]) -> float:
    return entry.stat(follow_symlinks=False).st_atime
