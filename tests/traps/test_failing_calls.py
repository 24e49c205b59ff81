"""Each call of the disk, and of the sockets, of a whole download fails once: what is told is ours,
no wrong byte is published, and the next run ends right."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import threading
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from rdl.api import Session, Target
from rdl.core import pace
from rdl.errors import ExitCode
from rdl.options import NetworkOptions, Options, TransferOptions
from rdl.storage import platform
from rdl.storage.base import Saved
from rdl.storage.disk import Disk
from rdl.storage.memory import MemoryDisk
from rdl.transport import dial
from tests.engine.staging import content_of
from tests.support.origin import Answer, Origin, Seen, response
from tests.traps.stage import (
    HALF,
    OLD,
    PART,
    SIZE,
    STATE,
    TARGET,
    VERSIONS,
    Ended,
    Run,
    download,
)

ERRORS = {
    errno.ENOSPC: ExitCode.NO_SPACE,
    errno.EDQUOT: ExitCode.NO_SPACE,
    errno.EIO: ExitCode.LOCAL_FILE,
    errno.EFBIG: ExitCode.LOCAL_FILE,
    errno.EMFILE: ExitCode.LOCAL_FILE,
    errno.EROFS: ExitCode.LOCAL_FILE,
    errno.EACCES: ExitCode.LOCAL_FILE,
}
NEVER_FAIL = ("close", "boot_id", "user", "umask", "is_local", "keeps_modes", "note")
"""Of a real disk too: they answer something where the system does not."""


class Failing:
    """A disk whose `number`-th call fails with `error`; `calls` says which was which."""

    def __init__(
        self, disk: MemoryDisk, number: int = 0, error: int = 0, times: str = "once"
    ) -> None:
        self._disk, self._number, self._error, self._times = disk, number, error, times
        self.fault: Any = None
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._disk, name)
        if name in NEVER_FAIL:
            return real

        def call(*arguments: Any, **options: Any) -> Any:
            self.calls.append(name)
            place, due = len(self.calls), self._number or 1 << 30
            if place == due or (place > due and self._times == "for good"):
                raise OSError(self._error, os.strerror(self._error))
            return real(*arguments, **options)

        return call


def fresh() -> MemoryDisk:
    return MemoryDisk()


def resumed() -> MemoryDisk:
    disk = MemoryDisk()
    assert download(disk, Run(stop_at=0.3)).code == ExitCode.TERMINATED
    disk.kill()
    return disk


def replacing() -> MemoryDisk:
    disk = MemoryDisk()
    disk.write(TARGET, OLD)
    return disk


def half() -> MemoryDisk:
    disk = MemoryDisk()
    disk.write(PART, VERSIONS[0][: SIZE // 2])
    return disk


def anothers() -> MemoryDisk:
    disk = MemoryDisk()
    disk.write(TARGET, HALF)
    disk.write(PART, STATE)
    return disk


SCENES: dict[str, tuple[Callable[[], MemoryDisk], Run]] = {
    "fresh": (fresh, Run()),
    "small": (fresh, Run(small=True)),
    "resumed": (resumed, Run()),
    "replacing": (replacing, Run(digest=1)),
    "changed": (resumed, Run(VERSIONS)),
    "adopted": (half, Run(digest=1, adopt=True)),
    "another's state": (anothers, Run(digest=1, adopt=True)),
    "put aside": (fresh, Run(digest=-1)),
}


def honest(saved: Saved, disk: MemoryDisk, run: Run) -> None:
    """What is believed is there."""
    part = disk.read(PART) or b""
    version = run.contents[int((saved.header.representation.etag or "")[2:-1]) - 1]
    for one in saved.extents:
        assert part[one.start : one.stop] == version[one.start : one.stop], f"a lie: {one}"


def calls_of(make: Callable[[], MemoryDisk], run: Run) -> list[str]:
    disk = Failing(make())
    download(as_disk(disk), run)
    return disk.calls


def as_disk(disk: Any) -> Disk:
    made: Disk = disk
    return made


EVERYWHERE = list(ERRORS) if int(os.environ.get("NIGHTLY_STATES", "0")) > 2000 else [errno.EIO]
CASES = [("fresh", number) for number in ERRORS]
CASES += [(name, number) for name in SCENES if name != "fresh" for number in EVERYWHERE]


@pytest.mark.parametrize(
    ("name", "number"), CASES, ids=[f"{n}-{errno.errorcode[e]}" for n, e in CASES]
)
def test_each_call_of_the_disk_fails_once(name: str, number: int) -> None:
    struck, calls = play(name, number, "once")
    assert struck == calls > 20


@pytest.mark.parametrize(("name", "number"), [("fresh", errno.ENOSPC), ("resumed", errno.EIO)])
def test_from_each_call_on_the_disk_fails_for_good(name: str, number: int) -> None:
    struck, calls = play(name, number, "for good")
    assert struck == calls > 20


def play(name: str, number: int, times: str) -> tuple[int, int]:
    """Let each call fail in turn, and look at what is there, and at the run that follows. In how
    many runs the failure struck, and how many calls there are."""
    make, run = SCENES[name]
    calls, struck = calls_of(make, run), 0
    before = make().read(TARGET)
    for place in range(1, len(calls) + 1):
        memory = make()
        disk = Failing(memory, place, number, times)
        try:
            ended = download(as_disk(disk), run)
            check(run, memory, before, ended, ERRORS[number])
            struck += len(disk.calls) >= place
        except BaseException as error:
            what = f"{errno.errorcode[number]} {times} at call {place}, {calls[place - 1]}"
            error.add_note(f"{name}: {what}")
            raise
    return struck, len(calls)


def check(run: Run, memory: MemoryDisk, before: bytes | None, ended: Ended, code: int) -> None:
    """A right or no file, an error that names its cause, a result that counts nothing that is
    lost, and a next run that is right."""
    right = 10 if run.digest < 0 else 0
    assert ended.code in (right, code), repr(ended.error)
    assert memory.read(TARGET) in ([before, *run.contents] if right == 0 else [before])
    assert ended.code != 0 or memory.read(TARGET) == run.contents[-1]
    memory.kill()
    then = Run(run.contents, max(0, run.digest), run.adopt)
    found = [0]

    def look(saved: Saved) -> None:
        honest(saved, memory, run)
        found.append(sum(map(len, (*saved.extents.ranges(), *saved.header.adopted))))

    again = download(memory, then, look)
    if ended.error is not None and ended.result is not None:
        assert ended.result.bytes_present <= found[-1]
    assert again.code == 0, repr(again.error)
    assert memory.read(TARGET) == run.contents[-1]
    left = {one for one in memory.names(TARGET.parent) if not one.startswith(".rdl-")}
    assert left <= {"file", "file.part.bad"}


def test_a_call_that_a_signal_interrupts_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python does so for its own; rdl for those of the C library that it calls itself."""
    made: list[int] = []

    def interrupted_twice(*arguments: object) -> int:
        made.append(1)
        return -1 if len(made) < 3 else 0

    monkeypatch.setattr(ctypes, "get_errno", lambda: errno.EINTR)
    platform._call(interrupted_twice, 1, 2)
    assert len(made) == 3


