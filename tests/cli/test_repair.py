"""`rdl verify FILE DIGEST --repair URL`."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rdl.cli.main import main
from rdl.errors import ExitCode
from tests.scenarios.coded import Origin
from tests.support.json_schema import parse_all

B = 256 << 10


@pytest.fixture
def origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Origin]:
    """A server, and in an empty folder the same file with a byte flipped in its third block."""
    monkeypatch.chdir(tmp_path)
    server = Origin(size=4 * B)
    data = bytearray(server.content)
    data[2 * B + 7] ^= 1
    Path("f").write_bytes(data)
    yield server
    server.close()


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_row_22_only_the_bad_range_is_fetched(
    origin: Origin, capsys: pytest.CaptureFixture[str]
) -> None:
    right = digest(origin.content[B : 3 * B])
    span = f"{B}-{3 * B - 1}"
    assert main(["verify", "f", right, "-r", span]) == ExitCode.DIGEST
    assert main(["verify", "f", right, "-r", span, "--repair", origin.url, "--json"]) == 0
    verdict, result = parse_all(capsys.readouterr().out)
    assert (verdict["event"], result["event"]) == ("error", "done")
    assert (result["bytes_downloaded"], result["bytes_reused"]) == (2 * B, 2 * B)
    assert Path("f").read_bytes() == origin.content
    assert os.listdir() == ["f"]


def test_several_ranges_of_which_one_is_bad(
    origin: Origin, capsys: pytest.CaptureFixture[str]
) -> None:
    halves = [digest(origin.content[: 2 * B]), digest(origin.content[2 * B :])]
    line = ["verify", "f", *halves, "-r", f"0-{2 * B - 1}", "-r", f"{2 * B}-"]
    assert main([*line, "--repair", origin.url]) == 0
    assert Path("f").read_bytes() == origin.content
    assert f"bytes {2 * B}-{4 * B - 1}" in capsys.readouterr().err


def test_a_whole_digest_and_no_evidence(origin: Origin) -> None:
    assert main(["verify", "f", digest(origin.content), "--repair", origin.url]) == 0
    assert Path("f").read_bytes() == origin.content


def test_a_sums_file_names_the_digest(origin: Origin) -> None:
    Path("SUMS").write_text(f"{digest(origin.content)}  f\n{'0' * 64}  g\n")
    assert main(["verify", "f", "--sums", "SUMS", "--repair", origin.url]) == 0
    assert Path("f").read_bytes() == origin.content


def test_what_is_right_is_left_alone(origin: Origin) -> None:
    Path("f").write_bytes(origin.content)
    assert main(["verify", "f", digest(origin.content), "--repair", origin.url]) == 0
    assert origin.log == []


def test_what_cannot_be_repaired_keeps_its_code(
    origin: Origin, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Path("f").read_bytes()
    bad = ["verify", "f", "0" * 64, "--repair", origin.url, "--json"]
    assert main(bad) == ExitCode.DIGEST
    verdict, result = parse_all(capsys.readouterr().out)
    assert verdict["event"] == result["event"] == "error"
    assert Path("f").read_bytes() == before
    origin.always = 404
    assert main(["verify", "f", "0" * 64, "--repair", origin.url]) == ExitCode.HTTP_STATUS
    assert main(["verify", "f", "-r", "0-5000000", "0" * 64, "--repair", origin.url]) != 0
    assert Path("f").read_bytes() == before


def test_an_incomplete_download_is_finished(origin: Origin) -> None:
    Path("f").rename("f.part")
    os.chmod("f.part", 0o600)
    assert main(["verify", "f", digest(origin.content), "--repair", origin.url]) == 0
    assert Path("f").read_bytes() == origin.content


@pytest.mark.parametrize(
    "line",
    [
        ["--sums", "SUMS", "--repair", "http://h/f"],
        ["f", "0" * 64, "--repair", "f"],
        ["f", "0" * 64, "--repair", ""],
        ["f", "--repair", "http://h/f", "0" * 64, "-x", "0"],
        ["f", "0" * 64, "-x", "4"],
        ["f", "0" * 64, "-H", "X-Thing: 1"],
    ],
)
def test_usage(origin: Origin, line: list[str]) -> None:
    Path("SUMS").write_text(f"{'0' * 64}  f\n{'0' * 64}  g\n")
    assert main(["verify", *line]) == ExitCode.USAGE


def test_options_say_how_to_fetch(origin: Origin, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["verify", "f", digest(origin.content), "--repair", origin.url]
    assert main([*line, "-H", "X-Thing: 1", "-x", "1", "--progress", "json"]) == 0
    assert {request.fields.get("x-thing") for request in origin.log} == {"1"}
    events = [json.loads(text)["event"] for text in capsys.readouterr().err.splitlines()]
    assert events[-1] == "done"
    assert "start" in events
