"""A remote file read here and there: rdl.open beside a loopback server.

The number in a test's name is that of the acceptance scenario, or a row of docs/reliability.md.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import pickle
import random
import signal
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler
from itertools import product
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import rdl
from rdl.core import pace
from rdl.core.events import Fact, Retrying, Warned
from rdl.engine.remote_file import Follower, RemoteFile
from rdl.errors import ChangedError, DigestMismatch, HTTPStatusError, NetworkError, UsageError
from rdl.options import (
    LazyOptions,
    NetworkOptions,
    Options,
    RangeSpec,
    SessionOptions,
    TransferOptions,
)
from tests.scenarios.coded import Asked, GiB, KiB, MiB, Origin, coded
from tests.scenarios.reader import resting
from tests.support.waiting import until

QUIET = Options(NetworkOptions(netrc=False, proxy="", timeout=10))
BLOCK = 64 * KiB
Opening = Callable[..., RemoteFile]


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin(size=4 * BLOCK + 5000) as server:
        yield server


@pytest.fixture
def session() -> Iterator[rdl.Session]:
    with rdl.Session() as one:
        yield one


@pytest.fixture
def opened(origin: Origin, session: rdl.Session) -> Iterator[Opening]:
    """Opens the origin's file; closes all in the end."""
    files: list[RemoteFile] = []

    def start(path: Path | None = None, retry: int = 2, **lazy: int | bool) -> RemoteFile:
        options = Options(QUIET.network, TransferOptions(retry=retry))
        own = LazyOptions(**lazy)
        files.append(session.open(origin.url, path, options=options, lazy=own))
        return files[-1]

    yield start
    for file in files:
        file.close()


def blocks(origin: Origin) -> set[int]:
    """Which blocks were asked for."""
    found: set[int] = set()
    for asked in origin.log:
        first, _, last = asked.fields["range"].removeprefix("bytes=").partition("-")
        if not first:
            first, last = str(origin.size - int(last)), str(origin.size - 1)
        found |= set(range(int(first) // BLOCK, int(last) // BLOCK + 1))
    return found


def flying() -> bool:
    """Whether a flight's run is under way in some thread."""
    frames: list[FrameType | None] = [*sys._current_frames().values()]
    names = set()
    while frames:
        if (frame := frames.pop()) is not None:
            names.add(frame.f_code.co_qualname)
            frames.append(frame.f_back)
    return "Flight._fly" in names


def kept(path: Path) -> list[str]:
    return sorted(one.name for one in path.parent.iterdir())


# Reading


def test_row_25_as_any_file(origin: Origin, opened: Opening) -> None:
    file, content = opened(), origin.content
    assert origin.log == []
    assert (file.readable(), file.seekable(), file.writable(), file.tell()) == (True,) * 2 + (
        False,
        0,
    )
    assert file.read(10) == content[:10]
    assert file.seek(100) == 100
    assert file.seek(50, io.SEEK_CUR) == 150
    assert file.read(5) == content[150:155]
    assert file.seek(-7, io.SEEK_END) == origin.size - 7
    assert (file.read(100), file.read(100), file.read()) == (content[-7:], b"", b"")
    assert file.tell() == origin.size
    view = bytearray(20)
    file.seek(BLOCK - 10)
    assert file.readinto(view) == 20
    assert bytes(view) == content[BLOCK - 10 : BLOCK + 10]
    assert file.read_at(3 * BLOCK, 4) == content[3 * BLOCK : 3 * BLOCK + 4]
    assert file.read_at(origin.size + 10, 4) == file.read_at(5, 0) == b""
    assert file.tell() == BLOCK + 10
    assert file.seek(10 * origin.size) == 10 * origin.size
    assert (file.read(1), file.size()) == (b"", origin.size)
    half: Any = 1.5
    with pytest.raises(TypeError):
        file.seek(half)
    assert file.tell() == 10 * origin.size
    for wrong in (lambda: file.seek(-1), lambda: file.seek(0, 9), lambda: file.read_at(-1, 1)):
        with pytest.raises(ValueError, match=r"negative|whence|not a range"):
            wrong()


def test_opening_asks_nothing_not_even_for_digests(origin: Origin, session: rdl.Session) -> None:
    own = Options(QUIET.network, TransferOptions(verify="discover"))
    with session.open(origin.url, options=own) as file:
        assert origin.log == []
        assert file.read(3) == coded(0, 3)
        assert len(origin.log) > 1


def test_row_25_a_zip_and_a_tar(session: rdl.Session) -> None:
    names = [f"member-{number:04}.txt" for number in range(300)]
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for number, name in enumerate(names):
            archive.writestr(name, coded(0, 40_000, number + 1))
    with Served(made.getvalue()) as served:
        with session.open(served.url, options=QUIET) as file, zipfile.ZipFile(file) as archive:
            assert archive.namelist() == names
            assert archive.read(names[150]) == coded(0, 40_000, 151)
        assert served.sent < MiB
        assert len(served.log) <= 3
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for number, name in enumerate(names[:20]):
            info = tarfile.TarInfo(name)
            info.size = 50_000
            tar.addfile(info, io.BytesIO(coded(0, 50_000, number + 1)))
    with Served(made.getvalue()) as served:
        with session.open(served.url, options=QUIET) as file, tarfile.open(fileobj=file) as tar:
            assert tar.getnames() == names[:20]
            member = tar.extractfile(names[7])
            assert member is not None
            assert member.read() == coded(0, 50_000, 8)
        assert served.sent <= 2 * len(made.getvalue())


class Served(Origin):
    """These bytes instead of coded ones."""

    def __init__(self, data: bytes) -> None:
        super().__init__(size=len(data))
        self.data = data

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _body(self, request: BaseHTTPRequestHandler, asked: Asked, start: int, stop: int) -> None:
        request.wfile.write(self.data[start:stop])
        asked.sent += stop - start


def test_row_26_only_needed_blocks(origin: Origin, opened: Opening, tmp_path: Path) -> None:
    origin.size = 100 * BLOCK
    file = opened(least=1, read_ahead=0)
    assert file.read_at(origin.size - 1, 1) == origin.content[-1:]
    assert blocks(origin) == {99}
    assert len(origin.log) == 1
    assert file.read_at(origin.size - 1, 1) == origin.content[-1:]
    assert len(origin.log) == 1  # a second read asks nobody
    file.read_at(10 * BLOCK, 5)
    across = 11 * BLOCK - 5
    assert file.read_at(across, 10) == origin.content[across : across + 10]
    assert blocks(origin) == {10, 11, 99}
    assert origin.sent <= 3 * BLOCK + 64 * KiB
    assert [(one.start, one.stop) for one in file.present()] == [
        (10 * BLOCK, 12 * BLOCK),
        (99 * BLOCK, 100 * BLOCK),
    ]


@pytest.mark.parametrize("kind", ["memory", "path"])
@pytest.mark.parametrize("able", list(product([True, False], repeat=3)))
def test_row_7_servers_of_every_kind(
    origin: Origin, opened: Opening, tmp_path: Path, kind: str, able: tuple[bool, bool, bool]
) -> None:
    origin.ranges, origin.heads, origin.lengths = able
    file, content = opened(tmp_path / "f" if kind == "path" else None), origin.content
    assert file.read_at(2 * BLOCK, 100) == content[2 * BLOCK : 2 * BLOCK + 100]
    assert file.size() == origin.size
    assert file.read_at(origin.size - 3, 100) == content[-3:]
    assert file.read() == content
    if not origin.ranges:
        assert until(lambda: origin.sent == origin.size)


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 2 * BLOCK + 1])
def test_row_9_edges(origin: Origin, opened: Opening, tmp_path: Path, size: int) -> None:
    origin.size, path = size, tmp_path / "f"
    file = opened(path, least=1)
    assert file.read_at(max(0, size - 10), 20) == origin.content[-10:]
    assert file.read_at(size, 1) == b""
    if size - 10 < BLOCK:
        assert until(path.exists)
    else:  # complete exactly when every block is here
        time.sleep(0.05)
        assert not path.exists()
    assert file.read() == origin.content
    assert until(path.exists)
    file.close()
    assert (path.read_bytes(), kept(path)) == (origin.content, ["f"])


