"""What the engine knows of a network: open a request, read the head, take the body.

A transport never retries, never judges a response and never follows its own opinion of a
URL except for redirects, which obey the policy. It raises rdl.errors and nothing else.
"""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from rdl.core.fields import ResponseHead

__all__ = ["Exchange", "Lineage", "Request", "ResponseHead", "Sent", "Transport"]


class Lineage(Struct, frozen=True):
    """How one came to a URL: the origin where the chain of redirects began, and whether it has
    passed a public address. It decides what may be sent there."""

    origin: str
    public: bool = False


class Request(Struct, frozen=True):
    """A GET of `url` with these headers besides the user's own (Range, If-Range, ...).
    `lineage`: that of the exchange that led to this URL; None for the user's own. `body`: of a
    POST that changes nothing, so it may be sent again."""

    url: str
    headers: tuple[tuple[str, str], ...] = ()
    method: str = "GET"
    lineage: Lineage | None = None
    body: bytes = b""


class Exchange(Protocol):
    """One request and its response, on one connection."""

    @property
    def head(self) -> ResponseHead: ...

    @property
    def lineage(self) -> Lineage | None:
        """Of the URL that answered."""
        ...

    @property
    def public(self) -> bool:
        """Whether on the way there a public address was passed, that one included."""
        ...

    def readinto(self, view: memoryview) -> int:
        """Fill the start of `view` with body bytes; 0 means the body ended as it should.

        Raises NetworkError for a reset, a stall, or an end before the framing's end
        (for "close" framing over TLS: an end without close_notify).
        """
        ...

    def ready(self) -> bool:
        """Whether readinto() would find something at once."""
        ...

    def close(self) -> None:
        """Give the connection back if the body was read to its end, else close it.

        May be called from another thread to wake a blocked readinto, which then raises.
        """
        ...


class Sent(Protocol):
    """A request that was sent; its response has not been looked at."""

    def answered(self, seconds: float) -> bool:
        """Whether the head is here: open() waits for nothing then. Waits so long for it at most.
        Raises as Transport.open()."""
        ...

    def open(self) -> Exchange:
        """As Transport.open(), which it replaces."""
        ...

    def close(self) -> None:
        """Nobody waits for the response. Not while another thread is in open()."""
        ...


class Transport(Protocol):
    """Opens exchanges; safe to use from several threads."""

    def ask(self, request: Request) -> Sent | None:
        """Send it at once, without waiting for anything. None where that cannot be done, and
        nothing was sent."""
        ...

    def open(self, request: Request) -> Exchange:
        """Send, follow redirects by policy, return when the final head is here."""
        ...

    def close(self) -> None:
        """Close every connection."""
        ...
