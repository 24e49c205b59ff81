"""What an index and a part file say, read without changing or disturbing anything.

The bytes are not compared with their checksums: `settled` says whether the next run will
believe them unread. A lock is looked for, not taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from rdl.core.byterange import ByteRange, joined
from rdl.core.extents import Extents
from rdl.core.index import Decoded, IndexDamaged, IndexNewer
from rdl.core.index_json import Header, SessionRecord
from rdl.errors import BusyError, LocalFileError, RdlError
from rdl.storage.checking import believable, is_settled, session_of
from rdl.storage.disk import Disk, FileStat, opened_folder, told
from rdl.storage.index_file import Place, check_ours, load
from rdl.storage.names import Names

PART, INDEX, BAD = ".part", ".part.index", ".part.bad"


class Partial(Struct, frozen=True):
    """One download that is not complete. `present`: joined runs of the representation;
    `part`: the part file, None when it is gone; `running`: another process is writing it;
    `settled`: it was left in order and is just as it was left."""

    header: Header
    present: tuple[ByteRange, ...]
    part: FileStat | None
    running: bool
    settled: bool


def state_names(stem: str) -> Names:
    """The names beside a target that is called, or stands for itself as, `stem`."""
    return Names(stem, stem + PART, stem + INDEX, stem + BAD)


def names_for(disk: Disk, folder: int, name: str) -> Names:
    """The names that `name` belongs to: a target's, or those of its part file or index.

    A target may itself end in `.part`: what stands beside it decides. Raises OSError.
    """
    own = Names.of(Path(name))
    if any(disk.stat(folder, one) is not None for one in (own.part, own.index)):
        return own
    for ending in (INDEX, PART):
        stem = name.removesuffix(ending)
        if stem not in ("", name):
            return state_names(stem)
    return own


def partials_in(disk: Disk, folder: int) -> list[Names]:
    """The names of every target in the folder that has an index. Raises OSError."""
    found = disk.entries(folder)
    stems = [name.removesuffix(INDEX) for name in found if name.endswith(INDEX)]
    return [state_names(stem) for stem in stems if stem]


def read_partial(disk: Disk, folder: int, names: Names) -> Partial | None:
    """What is here of a target; None when there is neither part file nor index.

    Raises IndexDamaged, IndexNewer, LocalFileError (not ours, unreadable, or without an
    index), BusyError (another rdl has begun it and knows nothing yet).
    """
    with told(names.part):
        stat = disk.stat(folder, names.part)
        file = -1
        if stat is not None:
            check_ours(disk, folder, stat, names.part)
            try:
                file = disk.open(folder, names.part, write=False)
            except FileNotFoundError:  # published at this moment
                return None
    try:
        return _read(disk, folder, file, names)
    finally:
        if file >= 0:
            disk.close(file)


def bytes_kept(disk: Disk, path: Path) -> int:
    """How many bytes of a download the next run will find; what cannot be read counts as lost."""
    try:
        with told(str(path)), opened_folder(disk, path.parent) as folder:
            partial = read_partial(disk, folder, Names.of(path))
    except RdlError:
        return 0
    if partial is None or partial.part is None:
        return 0
    runs = sorted((*partial.present, *partial.header.adopted), key=lambda run: run.start)
    return sum(map(len, joined(runs)))


def _read(disk: Disk, folder: int, file: int, names: Names) -> Partial | None:
    decoded = _load(Place(disk, folder, names.index))
    with told(names.part):
        running = file >= 0 and disk.is_locked(file)
        if decoded is None:
            if file >= 0 and disk.stat(folder, names.part) is not None:
                raise _unknown(names.part, running=running)
            return None
        if file < 0:
            return Partial(decoded.header, (), None, running=False, settled=False)
        stat, now = disk.fstat(file), session_of(disk, file)
    present = believed(decoded, now, stat).ranges()
    return Partial(decoded.header, present, stat, running, is_settled(decoded, stat))


def _load(place: Place) -> Decoded | None:
    try:
        return load(place)
    except IndexDamaged as error:
        hint = "get begins anew; rdl clean removes it"
        raise IndexDamaged(place.name, str(error), hint=hint) from error
    except IndexNewer as error:
        hint = "the rdl that wrote it can read it"
        raise IndexNewer(place.name, str(error), hint=hint) from error


def _unknown(part: str, *, running: bool) -> BusyError | LocalFileError:
    if running:
        return BusyError(part, "another rdl has just begun it, and nothing of it is here yet")
    hint = "it may be another program's; rdl get --continue adopts one"
    return LocalFileError(part, "no index says what it holds", hint=hint)


def believed(decoded: Decoded, now: SessionRecord, stat: FileStat) -> Extents:
    """The extents that may be claimed now and lie within the part file."""
    return believable(decoded, now).before(decoded.header.start + stat.size)


def gaps(present: Sequence[ByteRange], span: ByteRange) -> tuple[ByteRange, ...]:
    """The bytes of `span` that are in none of the ascending runs `present`."""
    missing, at = [], span.start
    for run in present:
        if run.start > at:
            missing.append(ByteRange(at, min(run.start, span.stop)))
        at = max(at, run.stop)
    if at < span.stop:
        missing.append(ByteRange(at, span.stop))
    return tuple(missing)
