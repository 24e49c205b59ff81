"""A server of one file that may be replaced at any moment; every answer is of one version, and
honest under a strong ETag."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from tests.support.origin import Answer, Seen, Wait, response

STEP = 64 << 10


class Changing:
    """`pause`: seconds after each 64 KiB of a body."""

    def __init__(self, data: bytes, pause: float = 0.0) -> None:
        self._lock, self._pause = threading.Lock(), pause
        self.versions = [data]

    def change(self, data: bytes) -> None:
        with self._lock:
            self.versions.append(data)

    @property
    def newest(self) -> bytes:
        return self.versions[-1]

    def answer(self, connection: int, number: int, seen: Seen) -> Answer:
        """All of an answer."""
        with self._lock:
            data, tag = self.newest, f'"{len(self.versions) - 1}"'
        fields = seen.fields
        if fields.get("if-match", tag) != tag:
            return [response(b"", "412 Precondition Failed")]
        first, _, last = fields.get("range", "bytes=0-").removeprefix("bytes=").partition("-")
        same = fields.get("if-range", tag) == tag
        if same and first and int(first) >= len(data):
            said = f"Content-Range: bytes */{len(data)}"
            return [response(b"", "416 Range Not Satisfiable", said)]
        if not first:
            first, last = str(max(0, len(data) - int(last))), ""
        start = int(first) if same else 0
        stop = min(len(data), int(last) + 1) if last and same else len(data)
        lines = [
            "HTTP/1.1 206 Partial Content" if same else "HTTP/1.1 200 OK",
            f"Content-Length: {stop - start}",
            f"ETag: {tag}",
            "Accept-Ranges: bytes",
        ]
        if same:
            lines.append(f"Content-Range: bytes {start}-{stop - 1}/{len(data)}")
        return ["\r\n".join([*lines, "", ""]).encode(), *slowly(data[start:stop], self._pause)]


def slowly(data: bytes, pause: float) -> Iterator[bytes | Wait]:
    """A body with pauses."""
    if not pause:
        yield data
        return
    for at in range(0, len(data), STEP):
        yield data[at : at + STEP]
        yield Wait(pause)
