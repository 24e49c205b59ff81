"""Downloads from end to end: a loopback server with switches, the API, and whole processes.

The number in a test's name is that of the acceptance scenario.
"""

from __future__ import annotations

import hashlib
import os
import re
import resource
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from rdl.api import Session, Target
from rdl.core.events import Result
from rdl.errors import ExitCode, RdlError, exit_code_of
from rdl.options import Digest, Options, RangeSpec, SessionOptions, TransferOptions

KiB, MiB, GiB = 1 << 10, 1 << 20, 1 << 30
BLOCK = 256 * KiB
STEP = 32 * KiB


def coded(start: int, stop: int, salt: int = 0) -> bytes:
    """Bytes [start, stop) of a file in which every 8 bytes hold their own offset."""
    first, last = start // 8, -(-stop // 8)
    numbers = (number * 8 ^ salt for number in range(first, last))
    data = struct.pack(f">{last - first}Q", *numbers)
    return data[start - first * 8 : stop - first * 8]


@dataclass
class Asked:
    """One request, when it came, and how many bytes of body it got."""

    at: float
    fields: dict[str, str]
    sent: int = 0


@dataclass
class Origin:
    """One file, position-coded, with a strong ETag; the other fields are switches."""

    size: int = 0
    salt: int = 0
    etag: str = '"one"'
    statuses: list[int] = field(default_factory=list)
    """For the first requests, instead of an answer."""
    always: int | None = None
    retry_after: str | None = None
    hold_after: int | None = None
    """So many bytes of body are sent, then nothing until `go` is set."""
    delay: float = 0.0
    claim: int | None = None
    """The length that is announced instead of the size."""
    start_shift: int = 0
    total_shift: int = 0
    part_etag: str | None = None
    ignore_if_range: bool = False
    log: list[Asked] = field(default_factory=list)
    peak: int = 0

    def __post_init__(self) -> None:
        self.go, self.held = threading.Event(), threading.Event()
        self._lock, self._active, self._sent = threading.Lock(), 0, 0
        origin = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            timeout = 20

            def do_GET(self) -> None:
                origin.answer(self)

            do_HEAD = do_GET

            def log_message(self, *_: Any) -> None:
                """The log is the list of requests."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                """A client that goes away is part of many scenarios."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/file.bin"

    @property
    def content(self) -> bytes:
        return coded(0, self.size, self.salt)

    @property
    def sent(self) -> int:
        return sum(asked.sent for asked in self.log)

    def close(self) -> None:
        self.go.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """One response; counts how many are under way."""
        asked = Asked(time.monotonic(), {k.lower(): v for k, v in request.headers.items()})
        with self._lock:
            self.log.append(asked)
            self._active += 1
            self.peak = max(self.peak, self._active)
            status = self.statuses.pop(0) if self.statuses else self.always
        try:
            time.sleep(self.delay)
            if status is not None:
                self._refuse(request, status)
            else:
                self._serve(request, asked)
        finally:
            with self._lock:
                self._active -= 1

    def _refuse(self, request: BaseHTTPRequestHandler, status: int) -> None:
        request.send_response(status)
        request.send_header("Content-Length", "0")
        if self.retry_after is not None:
            request.send_header("Retry-After", self.retry_after)
        request.end_headers()

    def _serve(self, request: BaseHTTPRequestHandler, asked: Asked) -> None:
        size = self.size if self.claim is None else self.claim
        match = asked.fields.get("if-match", self.etag)
        if match not in (self.etag, "*"):
            self._refuse(request, 412)
            return
        same = self.ignore_if_range or asked.fields.get("if-range", self.etag) == self.etag
        span = asked.fields.get("range") if same else None
        start, stop = _span(span, size) if span else (0, size)
        if span and start >= size:
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{size}")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        self._head(request, span is not None, start, stop, size)
        if request.command == "GET":
            self._body(request, asked, start, stop)

    def _head(
        self, request: BaseHTTPRequestHandler, part: bool, start: int, stop: int, size: int
    ) -> None:
        request.send_response(206 if part else 200)
        request.send_header("Accept-Ranges", "bytes")
        request.send_header("Content-Length", str(stop - start))
        request.send_header("ETag", (part and start and self.part_etag) or self.etag)
        if part:
            first = start + (self.start_shift if start else 0)
            last = stop - 1 + (self.start_shift if start else 0)
            total = size + (self.total_shift if start else 0)
            request.send_header("Content-Range", f"bytes {first}-{last}/{total}")
        request.end_headers()

    def _body(self, request: BaseHTTPRequestHandler, asked: Asked, start: int, stop: int) -> None:
        at = start
        while at < stop:
            step = min(STEP, stop - at)
            if self.hold_after is not None and not self.go.is_set():
                step = min(step, self.hold_after - self._sent)
                if step <= 0:
                    self.held.set()
                    self.go.wait(20)
                    continue
            request.wfile.write(coded(at, at + step, self.salt))
            at += step
            with self._lock:
                asked.sent += step
                self._sent += step

    def replace(self, **switches: Any) -> None:
        """Set switches for what comes next, forget the log, and hold nothing any more."""
        for name, value in switches.items():
            setattr(self, name, value)
        self.go.set()
        self.log.clear()