@pytest.mark.parametrize("kind", ["memory", "path"])
def test_row_9_beyond_four_gib(origin: Origin, opened: Opening, tmp_path: Path, kind: str) -> None:
    origin.size = 4 * GiB + 1
    file = opened(tmp_path / "f" if kind == "path" else None)
    for at in (origin.size - 10, 4 * GiB - 5, 2 * GiB):
        assert file.read_at(at, 20) == coded(at, min(at + 20, origin.size))
    file.close()
    assert origin.sent < MiB
    assert sum(one.stat().st_blocks * 512 for one in tmp_path.iterdir()) < 4 * MiB
    assert not (tmp_path / "f").exists()


@pytest.mark.parametrize("where", ["seek", "read", "size"])
def test_the_first_question(origin: Origin, opened: Opening, where: str) -> None:
    file = opened()
    if where == "seek":
        assert file.seek(0, io.SEEK_END) == origin.size
        assert file.read_at(origin.size - 9, 9) == origin.content[-9:]
    elif where == "size":
        assert file.size() == file.stat().size == origin.size
    else:
        assert file.read_at(origin.size + 9 * BLOCK, 5) == b""
        assert file.size() == origin.size
        assert len(origin.log) == 2  # that there is no such byte, and then the end
        assert origin.log[1].fields["range"] == "bytes=-131072"
        return
    assert len(origin.log) == 1


