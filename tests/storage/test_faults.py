"""A disk that fails: what is told, and what is believed afterwards."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from xxhash import xxh3_64_intdigest

from rdl.core.byterange import Extent
from rdl.core.extents import Extents
from rdl.core.index import Decoded, decode
from rdl.core.index_json import Header, SessionRecord
from rdl.core.representation import Representation
from rdl.errors import LocalFileError, NoSpaceError, RdlError
from rdl.storage.base import Finish, Saved
from rdl.storage.checking import believable
from rdl.storage.memory import Fault, MemoryDisk
from rdl.storage.part_file import PartStore

PATH = Path("/somewhere/a.bin")
PART, INDEX = "a.bin.part", "a.bin.part.index"
DATA = bytes(range(256)) * 40
HEADER = Header("u", Representation(len(DATA), '"a"'), 4096)


def failing(operation: str, name: str, number: int, times: int = 1 << 30) -> Fault:
    left = [times]

    def fault(now: str, on: str) -> OSError | None:
        if (now, on) != (operation, name) or left[0] == 0:
            return None
        left[0] -= 1
        return OSError(number, os.strerror(number))

    return fault


def put(store: PartStore, start: int, stop: int) -> Extent:
    store.write_at(start, memoryview(DATA)[start:stop])
    extent = Extent(start, stop, xxh3_64_intdigest(DATA[start:stop]))
    store.record([extent])
    return extent


def begun(disk: MemoryDisk) -> PartStore:
    store = PartStore(PATH, disk)
    assert store.open() is None
    store.begin(HEADER)
    return store


def reopened(disk: MemoryDisk) -> Saved:
    store = PartStore(PATH, disk)
    saved = store.open()
    store.close()
    assert saved is not None
    return saved


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, NoSpaceError),
        (errno.EDQUOT, NoSpaceError),
        (errno.EIO, LocalFileError),
        (errno.EFBIG, LocalFileError),
    ],
)
def test_a_failed_write_is_told(number: int, error: type[RdlError]) -> None:
    disk = MemoryDisk()
    store = begun(disk)
    kept = put(store, 0, 1000)
    store.checkpoint()
    disk.fault = failing("pwrite", PART, number)
    with pytest.raises(error, match=PART) as caught:
        store.write_at(1000, memoryview(DATA)[1000:2000])
    assert type(caught.value) is error
    disk.fault = None
    store.close()
    assert tuple(reopened(disk).extents) == (kept,)


def test_short_writes_are_continued() -> None:
    disk = MemoryDisk(short=lambda length: (length + 1) // 2)
    store = begun(disk)
    put(store, 0, len(DATA))
    store.publish(Finish())
    store.close()
    assert disk.read(PATH) == DATA


def test_space_ends_in_the_middle() -> None:
    disk = MemoryDisk(capacity=8000)
    store = begun(disk)
    store.reserve(2000)
    put(store, 0, 2000)
    with pytest.raises(NoSpaceError):
        store.write_at(2000, memoryview(DATA)[2000:])
    store.checkpoint()
    store.close()
    with pytest.raises(NoSpaceError):
        PartStore(PATH, disk).open()
    assert disk.names(PATH.parent) == [PART, INDEX]
    disk.capacity = 50_000
    assert len(reopened(disk).extents) == 1


@pytest.mark.parametrize("again", [1, 1 << 30])
def test_a_failed_sync_is_never_trusted(again: int) -> None:
    disk = MemoryDisk()
    store = begun(disk)
    kept = put(store, 0, 1000)
    store.checkpoint()
    put(store, 1000, 2000)
    disk.fault = failing("sync", PART, errno.EIO, again)
    with pytest.raises(LocalFileError, match="cannot sync"):
        store.checkpoint()
    for step in (store.checkpoint, lambda: store.publish(Finish())):
        with pytest.raises(LocalFileError, match="earlier sync failed"):
            step()
    store.close()
    disk.fault = None
    assert tuple(reopened(disk).extents) == (kept,)
    assert disk.read(PATH) is None


def test_a_failed_sync_is_not_trusted_even_when_no_record_can_be_appended() -> None:
    disk = MemoryDisk()
    store = begun(disk)
    kept = put(store, 0, 1000)
    store.checkpoint()
    put(store, 1000, 2000)
    sync, full = failing("sync", PART, errno.EIO), failing("pwrite", INDEX, errno.ENOSPC)
    full_too = failing("pwrite", INDEX + ".new", errno.ENOSPC)
    disk.fault = lambda operation, name: (
        sync(operation, name) or full(operation, name) or full_too(operation, name)
    )
    with pytest.raises(LocalFileError, match="cannot sync"):
        store.checkpoint()
    store.close()
    disk.fault = None
    assert tuple(reopened(disk).extents) == (kept,)


def test_a_failed_sync_at_the_start_voids_soft_extents() -> None:
    disk = MemoryDisk()
    store = begun(disk)
    kept = put(store, 0, 1000)
    store.checkpoint()
    put(store, 1000, 2000)
    disk.kill()
    disk.fault = failing("sync", PART, errno.EIO, 1)
    with pytest.raises(LocalFileError, match="cannot sync"):
        PartStore(PATH, disk).open()
    assert tuple(reopened(disk).extents) == (kept,)


def test_a_full_disk_for_the_index_is_told_and_its_tail_is_cut() -> None:
    disk = MemoryDisk()
    store = begun(disk)
    kept = put(store, 0, 1000)
    disk.fault = failing("pwrite", INDEX + ".new", errno.ENOSPC)
    with pytest.raises(NoSpaceError):
        put(store, 1000, 2000)
    disk.fault = None
    with pytest.raises(LocalFileError, match="earlier write"):
        put(store, 2000, 3000)
    disk.kill()
    assert tuple(reopened(disk).extents) == (kept,)


@pytest.mark.parametrize(
    ("left", "ours"),
    [(b"", True), (bytes(600), True), (b"RDLIN", True), (b"RDLINDEX junk", True), (b"mine", False)],
)
def test_what_a_power_cut_leaves_of_a_fresh_index_is_in_nobodys_way(
    left: bytes, ours: bool
) -> None:
    disk = MemoryDisk()
    disk.write(PATH.with_name(INDEX + ".new"), left)
    store = PartStore(PATH, disk)
    store.open()
    if ours:
        store.begin(HEADER)
        put(store, 0, len(DATA))
        store.publish(Finish())
    else:
        with pytest.raises(LocalFileError, match="is not ours"):
            store.begin(HEADER)
    store.close()
    assert disk.names(PATH.parent) == (["a.bin"] if ours else [INDEX + ".new"])


def test_data_that_is_begun_anew_is_never_the_same_file() -> None:
    """Another rdl that a lying lock let in may write to that, or have published it."""
    disk = MemoryDisk()
    store = begun(disk)
    put(store, 0, 1000)
    folder = disk.open_folder(PATH.parent)
    before = disk.stat(folder, PART)
    store.begin(HEADER)
    assert before is not None
    assert not before.same_file(disk.stat(folder, PART))
    put(store, 0, len(DATA))
    disk.rename(folder, PART, "a.bin", replace=False)
    with pytest.raises(LocalFileError, match="replaced under us"):
        store.begin(HEADER)
    assert disk.read(PATH) == DATA


def test_the_state_survives_a_failed_publish() -> None:
    disk = MemoryDisk()
    store = begun(disk)
    put(store, 0, len(DATA))
    disk.fault = failing("rename", "a.bin", errno.EACCES)
    with pytest.raises(LocalFileError, match="cannot publish"):
        store.publish(Finish())
    disk.fault = None
    store.close()
    assert disk.read(PATH) is None
    assert reopened(disk).damaged == 0


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.ENODEV, errno.EINVAL, errno.ENOSYS])
def test_a_file_system_that_cannot_allocate_is_no_error(number: int) -> None:
    disk = MemoryDisk(fault=failing("allocate", PART, number))
    store = begun(disk)
    store.reserve(len(DATA))
    put(store, 0, len(DATA))
    store.publish(Finish())
    store.close()
    assert disk.read(PATH) == DATA


@pytest.mark.parametrize(
    ("number", "error"),
    [(errno.ENOSPC, NoSpaceError), (errno.EFBIG, LocalFileError), (errno.EIO, LocalFileError)],
)
def test_a_failed_allocation_leaves_nothing(number: int, error: type[RdlError]) -> None:
    disk = MemoryDisk(fault=failing("allocate", PART, number))
    store = begun(disk)
    with pytest.raises(error):
        store.reserve(len(DATA))
    disk.fault = None
    store.close()
    assert disk.names(PATH.parent) == []


@pytest.mark.parametrize(
    ("operation", "name"),
    [
        ("open-folder", str(PATH.parent)),
        ("create", PART),
        ("lock", PART),
    ],
)
def test_a_folder_that_refuses_is_told_at_open(operation: str, name: str) -> None:
    disk = MemoryDisk(fault=failing(operation, name, errno.EROFS))
    with pytest.raises(LocalFileError):
        PartStore(PATH, disk).open()


def test_unreadable_bytes_are_not_believed() -> None:
    disk = MemoryDisk()
    store = begun(disk)
    put(store, 0, 1000)
    kept = put(store, 1000, 2000)
    disk.kill()
    disk.fault = failing("pread", PART, errno.EIO, 1)
    saved = reopened(disk)
    assert tuple(saved.extents) == (kept,)
    assert saved.damaged == 1


def every_single_fault() -> list[Callable[[], Fault]]:
    def nth(number: int) -> Callable[[], Fault]:
        def make() -> Fault:
            count = [0]

            def fault(operation: str, name: str) -> OSError | None:
                count[0] += 1
                return OSError(errno.EIO, "broken") if count[0] == number else None

            return fault

        return make

    return [nth(number) for number in range(1, 45)]


def test_any_single_failure_is_told_as_ours_and_the_next_run_is_right() -> None:
    for make in every_single_fault():
        disk = MemoryDisk(fault=make())
        for _ in range(3):
            store = PartStore(PATH, disk)
            try:
                if store.open() is None:
                    store.begin(HEADER)
                store.reserve(len(DATA))
                put(store, 0, 5000)
                store.checkpoint()
                put(store, 5000, len(DATA))
                store.checkpoint()
                store.publish(Finish())
                store.close()
                break
            except RdlError:
                disk.kill()
        assert disk.read(PATH) == DATA


def test_what_is_recorded_while_the_data_is_synced_stays_soft() -> None:
    disk = MemoryDisk()
    store = begun(disk)
    durable = put(store, 0, 1000)
    soft: list[Extent] = []

    def meanwhile(operation: str, name: str) -> None:
        if (operation, name) == ("sync", PART) and not soft:
            soft.append(Extent(1000, 2000, 5))
            store.record(soft)

    disk.fault = meanwhile
    store.checkpoint()
    decoded = decode(disk.read(PATH.with_name(INDEX)) or b"")
    assert tuple(decoded.durable) == (durable,)
    assert tuple(decoded.soft) == tuple(soft)
    store.close()


@pytest.mark.parametrize(
    ("before", "now", "counts"),
    [
        (("a", True), ("a", True), True),
        (("a", True), ("b", True), False),
        (("", True), ("", True), False),
        (("a", False), ("a", True), False),
        (("a", True), ("a", False), False),
    ],
)
def test_when_soft_extents_count(
    before: tuple[str, bool], now: tuple[str, bool], counts: bool
) -> None:
    durable, soft = Extent(5, 9, 0), Extent(0, 5, 0)
    then, today = (SessionRecord(boot, "", 1, 1, local) for boot, local in (before, now))
    decoded = Decoded(HEADER, Extents([durable]), Extents([soft]), then)
    assert list(believable(decoded, today)) == ([soft, durable] if counts else [durable])
    assert list(decoded.durable) == [durable]
    unknown = Decoded(HEADER, Extents([durable]), Extents([soft]))
    assert list(believable(unknown, today)) == [durable]


def test_the_length_is_durable_with_the_name() -> None:
    for seed in range(20):
        disk = MemoryDisk()
        store = begun(disk)
        store.write_at(0, memoryview(DATA + b"too much"))
        store.checkpoint()
        store.publish(Finish())
        disk.crash(Random(seed))
        assert disk.read(PATH) == DATA