def _span(value: str, size: int) -> tuple[int, int]:
    first, last = re.fullmatch(r"bytes=(\d*)-(\d*)", value).groups()  # type: ignore[union-attr]
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(size, int(last) + 1) if last else size


@pytest.fixture
def origin() -> Iterator[Origin]:
    server = Origin()
    yield server
    server.close()


def fetch(
    origin: Origin, path: Path, *, session: SessionOptions | None = None, **options: Any
) -> Result:
    with Session(session) as running:
        made = Options(transfer=TransferOptions(**options))
        return running.get(Target(origin.url, path, made))


def code(origin: Origin, path: Path, **options: Any) -> int:
    """The exit code that the run would end with."""
    try:
        return fetch(origin, path, **options).exit_code
    except RdlError as error:
        return int(exit_code_of(error))


def interrupted(origin: Origin, path: Path, after: int, **options: Any) -> int:
    """A run interrupted when the server has sent `after` bytes; returns how many are kept."""
    origin.hold_after = after
    with Session() as session:

        def stop() -> None:
            origin.held.wait(10)
            time.sleep(0.1)
            session.interrupt("SIGINT")

        stopper = threading.Thread(target=stop)
        stopper.start()
        made = Options(transfer=TransferOptions(**options))
        [result] = session.get_all([Target(origin.url, path, made)])
        stopper.join(10)
    assert result.exit_code == ExitCode.INTERRUPTED
    assert 0 < result.bytes_present <= after
    assert part_of(path).exists()
    return result.bytes_present


def part_of(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def process(origin: Origin, path: Path, *more: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "rdl", "get", origin.url, "-o", str(path), "-q", *more]
    environment = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    return subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment)


def end(process: subprocess.Popen[str]) -> int:
    """Its exit code; it is ended when it does not end."""
    try:
        process.communicate(timeout=15)
    finally:
        process.kill()
        process.wait(5)
    return process.returncode


def published(path: Path, origin: Origin) -> bool:
    """The right file, and nothing beside it."""
    return path.read_bytes() == origin.content and os.listdir(path.parent) == [path.name]


SIZES = (0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 2 * BLOCK + 1)


@pytest.mark.parametrize("size", SIZES)
def test_row_09_edge_sizes(origin: Origin, tmp_path: Path, size: int) -> None:
    origin.size = size
    result = fetch(origin, tmp_path / "f", block_size=BLOCK)
    assert result.bytes_downloaded == result.bytes_total == size
    assert published(tmp_path / "f", origin)