def test_row_27_several_places(origin: Origin, opened: Opening) -> None:
    origin.size = 8 * MiB
    file, content = opened(), origin.content
    places = [origin.size - 100, 0, origin.size // 2, origin.size - 1100, BLOCK, 4 * BLOCK]
    for at in places:
        assert file.read_at(at, 100) == content[at : at + 100]
    assert origin.peak <= 4
    assert len(origin.log) <= len(places)


def test_row_27_a_jump_forward_goes_on_in_the_same_row(origin: Origin, opened: Opening) -> None:
    origin.size = 16 * MiB
    file = opened()
    for at in range(0, origin.size, 100 * KiB):
        file.seek(at)
        assert file.read(50) == coded(at, at + 50)
    assert len(origin.log) < 32  # of 160 reads
    file.seek(0)
    assert file.present()[0].start == 0
    assert until(lambda: sum(map(len, file.present())) == origin.size), "what was passed over"


def test_row_27_bytes_far_behind_a_request_are_not_waited_for(
    origin: Origin, opened: Opening
) -> None:
    origin.size = 16 * MiB

    def slow(asked: Asked, at: int) -> None:
        if asked.fields["range"].startswith("bytes=0-") and at >= MiB:
            origin.go.wait(10)

    origin.before = slow
    file = opened()
    with ThreadPoolExecutor(1) as pool:
        whole = pool.submit(file.read_at, 0, 4 * MiB)
        assert until(lambda: len(origin.log) >= 1)
        begun = time.monotonic()
        assert file.read_at(3 * MiB, 10) == coded(3 * MiB, 3 * MiB + 10)
        assert time.monotonic() - begun < 5
        assert not whole.done()
        origin.go.set()
        assert whole.result() == coded(0, 4 * MiB)


def test_row_28_a_stalled_block_stops_no_other(origin: Origin, opened: Opening) -> None:
    origin.size = 64 * BLOCK

    def stall(asked: Asked, at: int) -> None:
        if asked.fields["range"].startswith("bytes=0-"):
            origin.go.wait(10)

    origin.before = stall
    file = opened()
    with ThreadPoolExecutor(1) as pool:
        stalled = pool.submit(file.read_at, 0, 10)
        assert until(lambda: len(origin.log) == 1)
        file.set_size(origin.size)
        # Nothing is known of the file yet: the other one is a request of its own only when it is.
        origin.go.set()
        assert stalled.result() == coded(0, 10)
        origin.go.clear()
        origin.log.clear()
        origin.before = lambda asked, at: (
            origin.go.wait(10) and None
            if asked.fields["range"].startswith("bytes=1310720")
            else None
        )
        stalled = pool.submit(file.read_at, 20 * BLOCK, 10)
        assert until(lambda: len(origin.log) == 1)
        begun = time.monotonic()
        assert file.read_at(40 * BLOCK, 10) == coded(40 * BLOCK, 40 * BLOCK + 10)
        assert time.monotonic() - begun < 5
        assert not stalled.done()
        origin.go.set()
        assert stalled.result() == coded(20 * BLOCK, 20 * BLOCK + 10)


def test_row_28_and_x5_many_threads(origin: Origin, opened: Opening) -> None:
    origin.size = 3 * MiB
    file, wrong = opened(keep=MiB), []
    until_time = time.monotonic() + 0.5

    def read(seed: int) -> int:
        chance, count = random.Random(seed), 0
        while count < 5 or time.monotonic() < until_time:
            at, size = chance.randrange(origin.size), chance.choice([1, 100, 5000, 200_000])
            if file.read_at(at, size) != coded(at, min(at + size, origin.size)):
                wrong.append((at, size))
            count += 1
        return count

    with ThreadPoolExecutor(16) as pool:
        counts = list(pool.map(read, range(16)))
    assert wrong == []
    assert min(counts) >= 5
    assert sum(map(len, file.present())) <= 2 * MiB  # `keep`, and what is under way


def test_row_29_idle_filling(origin: Origin, opened: Opening, tmp_path: Path) -> None:
    origin.size, origin.hold_after, path = 3 * MiB, MiB, tmp_path / "f"
    file = opened(path, fill=True)
    assert file.read(1) == coded(0, 1)
    assert not path.exists()
    origin.go.set()
    assert until(path.exists)
    assert path.read_bytes() == origin.content
    assert file.read() == origin.content[1:]
    assert origin.peak <= 2


def test_row_29_it_yields_to_reads_and_stops(
    origin: Origin, opened: Opening, tmp_path: Path
) -> None:
    origin.size = 64 * MiB
    origin.before = lambda asked, at: time.sleep(0.02)  # 64 MiB take forty seconds
    file = opened(tmp_path / "f", fill=True)
    file.read(1)
    assert until(lambda: len(origin.log) >= 2)
    for at in (50 * MiB, 20 * MiB, 60 * MiB):
        begun = time.monotonic()
        assert file.read_at(at, 10) == coded(at, at + 10)
        assert time.monotonic() - begun < 4
    file.close()
    before = sorted((one.name, one.stat().st_mtime_ns) for one in tmp_path.iterdir())
    requests = resting(lambda: len(origin.log))  # it notes what was asked before, maybe late
    time.sleep(0.7)
    assert sorted((one.name, one.stat().st_mtime_ns) for one in tmp_path.iterdir()) == before
    assert len(origin.log) == requests


def test_row_29_a_server_that_fails_is_left_alone(
    origin: Origin, session: rdl.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "BASE_DELAY", 0.2)
    origin.size, told = 64 * BLOCK, list[Fact]()
    lazy, options = LazyOptions(fill=True), Options(QUIET.network, TransferOptions(retry=20))
    with session.open(origin.url, options=options, lazy=lazy, tell=told.append) as file:
        file.read(1)
        origin.log.clear()
        origin.always, begun = 503, time.monotonic()
        time.sleep(0.6)
        assert until(lambda: len(origin.log) >= 1)
        tries = len(origin.log)
        pauses = math.log2(1 + (time.monotonic() - begun) / 0.1)  # each twice as long
        assert tries <= 2 + pauses
        monkeypatch.setattr(pace, "BASE_DELAY", 30.0)
        failed = len(told)
        assert until(lambda: any(isinstance(fact, Retrying) for fact in told[failed:]))
        origin.always, begun = None, time.monotonic()
        assert file.read_at(50 * BLOCK, 3) == coded(50 * BLOCK, 50 * BLOCK + 3)
        assert time.monotonic() - begun < 5  # a read waits for no pause that filling earned


def test_row_30_connections_of_all_files(origin: Origin) -> None:
    other = Origin(size=origin.size, salt=7)
    try:
        with rdl.Session(SessionOptions(connections=1)) as session:
            lazy = LazyOptions(fill=True)
            first = session.open(origin.url, options=QUIET, lazy=lazy)
            second = session.open(other.url, options=QUIET, lazy=lazy)
            origin.size = 64 * MiB
            origin.before = lambda asked, at: time.sleep(0.15)
            first.read(1)
            assert until(lambda: len(origin.log) >= 2)  # it is being filled
            begun = time.monotonic()
            assert second.read(10) == coded(0, 10, 7)
            assert time.monotonic() - begun < 10  # 4 MiB take twice as long
    finally:
        other.close()


def test_row_30_connections_that_nobody_uses_are_closed(
    origin: Origin, opened: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rdl.engine.crew.IDLE_SECONDS", 0.05)
    monkeypatch.setattr("rdl.transport.pool.IDLE_SECONDS", 0.2)
    ended = threading.Event()
    origin.finished = ended.set
    begun = time.monotonic()
    opened().read(1)
    assert ended.wait(10)  # though nobody asked for anything
    assert time.monotonic() - begun > 0.2


def test_row_33_opened_twice(origin: Origin, opened: Opening, tmp_path: Path) -> None:
    one, other = opened(), opened()
    one.read(100)
    assert other.tell() == 0
    assert other.read(5) == coded(0, 5)
    assert len(origin.log) == 1
    one.close()
    with pytest.raises(ValueError, match="closed"):
        one.read(1)
    assert other.read_at(3 * BLOCK, 5) == coded(3 * BLOCK, 3 * BLOCK + 5)
    apart = opened(tmp_path / "f")
    assert apart.read(3) == coded(0, 3)
    assert (tmp_path / "f.part").exists()


# What ends it


def test_row_x3_a_loss_raises(origin: Origin, opened: Opening) -> None:
    origin.size, origin.broken_at = 40 * BLOCK, 10 * BLOCK + 100
    file = opened(retry=0)
    assert file.read_at(10 * BLOCK, 100) == coded(10 * BLOCK, 10 * BLOCK + 100)
    for _ in range(2):
        with pytest.raises(NetworkError):
            file.read_at(10 * BLOCK, 101)
    origin.broken_at = None
    assert file.read_at(10 * BLOCK, 200) == coded(10 * BLOCK, 10 * BLOCK + 200)


def test_row_x3_readers_of_archives_see_an_exception(session: rdl.Session) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("one", coded(0, 500_000))
    none = Options(QUIET.network, TransferOptions(retry=0))
    with (
        Served(made.getvalue()) as served,
        session.open(served.url, options=none) as file,
        zipfile.ZipFile(file) as archive,
    ):
        served.always = 500
        with pytest.raises(HTTPStatusError):
            archive.read("one")


def test_row_x4_another_version_poisons_it(origin: Origin, opened: Opening) -> None:
    file = opened()
    assert file.read(10) == coded(0, 10)
    origin.etag, origin.salt = '"two"', 9
    for _ in range(2):
        with pytest.raises(ChangedError):
            file.read_at(3 * BLOCK, 10)
    with pytest.raises(ChangedError):
        file.read_at(0, 10)
    file.close()
    assert opened().read(10) == coded(0, 10, 9)


def test_row_x4_what_nothing_vouches_for_is_not_continued(origin: Origin, opened: Opening) -> None:
    origin.etag, origin.broken_at = "", 2 * BLOCK
    digest = hashlib.sha256(origin.content).hexdigest()
    file = opened(retry=0)
    assert file.read_at(BLOCK, 5) == coded(BLOCK, BLOCK + 5)  # all of it comes, in one stream
    assert [asked.fields["range"] for asked in origin.log] == ["bytes=65536-196607", "bytes=0-"]
    with pytest.raises((NetworkError, ChangedError)):
        file.read_at(3 * BLOCK, 5)
    origin.broken_at, origin.salt = None, 4
    for at in (3 * BLOCK, 0):
        with pytest.raises(ChangedError):
            file.read_at(at, 5)
    file.close()
    assert digest != hashlib.sha256(opened().read()).hexdigest()


def test_two_threads_share_a_position_and_neither_forgets_the_other(
    origin: Origin, opened: Opening
) -> None:
    origin.delay = 0.2
    file = opened()
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(file.read, 10), pool.submit(file.read_at, 3 * BLOCK, 10)]
        sizes = [pool.submit(file.size), pool.submit(file.size)]
        assert [one.result(10) for one in asked] == [coded(0, 10), coded(3 * BLOCK, 3 * BLOCK + 10)]
        assert [one.result(10) for one in sizes] == [origin.size] * 2


def test_an_error_is_told_to_all_who_wait_and_is_not_for_good(
    origin: Origin, opened: Opening
) -> None:
    origin.always = 404
    file = opened()
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(file.read_at, at, 5) for at in (0, BLOCK, 3 * BLOCK)]
        for one in waiting:
            with pytest.raises(HTTPStatusError):
                one.result(5)
    origin.always = None
    assert file.read_at(BLOCK, 5) == coded(BLOCK, BLOCK + 5)


