"""What the environment says: RDL_ variables, and how terminals and their absence are treated."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import pytest

from rdl.cli.environment import PREFERENCES, VARIABLES
from rdl.cli.front import group
from rdl.cli.options import get_parameters
from rdl.options import NetworkOptions, Options
from rdl.transport.tls import make_context
from tests.cli.conftest import Answer, Rdl
from tests.cli.test_status import MiB, partial
from tests.support.certificates import make_certificates

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs" / "environment.md").read_text()
U = "http://ok/f.iso"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("RDL_")]:
        monkeypatch.delenv(name)


def options_of(answer: Answer) -> Options:
    assert answer.session is not None, answer.err
    return answer.session.targets[0].options


# The table


def test_the_table_names_every_variable_and_nothing_else() -> None:
    rows = re.findall(r"^\| `(RDL_\w+)` \| `(--[\w-]+)`", DOCS, re.MULTILINE)
    options = {option.name: option for option in get_parameters()}
    assert [name for name, _ in rows] == sorted(str(options[one].envvar) for one in PREFERENCES)
    for variable, name in rows:
        (option,) = [one for one in options.values() if one.envvar == variable]
        assert name in option.opts
        assert name == "--" + variable.removeprefix("RDL_").lower().replace("_", "-")


def test_a_variable_is_the_same_in_every_command() -> None:
    own = {one.name: (one.envvar, one.opts) for one in get_parameters()}
    for command in group().commands.values():
        for one in command.params:
            if one.envvar or (one.name in PREFERENCES and isinstance(one, click.Option)):
                assert (one.envvar, one.opts) == own[one.name]


def test_nothing_that_trusts_more_or_says_what_to_fetch_is_among_them() -> None:
    forbidden = "insecure allow_ user headers cert key output directory urls ranges checksum sha256"
    forbidden += " restart no_clobber adopt input_file json dry_run"
    for name in forbidden.split():
        assert not [one for one in PREFERENCES if one == name or one.startswith("allow_")]


# Values

GOOD = [
    ("RDL_CONNECTIONS", "3", "transfer.connections", 3),
    ("RDL_RETRY", "0", "transfer.retry", 0),
    ("RDL_RETRY_MAX_TIME", "1.5", "transfer.retry_max_time", 1.5),
    ("RDL_MAX_TIME", "9", "transfer.max_time", 9.0),
    ("RDL_MIN_SPLIT_SIZE", "1M", "transfer.min_split", MiB),
    ("RDL_MAX_FILESIZE", "2G", "transfer.max_filesize", 2 << 30),
    ("RDL_BLOCK_SIZE", "1M", "transfer.block_size", MiB),
    ("RDL_STRICT", "1", "transfer.strict", True),
    ("RDL_STRICT", "no", "transfer.strict", False),
    ("RDL_ON_CHANGE", "fail", "transfer.on_change", "fail"),
    ("RDL_PREALLOCATE", "none", "file.preallocate", "none"),
    ("RDL_KEEP_TIME", "no", "file.keep_time", False),
    ("RDL_TIMEOUT", "7", "network.timeout", 7.0),
    ("RDL_CONNECT_TIMEOUT", "8", "network.connect_timeout", 8.0),
    ("RDL_USER_AGENT", "me/1", "network.user_agent", "me/1"),
    ("RDL_PROXY", "h:3128", "network.proxy", "http://h:3128"),
    ("RDL_NOPROXY", "a,b", "network.noproxy", ("a", "b")),
    ("RDL_CACERT", __file__, "network.cacert", Path(__file__)),
    ("RDL_NETRC_FILE", __file__, "network.netrc_file", Path(__file__)),
]


@pytest.mark.parametrize("case", GOOD, ids=lambda case: str(case[0]))
def test_a_variable_is_the_option(
    rdl: Rdl, monkeypatch: pytest.MonkeyPatch, case: tuple[str, str, str, object]
) -> None:
    name, text, place, value = case
    monkeypatch.setenv(name, text)
    found: Any = options_of(rdl("get", U))
    for part in place.split("."):
        found = getattr(found, part)
    assert found == value


def test_what_a_session_shares(rdl: Rdl, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("LIMIT_RATE", "2M"), ("LIMIT_REQUESTS", "3"), ("PARALLEL", "2")):
        monkeypatch.setenv(f"RDL_{name}", value)
    session = rdl("get", U).session
    assert session is not None
    assert (session.asked.limit_rate, session.asked.limit_requests) == (2 * MiB, 3.0)
    assert session.asked.parallel == 2


def test_an_empty_variable_is_as_if_unset(rdl: Rdl, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = options_of(rdl("get", U))
    for option in get_parameters():
        if option.envvar:
            monkeypatch.setenv(str(option.envvar), "")
    assert options_of(rdl("get", U)) == plain


BAD = [
    ("RDL_RETRY", "many", "many: not a whole number from 0 to 1000000"),
    ("RDL_LIMIT_RATE", "fast", "fast: not a size (like 65536, 512K, 8M, 1.5G)"),
    ("RDL_STRICT", "perhaps", "perhaps: neither yes nor no (like 1 or 0)"),
    ("RDL_VERBOSE", "much", "much: not a whole number from 0 to 9"),
    ("RDL_PROGRESS", "x", "'x' is not one of 'auto', 'bar', 'lines', 'json', 'none'"),
    ("RDL_PROXY", "ftp://u:canary@h", "not an http or https proxy (like http://host:3128)"),
    ("RDL_CACERT", "/gone", "/gone: no such file"),
    ("RDL_USER_AGENT", "a\x1b[31mb", None),
]


@pytest.mark.parametrize(("name", "text", "why"), BAD)
def test_a_bad_value_is_one_line_that_names_the_variable(
    rdl: Rdl, monkeypatch: pytest.MonkeyPatch, name: str, text: str, why: str | None
) -> None:
    monkeypatch.setenv(name, text)
    answer = rdl("get", U)
    assert (answer.code, answer.out, answer.session) == (2, "", None)
    assert answer.err.startswith(f"rdl: {name}: ")
    assert answer.err.count("\n") == 1
    assert why is None or answer.err == f"rdl: {name}: {why}\n"
    assert "canary" not in answer.err
    assert "\x1b" not in answer.err


def test_an_option_wins_also_over_a_bad_value(rdl: Rdl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RDL_RETRY", "many")
    monkeypatch.setenv("RDL_KEEP_TIME", "0")
    options = options_of(rdl("get", U, "--retry", "2", "--keep-time"))
    assert (options.transfer.retry, options.file.keep_time) == (2, True)


def test_a_wrong_option_is_still_called_by_its_name(
    rdl: Rdl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RDL_RETRY", "3")
    assert rdl("get", U, "--retry", "x").err.startswith("rdl: --retry x: ")


def test_a_command_without_the_option_does_not_look(
    rdl: Rdl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RDL_RETRY", "many")
    monkeypatch.setenv("RDL_MIN_SPLIT_SIZE", "x")
    monkeypatch.setenv("RDL_PROGRESS", "json")
    assert "RDL" not in rdl("info", "http://127.0.0.1:1/").err
    assert rdl("status", "gone").err.startswith("rdl: gone: ")
    monkeypatch.delenv("RDL_RETRY")
    assert "RDL" not in rdl("cat", "http://127.0.0.1:1/", "--retry", "0").err


def test_contradictions_are_for_the_command_line(rdl: Rdl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RDL_NETRC_FILE", "/gone")
    assert rdl("get", U, "--no-netrc").code == 0
    assert rdl("get", U, "--no-netrc", "--netrc-file", __file__).code == 2


def test_quiet_and_verbose(rdl: Rdl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RDL_QUIET", "1")
    assert rdl("get", U).err == ""
    assert "parallel" in rdl("get", U, "-v").err
    monkeypatch.delenv("RDL_QUIET")
    for name, value in (("RDL_VERBOSE", "1"), ("RDL_PROGRESS", "bar")):
        monkeypatch.setenv(name, value)
        assert rdl("get", U).err != ""
        assert rdl("get", U, "-q").err == ""


def test_events_by_variable_are_also_those_of_usage_errors(
    rdl: Rdl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RDL_PROGRESS", "json")
    for arguments in (["get", "--retry", "x"], ["http://ok/f", "--retry", "x"]):
        assert json.loads(rdl(*arguments).err)["error"].startswith("--retry x: ")
    assert rdl("get", "--progress", "none", "--retry", "x").err.startswith("rdl: --retry x: ")


def test_ssl_cert_file_says_who_to_trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    monkeypatch.setenv("SSL_CERT_FILE", str(make_certificates(tmp_path).authority))
    assert len(make_context(NetworkOptions()).get_ca_certs()) == 1


# Variables that nobody reads


def test_the_names_are_those_of_the_options() -> None:
    assert {str(one.envvar) for one in get_parameters() if one.envvar} == VARIABLES


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("RDL_OUTPUT_DIR", ""),
        ("RDL_LIMITRATE", "; did you mean RDL_LIMIT_RATE?"),
        ("RDL_TIME_OUT", "; did you mean RDL_TIMEOUT?"),
        ("RDL_\x1b[31m", ""),
    ],
)
def test_a_variable_that_does_not_exist_is_told_once(
    rdl: Rdl, monkeypatch: pytest.MonkeyPatch, name: str, hint: str
) -> None:
    plain = rdl("get", U, "http://ok/g").err
    monkeypatch.setenv(name, "x")
    shown = name.replace("\x1b", "\\x1b")
    line = f"rdl: warning: {shown}: no such variable; ignored{hint}\n"
    assert rdl("get", U, "http://ok/g").err == line + plain
    assert rdl("get", U, "-q").err == ""
    assert "no such variable" not in rdl("get", U, "--progress", "json").err
    here = "http://127.0.0.1:1/"
    for command in (["cat", here], ["get", "-o", "-", here], ["verify", "x", "a" * 64]):
        retry = [] if command[0] == "verify" else ["--retry", "0"]
        assert rdl(*command, *retry).err.count(line) == 1
    assert rdl("info", here).err.count(line) == 1
    assert "warning" not in rdl("status").err
    monkeypatch.setenv(name, "")
    assert rdl("get", U, "http://ok/g").err == plain


# Terminals

RDL = [sys.executable, "-m", "rdl"]
STAND_IN = [sys.executable, "-m", "tests.cli.stand_in"]
ESCAPE = "\x1b"
COLOUR = re.compile(r"\x1b\[(?:[0-9;]*;)?(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])[0-9;]*m")
PLAIN = {
    name: value
    for name, value in os.environ.items()
    if name not in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE", "TERM", "CI")
} | {"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}", "COLUMNS": "90"}


def on_terminal(
    command: list[str], *, cwd: Path, typed: str = "", stop_at: str = "", **variables: str
) -> tuple[int, str]:
    """Exit code and everything shown by a command whose three streams are one terminal; `typed`
    answers its question, SIGINT comes once `stop_at` is shown."""
    terminal, side = pty.openpty()
    environment = PLAIN | {"TERM": "xterm-256color"} | variables
    process = subprocess.Popen(
        command,
        stdin=side,
        stdout=side,
        stderr=side,
        env=environment,
        cwd=cwd,
        start_new_session=True,
    )
    os.close(side)
    shown, deadline = "", time.monotonic() + 20
    try:
        while time.monotonic() < deadline:
            if not select.select([terminal], [], [], 0.5)[0]:
                continue
            try:
                data = os.read(terminal, 65536)
            except OSError:  # the other side is closed
                break
            if not data:
                break
            shown += data.decode("utf-8", "replace")
            if typed and shown.endswith(("[y/N] ", "password of me: ")):
                os.write(terminal, typed.encode())
                typed = ""
            if stop_at and stop_at in shown:
                process.send_signal(signal.SIGINT)
                stop_at = ""
        return process.wait(max(0.1, deadline - time.monotonic())), shown
    finally:
        process.kill()
        process.wait()
        os.close(terminal)


def off_terminal(command: list[str], *, cwd: Path, **variables: str) -> tuple[int, str]:
    """The same into pipes, as in CI."""
    ended = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=20,
        check=False,
        env=PLAIN | variables,
        cwd=cwd,
    )
    return ended.returncode, ended.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A partial, a file, and the sums of it."""
    partial(tmp_path / "a.iso", (0, MiB)).close()
    (tmp_path / "whole").write_bytes(b"x" * MiB)
    return tmp_path


