"""A server whose URL leads to a link that lives so many seconds, on another origin.

After that, or after so many `uses`, the link is refused; with `cuts` bodies end with it. `front`
and `store` are the two origins; every body is sent at `rate` bytes a second.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from tests.support.origin import END, Answer, Origin, Seen, Step, Wait, response

STEPS = 50
"""Steps a second in which a body is sent."""


class Links:
    """`issued`: when each link was made; `refused`: how many requests came too late."""

    def __init__(
        self,
        content: bytes,
        life: float,
        rate: int,
        *,
        cuts: bool = True,
        status: str = "403 Forbidden",
        tags: Callable[[int], str] = lambda link: '"v0"',
        uses: int | None = None,
    ) -> None:
        self.content, self.life, self._rate = content, life, rate
        self._cuts, self._status, self._tags = cuts, status, tags
        self._uses, self._used = uses, Counter[int]()
        self.issued: list[float] = []
        self.refused = 0
        self._unused, self._begun = set[int](), dict[int, float]()
        self._stack = ExitStack()

    def __enter__(self) -> Links:
        self.store = self._stack.enter_context(Origin(self._serve))
        self.front = self._stack.enter_context(Origin(self._lead))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @property
    def url(self) -> str:
        return self.front.url("/file.bin")

    def make(self) -> str:
        """A new link; it lives from its first request on, so that nobody need be quick with it."""
        self.issued.append(time.monotonic())
        self._unused.add(len(self.issued) - 1)
        return self._link()

    def _link(self) -> str:
        return self.store.url(f"/object/file.bin?X-Amz-Signature={len(self.issued) - 1}")

    def _lead(self, connection: int, turn: int, seen: Seen) -> Answer:
        if seen.line.startswith("GET /new "):  # for a command that asks for one
            return [response(self.make().encode())]
        self.issued.append(time.monotonic())
        return [response(b"", "302 Found", f"Location: {self._link()}")]

    def _serve(self, connection: int, turn: int, seen: Seen) -> Iterator[Step]:
        number = int(seen.line.split()[1].rpartition("=")[2])
        if number in self._unused:
            self._unused.discard(number)
            self._begun[number] = time.monotonic()
        until = self._begun.get(number, self.issued[number]) + self.life
        self._used[number] += 1
        if time.monotonic() >= until or self._used[number] > (self._uses or 1 << 30):
            self.refused += 1
            yield response(b"<Error>expired</Error>", self._status)
            return
        total = len(self.content)
        first, _, last = seen.fields.get("range", "bytes=0-").removeprefix("bytes=").partition("-")
        start, stop = int(first), min(total, int(last) + 1) if last else total
        said = f"Content-Range: bytes {start}-{stop - 1}/{total}"
        lines = [f"Content-Length: {stop - start}", said, f"ETag: {self._tags(number)}"]
        yield "\r\n".join(["HTTP/1.1 206 Partial Content", *lines, "", ""]).encode()
        size = max(1, self._rate // STEPS)
        begun = time.monotonic()
        for count, at in enumerate(range(start, stop, size)):
            if self._cuts and time.monotonic() >= until:
                yield END
            yield self.content[at : min(at + size, stop)]
            yield Wait(max(0.0, begun + (count + 1) / STEPS - time.monotonic()))
