"""Members of archives on a loopback server: what is asked for, and what stands there at the end."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rdl.errors import ExitCode
from tests.doors.packing import made_tar, made_zip
from tests.scenarios.coded import Asked, Holding, KiB, MiB
from tests.scenarios.reader import PATIENCE, QUIET_NETWORK, RDL
from tests.support.waiting import until

SOURCE = random.Random(1)
BIG = SOURCE.randbytes(12 * MiB)
SMALL = {f"data/{number:04}.bin": SOURCE.randbytes(10_000) for number in range(2000)}
PACKED = made_zip(SMALL | {"big": BIG}, zipfile.ZIP_STORED)
ONE = "data/1234.bin"


@pytest.fixture
def origin() -> Iterator[Holding]:
    with Holding(data=PACKED) as server:
        yield server


def rdl(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*RDL, *words, *QUIET_NETWORK],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
        cwd=cwd,
    )


def asked(origin: Holding) -> list[str]:
    return [one.fields["range"] for one in origin.log]


def test_a_listing_is_two_requests_and_little_more_than_the_directory(origin: Holding) -> None:
    ended = rdl("ls", origin.url)
    names = [line.split()[-1].decode() for line in ended.stdout.splitlines()]
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert names == [*SMALL, "big"]
    assert len(origin.log) <= 2
    assert origin.sent < 256 * KiB


def test_a_member_is_one_request_more(origin: Holding) -> None:
    """python-remotezip takes three as well."""
    ended = rdl("cat", origin.url, "--member", ONE)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, SMALL[ONE], b"")
    assert len(origin.log) <= 3
    assert origin.sent < 512 * KiB


def test_a_large_member_comes_over_several_connections(origin: Holding, tmp_path: Path) -> None:
    ended = rdl("get", origin.url, "--member", "big", "-o", "kept", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "kept").read_bytes() == BIG
    assert os.listdir(tmp_path) == ["kept"]
    assert len({one.peer for one in origin.log}) > 1
    assert origin.sent < len(BIG) + MiB


def test_a_compressed_tar_is_read_once(origin: Holding) -> None:
    origin.data = made_tar(list(SMALL.items())[:200], "gz")
    origin.size = len(origin.data)
    for words in (("ls",), ("cat", "--member", "data/0007.bin")):
        origin.log.clear()
        ended = rdl(words[0], origin.url, *words[1:])
        assert ended.returncode == 0, ended.stderr
        assert origin.sent < len(origin.data) + 512 * KiB
    assert ended.stdout == SMALL["data/0007.bin"]


@pytest.mark.parametrize(
    "switches",
    [{"ranges": False}, {"etag": ""}, {"ranges": False, "lengths": False}],
    ids=["no ranges", "no validator", "no length"],
)
def test_a_server_that_gives_little_gives_the_member(
    origin: Holding, switches: dict[str, object]
) -> None:
    origin.replace(**switches)
    ended = rdl("cat", origin.url, "--member", ONE)
    assert (ended.returncode, ended.stdout) == (0, SMALL[ONE]), ended.stderr


def test_an_archive_that_is_replaced_meanwhile_gives_nothing(
    origin: Holding, tmp_path: Path
) -> None:
    """The directory is of one version, and the member would be of another."""

    def before(one: Asked, _at: int) -> None:
        if one is origin.log[0]:
            origin.etag = '"two"'
            origin.data = made_zip({"big": BIG[::-1]}, zipfile.ZIP_STORED) + bytes(len(PACKED))

    origin.before = before
    origin.etag = '"one"'
    ended = rdl("get", origin.url, "--member", "big", "-o", "kept", cwd=tmp_path)
    assert ended.returncode == ExitCode.CHANGED, ended.stderr
    assert os.listdir(tmp_path) == []


def test_a_body_that_is_cut_is_asked_for_again_or_is_an_error(
    origin: Holding, tmp_path: Path
) -> None:
    origin.broken_at = PACKED.index(BIG[MiB : MiB + 100])
    words = ("--member", "big", "-o", "kept", "--retry", "1")
    ended = rdl("get", origin.url, *words, cwd=tmp_path)
    assert ended.returncode == ExitCode.NETWORK, ended.stderr
    assert os.listdir(tmp_path) == []
    origin.broken_at = None
    assert rdl("get", origin.url, *words, cwd=tmp_path).returncode == 0
    assert (tmp_path / "kept").read_bytes() == BIG


@pytest.mark.parametrize("command", ["ls", "cat", "get"])
def test_ctrl_c_ends_it_and_nothing_is_left(origin: Holding, tmp_path: Path, command: str) -> None:
    origin.hold_after = 64 * KiB if command == "ls" else 2 * MiB
    words = [] if command == "ls" else ["--member", "big"]
    process = subprocess.Popen(
        [*RDL, command, origin.url, *words, *QUIET_NETWORK],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    )
    try:
        assert until(origin.held.is_set)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == ExitCode.INTERRUPTED, said
    assert b"Traceback" not in said
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("words", [("ls",), ("cat", "--member", "big"), ("get", "--member", "big")])
def test_max_time_ends_it(origin: Holding, tmp_path: Path, words: tuple[str, ...]) -> None:
    origin.hold_after = 64 * KiB
    ended = rdl(words[0], origin.url, *words[1:], "--max-time", "0.2", cwd=tmp_path)
    assert ended.returncode == ExitCode.OUT_OF_TIME, ended.stderr
    assert os.listdir(tmp_path) == []


def test_a_reader_that_goes_away_ends_it_quietly(origin: Holding) -> None:
    for words in (f"ls {origin.url}", f"cat {origin.url} --member big"):
        line = " ".join((*RDL, words, "--no-netrc --proxy ''"))
        ended = subprocess.run(
            ["bash", "-c", f"{line} | head -c 100 >/dev/null; echo ${{PIPESTATUS[0]}}"],
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        assert (ended.stdout, ended.stderr) == (b"141\n", b"")


def test_memory_stays_bounded(origin: Holding) -> None:
    """96 MiB of a member; what is kept of the archive is 32 MiB."""
    origin.data = made_zip({"huge": BIG * 8}, zipfile.ZIP_STORED)
    origin.size = len(origin.data)
    script = (
        "import sys; from rdl.cli.main import main; code = main(); "
        "lines = open('/proc/self/status').readlines(); "
        "print([line for line in lines if 'VmHWM' in line][0].split()[1], file=sys.stderr); "
        "sys.exit(code)"
    )
    ended = subprocess.run(
        [RDL[0], "-c", script, "cat", origin.url, "--member", "huge", *QUIET_NETWORK],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stderr) << 10 < 160 * MiB


def test_an_empty_zip_has_no_members_and_a_digest_in_the_url_is_refused(origin: Holding) -> None:
    wrong = f"{origin.url}#sha256={'0' * 64}"
    for words in (["ls", wrong], ["cat", wrong, "--member", ONE]):
        ended = rdl(*words)
        assert (ended.returncode, ended.stdout) == (ExitCode.USAGE, b"")
        assert b"of the whole archive" in ended.stderr
    assert origin.log == []
    origin.data = made_zip({}, zipfile.ZIP_STORED)
    origin.size = len(origin.data)
    ended = rdl("ls", origin.url)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")
