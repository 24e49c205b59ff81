"""Opening or creating a part file and locking it, so that its name leads to what is locked.

What is not ours is left as it was.
"""

from __future__ import annotations

from pathlib import Path

from rdl.errors import BusyError, LocalFileError
from rdl.storage.disk import FileStat
from rdl.storage.index_file import Place, check_ours

TRIES = 10


def locked(place: Place, shown: str, target: Path, published: FileStat | None) -> tuple[int, bool]:
    """The locked part file at `place`, and whether it was created. Errors call it `shown`.
    `published`: what stands at `target`. Raises BusyError, LocalFileError (not ours), OSError."""
    for _ in range(TRIES):
        before = place.disk.stat(place.folder, place.name)
        if before is not None:
            check_ours(place.disk, place.folder, before, shown)
        try:
            file = place.disk.open(place.folder, place.name, create=before is None)
        except (FileNotFoundError, FileExistsError) as error:
            if before is None and isinstance(error, FileNotFoundError):
                raise  # the folder is gone, or takes no files
            continue  # somebody was faster: look again
        try:
            if _is_locked_and_named(place, file, shown, target, published):
                return file, before is None
        except BaseException:
            place.disk.close(file)
            raise
        place.disk.close(file)
    raise BusyError(str(target), "its part file keeps changing")


def _is_locked_and_named(
    place: Place, file: int, shown: str, target: Path, published: FileStat | None
) -> bool:
    disk, stat = place.disk, place.disk.fstat(file)
    check_ours(disk, place.folder, stat, shown)
    if not disk.lock(file):
        raise BusyError(str(target), "another rdl is writing it", hint="wait for it, or stop it")
    if not stat.same_file(disk.stat(place.folder, place.name)):
        return False
    if stat.same_file(published):  # a publish was cut off between link and unlink
        disk.unlink(place.folder, place.name)
        return False
    if stat.links != 1:
        raise LocalFileError(shown, "has several names", hint="remove it")
    return True
