"""Small bodies: from memory to the final name, and to a part file where more is needed."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from xxhash import xxh3_64_intdigest

from rdl.core.byterange import ByteRange, Extent
from rdl.core.index_json import Header
from rdl.core.representation import Representation
from rdl.errors import BusyError, LocalFileError, NoSpaceError, TargetExists
from rdl.storage.base import Finish
from rdl.storage.disk import Disk
from rdl.storage.memory import MemoryDisk
from rdl.storage.part_file import PartStore
from rdl.storage.platform import PosixDisk
from rdl.storage.publishing import read_published
from rdl.storage.small import SMALL, SmallStore

SIZE = 5000
DATA = bytes(number * 7 % 251 for number in range(SIZE))
FACTS = Representation(SIZE, '"one"')
HEADER = Header("http://127.0.0.1/a", FACTS, 1 << 18)


@pytest.fixture(params=["posix", "memory"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Disk:
    if request.param == "memory":
        return MemoryDisk()
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        PosixDisk().close(PosixDisk().open_unnamed(folder))
    except OSError:
        return MemoryDisk()  # nothing to see here without unnamed files
    finally:
        os.close(folder)
    return PosixDisk()


def read(disk: Disk, path: Path) -> bytes | None:
    if isinstance(disk, MemoryDisk):
        return disk.read(path)
    return path.read_bytes() if path.exists() else None


def write(disk: Disk, path: Path, data: bytes) -> None:
    if isinstance(disk, MemoryDisk):
        disk.write(path, data)
    else:
        path.write_bytes(data)


def names(disk: Disk, path: Path) -> list[str]:
    if isinstance(disk, MemoryDisk):
        return disk.names(path.parent)
    return sorted(entry.name for entry in path.parent.iterdir())


def begun(disk: Disk, path: Path, header: Header = HEADER) -> SmallStore:
    store = SmallStore(PartStore(path, disk), disk)
    assert store.open() is None
    store.begin(header)
    store.reserve(SIZE)
    return store


def put(store: SmallStore, start: int, stop: int) -> None:
    store.write_at(start, memoryview(DATA)[start:stop])
    store.record([Extent(start, stop, xxh3_64_intdigest(DATA[start:stop]))])


def test_nothing_but_the_final_name_is_ever_seen(disk: Disk, tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    store = begun(disk, path)
    put(store, 2000, SIZE)
    put(store, 0, 2000)
    view = memoryview(bytearray(SIZE + 10))
    assert store.read_into(1000, view) == SIZE - 1000
    assert bytes(view[: SIZE - 1000]) == DATA[1000:]
    assert names(disk, path) == ["a.bin.part"]
    assert read(disk, path.with_name("a.bin.part")) == b""
    store.publish(Finish(size=SIZE, mtime=1_500_000_000.5, representation=FACTS))
    store.close()
    assert read(disk, path) == DATA
    assert names(disk, path) == ["a.bin"]
    if isinstance(disk, PosixDisk):
        assert path.stat().st_mtime == 1_500_000_000.5
        assert path.stat().st_mode & 0o777 == 0o666 & ~disk.umask()
        noted = read_published(path)
        assert noted is None or noted["etag"] == '"one"'  # where files carry notes


def after_a_checkpoint(store: SmallStore) -> None:
    store.checkpoint()


def after_a_stop(store: SmallStore) -> None:
    store.close()


@pytest.mark.parametrize("leave", [after_a_checkpoint, after_a_stop])
def test_what_is_here_becomes_a_part_file(
    disk: Disk, tmp_path: Path, leave: Callable[[SmallStore], None]
) -> None:
    path = tmp_path / "a.bin"
    store = begun(disk, path)
    put(store, 1000, 3000)
    store.write_at(3000, memoryview(DATA)[3000:4000])  # and not recorded yet
    leave(store)
    assert names(disk, path) == ["a.bin.part", "a.bin.part.index"]
    if leave is after_a_checkpoint:
        store.record([Extent(3000, 4000, xxh3_64_intdigest(DATA[3000:4000]))])
    store.close()
    again = SmallStore(PartStore(path, disk), disk)
    saved = again.open()
    assert saved is not None
    assert saved.damaged == 0
    stop = 4000 if leave is after_a_checkpoint else 3000
    assert saved.extents.ranges() == (ByteRange(1000, stop),)
    put(again, 0, 1000)
    put(again, stop, SIZE)
    again.publish(Finish(size=SIZE))
    again.close()
    assert read(disk, path) == DATA
    assert names(disk, path) == ["a.bin"]


@pytest.mark.parametrize("later", [False, True])
def test_what_is_mixed_in_memory_names_no_validators_on_disk(later: bool) -> None:
    disk, path = MemoryDisk(), Path("/disk/a.bin")
    store = begun(disk, path)
    put(store, 0, 1000)
    if later:
        store.checkpoint()
    store.mix()
    store.close()
    saved = PartStore(path, disk).open()
    assert saved is not None
    assert saved.header.representation == Representation(SIZE)
    assert len(saved.extents) == 1


def test_nothing_came_and_nothing_is_left(disk: Disk, tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    begun(disk, path).close()
    discarded = begun(disk, path)
    put(discarded, 0, 10)
    discarded.close(discard=True)
    assert names(disk, path) == []


def test_a_wrong_digest_puts_it_aside(disk: Disk, tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    store = begun(disk, path)
    put(store, 0, SIZE)
    store.quarantine()
    store.close()
    assert names(disk, path) == ["a.bin.part.bad"]


def test_a_name_that_is_taken_meanwhile_stays(disk: Disk, tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    store = begun(disk, path)
    put(store, 0, SIZE)
    with pytest.raises(BusyError):
        begun(disk, path)
    write(disk, path, b"x" * SIZE)
    with pytest.raises(TargetExists):
        store.publish(Finish(size=SIZE))
    store.close()
    assert read(disk, path) == b"x" * SIZE
    assert "a.bin.part" in names(disk, path)


@pytest.mark.parametrize("total", [SMALL + 1, None])
def test_what_is_large_is_a_part_file(disk: Disk, tmp_path: Path, total: int | None) -> None:
    path = tmp_path / "a.bin"
    store = begun(disk, path, Header(HEADER.url, Representation(total, '"one"'), 1 << 18))
    assert names(disk, path) == ["a.bin.part", "a.bin.part.index"]
    store.close(discard=True)
    assert names(disk, path) == []


def test_another_version_is_begun_in_memory_or_not(disk: Disk, tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    store = begun(disk, path)
    put(store, 0, SIZE)
    span = ByteRange(100, 200)
    store.begin(Header(HEADER.url, Representation(SIZE, '"two"'), 1 << 18, span))
    store.write_at(100, memoryview(DATA)[100:200])
    store.publish(Finish(size=100))
    store.close()
    assert read(disk, path) == DATA[100:200]


FAULTS = [errno.EOPNOTSUPP, errno.EIO, errno.ENOSPC, errno.EACCES]


@pytest.mark.parametrize("number", FAULTS)
@pytest.mark.parametrize("operation", ["open-unnamed", "link", "sync", "pwrite"])
def test_what_unnamed_files_cannot_a_part_file_does(operation: str, number: int) -> None:
    path, faults = Path("/disk/a.bin"), [OSError(number, os.strerror(number))]

    def fault(name: str, _: str) -> OSError | None:
        return faults.pop() if name == operation and faults else None

    disk = MemoryDisk(fault=fault)
    store = begun(disk, path)
    put(store, 0, SIZE)
    store.publish(Finish(size=SIZE))
    store.close()
    assert not faults
    assert (disk.read(path), disk.names(path.parent)) == (DATA, ["a.bin"])


def test_a_folder_that_takes_no_files_is_told_at_once() -> None:
    disk = MemoryDisk(fault=lambda name, _: OSError(errno.EACCES, "no") if "e" in name else None)
    store = SmallStore(PartStore(Path("/disk/a.bin"), disk), disk)
    with pytest.raises(LocalFileError):
        store.open()


@pytest.mark.parametrize("size", [SIZE, SMALL + 1])
def test_a_file_that_appears_after_the_start_is_not_replaced(
    disk: Disk, tmp_path: Path, size: int
) -> None:
    """Whether it fits one read or not, is published from memory or after a checkpoint."""
    path = tmp_path / "a.bin"
    store = SmallStore(PartStore(path, disk), disk)
    assert store.open() is None
    write(disk, path, b"the user's")
    store.begin(Header(HEADER.url, Representation(size, '"one"'), 1 << 18))
    store.write_at(0, memoryview(bytes(size)))
    store.record([Extent(0, 10, 1)])
    store.checkpoint()
    with pytest.raises(TargetExists):
        store.publish(Finish(size=size))
    store.close()
    assert read(disk, path) == b"the user's"


def test_what_cannot_be_saved_is_told_once() -> None:
    """The disk is full when a stop would keep what is here: that ends it, and nothing hangs on."""
    path = Path("/disk/a.bin")
    full = [False]
    disk = MemoryDisk(fault=lambda name, _: OSError(errno.ENOSPC, "full") if full[0] else None)
    store = begun(disk, path)
    put(store, 0, 100)
    full[0] = True
    with pytest.raises(NoSpaceError):
        store.close()
    full[0] = False
    store.close()
    assert "a.bin" not in disk.names(path.parent)


def test_what_a_full_disk_cost_is_told_in_the_end() -> None:
    path, disk = Path("/disk/a.bin"), MemoryDisk(fault=lambda name, _: full.get(name))
    full = dict[str, OSError]()
    store = begun(disk, path)
    put(store, 0, SIZE)
    full["pwrite"] = OSError(errno.ENOSPC, "full")
    with pytest.raises(NoSpaceError):
        store.publish(Finish(size=SIZE))
    with pytest.raises(NoSpaceError):
        store.close()
    store.close()
    assert not disk.names(path.parent)


def test_a_folder_that_is_not_synced_is_told_and_not_tried_otherwise() -> None:
    path, syncs = Path("/disk/a.bin"), [0]

    def fault(name: str, _: str) -> OSError | None:
        syncs[0] += name == "sync-folder"
        return OSError(errno.EIO, "I/O") if syncs[0] and name == "sync-folder" else None

    disk = MemoryDisk(fault=fault)
    store = begun(disk, path)
    put(store, 0, SIZE)
    with pytest.raises(LocalFileError):
        store.publish(Finish(size=SIZE))
    store.close()
    assert disk.names(path.parent) == ["a.bin"]