@pytest.mark.parametrize("size", [size for size in SIZES if size > 1])
def test_row_09_edge_sizes_resumed(origin: Origin, tmp_path: Path, size: int) -> None:
    origin.size = size
    interrupted(origin, tmp_path / "f", size // 2, block_size=BLOCK)
    origin.replace()
    result = fetch(origin, tmp_path / "f", block_size=BLOCK)
    assert result.bytes_reused + result.bytes_downloaded == size
    assert published(tmp_path / "f", origin)


def test_row_09_tail_beyond_four_gib(origin: Origin, tmp_path: Path) -> None:
    origin.size = 4 * GiB + 1
    fetch(origin, tmp_path / "f", range=RangeSpec(suffix=1000))
    assert (tmp_path / "f").read_bytes() == coded(origin.size - 1000, origin.size)
    assert os.listdir(tmp_path) == ["f"]
    assert origin.sent < MiB


def test_row_47_second_process_is_busy(origin: Origin, tmp_path: Path) -> None:
    origin.size, origin.hold_after = MiB, MiB // 2
    first = process(origin, tmp_path / "f")
    try:
        assert origin.held.wait(10)
        assert end(process(origin, tmp_path / "f")) == ExitCode.BUSY
        origin.go.set()
    finally:
        status = end(first)
    assert status == 0
    assert published(tmp_path / "f", origin)


def test_row_47_lock_dies_with_its_owner(origin: Origin, tmp_path: Path) -> None:
    origin.size, origin.hold_after = MiB, MiB // 2
    first = process(origin, tmp_path / "f")
    try:
        assert origin.held.wait(10)
    finally:
        first.send_signal(signal.SIGKILL)
        end(first)
    origin.replace()
    assert not (tmp_path / "f").exists()
    assert end(process(origin, tmp_path / "f")) == 0
    assert published(tmp_path / "f", origin)


@pytest.mark.parametrize("span", [None, RangeSpec(0, 1 << 50)])
def test_row_12_a_petabyte_is_no_space(
    origin: Origin, tmp_path: Path, span: RangeSpec | None
) -> None:
    origin.claim = 1 << 50
    heard: list[Result] = []
    with Session() as session:
        made = Options(transfer=TransferOptions(range=span))
        heard = session.get_all([Target(origin.url, tmp_path / "f", made)])
    assert heard[0].exit_code == ExitCode.NO_SPACE
    assert heard[0].bytes_downloaded == 0
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("before", "after"), [(64, 256), (256, 64)])
def test_row_10_other_block_size(origin: Origin, tmp_path: Path, before: int, after: int) -> None:
    origin.size = 2 * MiB + 5
    kept = interrupted(origin, tmp_path / "f", MiB, block_size=before * KiB)
    origin.replace()
    result = fetch(origin, tmp_path / "f", block_size=after * KiB)
    assert result.bytes_reused == kept
    assert origin.sent == origin.size - kept
    assert published(tmp_path / "f", origin)