EVERY = [
    [*STAND_IN, "get", "http://ok/f", "http://retried/g"],
    [*STAND_IN, "get", "http://missing/f"],
    [*RDL, "verify", "whole", "a" * 64],
    [*RDL, "status", "a.iso"],
    [*RDL, "status", "."],
    [*RDL, "info", "http://127.0.0.1:1/"],
    [*RDL, "cat", "http://127.0.0.1:1/", "--retry", "0", "-v"],
    [*RDL, "clean", "."],
    [*RDL, "get", "--hlep"],
    [*RDL, "--help"],
]


@pytest.mark.parametrize("command", EVERY, ids=lambda command: " ".join(command[2:]))
def test_no_escape_sequence_off_a_terminal_and_no_colour_unwanted(
    folder: Path, command: list[str]
) -> None:
    code, shown = off_terminal(command, cwd=folder, TERM="xterm-256color", FORCE_COLOR="1")
    assert shown
    assert ESCAPE not in shown
    assert off_terminal(command, cwd=folder, CI="true")[0] == code
    if "clean" not in command:
        for variables in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
            code_there, shown = on_terminal(command, cwd=folder, **variables)
            assert code_there == code
            assert not COLOUR.search(shown)
            assert "NO_COLOR" in variables or ESCAPE not in shown


