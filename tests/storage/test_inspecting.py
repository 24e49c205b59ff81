"""What is read of a partial without disturbing it, and what is removed of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from xxhash import xxh3_64_intdigest

from rdl.core.byterange import ByteRange, Extent
from rdl.core.index import IndexDamaged, IndexNewer
from rdl.core.representation import Representation
from rdl.errors import BusyError, LocalFileError
from rdl.storage.base import Finish, Header
from rdl.storage.clearing import remove, survey
from rdl.storage.disk import Disk
from rdl.storage.inspecting import gaps, names_for, partials_in, read_partial, state_names
from rdl.storage.memory import MemoryDisk
from rdl.storage.names import Names
from rdl.storage.part_file import PartStore
from rdl.storage.platform import PosixDisk

MiB = 1 << 20
HEADER = Header("http://127.0.0.1/a", Representation(4 * MiB, '"one"'), 1 << 18)


@pytest.fixture(params=["posix", "memory"])
def disk(request: pytest.FixtureRequest) -> Disk:
    return PosixDisk() if request.param == "posix" else MemoryDisk()


def begun(disk: Disk, path: Path, *ranges: tuple[int, int], header: Header = HEADER) -> PartStore:
    """A store that is open, with these bytes in it."""
    store = PartStore(path, disk)
    store.open()
    store.begin(header)
    for start, stop in ranges:
        data = bytes(stop - start)
        store.write_at(start, memoryview(data))
        store.record([Extent(start, stop, xxh3_64_intdigest(data))])
    return store


def snapshot(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    return {
        one.name: (one.read_bytes(), one.stat().st_mtime_ns, one.stat().st_ino)
        for one in folder.iterdir()
    }


def test_a_partial_left_in_order_is_settled(disk: Disk, tmp_path: Path) -> None:
    store = begun(disk, tmp_path / "a", (0, 1000), (1000, 3000), (9000, 9001))
    store.checkpoint()
    store.close()
    folder = disk.open_folder(tmp_path)
    found = read_partial(disk, folder, Names.of(tmp_path / "a"))
    assert found is not None
    assert found.present == (ByteRange(0, 3000), ByteRange(9000, 9001))
    assert found.header == HEADER
    assert (found.running, found.settled) == (False, True)
    disk.close(folder)


def test_a_running_one_is_seen_and_may_go_on(disk: Disk, tmp_path: Path) -> None:
    store = begun(disk, tmp_path / "a", (0, 1000))
    folder = disk.open_folder(tmp_path)
    for _ in range(3):
        found = read_partial(disk, folder, Names.of(tmp_path / "a"))
        assert found is not None
        assert (found.running, found.settled) == (True, False)
        assert found.present == (ByteRange(0, 1000),)
    with pytest.raises(BusyError):
        PartStore(tmp_path / "a", disk).open()
    store.checkpoint()
    store.close()
    disk.close(folder)


def test_looking_takes_no_lock_and_changes_nothing(tmp_path: Path) -> None:
    disk, path = PosixDisk(), tmp_path / "a"
    begun(disk, path, (0, 1000)).close()
    before = snapshot(tmp_path)
    folder = disk.open_folder(tmp_path)
    part = disk.open(folder, "a.part", write=False)
    assert not disk.is_locked(part)
    found = read_partial(disk, folder, Names.of(path))
    assert found is not None
    assert snapshot(tmp_path) == before
    again = PartStore(path, disk)  # while `part` is still open
    assert again.open() is not None
    assert disk.is_locked(part)
    again.close()
    disk.close(part)
    disk.close(folder)


def test_where_the_system_lists_no_locks_one_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rdl.storage.platform._is_surely_unlocked", lambda _inode: False)
    disk, path = PosixDisk(), tmp_path / "a"
    store = begun(disk, path)
    folder = disk.open_folder(tmp_path)
    part = disk.open(folder, "a.part", write=False)
    assert disk.is_locked(part)
    store.close(discard=True)
    assert not disk.is_locked(part)
    free = disk.open(folder, "a.part", create=True)
    assert disk.lock(free), "nothing is left locked"
    for handle in (part, free, folder):
        disk.close(handle)


def test_nothing_there_is_none(disk: Disk, tmp_path: Path) -> None:
    folder = disk.open_folder(tmp_path)
    assert read_partial(disk, folder, Names.of(tmp_path / "a")) is None
    assert partials_in(disk, folder) == []
    disk.close(folder)


def test_a_partial_in_the_first_moment_is_busy(disk: Disk, tmp_path: Path) -> None:
    store = PartStore(tmp_path / "a", disk)
    store.open()
    folder = disk.open_folder(tmp_path)
    with pytest.raises(BusyError, match="just begun"):
        read_partial(disk, folder, Names.of(tmp_path / "a"))
    disk.close(folder)
    store.close()


def put(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    path.chmod(0o600)


@pytest.mark.parametrize(
    ("damage", "kind", "why"),
    [
        (b"", IndexDamaged, "too short"),
        (b"something else entirely", IndexDamaged, "not an index"),
        (None, LocalFileError, "no index says"),
    ],
)
def test_what_cannot_be_believed_says_why(
    tmp_path: Path, damage: bytes | None, kind: type[LocalFileError], why: str
) -> None:
    disk = PosixDisk()
    put(tmp_path / "a.part", b"data")
    if damage is not None:
        put(tmp_path / "a.part.index", damage)
    folder = disk.open_folder(tmp_path)
    with pytest.raises(kind, match=why) as caught:
        read_partial(disk, folder, Names.of(tmp_path / "a"))
    assert "a.part" in str(caught.value)
    assert caught.value.hint
    disk.close(folder)


def newer(path: Path) -> None:
    """Make the index at `path` one of version 2."""
    import struct
    from zlib import crc32

    start = struct.pack("<8sI", b"RDLINDEX", 2)
    put(path, start + struct.pack("<I", crc32(start)) + b"what is not known yet")


def test_a_newer_index_is_left_alone(tmp_path: Path) -> None:
    disk = PosixDisk()
    put(tmp_path / "a.part", b"data")
    newer(tmp_path / "a.part.index")
    folder = disk.open_folder(tmp_path)
    with pytest.raises(IndexNewer, match="version 2"):
        read_partial(disk, folder, Names.of(tmp_path / "a"))
    found, refused = survey(disk, folder, bad=True)
    assert found == []
    assert [type(error) for error in refused] == [IndexNewer]
    disk.close(folder)


@pytest.mark.parametrize("name", ["a", "a.part", "a.part.index"])
def test_a_partial_has_three_names(tmp_path: Path, name: str) -> None:
    disk = PosixDisk()
    begun(disk, tmp_path / "a", (0, 10)).close()
    folder = disk.open_folder(tmp_path)
    assert names_for(disk, folder, name) == Names.of(tmp_path / "a")
    disk.close(folder)


def test_a_target_may_itself_end_in_part(tmp_path: Path) -> None:
    disk = PosixDisk()
    begun(disk, tmp_path / "a.part", (0, 10)).close()
    folder = disk.open_folder(tmp_path)
    assert names_for(disk, folder, "a.part").part == "a.part.part"
    disk.close(folder)


def test_bytes_beyond_the_part_file_are_not_here(tmp_path: Path) -> None:
    disk, path = PosixDisk(), tmp_path / "a"
    begun(disk, path, (0, 1000), (1000, 2000)).close()
    os.truncate(tmp_path / "a.part", 1500)
    folder = disk.open_folder(tmp_path)
    found = read_partial(disk, folder, Names.of(path))
    assert found is not None
    assert found.present == (ByteRange(0, 1000),)
    assert not found.settled
    (tmp_path / "a.part").unlink()
    found = read_partial(disk, folder, Names.of(path))
    assert found is not None
    assert (found.present, found.part) == ((), None)
    disk.close(folder)


def test_a_range_is_counted_from_its_own_start(tmp_path: Path) -> None:
    disk, path = PosixDisk(), tmp_path / "a"
    header = Header(HEADER.url, HEADER.representation, 1 << 18, ByteRange(MiB, 2 * MiB))
    begun(disk, path, (MiB, MiB + 1000), header=header).close()
    folder = disk.open_folder(tmp_path)
    found = read_partial(disk, folder, Names.of(path))
    assert found is not None
    assert found.present == (ByteRange(MiB, MiB + 1000),)
    disk.close(folder)


def test_gaps_and_runs() -> None:
    span = ByteRange(10, 20)
    assert gaps((), span) == (span,)
    assert gaps((span,), span) == ()
    assert gaps((ByteRange(10, 12), ByteRange(15, 18)), span) == (
        ByteRange(12, 15),
        ByteRange(18, 20),
    )


def test_a_partial_is_removed_with_its_index(disk: Disk, tmp_path: Path) -> None:
    begun(disk, tmp_path / "a", (0, 5000)).close()
    begun(disk, tmp_path / "b", (0, 5000)).close()
    folder = disk.open_folder(tmp_path)
    found, refused = survey(disk, folder, bad=False)
    assert [one.names for one in found] == [state_names("a"), state_names("b")]
    assert refused == []
    assert remove(disk, folder, found[0]) == found[0].size > 5000
    assert disk.entries(folder) == ["b.part", "b.part.index"]
    disk.close(folder)


def test_what_is_held_or_changed_stays(disk: Disk, tmp_path: Path) -> None:
    store = begun(disk, tmp_path / "a", (0, 5000))
    folder = disk.open_folder(tmp_path)
    (one,), _ = survey(disk, folder, bad=False)
    with pytest.raises(BusyError):
        remove(disk, folder, one)
    store.close(discard=True)
    begun(disk, tmp_path / "a", (0, 10)).close()
    with pytest.raises(LocalFileError):
        remove(disk, folder, one)
    assert disk.entries(folder) == ["a.part", "a.part.index"]
    disk.close(folder)


def test_only_what_is_surely_ours_is_found(tmp_path: Path) -> None:
    disk = PosixDisk()
    put(tmp_path / "foreign.part", b"of another program")
    put(tmp_path / "strange.part.index", b"no index")
    put(tmp_path / "strange.part", b"data")
    put(tmp_path / "torn.part.index", b"RDLINDEX torn")
    put(tmp_path / "torn.part", b"data")
    begun(disk, tmp_path / "open", (0, 10)).close()
    (tmp_path / "open.part").chmod(0o666)
    (tmp_path / "link.part.index").symlink_to("open.part.index")
    put(tmp_path / "old.part.bad", b"bad")
    folder = disk.open_folder(tmp_path)
    found, refused = survey(disk, folder, bad=False)
    assert [one.name for one in found] == ["torn.part"]
    assert sorted(error.what for error in refused) == [
        "link.part.index",
        "open.part",
        "strange.part.index",
    ]
    found, _ = survey(disk, folder, bad=True)
    assert [one.name for one in found] == ["torn.part", "old.part.bad"]
    for one in found:
        remove(disk, folder, one)
    names = disk.entries(folder)
    assert not [name for name in names if name.startswith(("torn", "old"))]
    assert len(names) == 6
    disk.close(folder)


def test_a_name_of_a_published_file_goes_and_the_file_stays(tmp_path: Path) -> None:
    disk, path = PosixDisk(), tmp_path / "a"
    begun(disk, path, (0, 4096)).close()
    os.link(tmp_path / "a.part", path)  # publishing was cut off here
    folder = disk.open_folder(tmp_path)
    (one,), _ = survey(disk, folder, bad=False)
    remove(disk, folder, one)
    assert path.read_bytes() == bytes(4096)
    assert disk.entries(folder) == ["a"]
    disk.close(folder)


def test_a_published_file_leaves_no_partial(tmp_path: Path) -> None:
    disk, path = PosixDisk(), tmp_path / "a"
    data = bytes(1000)
    header = Header(HEADER.url, Representation(1000, '"one"'), 1 << 18)
    store = begun(disk, path, (0, len(data)), header=header)
    store.publish(Finish(representation=header.representation))
    store.close()
    folder = disk.open_folder(tmp_path)
    assert partials_in(disk, folder) == []
    assert read_partial(disk, folder, Names.of(path)) is None
    disk.close(folder)
