"""What of a file without index is taken as written, and how it is copied."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from rdl.core.byterange import ByteRange
from rdl.core.index_json import MAX_RUNS
from rdl.errors import LocalFileError
from rdl.storage import checking
from rdl.storage.checking import NEAR, PAGE, written_runs
from rdl.storage.copying import copy_to_part
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
        (holed(2 * MiB, (0, PAGE)), [(PAGE, 2 * MiB)]),
        (holed(2 * MiB, (MiB, 2 * MiB)), [(0, MiB)]),
        (holed(2 * MiB, (MiB + 1, MiB + PAGE)), [(0, 2 * MiB)]),
        (holed(2 * MiB, (2 * MiB - 1, 2 * MiB)), [(0, 2 * MiB)]),
        (holed(2 * MiB + 5, (2 * MiB, 2 * MiB + 5)), [(0, 2 * MiB)]),
        (holed(2 * MiB, (0, PAGE), (NEAR, NEAR + PAGE)), [(NEAR + PAGE, 2 * MiB)]),
        (
            holed(2 * MiB, (0, PAGE), (MiB, MiB + PAGE)),
            [(PAGE, MiB), (MiB + PAGE, 2 * MiB)],
        ),
    ],
)
def test_pages_of_zeros_were_never_written(data: bytes, expected: list[tuple[int, int]]) -> None:
    assert runs(data) == expected


def test_a_bad_sector_is_a_hole() -> None:
    disk = BadDisk()
    disk.bad = MiB
    assert runs(holed(2 * MiB), disk) == [(0, MiB), (MiB + PAGE, 2 * MiB)]


def test_there_are_never_more_runs_than_an_index_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "NEAR", 1)
    monkeypatch.setattr(checking, "MAX_RUNS", 8)
    holes = [(place * 4 * PAGE, place * 4 * PAGE + PAGE) for place in range(1, 60)]
    found = runs(holed(MiB, *holes))
    assert 1 < len(found) <= 8 < MAX_RUNS
    assert all(not ByteRange(*run).clip(ByteRange(*hole)) for run in found for hole in holes)


@pytest.mark.parametrize("holes", [True, False])
def test_a_file_that_cannot_be_read_is_copied_with_holes_or_not_at_all(holes: bool) -> None:
    disk, data = BadDisk(), os.urandom(2 * MiB + 77)
    disk.bad = MiB
    disk.write(FILE, data)
    if not holes:
        with pytest.raises(LocalFileError):
            copy_to_part(disk, FILE, lambda: None, holes=False)
        assert disk.names(FILE.parent) == ["f"]
        return
    assert copy_to_part(disk, FILE, lambda: None, holes=True)
    copy = disk.read(FILE.with_name("f.part"))
    assert copy == data[:MiB] + bytes(PAGE) + data[MiB + PAGE :]


@pytest.mark.parametrize("size", [0, 1, MiB, 3 * MiB + 5])
def test_a_real_copy_is_equal_and_private(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "f").write_bytes(data)
    calls: list[int] = []
    assert copy_to_part(PosixDisk(), tmp_path / "f", lambda: calls.append(1), holes=True)
    assert (tmp_path / "f.part").read_bytes() == data
    assert (tmp_path / "f.part").stat().st_mode & 0o077 == 0
    assert sorted(os.listdir(tmp_path)) == ["f", "f.part"]
    assert len(calls) >= size // MiB


def test_a_partial_that_stands_there_stays(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"new")
    (tmp_path / "f.part").write_bytes(b"old")
    assert not copy_to_part(PosixDisk(), tmp_path / "f", lambda: None, holes=True)
    assert (tmp_path / "f.part").read_bytes() == b"old"


def test_a_copy_that_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(MiB))

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_to_part(PosixDisk(), tmp_path / "f", stop, holes=True)
    assert os.listdir(tmp_path) == ["f"]
