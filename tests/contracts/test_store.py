"""One suite for every Store: a part file on a real disk and on the disk in memory."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from xxhash import xxh3_64_intdigest

from rdl.core.byterange import ByteRange, Extent
from rdl.core.representation import Representation
from rdl.errors import BusyError, LocalFileError, NoSpaceError, TargetExists
from rdl.storage.base import Finish, Header, Saved
from rdl.storage.disk import Disk
from rdl.storage.memory import MemoryDisk
from rdl.storage.part_file import PartStore
from rdl.storage.platform import PosixDisk
from rdl.storage.publishing import read_published, url_mark

SIZE = 100_000
DATA = bytes(number * 7 % 251 for number in range(SIZE))
FACTS = Representation(SIZE, '"one"')
HEADER = Header("http://127.0.0.1/a", FACTS, 1 << 18)


@dataclass
class Bench:
    """A disk under test and how to look at it from outside."""

    disk: Disk
    path: Path

    def store(self, **options: Any) -> PartStore:
        return PartStore(self.path, self.disk, **options)

    def sibling(self, suffix: str) -> Path:
        return self.path.with_name(self.path.name + suffix)

    def read(self, suffix: str = "") -> bytes | None:
        path = self.sibling(suffix)
        if isinstance(self.disk, MemoryDisk):
            return self.disk.read(path)
        return path.read_bytes() if path.exists() else None

    def put(self, data: bytes, suffix: str = "") -> None:
        path = self.sibling(suffix)
        if isinstance(self.disk, MemoryDisk):
            self.disk.write(path, data)
            return
        path.unlink(missing_ok=True)
        path.write_bytes(data)
        path.chmod(0o600)

    def names(self) -> list[str]:
        if isinstance(self.disk, MemoryDisk):
            return self.disk.names(self.path.parent)
        return sorted(entry.name for entry in self.path.parent.iterdir())

    def patch(self, suffix: str, offset: int, data: bytes) -> None:
        """Change bytes in place."""
        folder = self.disk.open_folder(self.path.parent)
        file = self.disk.open(folder, self.sibling(suffix).name)
        self.disk.pwrite(file, memoryview(data), offset)
        self.disk.close(file)
        self.disk.close(folder)


@pytest.fixture(params=["posix", "memory"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    disk: Disk = PosixDisk() if request.param == "posix" else MemoryDisk()
    return Bench(disk, tmp_path / "a.bin")


def put(store: PartStore, start: int, stop: int) -> Extent:
    store.write_at(start, memoryview(DATA)[start:stop])
    extent = Extent(start, stop, xxh3_64_intdigest(DATA[start:stop]))
    store.record([extent])
    return extent


def begun(bench: Bench, **options: Any) -> PartStore:
    store = bench.store(**options)
    assert store.open() is None
    store.begin(HEADER)
    store.reserve(SIZE)
    return store


def resumed(bench: Bench) -> tuple[PartStore, Saved]:
    store = bench.store()
    saved = store.open()
    assert saved is not None
    return store, saved


def test_from_nothing_to_the_final_name(bench: Bench) -> None:
    store = begun(bench)
    put(store, 50_000, SIZE)
    put(store, 0, 50_000)
    store.checkpoint()
    assert bench.read() is None
    store.publish(Finish(mtime=1_500_000_000.5, representation=FACTS))
    store.close()
    assert bench.read() == DATA
    assert bench.names() == ["a.bin"]


def test_an_orderly_stop_is_continued(bench: Bench) -> None:
    store = begun(bench)
    one, two = put(store, 0, 1000), put(store, 5000, 6000)
    store.checkpoint()
    store.close()
    store, saved = resumed(bench)
    assert saved is not None
    assert (saved.header, tuple(saved.extents), saved.damaged) == (HEADER, (one, two), 0)
    view = memoryview(bytearray(1000))
    assert store.read_into(5000, view) == 1000
    assert bytes(view) == DATA[5000:6000]
    put(store, 1000, 5000)
    put(store, 6000, SIZE)
    store.publish(Finish())
    store.close()
    assert bench.read() == DATA


def test_soft_records_count_in_the_same_boot(bench: Bench) -> None:
    store = begun(bench)
    extent = put(store, 0, 1000)
    store.close()
    store, saved = resumed(bench)
    store.close()
    assert tuple(saved.extents) == (extent,)


def test_what_is_mixed_names_no_validators_after_a_kill(bench: Bench) -> None:
    store = begun(bench)
    durable = put(store, 0, 1000)
    store.checkpoint()
    soft = put(store, 2000, 3000)
    store.mix()
    after = put(store, 5000, 6000)
    store.close()
    store, saved = resumed(bench)
    store.close()
    assert tuple(saved.extents) == (durable, soft, after)
    assert saved.header == replace(HEADER, representation=Representation(SIZE))


def test_what_cannot_be_mixed_is_not_recorded(bench: Bench) -> None:
    store = begun(bench)
    extent = put(store, 0, 1000)
    bench.put(b"another's", ".part.index")
    with pytest.raises(LocalFileError, match="anew"):
        store.mix()
    with pytest.raises(LocalFileError, match="failed"):
        store.record([extent])
    with pytest.raises(LocalFileError, match="anew"):
        store.mix()
    store.close()


def test_forgotten_bytes_are_not_believed(bench: Bench) -> None:
    store = begun(bench)
    put(store, 0, 1000)
    kept = put(store, 1000, 2000)
    store.forget([ByteRange(5, 6), ByteRange(9, 9)])
    store.checkpoint()
    store.close()
    store, saved = resumed(bench)
    store.close()
    assert tuple(saved.extents) == (kept,)


def test_changed_data_is_found_and_only_that_is_dropped(bench: Bench) -> None:
    store = begun(bench)
    put(store, 0, 1000)
    kept = put(store, 1000, 2000)
    store.checkpoint()
    store.close()
    bench.patch(".part", 500, b"\xff")
    store, saved = resumed(bench)
    store.close()
    assert (tuple(saved.extents), saved.damaged) == ((kept,), 1)


def test_a_shorter_file_loses_its_end(bench: Bench) -> None:
    store = begun(bench)
    kept = put(store, 0, 1000)
    put(store, 1000, 2000)
    store.checkpoint()
    store.close()
    bench.put(DATA[:1500], ".part")
    store, saved = resumed(bench)
    store.close()
    assert (tuple(saved.extents), saved.damaged) == ((kept,), 1)


def test_the_data_is_not_read_after_an_orderly_stop(bench: Bench) -> None:
    store = begun(bench)
    extent = put(store, 0, 1000)
    store.checkpoint()
    store.close()
    if isinstance(bench.disk, MemoryDisk):
        bench.disk.fault = lambda operation, name: (
            OSError(errno.EIO, "no reading")
            if (operation, name) == ("pread", "a.bin.part")
            else None
        )
    store, saved = resumed(bench)
    store.close()
    assert tuple(saved.extents) == (extent,)


def test_a_second_store_is_busy(bench: Bench) -> None:
    store = begun(bench)
    with pytest.raises(BusyError):
        bench.store().open()
    put(store, 0, 10)
    store.close()
    again, _ = resumed(bench)
    again.close()


def test_an_unknown_part_file_is_left_alone(bench: Bench) -> None:
    bench.put(b"mine", ".part")
    with pytest.raises(LocalFileError, match="no index") as caught:
        bench.store().open()
    assert "--continue" in caught.value.hint
    assert bench.names() == ["a.bin.part"]
    assert bench.read(".part") == b"mine"


def test_an_unknown_part_file_is_adopted_when_asked(bench: Bench) -> None:
    bench.put(DATA[:700], ".part")
    store = bench.store(adopt=True)
    assert store.open() is None
    assert store.adoptable() == (ByteRange(0, 700),)
    store.begin(replace(HEADER, adopted=(ByteRange(0, 700),)))
    view = memoryview(bytearray(700))
    assert store.read_into(0, view) == 700
    assert bytes(view) == DATA[:700]
    store.begin(HEADER)
    assert store.read_into(0, view) == 0
    store.close()


def test_bytes_that_were_not_adopted_after_all_go(bench: Bench) -> None:
    bench.put(DATA[:700], ".part")
    store = bench.store(adopt=True)
    store.open()
    store.begin(HEADER)
    assert store.read_into(0, memoryview(bytearray(700))) == 0
    store.close()


def test_the_size_to_publish_is_what_stands_there_then(bench: Bench) -> None:
    store = begun(bench)
    put(store, 0, 1000)
    store.publish(Finish(size=600))
    store.close()
    assert bench.read() == DATA[:600]


def test_a_damaged_index_is_told_and_replaced(bench: Bench) -> None:
    store = begun(bench)
    put(store, 0, 1000)
    store.close()
    bench.patch(".part.index", 20, b"\xff\xff")
    store = bench.store()
    assert store.open() is None
    assert "damaged" in store.damage
    store.begin(HEADER)
    put(store, 0, SIZE)
    store.publish(Finish())
    store.close()
    assert bench.read() == DATA


def test_a_newer_index_is_left_alone(bench: Bench) -> None:
    vector = Path(__file__).parent.parent / "vectors" / "index" / "newer.hex"
    newer = bytes.fromhex("".join(vector.read_text().splitlines()[1:]))
    bench.put(b"data", ".part")
    bench.put(newer, ".part.index")
    with pytest.raises(LocalFileError, match="another version"):
        bench.store().open()
    assert bench.read(".part") == b"data"
    assert bench.read(".part.index") == newer


def test_an_index_without_data_claims_nothing(bench: Bench) -> None:
    store = begun(bench)
    put(store, 0, 1000)
    store.close()
    index = bench.read(".part.index")
    store, _ = resumed(bench)
    store.close(discard=True)
    assert index is not None
    bench.put(index, ".part.index")
    store = bench.store()
    assert store.open() is None
    store.close()
    assert bench.names() == []


def test_a_new_begin_drops_what_was_there(bench: Bench) -> None:
    store = begun(bench)
    put(store, 0, 1000)
    store.checkpoint()
    other = Header("http://127.0.0.1/a", Representation(50, '"two"'), 1 << 18)
    store.begin(other)
    put(store, 10, 50)
    store.close()
    store, saved = resumed(bench)
    assert saved.header == other
    assert saved.extents.ranges() == (ByteRange(10, 50),)
    store.close(discard=True)
    assert bench.names() == []


def test_a_span_is_stored_from_zero(bench: Bench) -> None:
    store = bench.store()
    store.open()
    store.begin(Header("u", FACTS, 1 << 18, ByteRange(100, 300)))
    extent = put(store, 200, 300)
    with pytest.raises(ValueError, match="before the span"):
        store.write_at(99, memoryview(b"x"))
    store.close()
    store, saved = resumed(bench)
    assert tuple(saved.extents) == (extent,)
    put(store, 100, 200)
    store.publish(Finish())
    store.close()
    assert bench.read() == DATA[100:300]


def test_nothing_begun_leaves_nothing(bench: Bench) -> None:
    store = bench.store()
    store.open()
    assert bench.names() == ["a.bin.part"]
    store.close()
    store.close()
    assert bench.names() == []


def test_an_empty_file_is_published(bench: Bench) -> None:
    store = bench.store()
    store.open()
    store.begin(Header("u", Representation(0), 1 << 18))
    store.reserve(0)
    store.checkpoint()
    store.publish(Finish())
    store.close()
    assert bench.read() == b""
    assert bench.names() == ["a.bin"]


def test_a_longer_part_file_is_cut_and_a_shorter_refused(bench: Bench) -> None:
    store = bench.store()
    store.open()
    store.begin(Header("u", Representation(10), 1 << 18))
    store.write_at(0, memoryview(DATA)[:9])
    with pytest.raises(LocalFileError, match="9 of 10"):
        store.publish(Finish())
    store.write_at(0, memoryview(DATA)[:12])
    store.publish(Finish())
    store.close()
    assert bench.read() == DATA[:10]


def test_an_unknown_length_is_what_was_written(bench: Bench) -> None:
    store = bench.store()
    store.open()
    store.begin(Header("u", Representation(), 1 << 18))
    put(store, 0, 77)
    store.publish(Finish())
    store.close()
    assert bench.read() == DATA[:77]


def test_an_existing_target_is_replaced_at_the_end(bench: Bench) -> None:
    bench.put(b"old")
    store = begun(bench)
    put(store, 0, SIZE)
    store.checkpoint()
    assert bench.read() == b"old"
    store.publish(Finish())
    store.close()
    assert bench.read() == DATA
    assert bench.names() == ["a.bin"]


@pytest.mark.parametrize(
    ("before", "meanwhile", "no_clobber"),
    [
        (None, b"new", False),
        (b"old", None, True),
        (b"old", b"replaced", False),
        (None, b"new", True),
    ],
)
def test_a_target_in_the_way_stays(
    bench: Bench, before: bytes | None, meanwhile: bytes | None, no_clobber: bool
) -> None:
    if before is not None:
        bench.put(before)
    store = begun(bench)
    put(store, 0, SIZE)
    store.checkpoint()
    if meanwhile is not None:
        bench.put(meanwhile)
    with pytest.raises(TargetExists):
        store.publish(Finish(no_clobber=no_clobber))
    store.close()
    assert bench.read() == (meanwhile or before)
    assert bench.read(".part") == DATA
    store, saved = resumed(bench)
    store.close()
    assert saved.damaged == 0
    assert len(saved.extents) == 1


def test_a_replaced_part_file_is_noticed(bench: Bench) -> None:
    store = begun(bench)
    put(store, 0, SIZE)
    bench.put(b"other", ".part")
    for step in (store.checkpoint, lambda: store.publish(Finish()), store.quarantine):
        with pytest.raises(LocalFileError, match="replaced under us"):
            step()
    store.close(discard=True)
    assert bench.read() is None
    assert bench.read(".part") == b"other"


def test_another_writer_is_noticed_by_its_index(bench: Bench) -> None:
    store = begun(bench)
    put(store, 0, SIZE)
    bench.put(b"theirs", ".part.index")
    with pytest.raises(LocalFileError, match="replaced under us"):
        store.checkpoint()
    store.close(discard=True)
    assert bench.read(".part.index") == b"theirs"


def test_quarantine_keeps_one(bench: Bench) -> None:
    bench.put(b"older", ".part.bad")
    store = begun(bench)
    put(store, 0, SIZE)
    store.quarantine()
    store.close()
    assert bench.names() == ["a.bin.part.bad"]
    assert bench.read(".part.bad") == DATA


def test_several_threads_write_and_record(bench: Bench) -> None:
    store = begun(bench)

    def write(first: int) -> None:
        for start in range(first, SIZE, 4000):
            put(store, start, min(start + 1000, SIZE))

    threads = [threading.Thread(target=write, args=(n * 1000,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        store.checkpoint()
    for thread in threads:
        thread.join()
    store.close()
    store, saved = resumed(bench)
    assert sum(map(len, saved.extents.ranges())) == SIZE
    assert saved.damaged == 0
    store.publish(Finish())
    store.close()
    assert bench.read() == DATA


def test_what_was_published_is_known_until_it_changes(bench: Bench) -> None:
    assert read_published(bench.path, bench.disk) is None
    store = begun(bench)
    put(store, 0, SIZE)
    finish = Finish(mtime=1_500_000_000.25, representation=FACTS, url="http://h/a")
    store.publish(finish)
    store.close()
    facts = read_published(bench.path, bench.disk)
    if facts is None and isinstance(bench.disk, PosixDisk):
        return  # no extended attributes on this file system
    assert facts == {
        "url": url_mark("http://h/a"),
        "etag": '"one"',
        "last_modified": None,
        "modified_strong": False,
        "total": SIZE,
        "size": SIZE,
        "mtime_ns": 1_500_000_000_250_000_000,
    }
    bench.patch("", 0, b"!")
    assert read_published(bench.path, bench.disk) is None


def test_order_is_asked_for(bench: Bench) -> None:
    store = bench.store()
    with pytest.raises(LocalFileError, match="not open"):
        store.begin(HEADER)
    store.open()
    with pytest.raises(LocalFileError, match="open already"):
        store.open()
    steps: list[Callable[[], Any]] = [
        store.checkpoint,
        store.quarantine,
        lambda: store.publish(Finish()),
        lambda: store.record([]),
    ]
    for step in steps:
        with pytest.raises(LocalFileError, match="nothing was begun"):
            step()
    store.close()
    assert bench.names() == []


def test_a_header_that_cannot_be_kept_is_an_error(bench: Bench) -> None:
    store = bench.store()
    store.open()
    with pytest.raises(LocalFileError, match="cannot be written"):
        store.begin(Header("u", Representation(5, '"' + "x" * 9000 + '"'), 1 << 18))
    store.close()
    assert bench.names() == []


def test_no_room_is_told_before_any_is_used(bench: Bench) -> None:
    store = bench.store()
    store.open()
    store.begin(Header("u", Representation(1 << 60), 1 << 40))
    if isinstance(bench.disk, MemoryDisk):
        bench.disk.capacity = 1 << 20
    with pytest.raises(NoSpaceError, match="bytes are needed"):
        store.reserve(1 << 60)
    store.close()
    assert bench.names() == []


def test_short_space_is_only_a_warning_when_asked(bench: Bench) -> None:
    heard: list[str] = []
    store = bench.store(preallocate="none", warn=heard.append)
    store.open()
    store.begin(Header("u", Representation(1 << 60), 1 << 40))
    if isinstance(bench.disk, MemoryDisk):
        bench.disk.capacity = 1 << 20
    store.reserve(1 << 60)
    store.close()
    assert len(heard) == 1