def test_a_bar_with_and_without_colour(folder: Path) -> None:
    command = [*STAND_IN, "get", "http://endless/f"]
    code, shown = on_terminal(command, cwd=folder, stop_at="GiB")
    assert code == 130
    assert COLOUR.search(shown)
    code, shown = on_terminal(command, cwd=folder, stop_at="GiB", NO_COLOR="1")
    assert code == 130
    assert ESCAPE in shown
    assert not COLOUR.search(shown)


def test_an_empty_no_color_says_nothing(folder: Path) -> None:
    command = [*STAND_IN, "get", "http://endless/f"]
    assert COLOUR.search(on_terminal(command, cwd=folder, stop_at="GiB", NO_COLOR="")[1])


def test_progress_is_lines_off_a_terminal(folder: Path) -> None:
    code, shown = off_terminal([*STAND_IN, "get", "http://ok/f"], cwd=folder, CI="true")
    assert code == 0
    lines = shown.splitlines()
    assert len(lines) > 3
    assert all(re.match(r"rdl: f: \d\d%, [\d.]+ [MG]iB of 1.2 GiB", line) for line in lines[:-1])


# Questions


def test_nothing_is_asked_without_a_terminal(folder: Path) -> None:
    code, shown = off_terminal([*RDL, "get", "-u", "me", "http://127.0.0.1:1/f"], cwd=folder)
    assert (code, shown) == (
        2,
        "rdl: -u: no password, and no terminal to ask on\n"
        "rdl: hint: -u USER:PASSWORD, or a netrc file\n",
    )
    code, shown = off_terminal([*RDL, "clean", "."], cwd=folder)
    assert (code, shown) == (
        2,
        "rdl: clean: no terminal to ask on\nrdl: hint: --yes removes without asking\n",
    )


