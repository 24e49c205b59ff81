"""`get --resume FILE`: the index knows the rest."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rdl.api import Session, Target
from rdl.cli.main import main
from rdl.core.byterange import ByteRange, Extent
from rdl.core.index_json import Header
from rdl.core.representation import Representation
from rdl.errors import ExitCode
from rdl.options import NetworkOptions, Options, RangeSpec, TransferOptions
from rdl.storage.part_file import PartStore
from tests.cli.conftest import Rdl
from tests.scenarios.coded import Origin

MiB = 1 << 20


@pytest.fixture
def origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Origin]:
    monkeypatch.chdir(tmp_path)
    with Origin(size=2 * MiB) as server:
        yield server


def begin(path: Path, url: str, part: ByteRange | None = None) -> None:
    """What a run leaves that got nothing but an answer."""
    store = PartStore(path)
    store.open()
    store.begin(Header(url, Representation(2 * MiB, '"one"'), 1 << 18, part))
    store.write_at(part.start if part else 0, memoryview(b"\0" * 8))
    store.record([Extent(0, 8, 0)] if part is None else [])
    store.close()


def test_the_index_knows_where_from(origin: Origin) -> None:
    begin(Path("f"), origin.url)
    assert main(["get", "--resume", "f"]) == 0
    assert Path("f").read_bytes() == origin.content
    assert os.listdir() == ["f"]


def test_the_part_may_be_named_and_the_folder_is_its_own(origin: Origin) -> None:
    Path("in").mkdir()
    begin(Path("in/f"), origin.url)
    assert main(["get", "--resume", "in/f.part"]) == 0
    assert Path("in/f").read_bytes() == origin.content


def test_a_range_is_continued_as_the_range(origin: Origin) -> None:
    begin(Path("f"), origin.url, ByteRange(100, MiB))
    assert main(["get", "--resume", "f"]) == 0
    assert Path("f").read_bytes() == origin.content[100:MiB]


def test_a_range_of_another_version_may_be_other_bytes(origin: Origin) -> None:
    begin(Path("f"), origin.url, ByteRange(100, MiB))
    origin.etag = '"two"'
    assert main(["get", "--resume", "f"]) == ExitCode.CHANGED
    assert not Path("f").exists()


def test_several_and_a_url_in_one_run(origin: Origin, capsys: pytest.CaptureFixture[str]) -> None:
    begin(Path("a"), origin.url)
    begin(Path("b"), origin.url)
    assert main(["get", "--resume", "a", "--resume", "b", origin.url, "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {json.loads(line)["path"] for line in lines} == {"a", "b", "file.bin"}


def test_a_complete_file_needs_nothing(origin: Origin, capsys: pytest.CaptureFixture[str]) -> None:
    with Session() as session:
        session.get(Target(origin.url, Path("f")))
    origin.log.clear()
    assert main(["get", "--resume", "f", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["reason"] == "unchanged"
    assert origin.log == []


@pytest.mark.parametrize(
    ("url", "code", "words"),
    [
        ("http://h/f?token=***", ExitCode.USAGE, "secret"),
        ("http://***", ExitCode.USAGE, "secret"),
    ],
)
def test_a_url_that_had_a_secret_is_asked_for(rdl: Rdl, url: str, code: int, words: str) -> None:
    begin(Path("f"), url)
    answer = rdl("get", "--resume", "f")
    assert (answer.code, answer.session) == (code, None)
    assert words in answer.err
    assert "hint: rdl get URL -o f" in answer.err


def test_what_is_no_download_is_refused(rdl: Rdl) -> None:
    assert rdl("get", "--resume", "f").code == ExitCode.LOCAL_FILE
    Path("f").write_bytes(b"mine")
    answer = rdl("get", "--resume", "f")
    assert answer.code == ExitCode.LOCAL_FILE
    assert "hint: rdl get URL -o f" in answer.err
    assert Path("f").read_bytes() == b"mine"


@pytest.mark.parametrize(
    "more", [["-o", "g"], ["-d", "in"], ["-r", "0-9"], ["--restart"], ["-o", "-"]]
)
def test_what_contradicts_it_is_refused(rdl: Rdl, more: list[str]) -> None:
    begin(Path("f"), "http://h/f")
    assert rdl("get", "--resume", "f", *more).code == ExitCode.USAGE


def test_options_are_given_again(rdl: Rdl) -> None:
    begin(Path("f"), "http://proved/f", ByteRange(0, MiB))
    answer = rdl("get", "--resume", "f", "-x", "2", "-u", "me:secret")
    assert answer.session is not None
    [target] = answer.session.targets
    network = NetworkOptions(user="me", password="secret")
    transfer = TransferOptions(connections=2, range=RangeSpec(0, MiB), on_change="fail")
    assert target == Target("http://proved/f", Path("f"), Options(network, transfer))


def test_its_url_beside_it_is_told_how_it_is_said(rdl: Rdl) -> None:
    begin(Path("f"), "http://h/f")
    answer = rdl("get", "--resume", "f", "http://h/f")
    assert (answer.code, answer.session) == (ExitCode.USAGE, None)
    assert answer.err == (
        "rdl: --resume: f: the same target twice in one run\n"
        "rdl: hint: rdl get URL -o f continues it from there\n"
    )
    assert "hint" not in rdl("get", "--resume", "f", "--resume", "f").err


@pytest.mark.parametrize("name", [".", "in"])
def test_a_folder_is_no_download(rdl: Rdl, name: str) -> None:
    Path("in").mkdir()
    answer = rdl("get", "--resume", name)
    assert (answer.code, answer.session) == (ExitCode.LOCAL_FILE, None)
    assert answer.err == (
        f"rdl: {name}: a directory; --resume takes the FILE that was begun\n"
        f"rdl: hint: rdl status {name} lists them\n"
    )


def test_the_result_says_which_part_it_is(
    origin: Origin, capsys: pytest.CaptureFixture[str]
) -> None:
    for options, part in (
        (["-r", "10-19"], [10, 19]),
        (["-r", "-5"], [2 * MiB - 5, 2 * MiB - 1]),
        (["-r", f"{2 * MiB - 9}+100"], [2 * MiB - 9, 2 * MiB - 1]),
        (["-r", "0-"], None),
        ([], None),
    ):
        assert main(["get", origin.url, "-o", "f", "--json", "-q", *options]) == 0
        assert json.loads(capsys.readouterr().out)["range"] == part
