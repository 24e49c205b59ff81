"""`--on-complete`: a command for each complete file, with facts and no text of anybody else's."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import cast

import pytest

from rdl.cli import completing, shell
from rdl.cli.completing import Completing
from rdl.cli.report import Report
from rdl.core.events import Result
from tests.support.folders import Folder
from tests.support.program import RDL, rdl
from tests.support.waiting import until

DATA = b"some bytes\n" * 1000
SHA256 = hashlib.sha256(DATA).hexdigest()
ALL = 'printf "%s|" "$RDL_URL" "$RDL_PATH" "$RDL_REASON" "$RDL_BYTES" "$RDL_DIGESTS" "$RDL_TRUST"'


@pytest.fixture
def folder(folder: Folder) -> Folder:
    for name in ("a", "b", "c"):
        (folder.root / name).write_bytes(DATA)
    return folder


def test_it_has_the_facts(folder: Folder, tmp_path: Path) -> None:
    words = "get", f"{folder.url}/a?k=secret", "--sha256", SHA256, "--on-complete", f"{ALL} > told"
    assert rdl(tmp_path, *words).returncode == 0
    told = (tmp_path / "told").read_text().split("|")[:-1]
    url = f"{folder.url}/a?k=secret"
    facts = [str(tmp_path / "a"), "complete", str(len(DATA)), f"sha256:{SHA256}", "T4"]
    assert told == [url, *facts]
    assert rdl(tmp_path, *words).returncode == 0
    assert (tmp_path / "told").read_text().split("|")[2] == "unchanged"


def test_no_name_is_a_word_of_the_shell(folder: Folder, tmp_path: Path) -> None:
    name = "x$(touch evil);`touch evil`'\"&&touch evil"
    (tmp_path / "list").write_text(f"{folder.url}/a\n\tout={name}\n")
    ended = rdl(tmp_path, "get", "-i", "list", "--on-complete", 'cp "$RDL_PATH" copied')
    assert ended.returncode == 0
    assert (tmp_path / "copied").read_bytes() == DATA
    assert sorted(os.listdir(tmp_path)) == sorted(["copied", "list", "served", name])


def test_a_link_leads_where_the_system_says(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "far" / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to("far/inner")
    words = "get", f"{folder.url}/a", "-o", "link/../a", "--on-complete", 'cp "$RDL_PATH" copied'
    assert rdl(tmp_path, *words).returncode == 0
    assert (tmp_path / "copied").read_bytes() == DATA


def test_each_complete_file_once_and_no_other(folder: Folder, tmp_path: Path) -> None:
    urls = [f"{folder.url}/{name}" for name in ("a", "missing", "b", "c")]
    words = "get", *urls, "--json", "-q", "--on-complete", 'echo "$RDL_PATH"'
    ended = rdl(tmp_path, *words, "--retry", "0")
    assert ended.returncode == 8
    printed = [line for line in ended.stderr.splitlines() if line.startswith("/")]
    assert sorted(map(os.path.basename, printed)) == ["a", "b", "c"], "and not among the results"
    results = [json.loads(line) for line in ended.stdout.splitlines()]
    assert sorted(one["exit_code"] for one in results) == [0, 0, 0, 8]


def test_its_failing_is_the_files(folder: Folder, tmp_path: Path) -> None:
    words = "get", f"{folder.url}/a", f"{folder.url}/b", "--json", "--on-complete"
    ended = rdl(tmp_path, *words, 'case "$RDL_PATH" in */b) exit 7;; esac')
    assert ended.returncode == 3
    assert "rdl: b: --on-complete: exit code 7\n" in ended.stderr
    assert "rdl: hint: the file is complete; the same command runs it again\n" in ended.stderr
    wrong = next(
        one for line in ended.stdout.splitlines() if (one := json.loads(line))["exit_code"]
    )
    assert (wrong["reason"], wrong["completeness"]) == ("program", "confirmed")
    assert rdl(tmp_path, *words, "kill -9 $$").stderr.count("--on-complete: ended by signal 9") == 2
    assert rdl(tmp_path, *words, "true").returncode == 0
    assert len([one for one in folder.log if one.sent]) == 2


class Heard:
    """In place of a session and a report."""

    def __init__(self) -> None:
        self.results: list[Result] = []

    def done(self, result: Result) -> None:
        self.results.append(result)

    def interrupt(self, signal: str) -> None:
        raise AssertionError(signal)


def test_one_that_cannot_be_started() -> None:
    heard = Heard()
    with Completing(f"true {'x' * 140_000}", heard, cast(Report, heard), {}) as commands:
        commands.done(Result("u", "p"))
    assert heard.results[0].exit_code == 3
    assert heard.results[0].error == "--on-complete: Argument list too long"


def test_what_has_ended_well_when_all_is_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = Heard()
    with Completing("true", heard, cast(Report, heard), {}) as commands:
        monkeypatch.setattr(
            completing, "ended_well", lambda what, code: setattr(commands, "_signal", "SIGINT")
        )
        commands.done(Result("u", "p"))
        assert until(lambda: heard.results)
        commands.done(Result("u", "q"))
    assert [(one.path, one.exit_code) for one in heard.results] == [("p", 0), ("q", 130)]


def test_a_plan_runs_nothing(folder: Folder, tmp_path: Path) -> None:
    words = "get", f"{folder.url}/a", "--dry-run", "--on-complete", "touch ran"
    assert rdl(tmp_path, *words).returncode == 0
    assert os.listdir(tmp_path) == ["served"]


@pytest.mark.parametrize("words", [("--exec", "cat"), ("-o", "-")], ids=" ".join)
def test_without_a_file_there_is_none_to_tell_of(tmp_path: Path, words: tuple[str, ...]) -> None:
    ended = rdl(tmp_path, "get", "http://127.0.0.1:1/a", *words, "--on-complete", "true")
    assert ended.returncode == 2
    assert "--on-complete" in ended.stderr


def test_ctrl_c_ends_it_and_begins_no_other(folder: Folder, tmp_path: Path) -> None:
    words = "get", f"{folder.url}/a", f"{folder.url}/b", "--on-complete"
    with subprocess.Popen(
        [*RDL, *words, "echo $$ >> pids; exec sleep 60"], cwd=tmp_path, stderr=subprocess.PIPE
    ) as process:
        pids = tmp_path / "pids"
        assert until(lambda: pids.exists() and pids.read_text().endswith("\n"))
        child = Path("/proc", pids.read_text().strip())
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert until(lambda: not child.exists())
        assert pids.read_text().count("\n") == 1
    assert rdl(tmp_path, *words, "rm pids").returncode == 3, "there is one to remove"


def test_a_second_ctrl_c_leaves_no_command(folder: Folder, tmp_path: Path) -> None:
    command = "trap 'echo asked; sleep 60' TERM; echo $$; sleep 60 & wait"
    words = "get", f"{folder.url}/a", "-q", "--on-complete", command
    with subprocess.Popen([*RDL, *words], cwd=tmp_path, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        group = int(process.stderr.readline())
        process.send_signal(signal.SIGINT)
        assert process.stderr.readline() == b"asked\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert until(lambda: not alive(group))


def test_what_runs_when_rdl_ends_is_ended() -> None:
    one = shell.start("sleep 60", {}, stdin=subprocess.DEVNULL)
    shell._end_all()
    assert one.wait(20) == -signal.SIGKILL
    shell.stop(one)
    assert one not in shell._running


def alive(group: int) -> bool:
    """Whether there is any process of it that is no zombie."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, its, *_ = path.read_text().rpartition(")")[2].split()
            if int(its) == group and state != "Z":
                return True
    return False
