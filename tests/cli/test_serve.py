"""`rdl serve` as a process: what it says, what it refuses, and how it ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from rdl.cli.commands.serve import _without_login
from rdl.options import Options
from tests.cli.conftest import Rdl
from tests.support.program import RDL
from tests.support.waiting import until


class Serving(NamedTuple):
    process: subprocess.Popen[Any]
    said: str
    port: int

    def get(self, path: str, **fields: str) -> tuple[int, bytes]:
        client = HTTPConnection("127.0.0.1", self.port, timeout=5)
        client.request("GET", path, headers=fields)
        answer = client.getresponse()
        found = answer.status, answer.read()
        client.close()
        return found

    def refuses(self) -> bool:
        """Whether it accepts nobody any more."""
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
        except ConnectionRefusedError:
            return True
        return False

    def end(self, number: signal.Signals) -> tuple[int, str]:
        """Exit code, and what else was said."""
        self.process.send_signal(number)
        rest = self.process.communicate(timeout=20)[1]
        return self.process.returncode, rest


@contextmanager
def serving(folder: Path, *options: str, bind: str = "127.0.0.1:0") -> Iterator[Serving]:
    """A process that has said where it serves this folder."""
    process = subprocess.Popen(
        [*RDL, "serve", *options, "--bind", bind],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        said = process.stderr.readline()
        found = re.search(r"http://[^ ]*:(\d+)/", said)
        assert found, said
        yield Serving(process, said, int(found[1]))
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_it_serves_until_a_signal_comes(tmp_path: Path, name: str, code: int) -> None:
    (tmp_path / "f.txt").write_text("hello")
    with serving(tmp_path) as server:
        url = f"http://127.0.0.1:{server.port}/"
        assert server.said == f"rdl: serving . at {url}; Ctrl-C ends it\n"
        assert server.get("/f.txt") == (200, b"hello")
        assert server.get("/", Host=f"evil.example:{server.port}")[0] == 421
        assert server.end(signal.Signals[name]) == (code, "")


def test_what_is_being_sent_is_finished(tmp_path: Path) -> None:
    with (tmp_path / "f").open("wb") as file:
        file.truncate(32 << 20)
    with serving(tmp_path, "-v") as server, socket.socket() as sock:
        sock.settimeout(20)
        sock.connect(("127.0.0.1", server.port))
        sock.sendall(f"GET /f HTTP/1.1\r\nHost: localhost:{server.port}\r\n\r\n".encode())
        size = len(sock.recv(1000))
        server.process.send_signal(signal.SIGTERM)
        assert until(server.refuses)
        assert server.process.poll() is None
        while data := sock.recv(1 << 20):
            size += len(data)
        assert size > 32 << 20
        _, rest = server.process.communicate(timeout=20)
        assert server.process.returncode == 143
    assert re.fullmatch(r"rdl: 127\.0\.0\.1 GET /f 200 33554432 [0-9.]+ s\n", rest)


def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    with (tmp_path / "f").open("wb") as file:
        file.truncate(64 << 20)
    with serving(tmp_path) as server, socket.socket() as sock:
        sock.connect(("127.0.0.1", server.port))
        sock.sendall(f"GET /f HTTP/1.1\r\nHost: localhost:{server.port}\r\n\r\n".encode())
        assert sock.recv(100)
        server.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert until(server.refuses)  # it has heard the first
        assert server.end(signal.SIGTERM) == (143, "")
        assert time.monotonic() - began < 9, "less than the time for what is being sent"


def test_a_token_from_a_file_opens_other_addresses(tmp_path: Path) -> None:
    (tmp_path / "token.txt").write_text("s3cret\n")
    with serving(tmp_path, "--token", "@token.txt", bind="0.0.0.0:0") as server:
        assert f"http://{socket.gethostname()}:{server.port}/" in server.said
        assert server.get("/token.txt")[0] == 401
        assert server.get("/healthz") == (200, b"ok\n")
        assert server.get("/token.txt", Authorization="Bearer s3cret") == (200, b"s3cret\n")
        name = f"{socket.gethostname()}:{server.port}"
        assert server.get("/", Host=name, Authorization="Bearer s3cret")[0] == 200
        assert server.get("/", Host=f"0.0.0.0.evil:{server.port}")[0] == 421
        assert "s3cret" not in server.said


def test_sync_makes_manifests(tmp_path: Path) -> None:
    (tmp_path / "f.txt").write_text("hello")
    with serving(tmp_path, "--sync") as server:
        status, made = server.get("/f.txt.rdlm")
        assert (status, made[:8]) == (200, b"RDLMANIF")
        assert server.end(signal.SIGTERM) == (143, "")
    assert os.listdir(tmp_path) == ["f.txt"]


def test_sync_of_an_upstream(tmp_path: Path) -> None:
    (tmp_path / "f.txt").write_text("hello")
    with (
        serving(tmp_path, "--sync") as server,
        serving(
            tmp_path,
            *("--sync", "--upstream", f"http://127.0.0.1:{server.port}/", "--cache", "kept"),
        ) as between,
    ):
        assert between.get("/f.txt.rdlm") == server.get("/f.txt.rdlm")
        assert between.end(signal.SIGTERM) == (143, "")


def test_silence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with subprocess.Popen(
        [*RDL, "serve", "-q", "--bind", f"127.0.0.1:{port}"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        server = Serving(process, "", port)
        assert until(lambda: is_served(server), 20)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20) == (b"", b"")
    assert process.returncode == 130


def is_served(server: Serving) -> bool:
    try:
        return server.get("/healthz") == (200, b"ok\n")
    except ConnectionError:
        return False


REFUSED = [
    (["--bind", "0.0.0.0:0"], 2, "--bind 0.0.0.0: others reach this address"),
    (["--bind", "[::]:0"], 2, "--bind ::: others reach this address"),
    (["--bind", "8080"], 2, "--bind 8080: not HOST:PORT"),
    (["--bind", "localhost"], 2, "--bind localhost: not HOST:PORT"),
    (["--bind", "localhost:99999"], 2, "not HOST:PORT"),
    (["--bind", "::1:80"], 2, "not HOST:PORT"),
    (["--bind", ":80"], 2, "not HOST:PORT"),
    (["--bind", "a b:80"], 2, "not HOST:PORT"),
    (["--bind", "no-such-host.invalid:0"], 4, "--bind no-such-host.invalid: "),
    (["--token", ""], 2, "--token: not 1 to 256 visible ASCII characters"),
    (["--token", "canary\n"], 2, "--token: not 1 to 256"),
    (["--token", "@gone"], 2, "--token @gone: No such file"),
    (["gone"], 3, "gone: No such file or directory"),
    (["a", "b"], 2, "serve: one DIR, not 2"),
    (["--upstream", "http://h/"], 2, "--upstream: needs a folder to keep what it fetches"),
    (["--upstream", "ftp://h/", "--cache", "x"], 2, "not an http, https or file URL"),
    (["--upstream", "file:///etc", "--cache", "x"], 2, "a folder is served by its name"),
    (["--upstream", "http://h/?sig=1", "--cache", "x"], 2, "neither query nor fragment"),
    (["--upstream", f"http://h/#sha256={'0' * 64}", "--cache", "x"], 2, "neither query nor"),
    (["--upstream", "http://h/", "--cache", "x", "a"], 2, "a folder, or an --upstream"),
    (["--upstream", "http://u:p@h/", "--cache", "x"], 2, "what a login gets is not for everybody"),
    (["--upstream", "http://h/", "--cache", "x", "-H", "Cookie: a"], 2, "not for everybody"),
    (
        ["--upstream", "http://h/", "--cache", "x", "--netrc-file", __file__],
        2,
        "not for everybody",
    ),
    (["--upstream", "http://h/", "--cache", "x", "-b", __file__], 2, "not for everybody"),
    (["--per-address", "0"], 2, "--per-address 0: not a whole number from 1 to 4096"),
    (["--stall", "0"], 2, "--stall 0: must be more than 0"),
    (["--cache", "x"], 2, "--cache: useless without --upstream"),
    (["--cache-size", "1M"], 2, "--cache-size: useless without --upstream"),
    (["--limit-rate", "1M"], 2, "--limit-rate: useless without --upstream"),
]


@pytest.mark.parametrize(
    ("arguments", "code", "why"), REFUSED, ids=[" ".join(one) for one, _, _ in REFUSED]
)
def test_refusals(rdl: Rdl, arguments: list[str], code: int, why: str) -> None:
    answer = rdl("serve", *arguments)
    assert (answer.code, answer.out) == (code, "")
    assert why in answer.err.splitlines()[0]
    assert "canary" not in answer.err
    assert not os.listdir(".")


@pytest.mark.parametrize(
    ("mode", "why"),
    [(0o700, "holds other files, and is no cache"), (0o777, "others may write to it")],
)
def test_a_folder_of_others_is_no_cache(rdl: Rdl, tmp_path: Path, mode: int, why: str) -> None:
    (tmp_path / "notes").write_bytes(b"the user's")
    tmp_path.chmod(mode)
    answer = rdl("serve", "--upstream", "http://h/", "--cache", str(tmp_path))
    assert (answer.code, answer.out) == (3, "")
    assert why in answer.err.splitlines()[0]
    assert os.listdir(".") == ["notes"]


def test_without_a_token_nobody_logs_in_by_netrc() -> None:
    assert not _without_login(Options()).network.netrc


def test_an_address_that_is_taken(rdl: Rdl) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        answer = rdl("serve", "--bind", bind)
    assert answer.code == 4
    assert answer.err.startswith(f"rdl: --bind {bind}: Address already in use\n")
