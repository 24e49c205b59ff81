"""Downloads from end to end: a loopback server with switches, the API, and whole processes.

The number in a test's name is that of the acceptance scenario.
"""

from __future__ import annotations

import base64
import hashlib
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rdl.api import Session, Target
from rdl.core.events import Fact, Progress, Result, Verifying
from rdl.core.row import OVERLAP
from rdl.errors import DigestMismatch, ExitCode, RdlError, exit_code_of
from rdl.options import Digest, Options, RangeSpec, SessionOptions, TransferOptions
from tests.scenarios.coded import BLOCK, GiB, KiB, MiB, Origin, coded
from tests.support.waiting import until


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as server:
        yield server


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
    origin.hold_after, told = after, list[Fact]()
    with Session() as session:

        def has_told() -> bool:
            return any(isinstance(fact, Progress) and fact.bytes_present for fact in told)

        def stop() -> None:
            origin.held.wait(10)
            assert until(has_told)
            time.sleep(0.05)
            session.interrupt("SIGINT")

        stopper = threading.Thread(target=stop)
        stopper.start()
        made = Options(transfer=TransferOptions(**options))
        [result] = session.get_all([Target(origin.url, path, made)], told.append)
        stopper.join(10)
    assert result.exit_code == ExitCode.INTERRUPTED
    assert 0 < result.bytes_present <= after
    assert part_of(path).exists()
    return result.bytes_present


def landed(path: Path, data: bytes) -> None:
    """Wait until the part file of `path` begins with this."""
    part = part_of(path)
    assert until(lambda: part.exists() and part.read_bytes()[: len(data)] == data)


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
    assert until(lambda: origin.sent == origin.size - kept + OVERLAP)
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


