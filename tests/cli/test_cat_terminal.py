"""`rdl cat` and `get -o -` where stdout, stderr or both are a terminal."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.test_environment import ESCAPE, PLAIN, on_terminal
from tests.support.origin import END, HANG, Answer, Origin, Seen, response

RDL = [sys.executable, "-m", "rdl"]
DIRECT = ["--no-netrc", "--proxy", ""]
TEXT = b"one line\nand another\n"
Serve = Callable[..., str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """The URL of a server that answers with this body, and stops before its end with HANG."""
    origins: list[Origin] = []

    def start(body: bytes, then: str = END) -> str:
        def answer(_connection: int, _number: int, _seen: Seen) -> Answer:
            whole = response(body)
            return [whole[:-1] if then == HANG else whole, then]

        origins.append(Origin(answer).__enter__())
        return origins[-1].url()

    yield start
    for origin in origins:
        origin.__exit__(None, None, None)


def redirected(*arguments: str, to: str = ">kept") -> list[str]:
    return ["bash", "-c", f'exec "$@" {to}', "bash", *RDL, *arguments, *DIRECT]


@pytest.mark.parametrize("command", [["cat"], ["get", "-o", "-"], ["get", "-o", "/dev/stdout"]])
def test_binary_data_is_not_written_to_a_terminal(
    serve: Serve, tmp_path: Path, command: list[str]
) -> None:
    url = serve(b"GIF89a\x00\x1b]0;title\x07")
    code, shown = on_terminal([*RDL, *command, url, *DIRECT], cwd=tmp_path)
    assert (code, shown.splitlines()) == (
        2,
        [
            f"rdl: {url}: this is binary, and stdout is a terminal",
            "rdl: hint: -o FILE keeps it (rdl get), | xxd shows it",
        ],
    )


def test_text_is_and_binary_data_elsewhere(serve: Serve, tmp_path: Path) -> None:
    code, shown = on_terminal([*RDL, "cat", serve(TEXT), *DIRECT], cwd=tmp_path)
    assert (code, shown.replace("\r\n", "\n")) == (0, TEXT.decode())
    code, shown = on_terminal(redirected("cat", serve(b"\x00" * 9)), cwd=tmp_path)
    assert (code, ESCAPE in shown) == (0, True)
    assert (tmp_path / "kept").read_bytes() == b"\x00" * 9


@pytest.mark.parametrize("to", [["cat"], ["get", "-o", "-"]])
def test_a_bar_is_drawn_beside_a_file_and_ctrl_c_is_answered(
    serve: Serve, tmp_path: Path, to: list[str]
) -> None:
    url = serve(b"x" * 300_000, HANG)
    code, shown = on_terminal(redirected(*to, url), cwd=tmp_path, stop_at="%")
    assert code == 130
    assert ESCAPE in shown
    assert shown.endswith("rdl: interrupted\r\n")
    assert shown.count("interrupted") == 1


def test_no_bar_where_the_text_goes_and_none_unwanted(serve: Serve, tmp_path: Path) -> None:
    url = serve(b"end of text", HANG)
    code, shown = on_terminal([*RDL, "cat", url, *DIRECT], cwd=tmp_path, stop_at="tex")
    assert (code, shown) == (130, "end of tex")
    for options, variables in (["-q"], {}), (["--progress", "none"], {}), ([], {"TERM": "dumb"}):
        command = redirected("cat", serve(TEXT), *options)
        assert on_terminal(command, cwd=tmp_path, **variables) == (0, "")


def test_a_bar_beside_dev_null(serve: Serve, tmp_path: Path) -> None:
    command = [*RDL, "get", "-o", "/dev/null", serve(TEXT), *DIRECT]
    code, shown = on_terminal(command, cwd=tmp_path)
    assert (code, ESCAPE in shown) == (0, True)


def test_nothing_off_a_terminal(serve: Serve, tmp_path: Path) -> None:
    ended = subprocess.run(
        [*RDL, "cat", serve(TEXT), *DIRECT],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=20,
        check=False,
        env=PLAIN | {"TERM": "xterm"},
        cwd=tmp_path,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, TEXT, b"")