def test_a_question_that_nobody_sees_is_not_asked(folder: Path) -> None:
    command = ["bash", "-c", '"$@" 2>said', "bash", *RDL, "clean", "."]
    code, shown = on_terminal(command, cwd=folder)
    assert (code, shown) == (2, "")
    assert "no terminal to ask on" in (folder / "said").read_text()


@pytest.mark.parametrize(("typed", "left"), [("n\n", True), ("y\n", False), ("\x04", True)])
def test_clean_asks_on_a_terminal(folder: Path, typed: str, left: bool) -> None:
    code, shown = on_terminal([*RDL, "clean", "."], cwd=folder, typed=typed)
    assert code == 0
    assert "[y/N] " in shown
    assert shown.splitlines()[-1].startswith("rdl: nothing was" if left else "rdl: removed 1")
    assert (folder / "a.iso.part").exists() == left


def test_a_password_is_asked_for_on_a_terminal_and_not_shown(folder: Path) -> None:
    command = [*RDL, "get", "-u", "me", "http://127.0.0.1:1/f", "--retry", "0"]
    code, shown = on_terminal(command, cwd=folder, typed="canary\n")
    assert code == 4
    assert "rdl: password of me: " in shown
    assert "canary" not in shown.partition("password of me: ")[2]


def test_no_answer_to_a_question(folder: Path) -> None:
    command = [*RDL, "get", "-u", "me", "http://127.0.0.1:1/f"]
    code, shown = on_terminal(command, cwd=folder, typed="\x04")
    assert (code, shown.splitlines()[-1]) == (2, "rdl: -u: no password was typed")
    for asked in (command, [*RDL, "clean", "."]):
        code, shown = on_terminal(asked, cwd=folder, stop_at=": " if "get" in asked else "[y/N] ")
        assert code == 130
        assert "internal" not in shown
    assert (folder / "a.iso.part").exists()


def test_completion_and_help_do_not_stumble_over_bad_values(folder: Path) -> None:
    words = {"_RDL_COMPLETE": "bash_complete", "COMP_WORDS": "rdl get --retr", "COMP_CWORD": "2"}
    code, shown = off_terminal([*RDL], cwd=folder, RDL_RETRY="x", **words)
    assert (code, shown) == (0, "plain,--retry\nplain,--retry-max-time\n")
    assert off_terminal([*RDL, "get", "--help"], cwd=folder, RDL_RETRY="x")[0] == 0