@pytest.mark.parametrize("when", ["before", "during"])
def test_row_x5_and_58_closed(origin: Origin, opened: Opening, when: str) -> None:
    origin.hold_after = 0
    file = opened()
    if when == "before":
        file.close()
        for wrong in (file.tell, file.read, file.size, lambda: file.read_at(0, 1), file.save):
            with pytest.raises(ValueError, match="closed"):
                wrong()
        return
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(file.read_at, at, 5) for at in (0, 2 * BLOCK)]
        assert until(origin.held.is_set)
        begun = time.monotonic()
        file.close()
        for one in waiting:
            with pytest.raises(ValueError, match="closed"):
                one.result(5)
        assert time.monotonic() - begun < 8
    assert until(lambda: not flying())


def test_a_signal_handler_that_raises_at_any_moment(origin: Origin, opened: Opening) -> None:
    """As Ctrl-C does. What it breaks off can be read afterwards, and closes at once."""
    origin.size, before = MiB, signal.getsignal(signal.SIGALRM)
    chance = random.Random(1)

    def timer(after: float) -> None:
        signal.setitimer(signal.ITIMER_REAL, after)

    class Stop(BaseException):
        pass

    def stop(*_: object) -> None:
        raise Stop

    stopped, begun = 0, time.monotonic()
    signal.signal(signal.SIGALRM, stop)
    try:
        while (lasted := time.monotonic() - begun) < 0.8 or (stopped <= 10 and lasted < 20):
            file = opened(keep=4 * BLOCK)
            for _ in range(10):
                at = chance.randrange(origin.size - BLOCK)
                try:
                    timer(chance.choice([3e-5, 1e-4, 1e-3]) * chance.random() + 1e-6)
                    assert file.read_at(at, BLOCK) == coded(at, at + BLOCK)
                    timer(0)
                except Stop:
                    stopped += 1
            timer(0)
            broken_off = time.monotonic()
            file.invalidate(0, BLOCK)
            assert file.read_at(100, 100) == coded(100, 200)
            file.close()
            assert time.monotonic() - broken_off < 8
    finally:
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        timer(0)
        signal.signal(signal.SIGALRM, before)
    assert stopped > 10


