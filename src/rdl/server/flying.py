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
from rdl.core.fields import parse_http_date
from rdl.core.representation import Representation, Trust
from rdl.engine.remote_file import RemoteFile, Subscription
from rdl.errors import ChangedError, HTTPStatusError, RdlError
from rdl.options import Digest
from rdl.server.answers import BYTES, Facts
from rdl.server.caching import Caching
from rdl.server.requests import Reply

AHEAD = 8 << 20


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
        if self._keeper.hold and not held.done:
            self._keeper.keep(held)
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
        if len(wanted) == size or (self.held.digest is not None and wanted.stop == size):
            self._keeper.keep(self.held)
        if subscription.ready(wanted.start) < wanted.stop:
            ahead = min(len(wanted), AHEAD)
            subscription.want(wanted.start, wanted.stop, min(wanted.stop + ahead, size))

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


def facts_of(known: Representation, size: int, held: Held, *, private: bool) -> Facts:
    """What the head says. The ETag is ours, and the same while a file is fetched and afterwards:
    made of what joins parts upstream, else of the digest, when that is known."""
    tag: str | None = None
    if held.digest is not None:
        tag = f"{held.digest.algorithm}:{held.digest.hex}"
    elif known.trust is not Trust.T0:
        tag = hashlib.blake2b(_said(known, size), digest_size=12).hexdigest()
    elif held.sha256 is not None:
        tag = held.sha256.hex()[:32]
    caching = held.caching or Caching()
    return Facts(
        size,
        etag=None if tag is None else f'"{tag}"',
        modified=parse_http_date(known.last_modified),
        sha256=held.sha256,
        media_type=known.media_type or BYTES,
        control=caching.control(shared=not private),
        age=int(caching.age + held.age) if held.caching else None,
    )


def _said(known: Representation, size: int) -> bytes:
    return repr((known.etag, known.last_modified, size)).encode()


def reply_of(error: RdlError, refusal: str = "") -> Reply:
    """What a reader is told who comes after it failed; `refusal`: it may not be kept."""
    if refusal:
        return Reply(403, f"no cache may keep this for others ({refusal}): ask the upstream itself")
    if isinstance(error, HTTPStatusError) and error.status in (404, 410):
        return Reply(error.status, "the upstream has it not")
    return Reply(502, "this cannot be read now")
