"""What is served: the interface between the loop and where bytes are.

A reading is one reader's view of one resource, of which more may be there later. It announces
that something changed, from any thread; what, the loop asks: so the latest value wins.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from msgspec import Struct

from rdl.core.byterange import ByteRange
from rdl.server.answers import PLAIN, Facts


class Over(Exception):
    """All has been sent of an answer that goes on until it ends: a clean end."""


class Reading(Protocol):
    """One request's view of a resource; closed when it has its answer, or has gone.

    All methods are called in the loop's thread, and none of them waits. What raises RdlError
    before the head was sent is answered with 502; after that the connection is reset before its
    Content-Length is reached: never a clean end that is too short.
    """

    @property
    def facts(self) -> Facts | None:
        """What the head says; None: not known yet, `notify` announces it. Raises RdlError."""

    @property
    def moving(self) -> int:
        """Grows while something comes, if only for others."""

    @property
    def descriptor(self) -> int | None:
        """A file whose bytes stand at the same offsets, to be sent by sendfile(2)."""

    def notify(self, changed: Callable[[], None]) -> None:
        """Call `changed`, in any thread, whenever facts, what is available or a failure may be
        new; until closed."""

    def demand(self, wanted: ByteRange) -> None:
        """These bytes will be sent, in order: said once, before the first is."""

    def available(self, offset: int) -> int:
        """How many bytes from `offset` on can be sent now; 0: `notify` announces more. Raises
        RdlError when there will be none, or those that were sent are no longer right; Over at the
        end of what said no length."""

    def read_into(self, offset: int, view: memoryview) -> int:
        """Read 1 to len(view) available bytes; 0: they are not any more. Raises RdlError."""

    def close(self) -> None:
        """The reader needs nothing more; its demand ends with it."""


@runtime_checkable
class Metered(Protocol):
    """A reading that costs an upstream something."""

    def on_behalf(self, client: str) -> None:
        """Said first: who reads it. Raises Reply where it has cost too much."""

    def settle(self, sent: int) -> None:
        """Said last: how many bytes it was sent."""


class FileView(Struct, frozen=True):
    """A file that is being filled, as a page shows it. `path`: percent-encoded, from a slash on;
    `present`: which of its bytes are here; `state`: a word for people."""

    path: str
    size: int | None
    present: tuple[ByteRange, ...]
    readers: int
    state: str


class View(Struct, frozen=True):
    """What a page shows of a Site. `kept`: bytes in its cache, of which there may be `most`."""

    flights: tuple[FileView, ...] = ()
    kept: int | None = None
    most: int | None = None


class Site(Protocol):
    """Where paths lead."""

    def view(self) -> View | None:
        """What is going on; None: it is being looked at. Waits for nothing."""

    def front(self) -> list[str] | None:
        """What stands at the root, as items of an HTML list; None: it cannot be listed. Raises
        Reply."""

    def find(self, path: str) -> Reading:
        """What a path, percent-encoded and beginning with a slash, names. Raises Reply."""

    def close(self) -> None: ...


@runtime_checkable
class Wishable(Site, Protocol):
    """A Site whose manifests take wishlists."""

    def grant(self, path: str, body: bytes, wait: float) -> Reading:
        """What answers the wishlist `body` that was sent to the manifest at `path`: so many
        seconds are waited for each chunk that is still to come. Raises Reply."""


def copied(data: bytes | memoryview, start: int, view: memoryview) -> int:
    """As much of `data` from `start` on as there is room for in `view`; returns how much."""
    found = data[start : start + len(view)]
    view[: len(found)] = found
    return len(found)


class Text:
    """A reading of something that is made for this request."""

    descriptor = None
    moving = 0

    def __init__(self, data: bytes, media_type: str = PLAIN, policy: str | None = None) -> None:
        self._data = data
        self.facts: Facts | None = Facts(
            len(data), media_type=media_type, ranges=False, policy=policy
        )

    def notify(self, changed: Callable[[], None]) -> None:
        """It never changes."""

    def demand(self, wanted: ByteRange) -> None:
        """It is all here."""

    def available(self, offset: int) -> int:
        return len(self._data) - offset

    def read_into(self, offset: int, view: memoryview) -> int:
        return copied(self._data, offset, view)

    def close(self) -> None:
        """There is nothing to let go of."""
