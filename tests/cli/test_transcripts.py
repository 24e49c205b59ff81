"""Sessions at a shell, word for word: every transcripts/*.txt is played and compared.

A line `$ COMMAND` is run by bash, in a folder that is empty at the beginning; what follows is
all it shows, then `[exit N]` where N is not 0. `^C` is pressed once the server has stopped
sending. `python -m tests.cli.test_transcripts [NAME]...` writes down what is said now.
"""

from __future__ import annotations

import difflib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.doors.packing import Entry, link, made_tar, zip_of
from tests.scenarios.coded import MiB, coded
from tests.support.ranges import chosen

FOLDER = Path(__file__).with_name("transcripts")
TRANSCRIPTS = sorted(FOLDER.glob("*.txt"))
ROOT = FOLDER.parents[2]
LETTERS = b"abcdefghijklmnopqrstuvwxyz\n"
PACKED = (
    Entry(b"docs/", b""),
    Entry(b"docs/README", b"read this\n"),
    Entry(b"letters.txt", LETTERS),
    Entry(b"../escape\x1b[31m", b"no"),
    Entry(b"link", b"letters.txt", mode=0o120777),
    Entry(b"wrong.txt", b"not these\n", local={"crc": 1}, central={"crc": 1}),
)
PHOTOS = coded(0, 2 * MiB, 2)
FILES = {
    "/letters.txt": LETTERS,
    "/numbers.txt": b"0123456789\n",
    "/image.iso": coded(0, 2 * MiB),
    "/stops.iso": coded(0, 2 * MiB, 1),
    "/photos.tar": PHOTOS,
    "/SHA256SUMS": f"{sha256(PHOTOS).hexdigest()}  photos.tar\n".encode(),
    "/page.iso": b"<!doctype html><title>Please log in</title>\n",
    "/busy.txt": b"",
    "/private.txt": b"for alice only\n",
    "/packed.zip": zip_of(*PACKED),
    "/packed.tar": made_tar([("a.txt", b"from a tar\n")], others=[link("b", b"2", "a.txt")]),
}
STOPPING = ("/stops.iso", "/photos.tar")
LOGIN = "Basic YWxpY2U6c2VjcmV0"  # alice:secret
STEADY = [
    (r"http://127\.0\.0\.1:\d+", "http://HOST"),
    (r"127\.0\.0\.1:\d+", "HOST"),
    (r"(?<=in )(?:under )?\d+\.\d s", "TIME"),
    (r"(?<=in TIME) \(\d+(?:\.\d)? (?:B|[KMG]iB)/s\)", ""),
    (r'("seconds": )[\d.]+', r"\1TIME"),
    (r"(?m)^rdl: \S+: \d+%, .*\n", ""),
    (r"\d+\.\d s(?=  http:)", "#.# s"),
    (r"(?m)^(rdl: removed .*), \d+ bytes.*$", r"\1, SIZE"),
]
"""What differs from run to run, and lines of progress, which come by the clock."""


