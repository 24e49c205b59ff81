"""FILE copied to where its part file stands: shared blocks where the file system can.

A copy appears whole or not at all.
"""

from __future__ import annotations

import errno
import secrets
from collections.abc import Callable
from pathlib import Path

from rdl.storage.disk import Disk, told
from rdl.storage.names import Names

STEP, PAGE = 1 << 20, 4096


def copy_to_part(disk: Disk, path: Path, check: Callable[[], None], *, holes: bool) -> bool:
    """Copy the file `path` to its part file's name; False, and nothing, where one stands there
    already. `check` is called again and again, and may raise. With `holes` bad sectors become
    zeros. Raises LocalFileError, NoSpaceError."""
    part = Names.of(path).part
    with told(str(path)):
        folder = disk.open_folder(path.parent)
        try:
            if disk.stat(folder, part) is not None:
                return False
            _copy(disk, folder, (path.name, part), check, holes=holes)
        finally:
            disk.close(folder)
    return True


def _copy(
    disk: Disk, folder: int, names: tuple[str, str], check: Callable[[], None], *, holes: bool
) -> None:
    """Under a name that nobody else uses, then renamed."""
    fresh = f".rdl-{secrets.token_hex(8)}"
    source = disk.open(folder, names[0], write=False)
    try:
        copy = disk.open(folder, fresh, create=True)
        try:
            _copy_all(disk, source, copy, check, holes=holes)
            disk.rename(folder, fresh, names[1], replace=False)
        except BaseException:
            disk.unlink(folder, fresh)
            raise
        finally:
            disk.close(copy)
    finally:
        disk.close(source)


def _copy_all(
    disk: Disk, source: int, copy: int, check: Callable[[], None], *, holes: bool
) -> None:
    size, at, step = disk.fstat(source).size, 0, STEP
    while at < size:
        check()
        try:
            count = disk.copy(source, copy, at, min(step, size - at))
        except OSError as error:
            if error.errno != errno.EIO or not holes:
                raise
            at, step = (at, PAGE) if step > PAGE else (at + PAGE, STEP)
            continue
        if count == 0:
            return
        at += count