def test_row_x5_a_fork(origin: Origin, opened: Opening) -> None:
    file = opened()
    file.read(5)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            file.read_at(0, 1)
        except UsageError:
            file.close()
            code = 7
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert file.read_at(3 * BLOCK, 1) == coded(3 * BLOCK, 3 * BLOCK + 1)


def test_row_x5_a_fork_while_another_file_is_opened(origin: Origin, session: rdl.Session) -> None:
    file = session.open(origin.url, options=QUIET)
    file.read(5)
    assert session._files is not None
    with ThreadPoolExecutor(1) as pool, Barred(session._files._lock, pool):
        if (child := os.fork()) == 0:
            signal.alarm(5)
            file.close()
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    file.close()


class Barred:
    """Another thread has this lock meanwhile."""

    def __init__(self, lock: Any, pool: ThreadPoolExecutor) -> None:
        self.lock, self.pool, self.over = lock, pool, threading.Event()

    def __enter__(self) -> None:
        begun = threading.Event()
        self.pool.submit(self.bar, begun)
        assert begun.wait(5)

    def __exit__(self, *_: object) -> None:
        self.over.set()

    def bar(self, begun: threading.Event) -> None:
        with self.lock:
            begun.set()
            self.over.wait(10)


def test_a_source_without_hash_is_opened_alone(session: rdl.Session) -> None:
    source = Plain(coded(0, MiB))
    with session.open(source, options=QUIET) as one, session.open(source, options=QUIET) as two:
        assert one.read_at(BLOCK, 10) == two.read_at(BLOCK, 10) == coded(BLOCK, BLOCK + 10)
        assert one._flight is not two._flight


@dataclass
class Plain:
    """A Source as one writes it first."""

    data: bytes
    name: str = "plain"
    validator: str | None = "one"
    block_size: int | None = None
    digest: str | None = None

    def size(self) -> int:
        return len(self.data)

    def read(self, offset: int, view: memoryview, /) -> int:
        view[:] = self.data[offset : offset + len(view)]
        return len(view)


def test_pickled_it_is_opened_again(origin: Origin, opened: Opening) -> None:
    file = opened()
    file.seek(1000)
    again = pickle.loads(pickle.dumps(file))
    with again:
        assert again.tell() == 1000
        assert again.read(10) == coded(1000, 1010)
        assert file.tell() == 1000


# What stays


