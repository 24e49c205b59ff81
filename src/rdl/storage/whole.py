"""A file that is written at one go: all of it stands under its name, or what stood there."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from rdl.core.text import safe_text
from rdl.storage.disk import opened_folder, told, write_all
from rdl.storage.names import private_name
from rdl.storage.platform import PosixDisk
from rdl.storage.publishing import check_target


def write_whole(path: Path, parts: Iterable[bytes]) -> None:
    """Make `path` a file of these bytes, synced. Raises LocalFileError, also where something stands
    there that is no regular file; NoSpaceError; and what `parts` raises."""
    disk = PosixDisk()
    with told(safe_text(str(path))), opened_folder(disk, path.parent) as folder:
        check_target(disk, folder, path.name)
        _write(disk, folder, path.name, parts)
        disk.sync_folder(folder)


def _write(disk: PosixDisk, folder: int, name: str, parts: Iterable[bytes]) -> None:
    fresh, end = private_name(), 0
    file = disk.open(folder, fresh, create=True)
    try:
        disk.lock(file)
        for data in parts:
            write_all(disk, file, memoryview(data), end)
            end += len(data)
        disk.set_mode(file, 0o666 & ~disk.umask())
        disk.sync(file, metadata=True)
        disk.rename(folder, fresh, name, replace=True)
    except BaseException:
        with suppress(OSError):
            disk.unlink(folder, fresh)
        raise
    finally:
        disk.close(file)
