"""Reading without a file: `rdl cat`, rdl.stream and `rdl status` beside a loopback server.

The number in a test's name is that of the acceptance scenario.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import rdl
from rdl.errors import ExitCode
from rdl.options import NetworkOptions, Options, TransferOptions
from tests.scenarios.coded import BLOCK, STEP, Asked, KiB, MiB, Origin, coded
from tests.scenarios.reader import (
    QUIET_NETWORK,
    RDL,
    Reader,
    cat,
    fetched,
    resting,
)
from tests.support.waiting import until

WINDOW = 8 * MiB
CHUNK = MiB
"""What `cat` has taken out of the window and not written yet."""
UNSEEN = CHUNK + 128 * KiB
"""With a full pipe, and what this side has not counted yet."""


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as server:
        yield server


def window(connections: int) -> int:
    return WINDOW + connections * MiB


def stop_asked(asked: Asked) -> int | None:
    """Where a request with an end ends."""
    last = asked.fields.get("range", "").rpartition("-")[2]
    return int(last) + 1 if last else None


def get(origin: Origin, path: Path, *words: str) -> subprocess.Popen[bytes]:
    command = [*RDL, "get", origin.url, "-o", str(path), "-q", *QUIET_NETWORK, *words]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL)


# 7: servers that know little

LITTLE: list[dict[str, Any]] = [
    {"ranges": False},
    {"ranges": False, "heads": False},
    {"ranges": False, "lengths": False},
    {"ranges": False, "heads": False, "lengths": False},
    {"heads": False, "lengths": False},
]


@pytest.mark.parametrize("switches", LITTLE, ids="-".join)
def test_row_07_servers_that_know_little(
    origin: Origin, tmp_path: Path, switches: dict[str, Any]
) -> None:
    origin.size = 12 * BLOCK + 5
    origin.replace(**switches)
    small = ("-x", "8", "-k", "256K")
    with get(origin, tmp_path / "f", *small, "--block-size", "256K") as process:
        assert process.wait(20) == 0
    assert (tmp_path / "f").read_bytes() == origin.content
    assert origin.ranges or origin.sent <= origin.size

    origin.replace()
    start = 2 * BLOCK
    ended = cat(origin.url, "-r", f"{start}-{start + BLOCK - 1}")
    assert (ended.returncode, ended.stdout) == (0, coded(start, start + BLOCK))
    assert len(origin.log) == 1
    assert origin.sent <= origin.size


def test_row_07_a_server_that_only_says_it_has_ranges(origin: Origin, tmp_path: Path) -> None:
    """Once it is found out, nothing is asked for any more; what flows is not begun again."""
    origin.size, origin.ranges, origin.claims_ranges = 64 * MiB, False, True
    with get(origin, tmp_path / "f", "-x", "4", "-k", "256K") as process:
        assert process.wait(20) == 0
    assert (tmp_path / "f").read_bytes() == origin.content
    assert len(origin.log) <= 4
    assert sum(not asked.gone for asked in origin.log) == 1


def test_row_07_several_ranges_where_there_are_none(origin: Origin) -> None:
    origin.size, origin.ranges = 4 * BLOCK, False
    ended = cat(origin.url, "-r", "300000-300099", "-r", "0-9")
    assert (ended.returncode, ended.stdout) == (0, coded(300_000, 300_100) + coded(0, 10))
    assert origin.sent <= 2 * origin.size


# 24: what is on disk


def status(path: Path) -> dict[str, Any]:
    """What `rdl status --json` says, after what must always hold."""
    said = subprocess.run(
        [*RDL, "status", "--json", str(path)], capture_output=True, timeout=20, check=True
    ).stdout
    found: dict[str, Any] = json.loads(said)
    runs = sorted(found["present"] + found["missing"])
    assert runs[0][0] == 0
    assert runs[-1][1] == found["length"] - 1
    assert all(after[0] == before[1] + 1 for before, after in pairwise(runs))
    assert sum(last - first + 1 for first, last in found["present"]) == found["bytes_present"]
    return found


def here(path: Path, least: int) -> dict[str, Any]:
    """The status when so many bytes are present."""
    assert until(lambda: bool(status(path)["bytes_present"] >= least))
    return status(path)


def test_row_24_empty_partial_and_full(origin: Origin, tmp_path: Path) -> None:
    """Of a run under way, of one that was killed at once or later, and of a finished one."""
    path = tmp_path / "f"
    origin.size, origin.hold_after = 4 * MiB + 5, 0
    for held in (0, 5 * MiB // 2):
        origin.replace(hold_after=held)
        origin.go.clear()
        origin.held.clear()
        process = get(origin, path)
        try:
            assert until((tmp_path / "f.part.index").exists)
            assert origin.held.wait(10)
            found = here(path, held - 3 * MiB // 2)
            assert (found["running"], found["complete"]) == (True, False)
            assert found["present"] == ([[0, found["bytes_present"] - 1]] if held else [])
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(10)
        assert status(path)["present"] == found["present"]
        assert status(path)["running"] is False
    origin.replace(hold_after=None)
    assert get(origin, path).wait(20) == 0
    full = status(path)
    assert (full["present"], full["missing"]) == ([[0, origin.size - 1]], [])
    assert full["complete"] is True


def test_row_24_the_first_block_is_missing_while_later_ones_are_here(
    origin: Origin, tmp_path: Path
) -> None:
    origin.size = 4 * MiB
    held = threading.Event()

    def before(asked: Asked, at: int) -> None:
        if at < BLOCK and not held.wait(20):
            raise OSError

    origin.before = before
    process = get(origin, tmp_path / "f", "-x", "2", "-k", "256K", "--block-size", "256K")
    try:
        assert until((tmp_path / "f.part.index").exists)
        found = here(tmp_path / "f", 2 * MiB)
        assert found["missing"][0][0] == 0
        assert found["missing"][0][1] >= BLOCK - 1
    finally:
        held.set()
        assert process.wait(20) == 0
    assert status(tmp_path / "f")["missing"] == []


# 31: one range


_NO_WRITING = """
import os, sys
def look(event, given):
    if event == "open" and given[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        os.write(2, f"opened for writing: {given}".encode())
    elif event in ("os.mkdir", "os.rename", "os.link", "os.symlink", "tempfile.mkstemp"):
        os.write(2, f"{event}: {given}".encode())
sys.addaudithook(look)
"""


def test_row_31_a_range_is_one_request_and_no_file(origin: Origin, tmp_path: Path) -> None:
    origin.size = 64 * MiB
    places = {name: str(tmp_path) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME")}
    script = f"exec({_NO_WRITING!r})"
    environment = {**os.environ, **places, "PYTHONDONTWRITEBYTECODE": "1"}
    words = ("--range", "1000-1099")
    with Reader(origin, words, script, cwd=tmp_path, env=environment) as reader:
        data, said = reader.process.communicate(timeout=20)
        assert reader.process.returncode == 0
    assert data == coded(1000, 1100)
    assert said == b""
    assert [asked.fields["range"] for asked in origin.log] == ["bytes=1000-1099"]
    assert until(lambda: origin.sent == 100)
    assert os.listdir(tmp_path) == []


def test_several_ranges_in_the_order_given(origin: Origin) -> None:
    """Overlapping ones, suffixes, open ends, and so many bytes from a place."""
    origin.size = MiB
    words = ["5000-5999", "500+100K", "-7", "5500-5501", "1048000-", "0-0"]
    spans = [(5000, 6000), (500, 500 + 100 * KiB), (MiB - 7, MiB), (5500, 5502)]
    spans += [(1_048_000, MiB), (0, 1)]
    ended = cat(origin.url, *(word for one in words for word in ("-r", one)))
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert ended.stdout == b"".join(coded(*span) for span in spans)
    assert len(origin.log) == len(words)


# 36: far ahead, but never further than the window


def small_peak(origin: Origin) -> int:
    """What `cat` needs when there is hardly anything to read."""
    origin.replace(size=MiB)
    with Reader(origin, ("-x", "8")) as reader:
        assert reader.take(1) == 1
        peak = reader.high_water()
        assert reader.rest() == 0
    return max(peak, reader.peak)


def test_row_36_a_stalled_head_costs_no_memory(origin: Origin) -> None:
    small = small_peak(origin)
    origin.replace(size=96 * MiB)
    first: list[Asked] = []
    ahead: list[int] = []
    moving = threading.Event()

    def before(asked: Asked, at: int) -> None:
        first.extend([asked] if not first else [])
        if asked is first[0] and at >= MiB:
            moving.wait(3)  # unless others have taken its place before
        if not asked.sent:
            ahead.append((stop_asked(asked) or 0) - reader.at)

    origin.before = before
    with Reader(origin, ("-x", "8")) as reader:
        assert reader.rest() == 0
        moving.set()
    assert reader.at == origin.size
    assert origin.peak > 2
    assert 2 * MiB < max(ahead) <= window(8) + UNSEEN
    assert reader.peak - small <= window(8) + 50 * MiB


# 37: slow readers, and ends of all kinds


@pytest.mark.parametrize("connections", [1, 4])
def test_row_37_a_reader_that_waits_stops_the_fetching(origin: Origin, connections: int) -> None:
    origin.size = 64 * MiB
    with Reader(origin, ("-x", str(connections))) as reader:
        for count in (1, 3 * MiB, 100_000):
            reader.take(count)
            resting(lambda: origin.sent)
            assert WINDOW // 2 <= fetched(origin) - reader.at <= window(connections) + UNSEEN
        assert reader.rest() == 0
    assert reader.at == origin.size


def test_row_37_what_never_comes_ends_it_after_the_byte_before(origin: Origin) -> None:
    origin.size, origin.broken_at = 12 * MiB, 5 * MiB + 123
    begun = time.monotonic()
    with Reader(origin, ("-x", "4", "--retry", "1")) as reader:
        assert reader.rest() == ExitCode.NETWORK
        assert reader.at == origin.broken_at
        assert time.monotonic() - begun < 8
        assert reader.said().startswith("rdl: ")


def test_row_37_a_closed_pipe_ends_it_quietly(origin: Origin) -> None:
    """Also while it waits for bytes."""
    origin.size, origin.hold_after = 64 * MiB, 4 * MiB
    with Reader(origin, ("-x", "4")) as reader:
        reader.take(MiB)
        assert reader.process.stdout is not None
        reader.process.stdout.close()
        assert reader.process.wait(10) == 141
        assert reader.process.stderr is not None
        assert reader.process.stderr.read() == b""
    origin.go.set()


def test_row_37_a_wrong_digest_is_an_error_after_the_last_byte(origin: Origin) -> None:
    origin.size = 3 * MiB + 1
    right = hashlib.sha256(origin.content).hexdigest()
    for digest, code in ((right, ExitCode.OK), ("0" * 64, ExitCode.DIGEST)):
        with Reader(origin, ("--sha256", digest)) as reader:
            assert reader.rest() == code
            assert reader.at == origin.size
            assert ("expected 000" in reader.said()) == (code != 0)


def test_row_37_the_statistics_are_truthful(origin: Origin) -> None:
    """All but the byte that everything waits for comes first: then that is what they say."""
    origin.size, hole = 4 * MiB, 3 * STEP
    held = threading.Event()

    def before(asked: Asked, at: int) -> None:
        if at <= hole < at + STEP and not held.wait(10):
            raise OSError

    origin.before = before
    made = Options(NetworkOptions(netrc=False, proxy=""), TransferOptions(connections=2))
    with rdl.stream(origin.url, options=made) as stream:
        assert stream.read(1) == b"\0"
        assert until(lambda: origin.sent >= origin.size - MiB)
        fetched = resting(lambda: origin.sent)
        early = stream.statistics
        held.set()
        assert stream.readall() == origin.content[1:]
        found = stream.statistics
    furthest = max(stop_asked(asked) or 0 for asked in origin.log) - hole
    assert early.out_of_order >= 2
    assert early.most_out_of_order == furthest
    assert found.most_out_of_order == furthest
    assert fetched >= furthest - MiB
    assert found.bytes == origin.size


def test_row_37_one_connection_is_never_out_of_order(origin: Origin) -> None:
    origin.size = 20 * MiB
    made = Options(NetworkOptions(netrc=False, proxy=""), TransferOptions(connections=1))
    with rdl.stream(origin.url, options=made) as stream:
        assert stream.readall() == origin.content
        found = stream.statistics
    assert (found.bytes, found.out_of_order, found.most_out_of_order) == (origin.size, 0, 0)


# A source that fails never ends with 0


def test_a_cut_body_that_nothing_joins_is_an_error(origin: Origin) -> None:
    origin.size, origin.etag, origin.broken_at = MiB, "", 300_000
    with Reader(origin, ()) as reader:
        assert reader.rest() == ExitCode.NETWORK
        assert reader.at <= 300_000
    assert len(origin.log) == 1


def test_a_file_that_changes_under_the_reader_is_an_error(origin: Origin) -> None:
    origin.size = 32 * MiB
    with Reader(origin, ("-x", "2")) as reader:
        reader.take(2 * MiB)
        origin.salt, origin.etag = 1 << 40, '"two"'
        assert reader.rest() == ExitCode.CHANGED
        assert 2 * MiB <= reader.at < origin.size


def test_a_source_that_is_not_there_is_an_error(origin: Origin) -> None:
    origin.always = 404
    ended = cat(origin.url)
    assert (ended.returncode, ended.stdout) == (ExitCode.HTTP_STATUS, b"")
    assert len(origin.log) == 1
    with socket.socket() as bound:  # and does not listen
        bound.bind(("127.0.0.1", 0))
        ended = cat(f"http://127.0.0.1:{bound.getsockname()[1]}/f", "--retry", "0")
    assert (ended.returncode, ended.stdout) == (ExitCode.NETWORK, b"")
    assert ended.stderr.startswith(b"rdl: ")


# Little room

ROOM = 240 * MiB
"""Of addresses. 190 MiB are needed: 70 by Python with what it imports, 8 for the stack of each of
ten threads, the rest for window and buffers. One arena, because glibc sets 64 MiB of addresses
aside for that of each thread."""


def test_a_slow_reader_in_little_room(origin: Origin) -> None:
    origin.size = 192 * MiB
    script = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({ROOM}, {ROOM}))"
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1"}
    with Reader(origin, ("-x", "8"), script, env=environment) as reader:
        begun = time.monotonic()
        for number in range(16):  # a MiB a second
            reader.take(64 * KiB)
            time.sleep(max(0.0, begun + number / 16 - time.monotonic()))
        assert fetched(origin) - reader.at <= window(8) + UNSEEN
        assert reader.rest() == 0, reader.said()
    assert reader.at == origin.size