SYSTEM_CALLS = ("setsockopt", "connect_ex", "getpeername", "sendall", "recv", "recv_into")


class Sockets:
    """Stands for the module in rdl's own dialling. Its sockets make real calls; the `number`-th
    of all fails with `error`."""

    def __init__(self, number: int = 0, error: int = 0) -> None:
        self.calls: list[str] = []
        self._number, self._error, self._lock = number, error, threading.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(socket, name)

    def may(self, name: str) -> None:
        """Count a call; OSError when it is the one to fail."""
        with self._lock:
            self.calls.append(name)
            due = len(self.calls) == self._number
        if due:
            raise OSError(self._error, os.strerror(self._error))

    @cached_property
    def socket(self) -> type[socket.socket]:
        """A class whose sockets count their calls."""
        may = self.may

        class Counted(socket.socket):
            def __init__(self, family: int, kind: int) -> None:
                may("socket")
                super().__init__(family, kind)

            def __getattribute__(self, name: str) -> Any:
                real = super().__getattribute__(name)
                if name not in SYSTEM_CALLS:
                    return real

                def call(*arguments: Any) -> Any:
                    may(name)
                    return real(*arguments)

                return call

        return Counted


CONTENT = content_of(900_000)


def answer(connection: int, number: int, seen: Seen) -> Answer:
    first, _, last = seen.fields["range"].removeprefix("bytes=").partition("-")
    start, stop = int(first), min(len(CONTENT), int(last or len(CONTENT)) + 1)
    said = f"Content-Range: bytes {start}-{stop - 1}/{len(CONTENT)}"
    return [response(CONTENT[start:stop], "206 Partial Content", 'ETag: "a"', said)]


@pytest.mark.parametrize("connections", [1, 3])
@pytest.mark.parametrize(
    "number",
    [errno.ECONNRESET, errno.ETIMEDOUT, errno.EPIPE, errno.EMFILE],
    ids=errno.errorcode.get,
)
def test_each_call_of_the_sockets_fails_once(
    number: int, connections: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again, and the file is right."""
    monkeypatch.setattr(pace, "BASE_DELAY", 0.001)
    monkeypatch.setattr(pace, "LONGEST_DELAY", 0.002)
    network = NetworkOptions(netrc=False, proxy="", timeout=5.0)
    transfer = TransferOptions(connections=connections, min_split=50_000, retry=3)
    place, seen = 0, set[str]()
    with Origin(answer) as origin:
        while place <= 40:
            place += 1
            sockets = Sockets(place, number)
            monkeypatch.setattr(dial, "socket", sockets)
            target = Target(origin.url(), tmp_path / f"f{place}", Options(network, transfer))
            with Session() as session:
                [result] = session.get_all([target])
            if len(sockets.calls) < place:
                break
            seen.add(sockets.calls[place - 1])
            assert result.exit_code == 0, f"{sockets.calls[place - 1]}: {result!r}"
            assert target.path.read_bytes() == CONTENT
    assert seen >= {"socket", "connect_ex", "sendall", "recv", "recv_into"}
    assert not [path for path in tmp_path.iterdir() if path.suffix]
