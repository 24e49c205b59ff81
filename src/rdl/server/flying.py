"""One file of an upstream while somebody reads it, and one request's reading of it.

Nothing here waits. What of it takes time, its keeper does in threads of its own; what changes,
changes under the keeper's lock.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Protocol

from rdl.core.byterange import ByteRange
from rdl.core.representation import Representation
from rdl.engine.remote_file import RemoteFile, Subscription
from rdl.errors import ChangedError, HTTPStatusError, RdlError
from rdl.options import Digest, LazyOptions
from rdl.server.answers import BYTES, Facts
from rdl.server.caching import Caching
from rdl.server.meter import Meter
from rdl.server.requests import Reply, later
from rdl.server.resource import FileView
from rdl.server.version import tag_and_time

AHEAD = 8 << 20
LAZY = LazyOptions(max_jump=4 << 20)
"""Who reads a little ahead of what is being fetched waits: what is taken over may come twice."""
UNDER_WAY = LAZY.block + LAZY.least
"""Of what was asked of the upstream for who has left so much comes all the same."""
STEP = 1 << 20


class Held:
    """One file of the upstream, while somebody reads it, it is completed, or it is fresh. `name`:
    by which it is found; `path`: where it is asked for; `digest`: what a blob is to have."""

    def __init__(self, name: str, path: str, digest: Digest | None = None) -> None:
        self.name, self.path, self.digest = name, path, digest
        self.file: RemoteFile | None = None
        self.error: RdlError | None = None
        self.refusal = ""
        """Why it may not be kept."""
        self.failed_at = 0.0
        self.caching: Caching | None = None
        """What the upstream said last, at `said_at` (time.monotonic)."""
        self.said_at = 0.0
        self.known: Representation | None = None
        self.sha256: bytes | None = None
        self.keeping = self.verified = self.done = self.looking = False
        """It is being completed; all of it is here and right; all is known of it; the upstream is
        being asked whether it is current."""
        self.descriptor: int | None = None
        """Of the file, when it is complete."""
        self.readings = set[Flying]()
        self.payer: str | None = None
        """The client for whom it is opened; empty: nobody pays for that any more; None: it is to be
        opened."""

    @property
    def busy(self) -> bool:
        """Whether it is needed."""
        return bool(self.readings) or self.keeping

    @property
    def age(self) -> float:
        """Seconds since the upstream spoke of it."""
        return time.monotonic() - self.said_at

    @property
    def stale(self) -> bool:
        """Whether the upstream is to be asked before another one reads it; not while nobody was
        told anything yet."""
        if self.caching is None or self.known is None or self.digest is not None:
            return False
        return not self.caching.serves(self.age)

    @property
    def lasting(self) -> bool:
        """Whether who comes next may have it without a question; a blob never changes."""
        if self.digest is not None:
            return self.done
        return self.done and self.caching is not None and self.caching.lasts(self.age)


class Keeper(Protocol):
    """What a reading knows of the Upstream."""

    hold: bool
    private: bool
    meter: Meter

    def attach(self, reading: Flying) -> None:
        """It is to be told of what comes."""

    def keep(self, held: Held) -> None:
        """All of it is wanted: it comes, whoever reads on."""

    def failed(self, held: Held, error: RdlError) -> None:
        """All who read it end with this, and for a while those who come."""

    def left(self, reading: Flying) -> None:
        """It needs nothing any more."""


class Flying:
    """One request's reading of a file that may be in flight. `moving` grows while something
    comes; `waits`: it begins when the upstream has said that the file is current."""

    def __init__(self, held: Held, keeper: Keeper, *, waits: bool) -> None:
        self.held, self._keeper, self.waits = held, keeper, waits
        self.moving = 0
        self.client = ""
        self._paid, self._lacked, self._cost = ByteRange(0, 0), 0, 0
        """What it costs: of this range so many bytes were not here; and what came before."""
        self.refused: Reply | None = None
        self._subscription: Subscription | None = None
        self._changed: Callable[[], None] = lambda: None
        self._closed = False

    @property
    def facts(self) -> Facts | None:
        if self.refused is not None:
            raise self.refused
        try:
            self._raise()
        except RdlError as error:
            raise reply_of(error, self.held.refusal) from error
        subscription, held = self._subscription, self.held
        known = subscription.representation if subscription else None
        size = subscription.size if subscription else None
        if known is None or size is None or self.waits:
            return None
        held.known = known
        if self._keeper.hold and not held.done:  # it is being completed
            return None
        return facts_of(known, size, held, private=self._keeper.private)

    @property
    def descriptor(self) -> int | None:
        return self.held.descriptor

    def notify(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._keeper.attach(self)

    def demand(self, wanted: ByteRange) -> None:
        """With no more ahead than was asked for: who asks for little costs the upstream little."""
        subscription = self._subscription
        assert subscription is not None
        size = subscription.size or 0
        missing = subscription.ready(wanted.start) < wanted.stop
        ahead = min(wanted.stop + min(len(wanted), AHEAD), size)
        whole = len(wanted) == size or (self.held.digest is not None and wanted.stop == size)
        if missing and not self.held.keeping:
            self._admit()
            self._cost += self._lacked - self._lacks()
            asked = ByteRange(0, size) if whole else _covering(wanted.start, ahead)
            self._paid = asked.clip(ByteRange(0, size))
            self._lacked = self._lacks()
        if whole:
            self._keeper.keep(self.held)
        subscription.want(wanted.start, wanted.stop, ahead if missing else 0)  # else it might go

    def on_behalf(self, client: str) -> None:
        self.client = client
        if self.held.payer is None:
            self._admit()

    def settle(self, sent: int) -> None:
        held, size = self.held, self._subscription.size if self._subscription else None
        lacks = 0 if held.keeping else self._lacks()
        under_way = min(lacks, UNDER_WAY) if held.error is None else 0
        cost = self._cost + self._lacked - lacks + under_way
        if held.payer == self.client:
            first = size or 0 if self._keeper.hold else min(size or 0, LAZY.least)
            cost, held.payer = cost + first, ""
        self._keeper.meter.note(self.client, cost, sent, time.monotonic())

    def _admit(self) -> None:
        """Raises Reply where the client has cost the upstream too much."""
        if wait := self._keeper.meter.wait(self.client, time.monotonic()):
            raise later("this address has cost the upstream too much", wait, status=429)

    def _lacks(self) -> int:
        """How much of what it pays for is not here."""
        try:
            here = self.held.file.present() if self.held.file and self._paid else ()
        except ValueError:  # it was closed: what came is not known
            return 0
        return len(self._paid) - sum(len(run.clip(self._paid)) for run in here)

    def available(self, offset: int) -> int:
        self._raise()
        held, subscription = self.held, self._subscription
        assert subscription is not None
        if subscription.spoiled:
            raise ChangedError("a file", "bytes of it that were sent proved wrong")
        end = subscription.ready(offset)
        proves = held.keeping or held.digest is not None
        if proves and not held.verified and end == subscription.size:
            end -= 1  # who has the last byte takes all of it for right
        return max(0, end - offset)

    def read_into(self, offset: int, view: memoryview) -> int:
        assert self._subscription is not None
        return self._subscription.read_into(offset, view)

    def close(self) -> None:
        self._closed = True
        if self._subscription is not None:
            self._subscription.close()
        self._keeper.left(self)

    def begin(self, file: RemoteFile) -> None:
        """The file is open."""
        if not self._closed and self._subscription is None:
            self._subscription = file.subscribe(self.ring)
            if self._subscription.size is None:
                self._subscription.want(0, 0)

    def ring(self) -> None:
        """Something may be new; from any thread."""
        self.moving += 1
        self._changed()

    def _raise(self) -> None:
        """What ended the fetching ends the reading."""
        found = self._subscription.error if self._subscription else None
        if isinstance(found, RdlError) and self.held.error is None:
            self._keeper.failed(self.held, found)
        if self.held.error is not None:
            raise self.held.error


def view_of(held: Held) -> FileView:
    """As a page shows it."""
    assert held.file is not None
    size, present = held.file.look()
    state = "complete" if held.done else "downloading" if held.keeping else "in parts"
    state = "failed" if held.error else state
    return FileView(held.path, size, present, len(held.readings), state)


def _covering(start: int, stop: int) -> ByteRange:
    """What is asked of the upstream for these bytes: see core/demand."""
    block, stop = LAZY.block, max(stop, start + LAZY.least)
    return ByteRange(start // block * block, -(-stop // block) * block)


def sha256_of(file: RemoteFile) -> bytes:
    """Of all of it, read once."""
    found, at = hashlib.sha256(), 0
    while data := file.read_at(at, STEP):
        found.update(data)
        at += len(data)
    return found.digest()


def facts_of(known: Representation, size: int, held: Held, *, private: bool) -> Facts:
    """What the head says. The ETag is ours, and the same while a file is fetched and afterwards:
    made of what joins parts upstream, else of the digest, when that is known."""
    tag, modified = tag_and_time(known)
    if held.digest is not None:
        tag = f'"{held.digest.algorithm}:{held.digest.hex}"'
    elif tag is None and held.sha256 is not None:
        tag = f'"{held.sha256.hex()[:32]}"'
    caching = held.caching or Caching()
    return Facts(
        size,
        etag=tag,
        modified=modified,
        sha256=held.sha256,
        media_type=known.media_type or BYTES,
        control=caching.control(shared=not private),
        age=int(caching.age + held.age) if held.caching else None,
    )


def reply_of(error: RdlError, refusal: str = "") -> Reply:
    """What a reader is told who comes after it failed; `refusal`: it may not be kept."""
    if refusal:
        return Reply(403, f"no cache may keep this for others ({refusal}): ask the upstream itself")
    if isinstance(error, HTTPStatusError) and error.status in (404, 410):
        return Reply(error.status, "the upstream has it not")
    return Reply(502, "this cannot be read now")
