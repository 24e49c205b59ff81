"""`rdl verify` as it is typed: what it says, and how it ends."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rdl.verification import Verification
from tests.cli.conftest import Answer, Rdl
from tests.support.json_schema import parse, parse_all
from tests.support.program import interrupted

DATA = bytes(number * 7 % 251 for number in range(10_000))
DOCS = Path(__file__).parents[2] / "docs"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def b64(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


RIGHT, WRONG = sha256(DATA), sha256(b"other")


@pytest.fixture(autouse=True)
def _files(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(DATA)
    (tmp_path / "g").write_bytes(b"g")


def objects(answer: Answer) -> list[dict[str, Any]]:
    return parse_all(answer.out)


@pytest.mark.parametrize(
    "arguments",
    [
        (RIGHT,),
        (f"sha256:{RIGHT}",),
        (f"sha-256={RIGHT}",),
        (f"sha256-{b64(DATA)}",),
        ("--checksum", RIGHT),
        ("--checksum", f"sha512:{hashlib.sha512(DATA).hexdigest()}", "--sha256", RIGHT),
        ("--sha256", RIGHT),
        ("-r", "0-", RIGHT),
        ("-r", "0-499", sha256(DATA[:500])),
        ("-r", "-500", "--sha256", sha256(DATA[-500:])),
        ("-r", "500+1K", sha256(DATA[500:1524])),
        ("-r", "9000-20000", sha256(DATA[9000:])),
        ("-r", "0-499", "-r", "-1", sha256(DATA[:500]), sha256(DATA[-1:])),
        ("-r0-9", "--checksum", sha256(DATA[:10]), "-r5-9", "--checksum", sha256(DATA[5:10])),
    ],
)
def test_what_is_right_is_verified(rdl: Rdl, arguments: tuple[str, ...]) -> None:
    answer = rdl("verify", "f", *arguments)
    assert (answer.code, answer.out) == (0, "")
    assert "verified by sha" in answer.err


def test_the_line_says_what_was_expected_and_found(rdl: Rdl) -> None:
    answer = rdl("verify", "f", WRONG)
    assert answer.code == 10
    assert answer.err == f"rdl: f: sha256 is {RIGHT}, expected {WRONG}\n"
    answer = rdl("verify", "f", "-r", "0-499", WRONG)
    found = sha256(DATA[:500])
    assert answer.err == f"rdl: f, bytes 0-499: sha256 is {found}, expected {WRONG}\n"


def test_nothing_to_check_against(rdl: Rdl) -> None:
    for arguments in (("f",), ("f", "-r", "0-4")):
        answer = rdl("verify", *arguments)
        assert answer.code == 11
        assert "nothing to check against" in answer.err
        assert "rdl: hint: rdl verify FILE DIGEST" in answer.err


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        ((), 2, "no file given"),
        (("f", "nonsense"), 2, "not a digest"),
        (("f", "0" * 32), 2, "MD5 can be forged"),
        (("f", RIGHT, WRONG), 2, "two different sha256 digests"),
        (("f", "-r", "5-4", RIGHT), 2, "it ends before it begins"),
        (("f", "-r", "-0", RIGHT), 2, "it holds no byte"),
        (("f", "-r", "0-1", "-r", "2-3", RIGHT), 2, "2 ranges and 1 digests"),
        (("f", "-r0-1", "-r2-3", RIGHT, "--sha256", RIGHT), 2, "all arguments or all options"),
        (("f", "-r", "10000-", RIGHT), 7, "the range lies outside of its 10000 bytes"),
        (("f", "--checksum", "http://h/SUMS"), 2, "a URL"),
        (("f", "--checksum", "g", "-r", "0-1"), 2, "about whole files"),
        (("f", "--checksum", "g"), 11, "no usable digest for 'f'"),
        (("f", "--sums", "g", "-r", "0-1"), 2, "about whole files"),
        (("--sums", "g", "--sha256", RIGHT), 2, "about whole files"),
        (("--sums", "g"), 11, "no usable digest"),
        (("--sums", "none"), 3, "No such file"),
        (("none", RIGHT), 3, "none: no such file"),
        ((".", RIGHT), 3, "a directory"),
        (("/dev/null", RIGHT), 3, "not a regular file"),
        (("f", RIGHT, "--manifest", "g"), 2, "one FILE, and no DIGEST"),
        (("--manifest", "g"), 2, "the FILE is missing"),
        (("f", "--manifest", "g", "-r", "0-1"), 2, "--manifest with -r"),
        (("f", "--manifest", "g", "--sums", "g"), 2, "--manifest with --sums"),
        (("f", "--manifest", "g", "--sha256", RIGHT), 2, "--manifest with --sha256"),
        (("f", "--manifest", "g", "--checksum", RIGHT), 2, "--manifest with --checksum"),
        (("f", "--manifest", "g#sha256=12"), 2, "2 hex digits; sha256 has 64"),
        (("f", "--manifest", "g"), 7, "g: not a manifest of rdl"),
        (("f", "--manifest", f"g#sha256={WRONG}"), 7, "g: not a manifest of rdl"),
        (("f", "--manifest", "none"), 3, "none: no such file"),
        (("f", "--manifest", "g", "-x", "2"), 2, "useless without --repair, or a URL"),
    ],
)
def test_what_makes_no_sense_is_refused(
    rdl: Rdl, arguments: tuple[str, ...], code: int, why: str
) -> None:
    answer = rdl("verify", *arguments)
    assert (answer.code, answer.out) == (code, "")
    assert answer.err.startswith("rdl: ")
    assert why in answer.err


def sums(tmp_path: Path, *lines: str) -> str:
    folder = tmp_path / "sub"
    folder.mkdir(exist_ok=True)
    (folder / "SUMS").write_text("".join(f"{line}\n" for line in lines))
    return "sub/SUMS"


@pytest.mark.parametrize(
    "line",
    [
        "{hex}  {name}",
        "{hex} *{name}",
        "{hex}  ./{name}",
        "SHA256 ({name}) = {hex}",
        "SHA256 ({name}) = {b64}",
        "{b64}  {name}",
    ],
)
def test_every_kind_of_line(rdl: Rdl, tmp_path: Path, line: str) -> None:
    for data, code in ((DATA, 0), (b"other", 10)):
        name = sums(tmp_path, line.format(hex=sha256(data), b64=b64(data), name="h"))
        (tmp_path / "sub" / "h").write_bytes(DATA)
        (tmp_path / "h").write_bytes(DATA)
        for arguments in ((), ("sub/h",), ("h",)):
            assert rdl("verify", "--sums", name, *arguments).code == code
        assert rdl("verify", "h", "--checksum", name).code == code


def test_every_file_of_a_sums_file(rdl: Rdl, tmp_path: Path) -> None:
    name = sums(tmp_path, f"{RIGHT}  h", f"{sha256(b'i')}  i i", "# a comment", "")
    (tmp_path / "sub" / "h").write_bytes(DATA)
    (tmp_path / "sub" / "i i").write_bytes(b"i")
    answer = rdl("verify", "--sums", name)
    assert answer.code == 0
    assert "h: 9.8 KiB in" in answer.err
    assert "rdl: 2 of 2 verified, 9.8 KiB read in" in answer.err
    assert rdl("verify", "--sums", name, "-q").err == ""
    (tmp_path / "sub" / "h").write_bytes(b"")
    answer = rdl("verify", "--sums", name, "-q")
    assert answer.code == 10
    assert answer.err.count("\n") == 1
    (tmp_path / "sub" / "i i").unlink()
    assert rdl("verify", "--sums", name).code == 20


def test_a_name_may_not_leave_the_folder(rdl: Rdl, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "link").symlink_to("../f")
    for name in ("../f", str(tmp_path / "f"), "link", "x/../../f"):
        answer = rdl("verify", "--sums", sums(tmp_path, f"{RIGHT}  {name}"))
        assert answer.code == 7
        assert "leads out of the folder of the sums file" in answer.err
    assert rdl("verify", "--sums", "sub/SUMS", "sub/../f").code == 0


def test_what_verifies_nothing_is_said(rdl: Rdl, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "h").write_bytes(DATA)
    name = sums(tmp_path, f"{RIGHT}  h", f"{'0' * 32}  weak", "-----BEGIN-----")
    answer = rdl("verify", "--sums", name)
    assert answer.code == 3
    assert "SUMS: warning: 1 line is no digest and passed over" in answer.err
    (tmp_path / "sub" / "weak").write_bytes(b"")
    answer = rdl("verify", "--sums", name)
    assert answer.code == 11
    assert "weak: no usable digest in sub/SUMS" in answer.err
    answer = rdl("verify", "--sums", name, "sub/h", "g", "--json")
    assert sorted(one["reason"] for one in objects(answer)) == ["no-digest", "verified"]


def test_a_sums_file_that_contradicts_itself(rdl: Rdl, tmp_path: Path) -> None:
    answer = rdl("verify", "--sums", sums(tmp_path, f"{RIGHT}  h", f"{WRONG}  h"))
    assert answer.code == 2
    assert "two different digests for 'h'" in answer.err


def test_a_sums_file_on_stdin(rdl: Rdl, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"{RIGHT}  f\n{WRONG}  g\n".encode()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text)))
    answer = rdl("verify", "--sums", "-")
    assert answer.code == 10
    assert "1 of 2 verified" in answer.err


def test_names_are_harmless_on_a_terminal(rdl: Rdl, tmp_path: Path) -> None:
    answer = rdl("verify", "--sums", sums(tmp_path, f"{RIGHT}  \x1b[31mred\0"))
    assert answer.code == 3
    assert "\x1b" not in answer.err
    assert "\\x1b[31mred" in answer.err


def test_the_verdict_as_json(rdl: Rdl) -> None:
    answer = rdl("verify", "f", "-r", "0-9", "-r", "-5", sha256(DATA[:10]), WRONG, "--json", "-q")
    assert answer.code == 10
    good, bad = sorted(objects(answer), key=lambda one: int(one["exit_code"]))
    seconds = good.pop("seconds")
    assert seconds >= 0
    found = {"sha256": sha256(DATA[:10])}
    assert good == {
        "schema": 1,
        "event": "done",
        "path": "f",
        "exit_code": 0,
        "reason": "verified",
        "range": [0, 9],
        "bytes_total": 10,
        "bytes_hashed": 10,
        "digests": found,
        "expected": found,
        "verified_by": ["sha256"],
        "trust": "T4",
        "wrong": [],
        "error": "",
        "hint": "",
    }
    assert (bad["event"], bad["reason"], bad["range"]) == ("error", "digest-mismatch", [9995, 9999])
    assert bad["digests"] == {"sha256": sha256(DATA[-5:])}
    assert bad["expected"] == {"sha256": WRONG}


def test_events_as_json(rdl: Rdl) -> None:
    answer = rdl("verify", "f", WRONG, "--progress", "json")
    events = parse_all(answer.err)
    assert [event["event"] for event in events] == ["verify", "error"]
    assert events[0]["bytes_hashed"] == events[0]["bytes_total"] == len(DATA)
    answer = rdl("verify", "--progress", "json", "f", "x")
    assert parse(answer.err)["reason"] == "usage"


def test_every_field_of_the_verdict_is_described() -> None:
    text = (DOCS / "json-events.md").read_text()
    section = text.partition("\n## `rdl verify`")[2].partition("\n## ")[0]
    told = {name for row in re.findall(r"^\| (`.*?) \|", section, re.M) for name in row.split(", ")}
    assert told == {f"`{name}`" for name in Verification.__struct_fields__}


@pytest.mark.parametrize("progress", ["bar", "lines", "none"])
def test_every_display_shows_it(rdl: Rdl, tmp_path: Path, progress: str) -> None:
    (tmp_path / "f").write_bytes(bytes(20 << 20))
    answer = rdl("verify", "f", sha256(bytes(20 << 20)), "--progress", progress)
    assert answer.code == 0
    assert "f: 20 MiB in" in answer.err
    assert ("%" in answer.err) == (progress == "bar") or progress == "lines"


def test_nothing_on_disk_changes(rdl: Rdl, tmp_path: Path) -> None:
    def look() -> dict[str, tuple[bytes, int, int]]:
        names = sorted(os.listdir(tmp_path))
        stats = {name: (tmp_path / name).stat() for name in names}
        return {n: ((tmp_path / n).read_bytes(), s.st_mtime_ns, s.st_ino) for n, s in stats.items()}

    before = look()
    assert rdl("verify", "f", RIGHT).code == 0
    assert rdl("verify", "f", WRONG).code == 10
    assert look() == before


def test_a_signal_ends_it_soon(tmp_path: Path) -> None:
    with (tmp_path / "big").open("wb") as file:
        file.truncate(200 << 30)
    code, said = interrupted(tmp_path, "verify", "big", "-r0-", "-r1-", RIGHT, RIGHT)
    assert code == 130
    last = parse_all(said)[-2:]
    assert [(one["event"], one["reason"]) for one in last] == [("error", "interrupted")] * 2
