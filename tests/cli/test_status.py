"""`rdl status`: what is on disk, for people and for programs, read without changing it."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from xxhash import xxh3_64_intdigest

import rdl as package
from rdl.cli.commands import status as status_command
from rdl.cli.commands.info import info_object
from rdl.cli.display.picture import ASCII, BLOCKS, Marks
from rdl.cli.display.standing import status_lines, status_object, table
from rdl.core.byterange import ByteRange, Extent
from rdl.core.describing import Info
from rdl.core.representation import Representation
from rdl.errors import LocalFileError
from rdl.looking import Status
from rdl.storage.base import Finish, Header
from rdl.storage.part_file import PartStore
from tests.cli.conftest import Answer, Rdl
from tests.support.json_schema import parse_all

MiB = 1 << 20
TOTAL = 8 * MiB
FACTS = Representation(TOTAL, '"v1"', "Tue, 01 Jul 2025 10:00:00 GMT")
URL = "http://127.0.0.1/a.iso?sig=***"


def partial(
    path: Path,
    *ranges: tuple[int, int],
    facts: Representation = FACTS,
    span: ByteRange | None = None,
) -> PartStore:
    """An open store of `path` with these bytes."""
    store = PartStore(path)
    store.open()
    store.begin(Header(URL, facts, 256 << 10, span))
    for start, stop in ranges:
        for first in range(start, stop, MiB):
            data = bytes(min(stop, first + MiB) - first)
            store.write_at(first, memoryview(data))
            store.record([Extent(first, first + len(data), xxh3_64_intdigest(data))])
    store.checkpoint()
    return store


def published(path: Path, size: int = 1000) -> None:
    facts = Representation(size, '"v1"')
    store = partial(path, (0, size), facts=facts)
    store.publish(Finish(representation=facts))
    store.close()


def objects(answer: Answer) -> list[dict[str, object]]:
    return parse_all(answer.out)


@pytest.mark.parametrize("name", ["a.iso", "a.iso.part", "a.iso.part.index"])
def test_a_partial_as_json(rdl: Rdl, tmp_path: Path, name: str) -> None:
    partial(tmp_path / "a.iso", (0, 2 * MiB), (4 * MiB, 4 * MiB + 10)).close()
    answer = rdl("status", name, "--json")
    assert (answer.code, answer.err) == (0, "")
    assert objects(answer) == [
        {
            "schema": 1,
            "event": "status",
            "path": "a.iso",
            "url": URL,
            "length": TOTAL,
            "block_size": 256 << 10,
            "bytes_present": 2 * MiB + 10,
            "present": [[0, 2 * MiB - 1], [4 * MiB, 4 * MiB + 9]],
            "missing": [[2 * MiB, 4 * MiB - 1], [4 * MiB + 10, TOTAL - 1]],
            "complete": False,
            "range": None,
            "etag": '"v1"',
            "last_modified": "Tue, 01 Jul 2025 10:00:00 GMT",
            "trust": "T2",
            "running": False,
        }
    ]


def test_a_partial_for_people(rdl: Rdl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "34")
    partial(tmp_path / "a.iso", (0, 2 * MiB), (4 * MiB, 4 * MiB + 10)).close()
    answer = rdl("status", "a.iso")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.splitlines() == [
        "a.iso",
        f"  url       {URL}",
        "  state     stopped in order; the same command continues",
        "  here      25% of 8388608 bytes (8.0 MiB): 2097162 bytes (2.0 MiB)",
        "  present   0-2097151, 4194304-4194313",
        "  missing   2097152-4194303, 4194314-8388607",
        '  etag      "v1"',
        "  modified  Tue, 01 Jul 2025 10:00:00 GMT",
        "  trust     T2: parts can be joined by the ETag",
        "  block     256 KiB",
        "[########........-...............]",
        " # here   -+ in part   . missing",
    ]


def test_looking_leaves_everything_as_it_was(rdl: Rdl, tmp_path: Path) -> None:
    partial(tmp_path / "a.iso", (0, MiB)).close()
    before = {one.name: (one.read_bytes(), one.stat()) for one in tmp_path.iterdir()}
    for arguments in (["a.iso"], ["a.iso", "--json"], ["."]):
        assert rdl("status", *arguments).code == 0
    after = {one.name: (one.read_bytes(), one.stat()) for one in tmp_path.iterdir()}
    assert after.keys() == before.keys()
    for name, (data, stat) in before.items():
        assert after[name][0] == data
        assert (after[name][1].st_mtime_ns, after[name][1].st_ctime_ns) == (
            stat.st_mtime_ns,
            stat.st_ctime_ns,
        )


def test_a_running_download_is_said_and_goes_on(rdl: Rdl, tmp_path: Path) -> None:
    store = partial(tmp_path / "a.iso", (0, MiB))
    assert "another rdl is fetching it now" in rdl("status", "a.iso").out
    assert objects(rdl("status", "a.iso", "--json"))[0]["running"] is True
    store.checkpoint()
    store.close()
    assert objects(rdl("status", "a.iso", "--json"))[0]["running"] is False


def test_a_range_is_shown_as_itself(rdl: Rdl, tmp_path: Path) -> None:
    span = ByteRange(MiB, 3 * MiB)
    partial(tmp_path / "a.iso", (MiB, 2 * MiB), span=span).close()
    (found,) = objects(rdl("status", "a.iso", "--json"))
    assert found["range"] == [MiB, 3 * MiB - 1]
    assert found["missing"] == [[2 * MiB, 3 * MiB - 1]]
    text = rdl("status", "a.iso").out
    assert "50% of 2097152 bytes" in text
    assert "only 1048576-3145727 of 8388608 bytes" in text


def test_an_unknown_length_is_null(rdl: Rdl, tmp_path: Path) -> None:
    partial(tmp_path / "a", (0, 1000), facts=Representation()).close()
    (found,) = objects(rdl("status", "a", "--json"))
    assert (found["length"], found["missing"], found["complete"]) == (None, [], False)
    assert found["present"] == [[0, 999]]
    text = rdl("status", "a").out
    assert "of an unknown length" in text
    assert "[" not in text


def test_a_published_file_says_so(rdl: Rdl, tmp_path: Path) -> None:
    published(tmp_path / "a.iso")
    (found,) = objects(rdl("status", "a.iso", "--json"))
    assert (found["complete"], found["length"], found["etag"]) == (True, 1000, '"v1"')
    assert found["missing"] == []
    assert "complete, and as rdl published it" in rdl("status", "a.iso").out
    (tmp_path / "a.iso").write_bytes(b"changed")
    (found,) = objects(rdl("status", "a.iso", "--json"))
    assert (found["complete"], found["length"], found["etag"]) == (None, 7, None)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no index at all!", "not an index"),
        (b"RDLINDEX and dust", "not an index"),
        (b"", "too short"),
        (None, "no index says what it holds"),
    ],
)
def test_a_damaged_or_foreign_index_is_one_clear_line(
    rdl: Rdl, tmp_path: Path, content: bytes | None, said: str
) -> None:
    (tmp_path / "a.part").write_bytes(b"data")
    if content is not None:
        (tmp_path / "a.part.index").write_bytes(content)
    for one in tmp_path.iterdir():
        one.chmod(0o600)
    answer = rdl("status", "a")
    assert (answer.code, answer.out) == (3, "")
    assert said in answer.err
    assert "a.part" in answer.err
    assert answer.err.count("\n") == 2, "a line and a hint"
    answer = rdl("status", ".")
    assert answer.code == (0 if content is None else 3)


@pytest.mark.parametrize("name", ["nothing", "no/folder/a", "link", "fifo"])
def test_what_is_no_download(rdl: Rdl, tmp_path: Path, name: str) -> None:
    (tmp_path / "link").symlink_to("target")
    os.mkfifo(tmp_path / "fifo")
    answer = rdl("status", name)
    assert (answer.code, answer.out) == (3, "")
    assert answer.err.count("\n") == 1


def test_a_folder_is_a_table(rdl: Rdl, tmp_path: Path) -> None:
    partial(tmp_path / "a.iso", (0, 2 * MiB)).close()
    partial(tmp_path / "evil\x1b[31m", (0, MiB)).close()
    (tmp_path / "below").mkdir()
    partial(tmp_path / "below" / "deep", (0, MiB)).close()
    published(tmp_path / "done")
    answer = rdl("status", ".")
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert lines[0].split() == ["NAME", "HERE", "SIZE", "AGE", "URL"]
    rows = [line.split() for line in lines[1:]]
    assert [(row[0], row[1], row[-1]) for row in rows] == [
        ("a.iso", "25%", URL),
        (r"evil\x1b[31m", "12%", URL),
    ]
    found = objects(rdl("status", ".", "--json"))
    assert [one["path"] for one in found] == ["a.iso", "evil\x1b[31m"]


def test_an_empty_folder_has_no_partials(rdl: Rdl) -> None:
    answer = rdl("status", ".")
    assert (answer.code, answer.out) == (0, "")
    assert "no partials here" in answer.err
    assert rdl("status", ".", "--json").out == ""


def test_a_damaged_one_does_not_hide_the_others(rdl: Rdl, tmp_path: Path) -> None:
    partial(tmp_path / "a.iso", (0, MiB)).close()
    (tmp_path / "b.part.index").write_bytes(b"x")
    (tmp_path / "b.part.index").chmod(0o600)
    answer = rdl("status", ".", "--json")
    assert answer.code == 3
    assert len(objects(answer)) == 1
    assert "b.part.index" in answer.err


def test_without_a_path_it_is_this_folder(rdl: Rdl, tmp_path: Path) -> None:
    assert rdl("status") == rdl("status", ".")
    partial(tmp_path / "a.iso", (0, MiB)).close()
    answer = rdl("status")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.splitlines()[1].split()[0] == "a.iso"
    assert [one["path"] for one in objects(rdl("status", "--json"))] == ["a.iso"]


def test_a_part_that_was_published_is_called_a_part(rdl: Rdl, tmp_path: Path) -> None:
    span = ByteRange(100, 600)
    store = partial(tmp_path / "a", (100, 600), facts=Representation(1000, '"v1"'), span=span)
    store.publish(Finish(representation=Representation(1000, '"v1"')))
    store.close()
    lines = rdl("status", "a").out.splitlines()
    assert lines[1] == "  state     a part of 1000 bytes, as rdl published it"
    assert lines[2] == "  size      500 bytes"
    [found] = objects(rdl("status", "a", "--json"))
    assert (found["complete"], found["length"], found["bytes_present"]) == (True, 1000, 500)
    assert found["present"] == found["missing"] == []


@pytest.mark.parametrize(("marks", "mark"), [(ASCII, "~"), (BLOCKS, "…")])
def test_what_is_cut_off_ends_with_a_mark(marks: Marks, mark: str) -> None:
    found = Status("f" * 40, url="http://host/" + "u" * 40, length=9, bytes_present=3)
    _, line = table([found], 0.0, 60, marks)
    assert (len(line), line[-1]) == (60, mark)
    assert line.count(mark) == 2
    assert line.split()[0].endswith(mark)
    _, whole = table([found], 0.0, None, marks)
    assert whole.endswith("u" * 40)


@pytest.mark.parametrize("width", [40, 80, 120])
def test_on_a_terminal_lines_fit(width: int) -> None:
    pairs = tuple((start, start + 9) for start in range(0, 1000, 20))
    found = Status(
        "a" * 60 + ".iso",
        url="http://h/a",
        length=1000,
        block_size=1 << 18,
        bytes_present=500,
        present=pairs,
        missing=tuple((last + 1, last + 10) for _, last in pairs),
        complete=False,
        modified=1000.0,
    )
    lines = status_lines(found, width, ASCII, wrap=True)
    assert max(map(len, lines[1:])) <= width
    assert "and 44 more" in " ".join(" ".join(lines).split())
    assert {len(line) for line in table([found], 1060.0, width)[1:]} <= set(range(width + 1))
    assert "1m00s" in table([found], 1060.0, None)[1]


def test_from_python(tmp_path: Path) -> None:
    partial(tmp_path / "a", (0, MiB)).close()
    found = package.status(tmp_path / "a")
    assert found.present == ((0, MiB - 1),)
    blocks = found.block_map()
    assert blocks is not None
    assert blocks.present_bytes == MiB
    with pytest.raises(LocalFileError):
        package.status(tmp_path / "b")
    with pytest.raises(LocalFileError):
        package.status(tmp_path)


@pytest.mark.parametrize(
    ("terminal", "environment", "encoding", "marks"),
    [
        (True, {"TERM": "xterm"}, "utf-8", BLOCKS),
        (True, {"TERM": "xterm"}, "ascii", ASCII),
        (True, {"TERM": "xterm", "NO_COLOR": "1"}, "utf-8", ASCII),
        (True, {"TERM": "dumb"}, "utf-8", ASCII),
        (True, {"TERM": ""}, "utf-8", ASCII),
        (False, {"TERM": "xterm"}, "utf-8", ASCII),
    ],
)
def test_block_characters_only_where_they_surely_show(
    monkeypatch: pytest.MonkeyPatch,
    terminal: bool,
    environment: dict[str, str],
    encoding: str,
    marks: Marks,
) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(stream, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert status_command._marks() == marks


@pytest.mark.parametrize(
    ("event", "shown"),
    [
        ("status", status_object(Status("a"))),
        ("info", info_object(Info("http://h/a", "http://h/a"))),
    ],
)
def test_every_field_is_described(event: str, shown: dict[str, object]) -> None:
    text = (Path(__file__).parents[2] / "docs" / "json-events.md").read_text()
    section = text.partition(f"\n## `{event}`")[2].partition("\n## ")[0]
    told = {name for row in re.findall(r"^\| (`.*?) \|", section, re.M) for name in row.split(", ")}
    assert told == {f"`{name}`" for name in shown.keys() - {"schema", "event"}}


def test_looking_at_the_disk_needs_no_network_code(tmp_path: Path) -> None:
    code = "import sys; from rdl.cli.main import main; main(['status', sys.argv[1]]);"
    code += "sys.exit(', '.join({'httpx', 'ssl', 'h11', 'asyncio'} & set(sys.modules)) or 0)"
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
