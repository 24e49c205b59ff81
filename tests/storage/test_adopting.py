"""What of a file without index is taken as written, and how it is copied."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from rdl.core.byterange import ByteRange
from rdl.core.index_json import MAX_RUNS
from rdl.errors import LocalFileError, TargetExists
from rdl.storage import checking
from rdl.storage.checking import NEAR, PAGE, written_runs
from rdl.storage.copying import PrivateCopy, copy_to_part, target_stat
from rdl.storage.memory import MemoryDisk
from rdl.storage.platform import PosixDisk

FILE = Path("/somewhere/f")
MiB = 1 << 20


class BadDisk(MemoryDisk):
    """Reading any of the bytes from `bad` on, a page of them, fails."""

    bad = 0

    def pread(self, file: int, view: memoryview, offset: int) -> int:
        if offset < self.bad + PAGE and self.bad < offset + len(view):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().pread(file, view, offset)


def holed(size: int, *holes: tuple[int, int]) -> bytes:
    data = bytearray(b"x" * size)
    for start, stop in holes:
        data[start:stop] = bytes(stop - start)
    return bytes(data)


def runs(data: bytes, disk: MemoryDisk | None = None) -> list[tuple[int, int]]:
    disk = disk or MemoryDisk()
    disk.write(FILE, data)
    folder = disk.open_folder(FILE.parent)
    file = disk.open(folder, FILE.name, write=False)
    return [(run.start, run.stop) for run in written_runs(disk, file, len(data))]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"x", [(0, 1)]),
        (bytes(9), []),
        (bytes(3 * MiB), []),
        (holed(3 * MiB), [(0, 3 * MiB)]),
        (holed(2 * MiB, (0, PAGE)), [(2 * PAGE, 2 * MiB)]),
        (holed(2 * MiB, (MiB, 2 * MiB)), [(0, MiB - PAGE)]),
        (holed(2 * MiB, (MiB + 1, MiB + PAGE)), [(0, 2 * MiB)]),
        (holed(2 * MiB, (2 * MiB - 1, 2 * MiB)), [(0, 2 * MiB)]),
        (holed(2 * MiB + 5, (2 * MiB, 2 * MiB + 5)), [(0, 2 * MiB - PAGE)]),
        (holed(2 * MiB, (0, PAGE), (NEAR, NEAR + PAGE)), [(NEAR + 2 * PAGE, 2 * MiB)]),
        (
            holed(2 * MiB, (0, PAGE), (MiB, MiB + PAGE)),
            [(2 * PAGE, MiB - PAGE), (MiB + 2 * PAGE, 2 * MiB)],
        ),
    ],
)
def test_pages_of_zeros_and_their_neighbours_were_never_written(
    data: bytes, expected: list[tuple[int, int]]
) -> None:
    assert runs(data) == expected


def test_a_bad_sector_is_a_hole() -> None:
    disk = BadDisk()
    disk.bad = MiB
    assert runs(holed(2 * MiB), disk) == [(0, MiB - PAGE), (MiB + 2 * PAGE, 2 * MiB)]


def test_there_are_never_more_runs_than_an_index_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "NEAR", 1)
    monkeypatch.setattr(checking, "MAX_RUNS", 8)
    holes = [(place * 4 * PAGE, place * 4 * PAGE + PAGE) for place in range(1, 60)]
    found = runs(holed(MiB, *holes))
    assert 1 < len(found) <= 8 < MAX_RUNS
    assert all(not ByteRange(*run).clip(ByteRange(*hole)) for run in found for hole in holes)


def bad_file() -> tuple[BadDisk, bytes]:
    disk, data = BadDisk(), os.urandom(2 * MiB + 77)
    disk.bad = MiB
    disk.write(FILE, data)
    return disk, data


def test_what_cannot_be_read_is_a_hole_in_what_is_adopted() -> None:
    disk, data = bad_file()
    assert copy_to_part(disk, FILE, lambda: None)
    copy = disk.read(FILE.with_name("f.part"))
    assert copy == data[:MiB] + bytes(PAGE) + data[MiB + PAGE :]


def test_a_copy_that_is_to_be_published_has_no_holes() -> None:
    disk, _ = bad_file()
    with (
        pytest.raises(LocalFileError),
        PrivateCopy(disk, FILE, target_stat(disk, FILE), lambda: None),
    ):
        raise AssertionError("never here")
    assert disk.names(FILE.parent) == ["f"]


@pytest.mark.parametrize("size", [0, 1, MiB, 3 * MiB + 5])
def test_a_real_copy_is_equal_and_private(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "f").write_bytes(data)
    calls: list[int] = []
    assert copy_to_part(PosixDisk(), tmp_path / "f", lambda: calls.append(1))
    assert (tmp_path / "f.part").read_bytes() == data
    assert (tmp_path / "f.part").stat().st_mode & 0o077 == 0
    assert sorted(os.listdir(tmp_path)) == ["f", "f.part"]
    assert len(calls) >= size // MiB


@pytest.mark.parametrize("name", ["f.part", "f.part.index"])
def test_nothing_is_copied_to_where_something_stands(tmp_path: Path, name: str) -> None:
    (tmp_path / "f").write_bytes(b"new")
    (tmp_path / name).write_bytes(b"old")
    assert not copy_to_part(PosixDisk(), tmp_path / "f", lambda: None)
    assert sorted(os.listdir(tmp_path)) == ["f", name]


def test_a_private_copy_replaces_what_is_still_the_same(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"0123456789")
    path.chmod(0o755)
    with PrivateCopy(PosixDisk(), path, target_stat(PosixDisk(), path), lambda: None) as copy:
        copy.write_at(3, memoryview(b"abc"))
        assert path.read_bytes() == b"0123456789"
        copy.replace()
    assert path.read_bytes() == b"012abc6789"
    assert path.stat().st_mode & 0o777 == 0o755
    assert os.listdir(tmp_path) == ["f"]


@pytest.mark.parametrize("how", ["grown", "replaced", "gone"])
def test_a_private_copy_of_what_is_another_now_goes(tmp_path: Path, how: str) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"0123456789")
    target = target_stat(PosixDisk(), path)
    with PrivateCopy(PosixDisk(), path, target, lambda: None) as copy:
        path.unlink() if how != "grown" else None
        if how != "gone":
            path.write_bytes(b"0123456789 and more")
            with pytest.raises(TargetExists):
                copy.replace()
    assert os.listdir(tmp_path) == ([] if how == "gone" else ["f"])


def test_a_copy_that_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(MiB))

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_to_part(PosixDisk(), tmp_path / "f", stop)
    assert os.listdir(tmp_path) == ["f"]
