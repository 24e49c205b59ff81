"""Which bytes of a part file to believe: extents that an index may claim and the data confirms;
of a file without index what is more than zeros."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

from xxhash import xxh3_64_intdigest

from rdl.core.byterange import ByteRange
from rdl.core.extents import Extents, Run
from rdl.core.index import MAX_EXTENT, Decoded, Stat
from rdl.core.index_json import MAX_RUNS, SessionRecord
from rdl.storage.disk import Disk, FileStat, read_all

STEP, PAGE = 1 << 20, 4096
NEAR = 256 << 10
"""Unwritten places closer than this count as one: a request costs more than so many bytes."""


def session_of(disk: Disk, file: int) -> SessionRecord:
    """Who writes to this part file from now on. Raises OSError."""
    stat, owner = disk.fstat(file), secrets.token_hex(8)
    return SessionRecord(disk.boot_id(), owner, stat.device, stat.inode, disk.is_local(file))


def believable(decoded: Decoded, now: SessionRecord) -> Extents:
    """The durable extents, and the soft ones while the machine is still in the same boot
    and the file system is local."""
    before = decoded.session
    same_boot = before is not None and before.boot == now.boot != ""
    if not (decoded.soft and same_boot and before and before.local and now.local):
        return decoded.durable
    both = decoded.durable.copy()
    both.take_all(decoded.soft.copy())
    return both


def is_settled(decoded: Decoded, stat: FileStat) -> bool:
    """Whether the part file is as the last run left it in order."""
    left = Stat(stat.size, stat.mtime_ns, stat.ctime_ns)
    same = decoded.session is not None and decoded.session.inode == stat.inode
    return same and decoded.clean == left


def extents_on_disk(
    disk: Disk,
    file: int,
    stat: FileStat,
    decoded: Decoded,
    claimed: Extents,
    *,
    check: Callable[[], None] = lambda: None,
) -> Extents:
    """Those of `claimed` whose bytes are on disk: all of them, unread, when the file is just
    as the last run left it in order; else the ones with the right checksum. `check` is called
    again and again, and may raise."""
    start = decoded.header.start
    inside = claimed.before(start + stat.size)
    if is_settled(decoded, stat):
        return inside
    buffer = memoryview(bytearray(MAX_EXTENT))
    sound = Extents()
    for extent in inside:
        check()
        view = buffer[: extent.stop - extent.start]
        here = _filled(disk, file, view, extent.start - start)
        if here and xxh3_64_intdigest(view) == extent.checksum:
            sound.add(Run.of(extent))
    return sound


def written_runs(
    disk: Disk, file: int, size: int, *, check: Callable[[], None] = lambda: None
) -> tuple[ByteRange, ...]:
    """Where the file holds more than pages of zeros, which a program that reserved its space, or
    a crash, leaves where nothing was written. Places that cannot be read count as zeros."""
    holes: list[ByteRange] = []
    for hole in _holes(disk, file, size, check):  # with a page around it, where it began or ended
        wide = ByteRange(max(0, hole.start - PAGE), min(size, hole.stop + PAGE))
        _join(holes, wide, NEAR)
    near = NEAR
    while len(holes) >= MAX_RUNS:
        near, many, holes = near * 2, holes, []
        for hole in many:
            _join(holes, hole, near)
    edges = [0, *(edge for hole in holes for edge in (hole.start, hole.stop)), size]
    runs = (ByteRange(start, stop) for start, stop in zip(edges[::2], edges[1::2], strict=True))
    return tuple(run for run in runs if run)


def _holes(disk: Disk, file: int, size: int, check: Callable[[], None]) -> Iterator[ByteRange]:
    """Pages of zeros and bad sectors, in order."""
    buffer, zeros = memoryview(bytearray(STEP)), bytes(STEP)
    for start in range(0, size, STEP):
        check()
        view = buffer[: min(STEP, size - start)]
        if not _filled(disk, file, view, start):
            yield from _bad_pages(disk, file, view, start)
        elif view == zeros[: len(view)]:
            yield ByteRange(start, start + len(view))
        else:
            for at in range(0, len(view), PAGE):
                if view[at : at + PAGE] == zeros[: len(view[at : at + PAGE])]:
                    yield ByteRange(start + at, start + min(at + PAGE, len(view)))


def _bad_pages(disk: Disk, file: int, view: memoryview, start: int) -> Iterator[ByteRange]:
    """Of a step that cannot be read as a whole."""
    for at in range(0, len(view), PAGE):
        page = view[at : at + PAGE]
        if not _filled(disk, file, page, start + at) or not any(page):
            yield ByteRange(start + at, start + at + len(page))


def _join(runs: list[ByteRange], run: ByteRange, near: int) -> None:
    """Append it, or lengthen the last one when there is less than `near` between them."""
    if runs and run.start - runs[-1].stop < near:
        run = ByteRange(runs.pop().start, run.stop)
    runs.append(run)


def _filled(disk: Disk, file: int, view: memoryview, offset: int) -> bool:
    """Read len(view) bytes from `offset`; False when they cannot be read."""
    try:
        return read_all(disk, file, view, offset) == len(view)
    except OSError:  # a bad sector: these bytes are not here
        return False
