"""A published file that becomes a partial again, beside others who want its names; and bytes in
memory, beside a signal handler that raises."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from rdl.core.byterange import ByteRange
from rdl.core.representation import Representation
from rdl.errors import BusyError, LocalFileError
from rdl.storage.base import Header
from rdl.storage.kept import KeptStore
from rdl.storage.local_file import LocalFile
from rdl.storage.part_file import PartStore
from rdl.storage.platform import PosixDisk
from rdl.storage.reopening import reopened

SIZE, BLOCK = 192 << 10, 64 << 10
HEADER = Header("http://host/f", Representation(SIZE, None, None), 64 << 10)
OPERATIONS = 150


class Watched(PosixDisk):
    """Calls `before` with the name of each operation, and the names that it gets."""

    def __init__(self, before: Callable[[str, tuple[Any, ...]], None]) -> None:
        super().__init__()
        self.before = before

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name.startswith("_") or name == "before" or not callable(found):
            return found

        def call(*args: Any, **more: Any) -> Any:
            self.before(name, args)
            return found(*args, **more)

        return call


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "f"
    path.write_bytes(b"x" * SIZE)
    return path


def reopen(path: Path, disk: PosixDisk | None = None) -> PartStore:
    with LocalFile(path) as file:
        stood = file.stat
    present, wrong = (ByteRange(0, SIZE),), ByteRange(0, BLOCK)
    return reopened(path, HEADER, present, wrong, stood=stood, disk=disk)


def names(path: Path) -> list[str]:
    return sorted(one.name for one in path.parent.iterdir())


def test_it_waits_for_nobody_who_has_the_part_file(path: Path) -> None:
    with PartStoreOf(path) as other:
        with pytest.raises(BusyError):
            reopen(path)
        assert path.read_bytes() == b"x" * SIZE
        other.close(discard=True)
    assert names(path) == ["f"]
    store = reopen(path)
    store.close()
    assert names(path) == ["f.part", "f.part.index"]


class PartStoreOf:
    """An open one."""

    def __init__(self, path: Path) -> None:
        self.store = PartStore(path)

    def __enter__(self) -> PartStore:
        self.store.open()
        return self.store

    def __exit__(self, *_: object) -> None:
        self.store.close()


def test_an_index_that_comes_after_the_lock_is_another_s(path: Path) -> None:
    """Who discards an empty part file has done with the index when others can have the lock."""
    gone: list[str] = []

    def note(name: str, args: tuple[Any, ...]) -> None:
        if name == "unlink":
            gone.append(args[1])

    path.with_name("f.part.index").write_bytes(b"")
    store = PartStore(path, Watched(note))
    store.open()
    store.close(discard=True)
    assert gone == ["f.part.index", "f.part"]


def test_killed_at_any_operation(path: Path) -> None:
    """What is left is FILE, or a partial that claims what was right. In a process of its own: a
    fork of this one copies the tables of all that the tests have in memory."""
    spawn, like_here = get_context("spawn"), ("tests.conftest",)
    with ProcessPoolExecutor(1, spawn, import_module, like_here) as small:
        operations = small.submit(kill_at_any_operation, path).result()
    assert 0 < operations < OPERATIONS - 1


def kill_at_any_operation(path: Path) -> int:
    """How many there are."""
    for last in range(OPERATIONS):
        for one in path.parent.iterdir():
            one.unlink()
        path.write_bytes(b"x" * SIZE)
        if (child := os.fork()) == 0:
            left = [last]

            def kill(name: str, args: tuple[Any, ...], left: list[int] = left) -> None:
                left[0] -= 1
                if left[0] < 0:
                    os._exit(9)

            reopen(path, Watched(kill))
            os._exit(0)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:  # it has no more of them
            break
        there, store = path.exists(), PartStore(path)
        saved = store.open()
        store.close()
        claimed = saved.extents.ranges() if saved else ()
        assert there or claimed == (ByteRange(BLOCK, SIZE),)
        assert not there or claimed == ()
    return last


@pytest.mark.parametrize("why", ["refused", "replaced"])
def test_where_it_keeps_its_name_no_index_stays(path: Path, why: str) -> None:
    def fail(name: str, args: tuple[Any, ...]) -> None:
        if why == "refused" and name == "rename" and args[1] == "f":
            raise OSError(errno.EPERM, "Operation not permitted")
        if why == "replaced" and name == "sync" and path.with_name("f.part.index").exists():
            path.with_name("other").write_bytes(b"x" * SIZE)
            path.with_name("other").replace(path)

    with pytest.raises(LocalFileError, match=r"not permitted|replaced under us"):
        reopen(path, Watched(fail))
    assert names(path) == ["f"]


def test_what_another_wrote_meanwhile_is_no_partial(path: Path) -> None:
    def write(name: str, args: tuple[Any, ...]) -> None:
        if name == "pread":
            os.utime(path, ns=(1, 1))

    with pytest.raises(LocalFileError, match="by another"):
        reopen(path, Watched(write))
    assert names(path) == ["f"]


def test_bytes_in_memory_survive_a_signal_handler_that_raises() -> None:
    store, view = KeptStore(), memoryview(bytearray(8))
    store.write_at(0, memoryview(b"12345678"))
    code = KeptStore.read_into.__code__
    broken = 0
    for last in range(100):
        left = [last]

        def step(frame: FrameType, event: str, _: Any, left: list[int] = left) -> Any:
            if frame.f_code is not code:
                return None
            frame.f_trace_opcodes = True
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt
            return step

        before = sys.gettrace()
        sys.settrace(step)
        try:
            store.read_into(0, view)
        except KeyboardInterrupt:
            broken += 1
        finally:
            sys.settrace(before)
        assert store.read_into(0, view) == 8
        assert bytes(view) == b"12345678"
    assert 10 < broken < 100
