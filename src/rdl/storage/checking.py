"""Which extents of an index to believe: what it may claim, and what the data confirms."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xxhash import xxh3_64_intdigest

from rdl.core.byterange import Extent
from rdl.core.index import MAX_EXTENT, Decoded, Stat
from rdl.core.index_json import SessionRecord
from rdl.storage.disk import Disk, FileStat


def believable(decoded: Decoded, now: SessionRecord) -> list[Extent]:
    """The durable extents, and the soft ones while the machine is still in the same boot
    and the file system is local."""
    before = decoded.session
    same_boot = before is not None and before.boot == now.boot != ""
    soft = decoded.soft if same_boot and before and before.local and now.local else ()
    return sorted([*decoded.durable, *soft], key=lambda extent: extent.start)


def extents_on_disk(
    disk: Disk,
    file: int,
    stat: FileStat,
    decoded: Decoded,
    claimed: Sequence[Extent],
    *,
    check: Callable[[], None] = lambda: None,
) -> list[Extent]:
    """Those of `claimed` whose bytes are on disk: all of them, unread, when the file is just
    as the last run left it in order; else the ones with the right checksum. `check` is called
    again and again, and may raise."""
    start = decoded.header.span.start if decoded.header.span else 0
    inside = [extent for extent in claimed if extent.stop - start <= stat.size]
    left = Stat(stat.size, stat.mtime_ns, stat.ctime_ns)
    if decoded.clean == left and decoded.session and decoded.session.inode == stat.inode:
        return inside
    buffer = memoryview(bytearray(MAX_EXTENT))
    sound = []
    for extent in inside:
        check()
        view = buffer[: extent.stop - extent.start]
        if _checksum(disk, file, view, extent.start - start) == extent.checksum:
            sound.append(extent)
    return sound


def _checksum(disk: Disk, file: int, view: memoryview, offset: int) -> int | None:
    """xxh3-64 of len(view) bytes from `offset`; None when they cannot be read."""
    done = 0
    while done < len(view):
        try:
            count = disk.pread(file, view[done:], offset + done)
        except OSError:  # a bad sector: these bytes are not here
            return None
        if count == 0:
            return None
        done += count
    return xxh3_64_intdigest(view)
