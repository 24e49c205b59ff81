"""The real disk: system calls, their fallbacks, and files that others have made."""

from __future__ import annotations

import errno
import os
import resource
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from rdl.core.index import IndexEncoder
from rdl.core.index_json import Header
from rdl.core.representation import Representation
from rdl.errors import BusyError, LocalFileError
from rdl.storage import platform
from rdl.storage.base import Finish
from rdl.storage.disk import opened_folder
from rdl.storage.part_file import PartStore
from rdl.storage.platform import NOTE, PosixDisk
from rdl.storage.publishing import read_published

HEADER = Header("u", Representation(5, '"a"'), 4096)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    handle = PosixDisk().open_folder(tmp_path)
    yield handle
    os.close(handle)


def fetch(path: Path, data: bytes = b"bytes") -> None:
    store = PartStore(path)
    store.open()
    store.begin(Header("u", Representation(len(data), '"a"'), 4096))
    store.reserve(len(data))
    store.write_at(0, memoryview(data))
    store.publish(Finish())
    store.close()


def test_space_is_reserved_and_the_size_kept(folder: int) -> None:
    disk = PosixDisk()
    file = disk.open(folder, "f", create=True)
    with suppress(OSError):  # not every file system can
        disk.allocate(file, 1 << 20)
        assert disk.fstat(file).allocated >= 1 << 20
    assert disk.fstat(file).size == 0
    assert disk.free(file) > 0
    disk.close(file)