def test_row_32_a_path_is_continued(origin: Origin, opened: Opening, tmp_path: Path) -> None:
    origin.size, path = 40 * BLOCK, tmp_path / "f"
    file = opened(path)
    file.read_at(10 * BLOCK, 5)
    file.save()
    assert kept(path) == ["f.part", "f.part.index"]
    assert (path.parent / "f.part").stat().st_mode & 0o777 == 0o600
    file.close()
    assert rdl.status(path).present == ((10 * BLOCK, 12 * BLOCK - 1),)
    origin.log.clear()
    file = opened(path)
    assert file.read_at(10 * BLOCK, 5) == coded(10 * BLOCK, 10 * BLOCK + 5)
    assert origin.sent <= 64 * KiB  # some of what is here was compared
    assert file.read_at(12 * BLOCK, 5) == coded(12 * BLOCK, 12 * BLOCK + 5)
    assert file.complete().reason == "complete"
    assert path.read_bytes() == origin.content
    assert origin.sent <= origin.size
    origin.log.clear()
    assert file.read() == origin.content
    assert origin.log == []


def test_row_x6_a_partial_of_another_version(
    origin: Origin, opened: Opening, tmp_path: Path
) -> None:
    path = tmp_path / "f"
    file = opened(path)
    file.read(10)
    file.close()
    origin.etag, origin.salt = '"two"', 5
    file = opened(path)
    assert file.read() == coded(0, origin.size, 5)
    assert until(path.exists)
    assert path.read_bytes() == coded(0, origin.size, 5)


def test_row_x6_a_cache(origin: Origin, session: rdl.Session, tmp_path: Path) -> None:
    cache = tmp_path / "cache"

    def read() -> bytes:
        with session.open(origin.url, cache=cache, options=QUIET) as file:
            return file.read_at(2 * BLOCK, 10)

    assert read() == coded(2 * BLOCK, 2 * BLOCK + 10)
    assert cache.stat().st_mode & 0o777 == 0o700
    names = [one.name for one in cache.iterdir()]
    assert all(
        "127.0.0.1" not in name and one.stat().st_mode & 0o077 == 0
        for one in cache.iterdir()
        for name in names
    )
    origin.log.clear()
    assert read() == coded(2 * BLOCK, 2 * BLOCK + 10)
    assert origin.sent <= 64 * KiB
    origin.etag, origin.salt = '"two"', 5
    assert read() == coded(2 * BLOCK, 2 * BLOCK + 10, 5)
    origin.etag, origin.salt = "", 6  # nothing tells versions apart: nothing is kept of it
    assert read() == coded(2 * BLOCK, 2 * BLOCK + 10, 6)
    origin.salt = 8
    assert read() == coded(2 * BLOCK, 2 * BLOCK + 10, 8)


@pytest.mark.parametrize("what", ["link", "pipe", "part", "busy"])
def test_a_cache_that_cannot_be_used_is_no_reason_not_to_read(
    origin: Origin, session: rdl.Session, tmp_path: Path, what: str
) -> None:
    cache, told = tmp_path / "cache", list[Fact]()
    with session.open(origin.url, cache=cache, options=QUIET) as file:
        file.read_at(0, 5)
        (part,) = cache.glob("*.part")
        name = part.with_suffix("")
        if what == "busy":
            with rdl.Session() as other:
                again = other.open(origin.url, cache=cache, options=QUIET, tell=told.append)
                assert again.read_at(9, 5) == coded(9, 14)
    if what != "busy":
        for one in cache.iterdir():
            one.unlink()
        if what == "link":
            name.symlink_to(tmp_path / "elsewhere")
        elif what == "pipe":
            os.mkfifo(name)
        else:
            part.write_bytes(b"of nobody")
        with session.open(origin.url, cache=cache, options=QUIET, tell=told.append) as file:
            assert file.read_at(9, 5) == coded(9, 14)
        assert not (tmp_path / "elsewhere").exists()
    assert "kept in memory" in next(one.message for one in told if isinstance(one, Warned))


def test_a_cache_that_others_may_write_to_is_refused(
    origin: Origin, session: rdl.Session, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o777)
    cache.chmod(0o777)
    with pytest.raises(rdl.RdlError, match="others may write"):
        session.open(origin.url, cache=cache, options=QUIET)
    assert origin.log == []


def test_a_published_file_is_read_where_it_is(
    origin: Origin, opened: Opening, tmp_path: Path
) -> None:
    path = tmp_path / "f"
    opened(path).complete()
    assert path.read_bytes() == origin.content
    with rdl.Session() as other:
        origin.log.clear()
        with other.open(origin.url, path, options=QUIET) as file:
            assert file.read() == origin.content
        assert [asked.fields["if-none-match"] for asked in origin.log] == [origin.etag]
        assert origin.sent <= 2 * BLOCK  # what this server says to that
        origin.etag, origin.salt = '"two"', 5
        with other.open(origin.url, path, options=QUIET) as file:
            assert file.read_at(BLOCK, 10) == coded(BLOCK, BLOCK + 10, 5)
            assert path.read_bytes() == coded(0, origin.size)
            file.complete()
        assert path.read_bytes() == coded(0, origin.size, 5)


def test_row_32_sizes_and_facts(origin: Origin, opened: Opening) -> None:
    file = opened()
    file.set_size(origin.size)
    assert file.size() == file.seek(0, io.SEEK_END) == origin.size
    assert origin.log == []
    assert file.stat().etag == origin.etag
    with pytest.raises(ChangedError):
        file.set_size(5)
    file.close()
    wrong = opened()
    wrong.set_size(5)
    with pytest.raises(ChangedError):
        wrong.read(1)


