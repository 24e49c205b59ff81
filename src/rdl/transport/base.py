"""What the engine knows of a network: open a request, read the head, take the body.

A transport never retries, never judges a response and never follows its own opinion of a
URL except for redirects, which obey the policy. It raises rdl.errors and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Request:
    """A GET of `url` with these headers besides the user's own (Range, If-Range, ...)."""

    url: str
    headers: tuple[tuple[str, str], ...] = ()
    method: str = "GET"


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """A final response's head. Names are lower-case; text is latin-1, unchecked otherwise.

    `framing` says how the end of the body is known: "length" (content_length says), "chunked",
    "close" (the end of the connection), or "none" (no body).
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    reason: str = ""
    http_version: str = "HTTP/1.1"
    framing: str = "length"
    content_length: int | None = None
    url: str = ""
    """Where the response came from, after redirects."""

    def all(self, name: str) -> list[str]:
        """Every value of the field `name` (lower-case), in order."""
        return [value for key, value in self.headers if key == name]

    def get(self, name: str) -> str | None:
        """The only or first value of the field `name`."""
        values = self.all(name)
        return values[0] if values else None


class Exchange(Protocol):
    """One request and its response, on one connection."""

    @property
    def head(self) -> ResponseHead: ...

    def readinto(self, view: memoryview) -> int:
        """Fill the start of `view` with body bytes; 0 means the body ended as it should.

        Raises NetworkError for a reset, a stall, or an end before the framing's end
        (for "close" framing over TLS: an end without close_notify).
        """
        ...

    def close(self) -> None:
        """Give the connection back if the body was read to its end, else close it.

        May be called from another thread to wake a blocked readinto, which then raises.
        """
        ...


class Transport(Protocol):
    """Opens exchanges; safe to use from several threads."""

    def open(self, request: Request) -> Exchange:
        """Send, follow redirects by policy, return when the final head is here."""
        ...

    def close(self) -> None:
        """Close every connection."""
        ...
