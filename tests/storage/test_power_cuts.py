"""Power cuts and kills at every kind of moment: what is believed afterwards is true."""

from __future__ import annotations

from pathlib import Path
from random import Random
from unittest import mock

import pytest
from xxhash import xxh3_64_intdigest

from rdl.core.byterange import ByteRange, Extent
from rdl.core.index_json import Header
from rdl.core.representation import Representation
from rdl.errors import RdlError, TargetExists
from rdl.storage import index_file
from rdl.storage.base import Finish, Saved
from rdl.storage.memory import MemoryDisk
from rdl.storage.part_file import PartStore

PATH = Path("/somewhere/a.bin")
UNIT, UNITS = 1000, 8
SIZE = UNIT * UNITS


class PowerCut(BaseException):
    """Ends the run inside any call of the disk."""


class Fuse:
    """Cuts the power before the n-th operation of the disk."""

    def __init__(self, operations: int) -> None:
        self.left = operations

    def __call__(self, operation: str, name: str) -> None:
        self.left -= 1
        if self.left < 0:
            raise PowerCut


class Life:
    """One representation downloaded over several runs that end badly."""

    def __init__(self, random: Random, old: bytes | None) -> None:
        self.random, self.old = random, old
        self.data = random.randbytes(SIZE)
        self.header = Header("u", Representation(SIZE, '"a"'), 4096)
        self.disk = MemoryDisk()
        if old is not None:
            self.disk.write(PATH, old)
        self.durable: set[Extent] = set()

    def check(self, saved: Saved | None) -> list[Extent]:
        """Every believed extent is on disk, and none that was durable was lost."""
        extents = list(saved.extents) if saved else []
        content = self.disk.read(PATH.with_name("a.bin.part")) or b""
        for extent in extents:
            assert content[extent.start : extent.stop] == self.data[extent.start : extent.stop]
        assert self.durable <= set(extents)
        return extents

    def run(self) -> None:
        """Fill what is missing in some order, with checkpoints in between; publish."""
        store = PartStore(PATH, self.disk)
        saved = store.open()
        present = {extent.start for extent in self.check(saved)}
        if saved is None:
            store.begin(self.header)
        store.reserve(SIZE)
        order = [n * UNIT for n in range(UNITS) if n * UNIT not in present]
        self.random.shuffle(order)
        recorded = set(saved.extents) if saved else set()
        for start in order:
            recorded.add(self.write(store, start))
            if self.random.random() < 0.3:
                store.checkpoint()
                self.durable = set(recorded)
            if self.random.random() < 0.1:
                self.again(store, recorded)
        store.checkpoint()
        self.durable = set()
        store.publish(Finish())
        store.close()

    def write(self, store: PartStore, start: int) -> Extent:
        part = self.data[start : start + UNIT]
        store.write_at(start, memoryview(part))
        extent = Extent(start, start + UNIT, xxh3_64_intdigest(part))
        store.record([extent])
        return extent

    def again(self, store: PartStore, recorded: set[Extent]) -> None:
        """Forget an extent and fetch it anew, as a repair does."""
        if recorded:
            extent = self.random.choice(sorted(recorded, key=lambda extent: extent.start))
            self.durable.discard(extent)
            store.forget([ByteRange(extent.start, extent.stop)])
            self.write(store, extent.start)

    def final_is_old_or_complete(self) -> bool:
        final = self.disk.read(PATH)
        assert final in (self.old, self.data)
        return final == self.data


def assert_one_life_keeps_its_promises(seed: int, *, kill: bool) -> None:
    random = Random(seed)
    life = Life(random, b"old" if seed % 3 == 0 else None)
    for _ in range(40):
        life.disk.fault = Fuse(random.randrange(60))
        try:
            with mock.patch.object(index_file, "MANY_LOOSE", random.choice([1, 2, 9])):
                life.run()
            life.disk.crash(random)
            assert life.disk.read(PATH) == life.data
        except PowerCut:
            life.disk.fault = None
            if kill or random.random() < 0.2:
                life.disk.kill()
            else:
                life.disk.crash(random)
        if life.final_is_old_or_complete():
            return
    life.disk.fault = None
    life.run()
    life.disk.crash(random)
    assert life.final_is_old_or_complete()


@pytest.mark.parametrize("batch", range(4))
def test_power_cuts(batch: int) -> None:
    for seed in range(batch * 150, (batch + 1) * 150):
        assert_one_life_keeps_its_promises(seed, kill=False)


def test_kills_lose_nothing_recorded() -> None:
    for seed in range(150):
        assert_one_life_keeps_its_promises(seed, kill=True)


def test_a_kill_keeps_soft_records_and_a_power_cut_does_not() -> None:
    for cut in (False, True):
        life = Life(Random(1), None)
        store = PartStore(PATH, life.disk)
        store.open()
        store.begin(life.header)
        kept = life.write(store, 0)
        store.checkpoint()
        soft = life.write(store, UNIT)
        if cut:
            life.disk.crash(Random(3))
        else:
            life.disk.kill()
        saved = PartStore(PATH, life.disk).open()
        assert saved is not None
        assert tuple(saved.extents) == ((kept,) if cut else (kept, soft))


def test_soft_records_do_not_count_where_the_file_system_is_remote() -> None:
    life = Life(Random(1), None)
    life.disk.local = False
    store = PartStore(PATH, life.disk)
    store.open()
    store.begin(life.header)
    life.write(store, 0)
    life.disk.kill()
    saved = PartStore(PATH, life.disk).open()
    assert saved is not None
    assert tuple(saved.extents) == ()


def test_the_disk_forgets_only_what_was_not_synced() -> None:
    outcomes = set()
    for seed in range(60):
        disk = MemoryDisk()
        folder = disk.open_folder(PATH.parent)
        file = disk.open(folder, "f", create=True)
        disk.sync_folder(folder)
        disk.pwrite(file, memoryview(b"a" * 2048), 0)
        disk.sync(file)
        disk.pwrite(file, memoryview(b"b" * 1024), 512)
        disk.crash(Random(seed))
        data = disk.read(PATH.with_name("f"))
        assert data is not None
        assert data[:512] + data[1536:] == b"a" * 1024
        outcomes.add(data)
        assert {data[512:1024], data[1024:1536]} <= {b"a" * 512, b"b" * 512}
    assert len(outcomes) == 4


def test_a_published_name_is_never_taken_from_another() -> None:
    life = Life(Random(5), None)
    store = PartStore(PATH, life.disk)
    store.open()
    store.begin(life.header)
    store.write_at(0, memoryview(life.data))
    life.disk.write(PATH, b"theirs")
    with pytest.raises(TargetExists):
        store.publish(Finish())
    assert life.disk.read(PATH) == b"theirs"


def test_the_same_seed_is_the_same_story() -> None:
    def story() -> list[str]:
        told: list[str] = []
        life = Life(Random(9), None)
        fuse = Fuse(45)

        def fault(operation: str, name: str) -> None:
            told.append(f"{operation} {name}")
            fuse(operation, name)

        life.disk.fault = fault
        with pytest.raises((PowerCut, RdlError)):
            life.run()
        life.disk.crash(Random(2))
        return [*told, repr(life.disk.read(PATH.with_name("a.bin.part")))]

    assert story() == story()
