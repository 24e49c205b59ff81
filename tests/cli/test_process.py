"""rdl as a process: signals, streams that fail, and what is imported."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import rdl
from tests.support.json_schema import parse_all

ROOT = Path(__file__).parents[2]
REAL = [sys.executable, "-m", "rdl"]
STAND_IN = [sys.executable, "-m", "tests.cli.stand_in"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}


def run(
    *arguments: str, program: list[str] = STAND_IN, shell: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run to the end; `shell` is what follows the command on a shell's line."""
    command = [*program, *arguments]
    if shell:
        command = ["bash", "-c", f'"$@" {shell}', "bash", *command]
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=ENVIRONMENT,
    )


@contextmanager
def running(*arguments: str, ignore: bool = False) -> Iterator[subprocess.Popen[str]]:
    """A process that told its first event."""
    command = [*STAND_IN, *arguments, "--progress", "json"]
    if ignore:
        command = ["bash", "-c", 'trap "" HUP; exec "$@"', "bash", *command]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    try:
        assert process.stderr is not None
        assert '"start"' in process.stderr.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


def test_the_version_without_click_and_typing() -> None:
    code = (
        "import sys; before = set(sys.modules); from rdl.cli.main import main;"
        "code = main(['--version']); new = set(sys.modules) - before;"
        "sys.exit(code or ', '.join({'click', 'typing'} & new) or 0)"
    )
    ended = run(program=[sys.executable, "-c", code])
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"rdl {rdl.__version__}\n", "")


@pytest.mark.parametrize(
    "arguments", [["--help"], ["get", "--help"], ["get", "http://h/"], ["--version", "get"]]
)
def test_help_and_refusals_import_nothing_heavy(arguments: list[str]) -> None:
    code = (
        f"import sys; from rdl.cli.main import main; main({arguments!r});"
        "heavy = {'httpx', 'rich', 'ssl', 'asyncio', 'h11', 'pyroaring'} & set(sys.modules);"
        "sys.exit(', '.join(heavy) or 0)"
    )
    ended = run(program=[sys.executable, "-c", code])
    assert ended.returncode == 0, ended.stderr


def test_the_module_is_the_command() -> None:
    ended = run("get", "http://h/", program=REAL)
    assert ended.returncode == 2
    assert ended.stderr == (
        "rdl: http://h/: the URL ends without a file name\nrdl: hint: -o FILE gives one\n"
    )


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_saves_and_says_so(name: str, code: int) -> None:
    with running("get", "http://endless/f") as process:
        process.send_signal(getattr(signal, name))
        _, err = process.communicate(timeout=20)
        assert process.returncode == code
    last = parse_all(err)[-1]
    assert (last["event"], last["reason"], last["exit_code"]) == ("error", "interrupted", code)


def test_what_is_kept_is_said_in_words() -> None:
    script = (
        "import os, signal, sys, threading; from tests.cli import stand_in;"
        "threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start();"
        "sys.exit(stand_in.run())"
    )
    arguments = ["http://endless/f", "http://ok/g", "http://ok/h", "--progress", "none"]
    ended = run(*arguments, program=[sys.executable, "-c", script])
    assert ended.returncode == 130
    one, total = ended.stderr.splitlines()
    assert one == ("rdl: interrupted: 300 MiB of the 1.2 GiB of f kept; the same command continues")
    assert total.startswith("rdl: 0 of 3 files complete")
    assert total.endswith("interrupted, the same command continues")


def test_a_second_ctrl_c_ends_at_once() -> None:
    with running("get", "http://stubborn/f") as process:
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 130


def test_a_terminal_gets_a_bar_and_its_cursor_back() -> None:
    terminal, side = pty.openpty()
    process = subprocess.Popen(
        [*STAND_IN, "get", "http://stubborn/f"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=side,
        env=ENVIRONMENT | {"TERM": "xterm"},
    )
    os.close(side)
    seen = b""
    try:
        while b"GiB" not in seen:
            assert select.select([terminal], [], [], 20)[0]
            seen += os.read(terminal, 4096)
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 130
        seen += os.read(terminal, 4096)
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
    assert b"\x1b[?25l" in seen
    assert seen.endswith(b"\x1b[?25h\r\n")


def test_an_ignored_hangup_stays_ignored() -> None:
    with running("get", "http://endless/f", ignore=True) as process:
        process.send_signal(signal.SIGHUP)
        time.sleep(0.3)
        assert process.poll() is None


def test_ctrl_c_before_the_session_is_quiet() -> None:
    script = (
        "import os, signal, sys; from rdl.cli.main import main; from rdl.cli.commands import get;"
        "get.open_session = lambda options: os.kill(os.getpid(), signal.SIGTERM);"
        "sys.exit(main(['http://h/f']))"
    )
    ended = run(program=[sys.executable, "-c", script])
    assert (ended.returncode, ended.stdout, ended.stderr) == (143, "", "")


@pytest.mark.parametrize("arguments", [["http://proved/f", "--json"], ["http://h/f", "--dry-run"]])
@pytest.mark.parametrize(
    ("shell", "why"), [(">/dev/full", "No space left on device"), (">&-", "closed")]
)
def test_stdout_that_fails_is_exit_3(arguments: list[str], shell: str, why: str) -> None:
    ended = run(*arguments, "--progress", "none", shell=shell)
    assert ended.returncode == 3
    assert ended.stderr.splitlines()[-1] == f"rdl: stdout: {why}"


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["get", "--help"]])
def test_help_on_a_full_disk_is_exit_3(arguments: list[str]) -> None:
    ended = run(*arguments, program=REAL, shell=">/dev/full")
    assert (ended.returncode, ended.stderr) == (3, "rdl: stdout: No space left on device\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["get", "http://proved/f", "--json", "--quiet"],
        ["config", "show"],
        ["completion", "bash"],
        ["status", "--help"],
        ["--version"],
    ],
)
def test_a_reader_that_went_away_ends_it_quietly(arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = subprocess.run(
            [*STAND_IN, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=subprocess.PIPE,
            timeout=30,
            check=False,
            env=ENVIRONMENT,
        )
    finally:
        os.close(writing)
    assert (ended.returncode, ended.stderr) == (141, b"")


def test_a_worse_failure_wins_over_stdout() -> None:
    ended = run("http://missing/f", "--json", shell=">/dev/full")
    assert ended.returncode == 8


@pytest.mark.parametrize("shell", ["2>/dev/full", "2>&-", "2> >(exec true)", "2>&- >&- <&-"])
@pytest.mark.parametrize("progress", ["lines", "bar", "json", "none"])
def test_a_broken_stderr_stops_nothing(shell: str, progress: str) -> None:
    ended = run("http://proved/f", "--progress", progress, shell=shell)
    assert ended.returncode == 0
    assert ended.stdout == ""


def test_stderr_that_cannot_encode() -> None:
    environment = {**ENVIRONMENT, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for progress in ("bar", "lines"):
        ended = subprocess.run(
            [*STAND_IN, "http://proved/%E6%96%87", "--progress", progress],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=30,
            check=False,
            env=environment,
        )
        assert ended.returncode == 0
        assert ended.stderr.isascii()
        assert b"rdl: \\u6587: 1.2 GiB in 9.0 s" in ended.stderr
