"""Files that smartremote or largefile began: where they and their state stand.

Nothing of theirs is changed or removed before the download that adopts it is published; only
the state that has our part file's name is put aside for so long, and given back otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from rdl.core.byterange import ByteRange
from rdl.core.foreign import (
    HEAD,
    MAX_STATE,
    StateDamaged,
    is_largefile,
    is_smartremote,
    largefile_claims,
    smartremote_claims,
)
from rdl.errors import BusyError, LocalFileError
from rdl.storage.disk import Disk, FileStat, opened, read_all, told
from rdl.storage.index_file import check_ours
from rdl.storage.names import Names

ASIDE, CACHE, INDEX = ".foreign", ".cache", ".index"

Claims = Callable[[bytes, int], tuple[ByteRange, ...]]


class Foreign(Struct, frozen=True):
    """A file that another program began. `data`, `state`: names; `claims`: None where the state
    is damaged, which `damage` tells; `in_the_way`: the state, which has our part file's name."""

    data: str
    state: str
    claims: tuple[ByteRange, ...] | None = None
    damage: str = ""
    in_the_way: FileStat | None = None


def aside_name(names: Names) -> str:
    """Where a state waits that had our part file's name."""
    return names.part + ASIDE


def find_foreign(disk: Disk, path: Path) -> Foreign | None:
    """What another program began of `path`; None where an index of ours stands, or nothing that
    we know. Raises LocalFileError."""
    names = Names.of(path)
    with told(str(path)):
        try:
            folder = disk.open_folder(path.parent)
        except FileNotFoundError:
            return None
        try:
            if disk.stat(folder, names.index) is not None:
                return None
            return _smartremote(disk, folder, names) or _largefile(disk, folder, names)
        finally:
            disk.close(folder)


def put_aside(disk: Disk, folder: int, names: Names, found: FileStat) -> None:
    """Make place for our part file. Raises OSError; BusyError when another rdl was faster;
    LocalFileError when the state is not ours to move, or an older one is aside already."""
    check_ours(disk, folder, found, names.part)
    with opened(disk, folder, names.part) as file:
        if not (disk.lock(file) and disk.fstat(file).same_file(found)):
            raise BusyError(names.target, "another rdl is writing it")
        try:
            disk.rename(folder, names.part, aside_name(names), replace=False)
        except FileExistsError as error:
            hint = "an earlier run put it there; remove one of the two"
            raise LocalFileError(aside_name(names), "stands in the way", hint=hint) from error
        disk.sync_folder(folder)


def give_back(disk: Disk, folder: int, names: Names) -> None:
    """Undo put_aside(), where no part file stands meanwhile."""
    with suppress(OSError):  # then it stays aside, and nothing is lost
        disk.rename(folder, aside_name(names), names.part, replace=False)


def remove_aside(disk: Disk, folder: int, names: Names) -> None:
    """Remove the state of what has been published."""
    with suppress(OSError):  # there is none; what stays does no harm
        disk.unlink(folder, aside_name(names))


def _smartremote(disk: Disk, folder: int, names: Names) -> Foreign | None:
    """FILE and FILE.part, or the same put aside by a run that was killed."""
    data, part = disk.stat(folder, names.target), disk.stat(folder, names.part)
    aside = disk.stat(folder, aside_name(names))
    if data is None or (part and aside):  # where one is aside the part file is ours
        return None
    state, found = (names.part, part) if part else (aside_name(names), aside)
    known = _read(disk, folder, state, found, is_smartremote)
    if known is None:
        return None
    foreign = Foreign(names.target, state, in_the_way=part)
    return _claimed(foreign, known, data.size, smartremote_claims)


def _largefile(disk: Disk, folder: int, names: Names) -> Foreign | None:
    """FILE, or FILE.cache as cloudstream calls it, and FILE.index."""
    if disk.stat(folder, names.part) is not None:
        return None
    stem = names.part.removesuffix(".part")
    for name in (names.target, stem + CACHE):
        data = disk.stat(folder, name)
        if data is not None and data.kind == "file":
            foreign = Foreign(name, stem + INDEX)
            found = disk.stat(folder, foreign.state)
            known = _read(disk, folder, foreign.state, found, is_largefile)
            if known is None:
                return None
            return _claimed(foreign, known, data.size, largefile_claims)
    return None


def _read(
    disk: Disk, folder: int, name: str, found: FileStat | None, known: Callable[[bytes], bool]
) -> bytes | None:
    """What the file holds, up to a byte more than a state may have; None where it is no state."""
    if found is None or found.kind != "file":
        return None
    with opened(disk, folder, name) as file:
        return _head(disk, file, MAX_STATE + 1) if known(_head(disk, file, HEAD)) else None


def _head(disk: Disk, file: int, size: int) -> bytes:
    view = memoryview(bytearray(size))
    return bytes(view[: read_all(disk, file, view, 0)])


def _claimed(foreign: Foreign, state: bytes, size: int, claims: Claims) -> Foreign:
    try:
        if len(state) > MAX_STATE:
            raise StateDamaged(f"it has more than {MAX_STATE} bytes")
        found = claims(state, size)
    except StateDamaged as error:
        return replace(foreign, damage=str(error))
    return replace(foreign, claims=found)
