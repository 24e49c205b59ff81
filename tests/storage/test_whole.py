"""A file that is written at one go, and what is beside it meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rdl.errors import BusyError, LocalFileError
from rdl.storage.clearing import remove, survey
from rdl.storage.platform import PosixDisk
from rdl.storage.whole import write_whole


def names(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


def test_what_a_killed_run_leaves_is_known_as_ours_and_nobody_takes_it_before(
    tmp_path: Path,
) -> None:
    (tmp_path / "f").write_bytes(b"old")
    disk = PosixDisk()
    folder = disk.open_folder(tmp_path)

    def parts() -> Iterator[bytes]:
        yield b"some"
        (left,), refused = survey(disk, folder, bad=False)
        assert refused == []
        assert names(tmp_path) == [left.name, "f"]
        with pytest.raises(BusyError):
            remove(disk, folder, left)
        yield b" more"

    try:
        write_whole(tmp_path / "f", parts())
        assert survey(disk, folder, bad=False) == ([], [])
    finally:
        disk.close(folder)
    assert names(tmp_path) == ["f"]
    assert (tmp_path / "f").read_bytes() == b"some more"
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o666 & ~disk.umask()


def test_what_could_not_be_written_leaves_nothing(tmp_path: Path) -> None:
    def parts() -> Iterator[bytes]:
        yield b"some"
        raise OSError("broken")

    (tmp_path / "f").write_bytes(b"old")
    with pytest.raises(LocalFileError, match="broken"):
        write_whole(tmp_path / "f", parts())
    assert names(tmp_path) == ["f"]
    assert (tmp_path / "f").read_bytes() == b"old"
    (tmp_path / "folder").mkdir()
    with pytest.raises(LocalFileError, match="is a directory"):
        write_whole(tmp_path / "folder", [b"some"])
    assert names(tmp_path) == ["f", "folder"]