def test_closing_does_not_fail_but_for_our_own_mistake(
    folder: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = PosixDisk()
    file, close = disk.open(folder, "f", create=True), os.close

    def reports_late(handle: int) -> None:
        close(handle)
        raise OSError(errno.EIO, "an earlier write failed")

    with monkeypatch.context() as patch:
        patch.setattr(os, "close", reports_late)
        disk.close(file)
    with pytest.raises(OSError, match="Bad file descriptor"):
        disk.close(file)


def test_a_folder_that_takes_no_files_is_no_rival() -> None:
    with pytest.raises(LocalFileError, match="No such file"):
        PartStore(Path("/proc/self/f")).open()


@pytest.mark.parametrize("number", [None, errno.EINVAL, errno.ENOSYS])
@pytest.mark.parametrize("links", [True, False])
def test_a_name_is_never_taken(
    tmp_path: Path, folder: int, monkeypatch: pytest.MonkeyPatch, number: int | None, links: bool
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(errno.EPERM if number is None else number, "no")

    if number is not None:
        monkeypatch.setattr(platform, "_rename_to_free_name", refuse)
    if not links:
        monkeypatch.setattr(os, "link", refuse)
    disk = PosixDisk()
    (tmp_path / "old").write_bytes(b"1")
    (tmp_path / "taken").write_bytes(b"2")
    with pytest.raises(FileExistsError):
        disk.rename(folder, "old", "taken", replace=False)
    disk.rename(folder, "old", "new", replace=False)
    assert (tmp_path / "new").read_bytes() == b"1"
    assert (tmp_path / "taken").read_bytes() == b"2"
    assert not (tmp_path / "old").exists()
    disk.rename(folder, "new", "taken", replace=True)
    assert (tmp_path / "taken").read_bytes() == b"1"


def test_where_the_library_lacks_a_call(folder: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str, *arguments: object) -> None:
        raise OSError(errno.ENOSYS, "no")

    monkeypatch.setattr(platform, "_libc", missing)
    disk = PosixDisk()
    file = disk.open(folder, "f", create=True)
    assert not disk.is_local(file)
    assert disk.keeps_modes(folder)
    with pytest.raises(OSError, match="no"):
        disk.allocate(file, 10)
    disk.rename(folder, "f", "g", replace=False)
    disk.close(file)


def test_a_missing_function_is_not_there() -> None:
    with pytest.raises(OSError, match=os.strerror(errno.ENOSYS)):
        platform._libc("no_such_function_at_all")


def test_the_boot_is_known_and_stays() -> None:
    assert PosixDisk().boot_id() == PosixDisk().boot_id()


def test_the_umask_is_read_and_kept() -> None:
    before = os.umask(0o027)
    try:
        assert PosixDisk().umask() == 0o027
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_final_mode_is_the_umasks(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        store = PartStore(tmp_path / "f")
        store.open()
        store.begin(HEADER)
        for name in ("f.part", "f.part.index"):
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600 & ~umask
        store.write_at(0, memoryview(b"bytes"))
        store.publish(Finish())
        store.close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == mode


@pytest.mark.parametrize("kind", ["link", "dangling", "folder", "fifo", "socket"])
@pytest.mark.parametrize("name", ["f", "f.part", "f.part.index"])
def test_what_is_no_file_is_left_alone(tmp_path: Path, kind: str, name: str) -> None:
    path, victim = tmp_path / name, tmp_path / "victim"
    if name == "f.part.index":
        (tmp_path / "f.part").touch(0o600)
    if kind == "link":
        victim.write_bytes(b"precious")
    if kind in ("link", "dangling"):
        path.symlink_to(victim)
    elif kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        bind(path)
    before = path.lstat()
    with pytest.raises(LocalFileError):
        PartStore(tmp_path / "f").open()
    after = path.lstat()
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    assert victim.exists() == (kind == "link")
    assert kind != "link" or victim.read_bytes() == b"precious"


def bind(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the address of such a socket must be short
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(here)


@pytest.mark.parametrize("name", ["f.part", "f.part.index"])
def test_state_that_others_may_write_is_not_believed(tmp_path: Path, name: str) -> None:
    (tmp_path / "f.part").write_bytes(b"planted")
    (tmp_path / "f.part.index").write_bytes(IndexEncoder().begin(HEADER))
    for state in ("f.part", "f.part.index"):
        (tmp_path / state).chmod(0o600)
    (tmp_path / name).chmod(0o622)
    with pytest.raises(LocalFileError, match="others may write"):
        PartStore(tmp_path / "f").open()
    assert (tmp_path / "f.part").read_bytes() == b"planted"


def test_made_up_modes_say_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PosixDisk, "keeps_modes", lambda self, folder: False)
    (tmp_path / "f.part").touch()
    (tmp_path / "f.part").chmod(0o777)
    fetch(tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == b"bytes"


def test_the_state_of_another_user_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f.part").touch(0o600)
    monkeypatch.setattr(PosixDisk, "user", lambda self: os.geteuid() + 1)
    with pytest.raises(LocalFileError, match="another user"):
        PartStore(tmp_path / "f").open()


def test_a_part_file_with_two_names_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "f.part").write_bytes(b"shared")
    (tmp_path / "f.part").chmod(0o600)
    os.link(tmp_path / "f.part", tmp_path / "other")
    with pytest.raises(LocalFileError, match="several names"):
        PartStore(tmp_path / "f", adopt=True).open()
    assert (tmp_path / "other").read_bytes() == b"shared"


def test_a_publish_cut_off_between_link_and_unlink_is_finished(tmp_path: Path) -> None:
    (tmp_path / "f.part").write_bytes(b"complete")
    (tmp_path / "f.part").chmod(0o600)
    (tmp_path / "f.part.index").write_bytes(IndexEncoder().begin(HEADER))
    os.link(tmp_path / "f.part", tmp_path / "f")
    store = PartStore(tmp_path / "f")
    assert store.open() is None
    store.close()
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    assert (tmp_path / "f").read_bytes() == b"complete"


def test_a_hard_linked_target_is_replaced_not_written(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old")
    os.link(tmp_path / "f", tmp_path / "twin")
    fetch(tmp_path / "f")
    assert (tmp_path / "twin").read_bytes() == b"old"
    assert (tmp_path / "f").read_bytes() == b"bytes"


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127, "x" * 241, "x" * 240])
def test_the_longest_names(tmp_path: Path, name: str) -> None:
    store = PartStore(tmp_path / name)
    store.open()
    store.begin(HEADER)
    store.write_at(0, memoryview(b"bytes"))
    store.close()
    again = PartStore(tmp_path / name)
    assert again.open() is not None
    again.publish(Finish())
    again.close()
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("path", ["missing/f", "file/f", "x" * 256])
def test_a_folder_or_name_that_cannot_be(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LocalFileError):
        PartStore(tmp_path / path).open()
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_the_folder_may_be_moved(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    store = PartStore(first / "f")
    store.open()
    store.begin(HEADER)
    store.write_at(0, memoryview(b"bytes"))
    first.rename(second)
    first.mkdir()
    store.checkpoint()
    store.publish(Finish())
    store.close()
    assert (second / "f").read_bytes() == b"bytes"
    assert list(first.iterdir()) == []


def test_a_limit_of_the_file_size_is_told(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    store = PartStore(tmp_path / "f")
    store.open()
    store.begin(Header("u", Representation(1 << 20, '"a"'), 4096))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
    try:
        with pytest.raises(LocalFileError, match="too large"):
            store.reserve(1 << 20)
        with pytest.raises(LocalFileError, match="too large"):
            store.write_at(1 << 16, memoryview(b"x"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    store.close()


def test_a_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    store = PartStore(tmp_path / "f")
    store.open()
    store.begin(HEADER)
    store.write_at(0, memoryview(b"x"))
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        with pytest.raises(BusyError):
            PartStore(tmp_path / "f").open()
        store.close()
        again = PartStore(tmp_path / "f")
        again.open()
        again.close()
        child.communicate(b"\n", timeout=10)


def test_a_lock_counts_only_on_the_file_that_has_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody replaces the part file between our open and our lock."""
    part, lock, calls = tmp_path / "f.part", PosixDisk.lock, [0]

    def slow(self: PosixDisk, file: int) -> bool:
        calls[0] += 1
        if calls[0] == 1:
            part.unlink()
            part.touch(0o600)
        return lock(self, file)

    monkeypatch.setattr(PosixDisk, "lock", slow)
    store = PartStore(tmp_path / "f")
    assert store.open() is None
    assert calls[0] == 2
    with pytest.raises(BusyError):
        PartStore(tmp_path / "f").open()
    store.close()


def test_a_file_system_without_locks_does_not_stop_us(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def none(file: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "none")

    monkeypatch.setattr(fcntl, "flock", none)
    first, second = PartStore(tmp_path / "f"), PartStore(tmp_path / "f")
    first.open()
    first.begin(HEADER)
    first.write_at(0, memoryview(b"bytes"))
    second.open()
    with pytest.raises(LocalFileError, match="replaced under us"):
        first.publish(Finish())
    first.close()
    second.publish(Finish())
    second.close()
    assert (tmp_path / "f").read_bytes() == b"bytes"


@pytest.mark.parametrize("mtime", [-5.0, 0.0, 1e30, float("inf"), float("nan"), 1.5])
def test_any_time_is_set_or_passed_over(tmp_path: Path, mtime: float) -> None:
    store = PartStore(tmp_path / "f")
    store.open()
    store.begin(HEADER)
    store.write_at(0, memoryview(b"bytes"))
    store.publish(Finish(mtime=mtime))
    store.close()
    assert (tmp_path / "f").read_bytes() == b"bytes"
    if mtime == 1.5:
        assert (tmp_path / "f").stat().st_mtime_ns == 1_500_000_000


@pytest.mark.parametrize("note", [b"", b"null", b"[1]", b"{", b"[" * 3000, b"\xff", b"{}"])
def test_a_foreign_note_is_nothing(tmp_path: Path, note: bytes) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"bytes")
    disk = PosixDisk()
    with path.open("rb") as file, suppress(OSError):  # where there are such attributes
        disk.set_note(file.fileno(), note)
    assert read_published(path) is None
    link = tmp_path / "link"
    link.symlink_to(path)
    assert read_published(link) is None
    assert read_published(tmp_path / "none" / "f") is None


def test_which_file_systems_keep_notes(folder: int) -> None:
    disk = PosixDisk()
    with opened_folder(disk, Path("/proc")) as none:
        assert not disk.keeps_notes(none)
    assert disk.keeps_notes(folder)
    os.setxattr(folder, NOTE, b"of a folder")
    assert disk.keeps_notes(folder)
