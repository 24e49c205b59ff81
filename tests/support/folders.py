"""A folder on loopback: ranges, validators, index pages, redirects of folders to their slash.

Every request is noted, with the bytes of body that it got.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.support.ranges import chosen

STEP = 64 << 10


@dataclass
class Asked:
    """One request: its line, its range, and how many bytes of body it got."""

    line: str
    range: str | None
    sent: int = 0


@dataclass
class Folder:
    """Serves `root` at `url` (no slash at the end). `cut_after`: the next body of more bytes than
    this is cut there, once; `busy`: so many requests get 503."""

    root: Path
    cut_after: int | None = None
    busy: int = 0
    log: list[Asked] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def sent(self) -> int:
        return sum(asked.sent for asked in self.log)


@contextmanager
def serving(root: Path) -> Iterator[Folder]:
    """The folder while the context lasts."""
    folder = Folder(root)

    class Handler(_Handler):
        of = folder

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """A client that goes away has what it wanted."""

    with Server(("127.0.0.1", 0), Handler) as server:
        folder.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield folder
        finally:
            server.shutdown()
            thread.join(5)


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 20
    of: Folder

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments, directory=str(self.of.root))

    def do_GET(self) -> None:
        asked = Asked(self.requestline, self.headers["Range"])
        self.of.log.append(asked)
        if self.of.busy:
            self.of.busy -= 1
            self.send_response(503)
            self.send_header("Retry-After", "0")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        path = Path(self.translate_path(self.path))
        if path.is_dir() or not path.is_file() or self.path.endswith("/"):
            super().do_GET()
        else:
            with path.open("rb") as file:
                self._answer(file, asked)

    def _answer(self, file: Any, asked: Asked) -> None:
        about = os.fstat(file.fileno())
        size, etag = about.st_size, f'"{about.st_mtime_ns:x}-{about.st_ino:x}"'
        status, start, stop = chosen(self.headers, etag, size)
        self.send_response(status)
        if status >= 300:
            if status == 304:
                self.send_header("ETag", etag)
            else:
                self.send_header("Content-Length", "0")
            if status == 416:
                self.send_header("Content-Range", f"bytes */{size}")
            self.end_headers()
            return
        self.send_header("Content-Type", self.guess_type(self.path))
        self.send_header("Content-Length", str(stop - start))
        self.send_header("Last-Modified", self.date_time_string(int(about.st_mtime)))
        self.send_header("ETag", etag)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self.end_headers()
        self._send(file, start, stop, asked)

    def _send(self, file: Any, start: int, stop: int, asked: Asked) -> None:
        cut = self.of.cut_after
        if cut is not None and stop - start > cut:
            self.of.cut_after, stop = None, start + cut
            self.close_connection = True
        file.seek(start)
        while start < stop and (data := file.read(min(STEP, stop - start))):
            try:
                self.wfile.write(data)
            except OSError:  # it has what it wanted
                self.close_connection = True
                return
            asked.sent += len(data)
            start += len(data)

    def log_message(self, *_: Any) -> None:
        """The log is the list of requests."""