# Proving


@pytest.mark.parametrize("kind", ["memory", "partial", "finished", "re-opened"])
def test_row_22_what_is_wrong_comes_again(
    origin: Origin, opened: Opening, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "f"
    file = opened(None if kind == "memory" else path)
    content, middle = origin.content, (BLOCK, 3 * BLOCK)
    if kind == "partial":
        file.read_at(0, 4 * BLOCK)
    else:
        file.complete()
    if kind == "re-opened":
        file.close()
        file = opened(path)
        assert file.read() == content
    digest = hashlib.sha256(content[slice(*middle)]).hexdigest()
    file.verify_range(*middle, f"sha256:{digest}")
    origin.log.clear()
    assert file.read_at(*middle) == content[BLOCK : 4 * BLOCK]
    assert origin.log == []
    with pytest.raises(DigestMismatch):
        file.verify_range(*middle, f"sha256:{'0' * 64}")
    if kind in ("finished", "re-opened"):
        assert kept(path) == ["f.part", "f.part.index"]  # nothing wrong under the final name
    here = file.present()
    assert not any(one.clip(rdl.ByteRange(*middle)) for one in here)
    assert here[0] == rdl.ByteRange(0, BLOCK)
    assert file.read_at(0, 4 * BLOCK) == content[: 4 * BLOCK]
    assert blocks(origin) <= {0, 1, 2}  # and some before it, to compare
    if kind != "partial":
        file.verify(f"sha256:{hashlib.sha256(content).hexdigest()}")
    with pytest.raises(DigestMismatch):
        file.verify(f"sha256:{'1' * 64}")
    assert file.present() == ()
    file.seek(0)
    assert file.read() == content
    if kind != "memory":
        assert until(path.exists)
        assert path.read_bytes() == content


@pytest.mark.parametrize("kind", ["finished", "re-opened"])
@pytest.mark.parametrize("how", ["written to", "replaced", "gone", "moved"])
def test_a_published_file_that_another_changes_is_no_partial(
    origin: Origin, opened: Opening, tmp_path: Path, kind: str, how: str
) -> None:
    path, other = tmp_path / "f", tmp_path / "other"
    file, foreign = opened(path), bytes(3 * BLOCK) + origin.content[3 * BLOCK :]
    file.complete()
    if kind == "re-opened":
        file.close()
        file = opened(path)
        assert file.read() == origin.content
    if how == "written to":
        with path.open("r+b") as stream:
            stream.write(foreign)
        with pytest.raises(rdl.RdlError, match="changed while it was read"):
            file.read_at(0, 100)
    elif how == "replaced":
        other.write_bytes(foreign)
        other.replace(path)
    else:
        path.rename(other) if how == "moved" else path.unlink()
    if how != "written to":  # what is open is right
        assert file.read_at(0, 2 * BLOCK) == origin.content[: 2 * BLOCK]
    with pytest.raises(rdl.RdlError):
        file.invalidate(0, 10)
    if how != "written to":
        assert file.read_at(0, 2 * BLOCK) == origin.content[: 2 * BLOCK]
    if how in ("written to", "replaced"):
        assert (kept(path), path.read_bytes()) == (["f"], foreign)
    else:
        assert kept(path) == (["other"] if how == "moved" else [])


def test_what_a_run_forgets_while_it_publishes_comes_again(
    origin: Origin, opened: Opening, tmp_path: Path
) -> None:
    file = opened(tmp_path / "f")
    file.complete()
    assert until(lambda: not flying())
    file._flight.hide((rdl.ByteRange(0, BLOCK),))
    assert file.read() == origin.content
    file.complete()
    assert kept(tmp_path / "f") == ["f"]


@pytest.mark.parametrize("kind", ["memory", "path", "cache"])
def test_row_x5_and_22_wrong_while_others_read_and_complete(
    origin: Origin, session: rdl.Session, tmp_path: Path, kind: str
) -> None:
    origin.size, over = 4 * BLOCK, time.monotonic() + 0.5
    where = {"memory": {}, "path": {"path": tmp_path / "f"}, "cache": {"cache": tmp_path / "c"}}

    def play(seed: int) -> None:
        chance = random.Random(seed)
        with session.open(origin.url, options=QUIET, **where[kind]) as file:
            while time.monotonic() < over:
                at, do = chance.randrange(origin.size - 5), chance.random()
                if do < 0.05:
                    file.invalidate(at, at + 5)
                elif do < 0.3:
                    file.complete()
                assert file.read_at(at, BLOCK) == coded(at, min(origin.size, at + BLOCK))

    with ThreadPoolExecutor(6) as pool:
        for one in [pool.submit(play, seed) for seed in range(6)]:
            one.result(15)


def test_row_22_arguments(origin: Origin, opened: Opening) -> None:
    file = opened()
    file.read()
    file.invalidate(BLOCK + 5, 2 * BLOCK + 5)  # both blocks that it touches
    assert [(one.start, one.stop) for one in file.present()] == [
        (0, BLOCK),
        (3 * BLOCK, origin.size),
    ]
    before = file.present()
    file.invalidate(5, 5)
    file.invalidate(origin.size + 5, origin.size + 9)
    assert file.present() == before
    file.invalidate(3 * BLOCK, 9 * origin.size)
    assert file.present() == before[:1]
    for wrong in ((-1, 5), (9, 5)):
        with pytest.raises(ValueError, match="not a range"):
            file.invalidate(*wrong)
    for empty in ((5, 5), (9, 5), (origin.size, origin.size + 1)):
        with pytest.raises(UsageError):
            file.verify_range(*empty, "0" * 64)
    file.seek(0)
    assert file.read() == origin.content


# Following


def test_row_39_followers(origin: Origin, opened: Opening) -> None:
    origin.size = 20 * BLOCK
    file = opened(read_ahead=0, least=1)
    seen: list[list[int]] = [[], [], []]

    def follow(own: list[int], follower: Follower) -> None:
        while not follower.complete:
            own.append(follower.wait(5))

    def all_saw(head: int) -> bool:
        return all(own[-1:] >= [head] for own in seen)

    with ThreadPoolExecutor(3) as pool:
        followers = [pool.submit(follow, own, file.follow()) for own in seen]
        file.read_at(8 * BLOCK, 5)  # a gap before it: the head does not grow
        told = []
        for number in range(20):
            file.read_at(number * BLOCK, 5)
            told.append(until(partial(all_saw, (number + 1) * BLOCK)))
        for one in followers:
            one.result(10)
    assert all(told)
    for own in seen:
        assert own == sorted(own)
        assert own[-1] == origin.size
        assert len(own) > 3
    begun = time.monotonic()
    assert file.follow().wait(60) == origin.size
    assert time.monotonic() - begun < 20


def test_row_39_a_follower_that_is_cancelled_or_waits_in_vain(
    origin: Origin, opened: Opening
) -> None:
    file = opened()
    file.read(5)
    follower = file.follow()
    assert until(lambda: follower.head == 2 * BLOCK)
    assert (head := follower.wait(1)) == 2 * BLOCK
    begun = time.monotonic()
    assert follower.wait(0.1) == head
    assert time.monotonic() - begun < 20
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(follower.wait)
        follower.cancel()
        with pytest.raises(ValueError, match="cancelled"):
            waiting.result(5)


@pytest.mark.parametrize("fill", [True, False])
def test_who_follows_a_file_that_nobody_has_read(
    origin: Origin, opened: Opening, fill: bool
) -> None:
    origin.hold_after = 0
    follower = opened(fill=fill).follow()
    assert follower.wait(0.05) == 0
    origin.go.set()
    if fill:
        assert until(lambda: follower.wait(1) == origin.size)
    else:
        assert until(lambda: origin.log)
    origin.always = 404
    with pytest.raises(HTTPStatusError):
        opened(least=1).follow().wait(5)


def test_a_mode_is_no_path_and_nothing_is_written(origin: Origin, opened: Opening) -> None:
    with pytest.raises(UsageError, match="no path"):
        rdl.open(origin.url, "rb", options=QUIET)
    with pytest.raises(io.UnsupportedOperation):
        opened().write(b"x")
    name: Any = "file.bin"
    with pytest.raises(UsageError, match="pathlib"):
        rdl.Target(origin.url, name)


def test_retries_are_told(origin: Origin, session: rdl.Session) -> None:
    told: list[Fact] = []
    origin.statuses = [503]
    with session.open(origin.url, options=QUIET, tell=told.append) as file:
        assert file.read(3) == coded(0, 3)
    assert [fact for fact in told if isinstance(fact, Retrying)]


def test_what_makes_no_sense_is_refused(
    origin: Origin, session: rdl.Session, tmp_path: Path
) -> None:
    part = Options(QUIET.network, TransferOptions(range=RangeSpec(0, 5)))
    with pytest.raises(UsageError):
        session.open(origin.url, options=part)
    with pytest.raises(UsageError):
        session.open(origin.url, tmp_path / "f", cache=tmp_path / "c", options=QUIET)
    sizes = {"block": 0, "least": 0, "max_jump": -1, "read_ahead": -1, "keep": -1}
    for name, least in sizes.items():
        for value in (least, -(2**40), 1.5, "5", None, True):
            wrong: dict[str, Any] = {name: value}
            with pytest.raises(UsageError, match=name):
                session.open(origin.url, options=QUIET, lazy=LazyOptions(**wrong))
    assert origin.log == []


def test_complete_in_memory_has_its_limit(origin: Origin, opened: Opening) -> None:
    origin.size = 4 * MiB
    file = opened(keep=MiB)
    with pytest.raises(rdl.RdlError, match="kept in memory"):
        file.complete()
    assert file.read() == origin.content  # in turn, and let go again


def test_the_functions(origin: Origin) -> None:
    with rdl.open(origin.url, options=QUIET) as file:
        assert file.read(10) == coded(0, 10)
    with rdl.open(origin.url, options=QUIET, buffering=4096) as buffered:
        assert isinstance(buffered, io.BufferedReader)
        assert buffered.read(10) == coded(0, 10)
    origin.log.clear()
    with rdl.reader(origin.url, options=QUIET) as parts:
        assert parts.read_at(1000, 100) == coded(1000, 1100)
    assert until(lambda: origin.sent == 100)
    assert [asked.fields["range"] for asked in origin.log] == ["bytes=1000-1099"]
