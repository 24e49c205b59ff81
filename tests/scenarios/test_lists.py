"""Long lists run again (scenario 38 of the seeds): unchanged files cost a small request each and
no body, files with a digest not even that, and an interrupted list goes on where it was."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest

from rdl.api import Session, Target
from rdl.core import pace
from rdl.options import Options, TransferOptions
from rdl.sources import ceilings, limited
from tests.engine.staging import content_of
from tests.support.mirror import Mirror
from tests.support.origin import Answer, Origin, Seen, response
from tests.support.program import rdl

COUNT = 1000


def content(number: int) -> bytes:
    return f"file {number} ".encode() * 20


class Many:
    """A thousand files; `bodies`: bytes that were sent of them."""

    def __init__(self) -> None:
        self.bodies = 0
        self.missing: set[int] = set()

    def answer(self, connection: int, turn: int, seen: Seen) -> Answer:
        number = int(seen.line.split()[1].removeprefix("/"))
        tag = f'"{number}"'
        if number in self.missing:
            return [response(b"", "503 Busy", "Retry-After: 0")]
        if seen.fields.get("if-none-match") == tag:
            return [f"HTTP/1.1 304 Not Modified\r\nETag: {tag}\r\n\r\n".encode()]
        self.bodies += len(content(number))
        return [response(content(number), "200 OK", f"ETag: {tag}")]


def listed(origin: Origin, folder: Path) -> list[str]:
    urls = [origin.url(f"/{number}") for number in range(COUNT)]
    (folder / "list").write_text("\n".join(urls))
    return ["get", "-i", "list", "-d", "out", "--json", "-q", "--retry", "0"]


def results_of(folder: Path, *words: str) -> tuple[int, list[dict[str, object]]]:
    done = rdl(folder, *words)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def test_a_thousand_files_twice(tmp_path: Path) -> None:
    many = Many()
    with Origin(many.answer) as origin:
        words = listed(origin, tmp_path)
        many.missing = {17, 400, 999}
        code, results = results_of(tmp_path, *words)
        assert code == 8, "one code for all that failed"
        assert sorted(
            int(str(one["path"]).rpartition("/")[2]) for one in results if one["exit_code"]
        ) == [17, 400, 999]
        many.missing, many.bodies = set(), 0
        asked = len(origin.seen)
        code, results = results_of(tmp_path, *words)
        assert code == 0
        assert len(origin.seen) - asked <= COUNT
        assert many.bodies == sum(len(content(number)) for number in (17, 400, 999))
        reasons = [one["reason"] for one in results]
        assert (reasons.count("unchanged"), reasons.count("complete")) == (COUNT - 3, 3)
        for number in range(COUNT):
            assert (tmp_path / "out" / str(number)).read_bytes() == content(number)
        assert origin.connections <= 12, "connections are shared"


def test_a_thousand_files_with_digests_ask_for_nothing(tmp_path: Path) -> None:
    many = Many()
    with Origin(many.answer) as origin:
        sums = [f"{sha256(content(number)).hexdigest()}  {number}\n" for number in range(COUNT)]
        (tmp_path / "SHA256SUMS").write_text("".join(sums))
        words = ["get", "-i", "SHA256SUMS", "--base-url", origin.url("/"), "-d", "out", "-q"]
        assert rdl(tmp_path, *words).returncode == 0
        asked = len(origin.seen)
        assert asked == COUNT
        assert rdl(tmp_path, *words).returncode == 0
        assert len(origin.seen) == asked


def test_row_38_one_of_twenty_is_missing(tmp_path: Path) -> None:
    many = Many()
    with Origin(many.answer) as origin:
        many.missing = {7}
        urls = [origin.url(f"/{number}") for number in range(20)]
        done = rdl(tmp_path, "get", *urls, "-j", "3", "--retry", "0")
        assert done.returncode == 8
        assert done.stdout == ""
        *_, complete, other, failed, total = done.stderr.splitlines()
        assert complete.split()[:3] == ["rdl:", "complete", "19"]
        assert other.split() == ["rdl:", "http-status", "1", "nothing"]
        assert failed == "rdl: not complete: 7: HTTP 503: the server is busy"
        assert total.startswith("rdl: 19 of 20 files complete, ")
        assert len(list(tmp_path.iterdir())) == 19


def test_files_of_one_server_share_its_connections(tmp_path: Path) -> None:
    assert ceilings(["http://h/1"] * 5 + ["http://g/2"], 4) == [4] * 5 + [8]
    assert ceilings(["http://u:p@H:80/1", "http://h:80/2", "http://["], 9) == [8, 8, 8]
    assert ceilings(["http://h/1"] * 40, 40) == [1] * 40
    options = Options()
    assert limited(options, 8) is options
    assert limited(options, 3).transfer.ceiling == 3
    given = Options(transfer=TransferOptions(connections=8))
    assert limited(given, 3).transfer.connections == 8, "what was asked for counts"


def test_a_list_of_large_files_makes_no_more_connections_than_its_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = content_of(3 << 20)
    monkeypatch.setattr(pace, "WORTH_SECONDS", 0.75)  # as if the server were slower
    monkeypatch.setattr(pace, "LONG_SECONDS", 1.5)
    with Mirror(data, 8 << 20) as server, Session() as session:
        small = TransferOptions(min_split=64 << 10)
        targets = [
            Target(server.url(f"/{name}"), tmp_path / name, Options(transfer=small))
            for name in "abcd"
        ]
        results = session.get_all(targets)
        assert [one.exit_code for one in results] == [0] * 4
        assert max(one.connections for one in results) <= 4
        assert server.connections <= 16
    assert all((tmp_path / name).read_bytes() == data for name in "abcd")
