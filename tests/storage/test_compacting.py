"""An index with many records of single extents is begun anew, with runs of them."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from xxhash import xxh3_64_intdigest

from rdl.core.byterange import ByteRange, Extent
from rdl.core.index import Decoded, decode
from rdl.core.index_json import Header
from rdl.core.representation import Representation
from rdl.errors import LocalFileError
from rdl.storage import index_file
from rdl.storage.memory import MemoryDisk
from rdl.storage.part_file import PartStore

PATH = Path("/somewhere/a.bin")
INDEX = PATH.with_name("a.bin.part.index")
SIZE = 100_000
DATA = bytes(range(250)) * 400


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_file, "MANY_LOOSE", 10)


def begun(disk: MemoryDisk) -> PartStore:
    store = PartStore(PATH, disk)
    assert store.open() is None
    store.begin(Header("u", Representation(SIZE, '"a"'), 4096))
    return store


def put(store: PartStore, *numbers: int) -> list[Extent]:
    extents = []
    for number in numbers:
        data = DATA[number * 100 : number * 100 + 100]
        store.write_at(number * 100, memoryview(data))
        extents.append(Extent(number * 100, number * 100 + 100, xxh3_64_intdigest(data)))
        store.record(extents[-1:])
    return extents


def decoded(disk: MemoryDisk) -> Decoded:
    return decode(disk.read(INDEX) or b"")


def test_it_gets_shorter_and_says_the_same() -> None:
    disk = MemoryDisk()
    store = begun(disk)
    here = put(store, *range(20))
    before = len(disk.read(INDEX) or b"")
    store.checkpoint()
    assert len(disk.read(INDEX) or b"") < before * 2 // 3
    assert list(decoded(disk).durable) == here
    more = put(store, 30, 31)
    assert list(decoded(disk).soft) == more
    store.checkpoint()
    store.close()
    again = PartStore(PATH, disk)
    saved = again.open()
    assert saved is not None
    assert list(saved.extents) == here + more
    again.close()
    assert disk.names(PATH.parent) == ["a.bin.part", "a.bin.part.index"]


def test_it_keeps_the_room_that_was_reserved() -> None:
    disk = MemoryDisk(capacity=1 << 20)
    store = begun(disk)
    store.reserve(SIZE)
    here = put(store, *range(12))
    store.checkpoint()
    disk.capacity = (1 << 20) - disk.free(0)  # others have filled it
    here += put(store, *range(20, 29))
    store.checkpoint()
    store.close()
    assert list(decoded(disk).durable) == here


def test_few_records_stay_as_they_are() -> None:
    disk = MemoryDisk()
    store = begun(disk)
    put(store, *range(9))
    store.checkpoint()
    before = disk.read(INDEX) or b""
    store.checkpoint()
    assert (disk.read(INDEX) or b"").startswith(before)
    store.close()


def test_what_is_recorded_or_forgotten_meanwhile_is_kept() -> None:
    disk = MemoryDisk()
    store = begun(disk)
    here = put(store, *range(12))
    later: list[Extent] = []

    def meanwhile(operation: str, name: str) -> None:
        if (operation, name) == ("sync", "a.bin.part") and not later:
            later.extend(put(store, 50, 51))
            store.forget([ByteRange(0, 1)])

    disk.fault = meanwhile
    store.checkpoint()
    assert list(decoded(disk).durable) == here[1:]
    assert list(decoded(disk).soft) == later
    store.close()


@pytest.mark.parametrize("operation", ["create", "pwrite", "sync", "rename"])
def test_without_room_for_a_new_one_the_old_one_goes_on(operation: str) -> None:
    disk = MemoryDisk()
    store = begun(disk)
    here = put(store, *range(12))

    anew = False

    def full(what: str, name: str) -> None:
        nonlocal anew
        anew = anew or (what, name) == ("create", f"{INDEX.name}.new")
        if anew and what == operation:
            raise OSError(errno.ENOSPC, "no space")

    disk.fault = full
    store.checkpoint()
    disk.fault = None
    assert anew
    here += put(store, 40)
    store.checkpoint()
    store.close()
    assert list(decoded(disk).durable) == here
    assert decoded(disk).clean is not None
    assert disk.names(PATH.parent) == ["a.bin.part", "a.bin.part.index"]


def test_one_whose_name_is_lost_ends_the_run() -> None:
    disk = MemoryDisk()
    store = begun(disk)
    put(store, *range(12))

    def folder(what: str, name: str) -> None:
        if what == "sync-folder":
            raise OSError(errno.EIO, "input/output error")

    disk.fault = folder
    with pytest.raises(LocalFileError, match="input/output error"):
        store.checkpoint()
    disk.fault = None
    with pytest.raises(LocalFileError, match="earlier"):
        put(store, 40)
    store.close()
    assert list(decoded(disk).durable)


def test_the_index_of_another_writer_is_not_replaced() -> None:
    disk = MemoryDisk()
    store = begun(disk)
    put(store, *range(12))

    def swapped(what: str, name: str) -> None:
        if what == "sync" and name.startswith(INDEX.name):
            disk.fault = None
            disk.write(INDEX, b"another's")

    disk.fault = swapped
    with pytest.raises(LocalFileError, match="replaced"):
        store.checkpoint()
    store.close()
    assert disk.read(INDEX) == b"another's"
