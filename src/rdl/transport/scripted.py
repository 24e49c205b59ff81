"""A transport without a network: a function answers requests, bodies are what it says.

For tests and simulators. A body is an iterator of bytes, or of an error to raise at that
point; its end is the proper end of the body.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import suppress

from msgspec import Struct, field

from rdl.errors import NetworkError, RdlError
from rdl.transport.base import Lineage, Request, ResponseHead


class Answer(Struct, frozen=True):
    """A final head and what follows it."""

    head: ResponseHead
    body: Iterator[bytes | RdlError] = field(default_factory=lambda: iter(()))


class ScriptedExchange:
    """One answered request. A head with another URL says that it was led there."""

    def __init__(self, request: Request, answer: Answer) -> None:
        self.head, self.lineage = answer.head, request.lineage
        if answer.head.url not in ("", request.url):
            self.lineage = Lineage("scripted")
        self._body, self._rest, self.public = answer.body, b"", False
        self.closed = False

    def ready(self) -> bool:
        return True

    def readinto(self, view: memoryview) -> int:
        """Fill the start of `view` with the next bytes; raises what the script says."""
        if self.closed:
            raise NetworkError("connection", "closed")
        while not self._rest:
            step = next(self._body, None)
            if step is None:
                return 0
            if isinstance(step, RdlError):
                raise step
            self._rest = step
        count = min(len(view), len(self._rest))
        view[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def close(self) -> None:
        """Nothing more is read; a body that is a generator is closed."""
        self.closed = True
        if isinstance(self._body, Generator):
            with suppress(ValueError):  # another thread is in it, and will see `closed`
                self._body.close()


class ScriptedTransport:
    """Answers each request with what `answer` returns, or raises what it raises."""

    def __init__(self, answer: Callable[[Request], Answer]) -> None:
        self._answer = answer
        self.requests: list[Request] = []

    def ask(self, request: Request) -> None:
        """There is no connection."""

    def open(self, request: Request) -> ScriptedExchange:
        self.requests.append(request)
        return ScriptedExchange(request, self._answer(request))

    def close(self) -> None:
        """There is nothing to close."""
