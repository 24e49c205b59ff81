"""What others make of it: curl, wget, and rdl itself."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from rdl.server.answers import Facts
from rdl.server.resource import Reading
from tests.server.conftest import Running, Start
from tests.server.growing import Growing
from tests.servers.conftest import required
from tests.support import program
from tests.support.content import MiB, write_seeded

LONG_AGO = 1_700_000_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("served") / "sub"
    made.mkdir()
    write_seeded(made / "a file.bin", 9 * MiB + 17, seed=4)
    os.utime(made / "a file.bin", (LONG_AGO, LONG_AGO))
    return made.parent


@pytest.fixture
def content(folder: Path) -> bytes:
    return (folder / "sub" / "a file.bin").read_bytes()


@pytest.fixture
def running(start: Start, folder: Path) -> Running:
    return start(folder)


@pytest.fixture
def url(running: Running) -> str:
    return f"{running.url}/sub/a%20file.bin"


def run(name: str, *arguments: str, cwd: Path, code: int = 0) -> bytes:
    """stdout of a program that ends with this code."""
    ended = subprocess.run(
        [required(name), *arguments],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == code, ended.stderr
    return ended.stdout


def test_curl(url: str, content: bytes, tmp_path: Path) -> None:
    assert run("curl", "-sf", url, cwd=tmp_path) == content
    assert run("curl", "-sf", "-r", "100-199", url, cwd=tmp_path) == content[100:200]
    assert run("curl", "-sf", "-r", "-17", url, cwd=tmp_path) == content[-17:]
    run("curl", "-sf", "-r", f"{len(content)}-", url, cwd=tmp_path, code=22)
    head = run("curl", "-sfI", url, cwd=tmp_path).decode()
    assert f"Content-Length: {len(content)}\r\n" in head
    assert "Accept-Ranges: bytes\r\n" in head


def test_curl_resumes_and_asks_whether_it_changed(url: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(content[:5000])
    run("curl", "-sf", "-C", "-", "-o", "out", url, cwd=tmp_path)
    assert (tmp_path / "out").read_bytes() == content
    status = ("-s", "-o", "body", "-w", "%{http_code}")
    run("curl", *status, "--etag-save", "etag", url, cwd=tmp_path)
    assert run("curl", *status, "--etag-compare", "etag", url, cwd=tmp_path) == b"304"
    assert run("curl", *status, "-z", "out", url, cwd=tmp_path) == b"304"
    part = (*status, "-r", "0-9", "-H")
    assert run("curl", *part, 'If-Range: "another"', url, cwd=tmp_path) == b"200"
    etag = (tmp_path / "etag").read_text().strip()
    assert run("curl", *part, f"If-Range: {etag}", url, cwd=tmp_path) == b"206"


def test_curl_with_the_token(start: Start, folder: Path, tmp_path: Path) -> None:
    running = start(folder, token="s3cret")
    url = f"{running.url}/sub/"
    run("curl", "-sf", url, cwd=tmp_path, code=22)
    run("curl", "-sf", "-u", "me:wrong", url, cwd=tmp_path, code=22)
    assert b"a%20file.bin" in run("curl", "-sf", "-u", "me:s3cret", url, cwd=tmp_path)
    bearer = "Authorization: Bearer s3cret"
    assert b"a%20file.bin" in run("curl", "-sf", "-H", bearer, url, cwd=tmp_path)


def test_wget(url: str, content: bytes, tmp_path: Path) -> None:
    run("wget", "-q", "-O", "out", url, cwd=tmp_path)
    assert (tmp_path / "out").read_bytes() == content
    (tmp_path / "a file.bin").write_bytes(content[:70_000])
    run("wget", "-q", "-c", url, cwd=tmp_path)
    assert (tmp_path / "a file.bin").read_bytes() == content


def test_wget_takes_a_folder(running: Running, content: bytes, tmp_path: Path) -> None:
    run("wget", "-q", "-r", "-np", "-nH", running.url + "/sub/", cwd=tmp_path)
    assert (tmp_path / "sub" / "a file.bin").read_bytes() == content


def test_rdl(url: str, running: Running, content: bytes, tmp_path: Path) -> None:
    ended = program.rdl(tmp_path, "get", url, "-o", "out", "-x", "4", "-k", "1M", "--json")
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "out").read_bytes() == content
    assert '"trust": "T2"' in ended.stdout or '"trust": "T3"' in ended.stdout  # with its digest
    assert running.server.tally.requests[206] >= 4
    again = program.rdl(tmp_path, "get", url, "-o", "out", "--json")
    assert (again.returncode, '"reason": "unchanged"' in again.stdout) == (0, True)


class Announced(Growing):
    """All is here, and its SHA-256 is known."""

    def find(self, path: str) -> Reading:
        sha256 = hashlib.sha256(b"other" if path == "/wrong" else self.data).digest()
        self.facts, self.here = Facts(len(self.data), '"v"', sha256=sha256), len(self.data)
        return super().find("/data.bin")


def test_rdl_checks_the_digest_that_is_announced(start: Start, tmp_path: Path) -> None:
    running = start(Announced(b"content" * 1000))
    right = program.rdl(tmp_path, "get", f"{running.url}/right", "--json")
    assert (right.returncode, '"trust": "T3"' in right.stdout) == (0, True)
    wrong = program.rdl(tmp_path, "get", f"{running.url}/wrong")
    assert wrong.returncode == 10
    assert not (tmp_path / "wrong").exists()


def test_rdl_continues_where_the_server_failed(
    start: Start, folder: Path, content: bytes, tmp_path: Path
) -> None:
    """The ETag is that of the file, not of the server that serves it."""
    first = start(folder)
    address = f"{first.url}/sub/a%20file.bin"
    limits = ("--limit-rate", "3M", "-x", "1")
    with program.Download(address, tmp_path / "out", *limits) as download:
        assert download.wait_for("progress", bytes_present=MiB)
        first.server.stop(0)
        assert first.ended()
        download.kill()
    start(folder, address=first.server.address)
    ended = program.rdl(tmp_path, "get", address, "-o", "out", "--json")
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "out").read_bytes() == content
    assert '"bytes_reused": 0' not in ended.stdout