class Site:
    """A server on loopback. `stopped` is set once a file of STOPPING, asked for the first time, has
    sent its first half and nothing more."""

    def __init__(self) -> None:
        self.stopped, self._over = threading.Event(), threading.Event()
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 20

            def do_GET(self) -> None:
                site.answer(self)

            def log_message(self, *_: Any) -> None:
                """The transcript is what is looked at."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                """A client that goes away is part of a session."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.host = f"127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """200, 206, 304, 401, 404, 412, 416 or 503."""
        body = FILES.get(request.path)
        if body is None:
            self._empty(request, 404)
        elif request.path == "/private.txt" and request.headers["Authorization"] != LOGIN:
            self._empty(request, 401, ("WWW-Authenticate", "Basic"))
        elif request.path == "/busy.txt":
            self._empty(request, 503, ("Retry-After", "0"))
        else:
            self._send(request, body)

    def _empty(
        self, request: BaseHTTPRequestHandler, status: int, *fields: tuple[str, str]
    ) -> None:
        request.send_response(status)
        for name, value in fields:
            request.send_header(name, value)
        request.send_header("Content-Length", "0")
        request.end_headers()

    def _send(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        etag = f'"{request.path[1:]}"'
        status, start, stop = chosen(request.headers, etag, len(body))
        if status >= 300:
            fields = [("Content-Range", f"bytes */{len(body)}")] if status == 416 else []
            self._empty(request, status, *fields)
            return
        request.send_response(status)
        page = request.path == "/page.iso"
        request.send_header("Content-Type", "text/html" if page else "application/octet-stream")
        request.send_header("Content-Length", str(stop - start))
        request.send_header("ETag", etag)
        request.send_header("Last-Modified", "Wed, 01 Jan 2025 12:00:00 GMT")
        request.send_header("Accept-Ranges", "bytes")
        if status == 206:
            request.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(body)}")
        request.end_headers()
        if request.path in STOPPING and not self.stopped.is_set():
            request.wfile.write(body[start : stop // 2])
            self.stopped.set()
            self._over.wait(20)
        else:
            request.wfile.write(body[start:stop])


COMPILED = {name: value for name, value in os.environ.items() if name == "PYTHONPYCACHEPREFIX"} or {
    "PYTHONDONTWRITEBYTECODE": "1"
}


@contextmanager
def desk() -> Iterator[tuple[Site, Path, dict[str, str]]]:
    """A server, an empty folder, and an environment in which `rdl` is this one."""
    site = Site()
    try:
        with tempfile.TemporaryDirectory(prefix="rdl-transcript-") as name:
            home = Path(name, "home")
            (home / "bin").mkdir(parents=True)
            (home / "work").mkdir()
            program = home / "bin" / "rdl"
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m rdl "$@"\n')
            program.chmod(0o755)
            environment = {
                "PATH": f"{program.parent}:{os.environ['PATH']}",
                "PYTHONPATH": f"{ROOT / 'src'}",
                **COMPILED,
                "HOME": name,
                "LC_ALL": "C.UTF-8",
                "TZ": "UTC",
            }
            yield site, home / "work", environment
    finally:
        site.close()


def play(text: str) -> str:
    """The transcript as it reads now."""
    shown: list[str] = []
    with desk() as (site, folder, environment):
        for line in re.findall(r"^(?:# .*|\$ .*(?:\n\^C)?)$", text, re.MULTILINE):
            if line.startswith("#") and shown and not shown[-1].startswith("#"):
                shown.append("\n")
            shown.append(f"{line}\n")
            if line.startswith("$"):
                command = (
                    line[2:].removesuffix("\n^C").replace("http://HOST", f"http://{site.host}")
                )
                press = site.stopped if line.endswith("\n^C") else None
                shown.append(_steady(_run(command, folder, environment, press)))
    return "".join(shown)


def _run(
    command: str, folder: Path, environment: dict[str, str], press: threading.Event | None
) -> str:
    process = subprocess.Popen(
        ["bash", "-c", command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=folder,
        env=environment,
    )
    try:
        if press is not None:
            assert press.wait(20), "the server was not asked"
            time.sleep(0.8)  # what was sent is also read
            process.send_signal(signal.SIGINT)
        text = process.communicate(timeout=30)[0].decode("utf-8", "backslashreplace")
    finally:
        process.kill()
        process.wait()
    text += "\n" if text and not text.endswith("\n") else ""
    return text + (f"[exit {process.returncode}]\n" if process.returncode else "")


def _steady(text: str) -> str:
    for pattern, placeholder in STEADY:
        text = re.sub(pattern, placeholder, text)
    return text


@pytest.fixture(scope="module")
def said() -> Iterator[dict[Path, Future[str]]]:
    """All of them, played two at a time."""
    with ThreadPoolExecutor(2) as pool:
        yield {path: pool.submit(play, path.read_text()) for path in TRANSCRIPTS}


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_what_is_said_is_what_is_written(path: Path, said: dict[Path, Future[str]]) -> None:
    written, now = path.read_text(), said[path].result(120)
    lines = written.splitlines(), now.splitlines()
    difference = "\n".join(difflib.unified_diff(*lines, "written", "said now", lineterm=""))
    assert now == written, f"{path.name}\n{difference}"


def main(names: list[str]) -> None:
    """Write the transcripts anew: all, or those named."""
    for path in TRANSCRIPTS:
        if not names or path.stem in names:
            path.write_text(play(path.read_text()))


if __name__ == "__main__":
    main(sys.argv[1:])
