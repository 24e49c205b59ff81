"""A mirror: a server that sends a file at `rate` bytes a second in all, and lies where asked to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from tests.support.origin import RESET, Answer, Origin, Seen, Step, Wait, response

STEP = 64 << 10
DATE = "Mon, 02 Jan 2023 03:04:05 GMT"


class Mirror(Origin):
    """`flips`: offsets at which a bit is wrong in every body; `fields`: further lines of each
    answer; `sent`: bytes of bodies; `fails(number)`: the answer to the request of this number in
    place of the file. `asked`: the Range field of each request, as (start, stop)."""

    def __init__(
        self,
        content: bytes,
        rate: float | None = None,
        *fields: str,
        flips: tuple[int, ...] = (),
        fails: Callable[[int], Answer | None] = lambda number: None,
    ) -> None:
        wrong = bytearray(content)
        for at in flips:
            wrong[at] ^= 1
        self.content, self.rate, self._fails = bytes(wrong), rate, fails
        self._fields = fields or (f"Last-Modified: {DATE}",)
        self.sent = 0
        self.cut: int | None = None
        """The connection ends after so many bytes in all."""
        self.hold: int | None = None
        """Nothing more comes after so many bytes in all, while this stands."""
        self.asked: list[tuple[int, int]] = []
        self._lock, self._free_at = threading.Lock(), 0.0
        super().__init__(self._serve_file)

    def __enter__(self) -> Mirror:
        return self

    def _serve_file(self, connection: int, turn: int, seen: Seen) -> Iterator[Step]:
        instead = self._fails(len(self.seen) - 1)
        if instead is not None:
            yield from instead
            return
        total = len(self.content)
        wanted = seen.fields.get("range", "bytes=0-").removeprefix("bytes=")
        first, _, last = wanted.partition("-")
        start, stop = int(first), min(total, int(last) + 1) if last else total
        if start >= total:
            yield response(b"", "416 Range Not Satisfiable", f"Content-Range: bytes */{total}")
            return
        self.asked.append((start, stop))
        said = f"Content-Range: bytes {start}-{stop - 1}/{total}"
        lines = [f"Content-Length: {stop - start}", said, f"Date: {NOW}", *self._fields]
        yield "\r\n".join(["HTTP/1.1 206 Partial Content", *lines, "", ""]).encode()
        for at in range(start, stop, STEP):
            data = self.content[at : min(at + STEP, stop)]
            while self.hold is not None and self.sent >= self.hold:
                yield Wait(0.01)
            if self.rate:
                yield Wait(self._turn(len(data)))
            if self.cut is not None and self.sent >= self.cut:
                yield Wait(0.3)  # what is on its way is not lost
                yield RESET
            self.sent += len(data)
            yield data

    def _turn(self, size: int) -> float:
        """Seconds to wait, where all connections share the rate."""
        assert self.rate is not None
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now - 0.05) + size / self.rate
            return max(0.0, self._free_at - now)


NOW = "Mon, 02 Jan 2023 03:14:05 GMT"