def test_row_05_replaced_by_equal_size(origin: Origin, tmp_path: Path) -> None:
    origin.size = MiB
    interrupted(origin, tmp_path / "f", MiB // 2)
    origin.replace(salt=1 << 40, etag='"two"')
    result = fetch(origin, tmp_path / "f")
    assert result.bytes_reused == 0
    assert published(tmp_path / "f", origin)


def test_row_05_on_change_fail_keeps_the_part(origin: Origin, tmp_path: Path) -> None:
    origin.size = MiB
    kept = interrupted(origin, tmp_path / "f", MiB // 2)
    old = origin.content[:kept]
    origin.replace(salt=1 << 40, etag='"two"')
    assert code(origin, tmp_path / "f", on_change="fail") == ExitCode.CHANGED
    assert not (tmp_path / "f").exists()
    assert part_of(tmp_path / "f").read_bytes()[:kept] == old


WRONG: list[dict[str, Any]] = [
    {"start_shift": 4096},
    {"start_shift": -4096},
    {"total_shift": 1},
    {"total_shift": -1},
    {"part_etag": '"other"'},
    {"etag": '"two"', "salt": 1 << 40, "ignore_if_range": True},
]


@pytest.mark.parametrize("switches", WRONG, ids="-".join)
def test_row_06_wrong_range_answers(
    origin: Origin, tmp_path: Path, switches: dict[str, Any]
) -> None:
    origin.size = MiB
    interrupted(origin, tmp_path / "f", MiB // 2)
    origin.replace(**switches)
    status = code(origin, tmp_path / "f", retry=1)
    assert (status == 0) == (tmp_path / "f").exists()
    if status == 0:
        assert published(tmp_path / "f", origin)


def test_row_08_identity_on_every_request(origin: Origin, tmp_path: Path) -> None:
    origin.size = 2 * MiB
    interrupted(origin, tmp_path / "f", MiB)
    first = list(origin.log)
    origin.replace()
    fetch(origin, tmp_path / "f", connections=4, min_split=BLOCK)
    asked = first + origin.log
    assert {request.fields.get("accept-encoding") for request in asked} == {"identity"}


def test_row_11_few_connections_and_requests(origin: Origin, tmp_path: Path) -> None:
    origin.size, origin.delay = 8 * MiB, 0.02
    result = fetch(origin, tmp_path / "f", connections=8, min_split=MiB, block_size=64 * KiB)
    assert 1 < origin.peak <= 8
    assert len(origin.log) <= 128 // 4
    assert result.bytes_downloaded <= 1.1 * origin.size
    assert published(tmp_path / "f", origin)


@pytest.mark.parametrize("status", [404, 403, 410])
def test_row_13_permanent_is_asked_once(origin: Origin, tmp_path: Path, status: int) -> None:
    origin.always = status
    assert code(origin, tmp_path / "f") == (6 if status == 403 else 8)
    assert len(origin.log) == 1
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("status", [503, 429, 500, 502, 504])
def test_row_13_passing_is_retried(origin: Origin, tmp_path: Path, status: int) -> None:
    origin.size, origin.statuses = MiB, [status]
    fetch(origin, tmp_path / "f")
    assert len(origin.log) >= 2
    assert published(tmp_path / "f", origin)


def test_row_14_retry_after_is_waited_for(origin: Origin, tmp_path: Path) -> None:
    origin.size, origin.statuses, origin.retry_after = KiB, [503], "1"
    fetch(origin, tmp_path / "f")
    assert origin.log[1].at - origin.log[0].at >= 0.99
    assert published(tmp_path / "f", origin)


def test_row_17_limit_rate(origin: Origin, tmp_path: Path) -> None:
    origin.size = 5 * MiB
    began = time.monotonic()
    fetch(origin, tmp_path / "f", session=SessionOptions(limit_rate=4 * MiB))
    assert 1.0 <= time.monotonic() - began < 4
    assert published(tmp_path / "f", origin)


def test_row_17_limit_requests(origin: Origin, tmp_path: Path) -> None:
    origin.size = KiB
    targets = [Target(origin.url, tmp_path / str(number)) for number in range(9)]
    with Session(SessionOptions(limit_requests=5, parallel=4)) as session:
        results = session.get_all(targets)
    assert [result.exit_code for result in results] == [0] * 9
    times = sorted(asked.at for asked in origin.log)
    assert all(sum(at <= other < at + 1 for other in times) <= 6 for at in times)


def test_row_19_digests(origin: Origin, tmp_path: Path) -> None:
    origin.size = MiB
    right = Digest("sha512", hashlib.sha512(origin.content).hexdigest())
    wrong = Digest("sha512", "0" * 128)
    path = tmp_path / "f"
    assert code(origin, path, digests=(wrong,)) == ExitCode.DIGEST
    assert not path.exists()
    assert (tmp_path / "f.part.bad").read_bytes() == origin.content
    assert "sha512" in fetch(origin, path, digests=(right,)).digests
    assert path.read_bytes() == origin.content


def test_row_19_digest_of_a_resumed_file(origin: Origin, tmp_path: Path) -> None:
    origin.size = MiB
    right = Digest("sha512", hashlib.sha512(origin.content).hexdigest())
    kept = interrupted(origin, tmp_path / "f", MiB // 2, digests=(right,))
    origin.replace()
    assert fetch(origin, tmp_path / "f", digests=(right,)).bytes_reused == kept
    assert published(tmp_path / "f", origin)


def test_row_35_folder_that_is_a_file(origin: Origin, tmp_path: Path) -> None:
    (tmp_path / "folder").write_bytes(b"kept")
    assert code(origin, tmp_path / "folder" / "f") == ExitCode.LOCAL_FILE
    assert (tmp_path / "folder").read_bytes() == b"kept"


def test_row_35_folder_that_moves(origin: Origin, tmp_path: Path) -> None:
    """The download goes on in the folder it was begun in; nothing appears elsewhere."""
    origin.size, origin.hold_after = MiB, MiB // 2
    folder = tmp_path / "folder"
    folder.mkdir()
    running = process(origin, folder / "f")
    try:
        assert origin.held.wait(10)
        folder.rename(tmp_path / "moved")
        origin.go.set()
    finally:
        status = end(running)
    assert status in (ExitCode.OK, ExitCode.LOCAL_FILE)
    assert not folder.exists()
    kept = tmp_path / "moved" / ("f" if status == ExitCode.OK else "f.part")
    assert kept.read_bytes()[: MiB // 2] == origin.content[: MiB // 2]


def test_row_35_writing_fails(origin: Origin, tmp_path: Path) -> None:
    """A file-size limit binds root too; what is here stays and is continued."""
    origin.size, origin.hold_after = MiB, MiB // 2
    running = process(origin, tmp_path / "f")
    try:
        assert origin.held.wait(10)
        limit = resource.prlimit(running.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (3 * MiB // 4, limit[1]))
        origin.go.set()
    finally:
        status = end(running)
    assert status == ExitCode.LOCAL_FILE
    assert not (tmp_path / "f").exists()
    assert part_of(tmp_path / "f").read_bytes()[: MiB // 2] == origin.content[: MiB // 2]
    assert fetch(origin, tmp_path / "f").bytes_reused >= MiB // 4
    assert published(tmp_path / "f", origin)
