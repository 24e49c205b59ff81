"""`get --exec`: a program gets the bytes, and fails the command; row 38."""

from __future__ import annotations

import hashlib
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from rdl.cli import executing
from rdl.cli.executing import Program
from rdl.errors import Interrupted
from tests.scenarios.coded import KiB, MiB, Origin
from tests.support.deltas import mixed
from tests.support.folders import Folder
from tests.support.program import RDL, rdl
from tests.support.waiting import until

DATA = mixed(MiB + 7)
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def folder(folder: Folder) -> Folder:
    (folder.root / "f").write_bytes(DATA)
    (folder.root / "empty").write_bytes(b"")
    return folder


@pytest.mark.parametrize(
    ("words", "program", "ends"),
    [
        ((), "sha256sum", (0, f"{SHA256}  -\n", "")),
        (("-r", "5-9"), "cat | wc -c", (0, "5\n", "")),
        (("--sha256", SHA256), 'wc -c; echo "$RDL_URL" >&2', (0, f"{len(DATA)}\n", "/f\n")),
        ((), "head -c 3 | wc -c", (0, "3\n", "")),
        (("--sha256", SHA256), "head -c 3 | wc -c", (3, "3\n", "did not read all")),
        ((), "wc -c; exit 7", (3, f"{len(DATA)}\n", "--exec: exit code 7\n")),
        ((), "head -c 3 >/dev/null; exit 7", (3, "", "--exec: exit code 7\n")),
        ((), "kill -9 $$", (3, "", "--exec: ended by signal 9\n")),
        ((), "no-such-program-here", (3, "", "--exec: exit code 127\n")),
        (("--sha256", "0" * 64), "cat >/dev/null; echo end", (10, "", "sha256 is")),
    ],
)
def test_row_38_what_a_program_is_fed_with(
    folder: Folder, tmp_path: Path, words: tuple[str, ...], program: str, ends: tuple[int, str, str]
) -> None:
    code, out, err = ends
    ended = rdl(tmp_path, "get", f"{folder.url}/f", *words, "--exec", program)
    assert (ended.returncode, ended.stdout) == (code, out)
    assert err in ended.stderr
    assert "Traceback" not in ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["served"]


def test_row_38_of_nothing_it_gets_nothing(folder: Folder, tmp_path: Path) -> None:
    ended = rdl(tmp_path, "get", f"{folder.url}/empty", "--exec", "wc -c")
    assert (ended.returncode, ended.stdout) == (0, "0\n")
    ended = rdl(tmp_path, "get", f"{folder.url}/none", "--exec", "echo begun")
    assert (ended.returncode, ended.stdout) == (8, "")


def test_row_38_a_cut_body_is_no_end(tmp_path: Path) -> None:
    with closing(Origin(size=MiB, broken_at=300 * KiB)) as origin:
        words = "--retry", "0", "-x", "1", "--exec", "cat >/dev/null; echo end"
        ended = rdl(tmp_path, "get", origin.url, *words)
    assert (ended.returncode, ended.stdout) == (4, "")


@contextmanager
def feeding(
    folder: Folder, place: Path, program: str
) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes], Path]]:
    """rdl, slowly; what the program prints after its number; and where /proc has it."""
    words = "get", f"{folder.url}/f", "--limit-rate", "100K", "--exec", program
    with subprocess.Popen(
        [*RDL, *words], cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        yield process, process.stdout, Path("/proc", process.stdout.readline().decode().strip())


def test_row_38_ctrl_c_ends_the_program(folder: Folder, tmp_path: Path) -> None:
    with feeding(folder, tmp_path, "echo $$; exec cat >/dev/null") as (process, _, child):
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert until(lambda: not child.exists())


@pytest.mark.parametrize(
    ("second", "end"),
    [
        (signal.SIGINT, "sleep 60"),
        (signal.SIGTERM, "while [ ! -e sent ]; do sleep 0.02; done; kill -9 $$"),
    ],
    ids=["at once", "not at once"],
)
def test_a_second_signal_leaves_no_program(
    folder: Folder, tmp_path: Path, second: signal.Signals, end: str
) -> None:
    """One that is asked to end and takes its time: until a second Ctrl-C, or until it has ended."""
    trap = f"trap 'echo asked; {end}' TERM; echo $$; sleep 60 & wait"
    with feeding(folder, tmp_path, trap) as (process, out, child):
        process.send_signal(signal.SIGINT)
        assert out.readline() == b"asked\n"
        process.send_signal(second)
        (tmp_path / "sent").touch()  # before that rdl may have ended, and the signal ends Python
        assert process.wait(20) == 130
        assert until(lambda: not child.exists())


def test_a_signal_while_it_is_started_waits_for_that(monkeypatch: pytest.MonkeyPatch) -> None:
    def starting(*words: Any, **files: Any) -> subprocess.Popen[bytes]:
        program.interrupt("SIGTERM")
        return start(*words, **files)

    start = executing.start
    monkeypatch.setattr(executing, "start", starting)
    with pytest.raises(Interrupted), Program("sleep 60", "u") as program:
        program.write(memoryview(b"a"))
    assert program._process is not None
    assert program._process.returncode == -signal.SIGTERM


@pytest.mark.parametrize(
    "words",
    [
        ("-o", "x"),
        ("--json",),
        ("-i", "list"),
        ("--dry-run",),
        ("--member", "a"),
        ("-d", "x"),
        ("--resume", "x"),
    ],
)
def test_what_says_nothing_beside_it(
    folder: Folder, tmp_path: Path, words: tuple[str, ...]
) -> None:
    ended = rdl(tmp_path, "get", f"{folder.url}/f", "--exec", "cat", *words)
    assert ended.returncode == 2
    assert ended.stdout == "" or "--json" in words
    assert folder.log == []
