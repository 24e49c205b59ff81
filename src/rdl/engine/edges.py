"""What a transfer works with: its store and transports, the limits that it shares, and who hears
of its bytes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from rdl.core import messages as m
from rdl.core.byterange import ByteRange
from rdl.core.representation import Representation
from rdl.engine.permits import Permits
from rdl.engine.throttle import Throttle
from rdl.storage.base import Store
from rdl.transport.base import Lineage, ResponseHead, Transport

if TYPE_CHECKING:
    from rdl.engine.reception import Reception

REPORT = 8 << 20
"""The heart is told after so many bytes: an event costs what 0.2 MiB cost, and a late one lets a
worker take over what is here already."""


class Edges(Struct, frozen=True):
    """What a transfer works with. `url` is the real one; only the transport reads it."""

    url: str
    transport: Transport
    store: Store
    rate: Throttle
    requests: Throttle
    clock: Callable[[], float] = time.monotonic
    deliver: Callable[[int], None] = lambda upto: None
    report: int = REPORT
    """The heart is told after so many bytes at the latest."""
    awaited: Callable[[ByteRange], bool] | None = None
    """Whether a reader waits for one of these bytes: whoever has written it tells before it waits
    for more."""
    volatile: bool = False
    """Nothing is recorded for a later run, and the store may have let go what was in it."""
    watcher: Watcher | None = None
    """Of a lazy row."""
    permits: Permits | None = None
    renew: Callable[[], Place] | None = None
    """Makes a new URL; may take long, and raises RdlError."""
    mirrors: tuple[Place, ...] = ()
    """The sources 1, 2, ..."""
    named: Callable[[ResponseHead, bool], Sequence[Place]] | None = None
    """Those that a server names, by its response; whether that came from a public address."""
    reader: Borrower | None = None
    """Of a stream."""


class Watcher(Protocol):
    """Hears what readers of a lazy row may have; called by the heart's thread."""

    def known(self, representation: Representation, size: int | None) -> None:
        """Of this representation; `size` when it is known."""
        ...

    def show(self, ranges: Sequence[ByteRange]) -> None:
        """These bytes are here."""
        ...

    def hide(self, ranges: Sequence[ByteRange]) -> None:
        """They are about to go."""
        ...

    def evict(self, size: int, wanted: Sequence[ByteRange]) -> Sequence[ByteRange]:
        """Let `size` bytes go from memory, but none of `wanted`; which they are."""
        ...

    def saved(self) -> None:
        """What was here when it was asked for is durable."""
        ...


class Borrower(Protocol):
    """A reader in order that may take what waits in the network itself."""

    def wants(self, reception: Reception) -> bool:
        """Whether to lend it this one, when all that it has written is reported."""
        ...

    def borrow(self, reception: Reception, post: Callable[[m.Event], None]) -> None:
        """Returns when the reader has done with it. What it reports goes to `post`."""
        ...


class Place(Struct, frozen=True):
    """Where to ask: a URL, and how one came to it (None: it is the one given); `led`: by a
    redirect, or as a new one in place of that. A mirror has its own ways."""

    url: str
    lineage: Lineage | None = None
    led: bool = False
    transport: Transport | None = None
    requests: Throttle | None = None