def repr_digest(data: bytes) -> str:
    """The member of Repr-Digest that says what this hashes to."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


def test_row_20_a_servers_digest_is_checked(origin: Origin, tmp_path: Path) -> None:
    origin.size = 3 * MiB
    origin.repr_digest = f"unixsum=:AQ==:, {repr_digest(origin.content)}"
    result = fetch(origin, tmp_path / "f", connections=3, min_split=MiB)
    assert (result.trust, result.verified_by) == ("T3", ("repr-digest:sha256",))
    assert published(tmp_path / "f", origin)


@pytest.mark.parametrize("killed", [False, True])
def test_row_20_bytes_that_are_not_what_the_server_says(
    origin: Origin, tmp_path: Path, killed: bool
) -> None:
    origin.size, origin.repr_digest = MiB, repr_digest(b"others")
    if killed:
        interrupted(origin, tmp_path / "f", MiB // 2)
    origin.replace()
    assert code(origin, tmp_path / "f") == ExitCode.DIGEST
    assert not (tmp_path / "f").exists()
    assert fetch(origin, tmp_path / "f", verify="off").trust == "T2"


@pytest.mark.parametrize("said", ["unixsum=:AQ==:", "md5=:AAAA:", "sha-256=:AAAA:", "x", ""])
def test_row_20_what_is_unknown_is_ignored(origin: Origin, tmp_path: Path, said: str) -> None:
    origin.size, origin.repr_digest = MiB, said
    result = fetch(origin, tmp_path / "f")
    assert (result.trust, result.digests) == ("T2", {})
    assert published(tmp_path / "f", origin)


def test_row_20_a_digest_of_the_user_wins(origin: Origin, tmp_path: Path) -> None:
    origin.size, origin.repr_digest = MiB, repr_digest(b"others")
    own = Digest("sha256", hashlib.sha256(origin.content).hexdigest())
    assert fetch(origin, tmp_path / "f", digests=(own,)).trust == "T4"


@pytest.mark.parametrize("right", [True, False])
def test_row_20_a_stream_checks_it_at_its_end(origin: Origin, right: bool) -> None:
    origin.size = MiB
    origin.repr_digest = repr_digest(origin.content if right else b"others")
    taken = bytearray()
    with Session() as session, session.stream(origin.url) as stream:
        try:
            for chunk in stream.chunks():
                taken += chunk
            assert right
        except DigestMismatch:
            assert not right
    assert taken == origin.content
    with Session() as session, session.stream(origin.url, None, None, [RangeSpec(0, 9)]) as part:
        assert part.read() == coded(0, 9)


def test_row_21_hashing_follows_the_head(origin: Origin, tmp_path: Path) -> None:
    """When the last byte arrives nearly all has been given to the digest."""
    origin.size = 16 * MiB
    right = Digest("sha256", hashlib.sha256(origin.content).hexdigest())
    facts: list[Fact] = []
    with Session() as session:
        made = Options(transfer=TransferOptions(digests=(right,), connections=1))
        session.get(Target(origin.url, tmp_path / "f", made), facts.append)
    [verifying] = [fact for fact in facts if isinstance(fact, Verifying)]
    assert verifying.bytes_hashed >= 0.8 * origin.size


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
    fetch(origin, tmp_path / "f", session=SessionOptions(limit_rate=8 * MiB))
    assert 0.5 <= time.monotonic() - began < 10
    assert published(tmp_path / "f", origin)


def test_row_17_limit_rate_over_many_small_files(origin: Origin, tmp_path: Path) -> None:
    origin.size = 5 * KiB
    began = time.monotonic()
    with Session(SessionOptions(limit_rate=200 * KiB, parallel=2)) as session:
        results = session.get_all([Target(origin.url, tmp_path / str(n)) for n in range(30)])
    assert 0.6 <= time.monotonic() - began < 10
    assert [result.exit_code for result in results] == [0] * 30


def test_row_17_limit_requests(origin: Origin, tmp_path: Path) -> None:
    origin.size = KiB
    targets = [Target(origin.url, tmp_path / str(number)) for number in range(9)]
    began = time.monotonic()
    with Session(SessionOptions(limit_requests=10, parallel=4)) as session:
        results = session.get_all(targets)
    assert [result.exit_code for result in results] == [0] * 9
    for number, at in enumerate(sorted(asked.at for asked in origin.log)):
        assert at - began >= 0.099 * number


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
        landed(folder / "f", origin.content[: MiB // 2])
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
        landed(tmp_path / "f", origin.content[: MiB // 2])
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


def test_row_23_a_byte_of_a_finished_block_flips_between_two_runs(
    origin: Origin, tmp_path: Path
) -> None:
    """It is found, and what is fetched again is that extent, and what a run compares."""
    path = tmp_path / "f.bin"
    origin.size = 24 * MiB
    kept = interrupted(origin, path, 16 * MiB, connections=1)
    with part_of(path).open("r+b") as file:
        file.seek(3 * MiB + 5)
        flipped = bytes([file.read(1)[0] ^ 0x40])
        file.seek(3 * MiB + 5)
        file.write(flipped)
    origin.hold_after = None
    result = fetch(origin, path, connections=1)
    assert path.read_bytes() == coded(0, origin.size)
    assert kept - 2 * MiB <= result.bytes_reused < kept


@pytest.mark.parametrize("digest", [False, True])
def test_row_34_a_file_without_state_is_not_taken_for_the_right_one(
    origin: Origin, tmp_path: Path, digest: bool
) -> None:
    """Of equal size, and with a digest the right bytes: only that is believed."""
    path, size = tmp_path / "f.bin", 300 * KiB
    origin.size = size
    path.write_bytes(coded(0, size) if digest else bytes(size))
    digests = (Digest("sha256", hashlib.sha256(coded(0, size)).hexdigest()),) if digest else ()
    result = fetch(origin, path, digests=digests)
    assert path.read_bytes() == coded(0, size)
    assert result.reason == ("unchanged" if digest else "complete")
    assert result.bytes_downloaded == (0 if digest else size)
