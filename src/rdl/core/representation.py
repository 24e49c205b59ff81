"""What the server selected now: its length and validators, and how far these can be trusted.

RFC 9110 sections 3.2 and 8.8. Only a strong validator may join parts (section 13.1.5).
"""

from __future__ import annotations

import re
from enum import StrEnum

from msgspec import Struct

from rdl.core.published import Published

WISHES_TYPE = "application/vnd.rdl.wishlist"
"""Of a body that a smart server takes for a manifest (docs/formats/wishlist.md)."""
TICK = 0.02
"""Clocks of file systems go in steps of some milliseconds: of what changes twice within one, the
times do not tell."""
_LONG = re.compile("[0-9A-Za-z+/_]{32}")


def is_young(changed_at: float, now: float) -> bool:
    """Whether a file, whose latest time is given, may change without another one; in seconds."""
    return 0 <= now - changed_at < TICK


class Trust(StrEnum):
    """How sure one can be that two parts belong to the same bytes; docs/reliability.md."""

    T0 = "T0"
    T1 = "T1"
    T2 = "T2"
    T3 = "T3"
    T4 = "T4"


class Match(StrEnum):
    """The outcome of comparing two representations."""

    SAME = "same"
    DIFFERENT = "different"
    UNKNOWN = "unknown"


class Representation(Struct, frozen=True):
    """`total` is the complete-length in bytes, None when the server does not say.

    `etag` is kept exactly as sent, with quotes and W/; `last_modified` likewise.
    `modified_strong`: Last-Modified is strong by RFC 9110 section 8.8.2.2. `digests`: what the
    server says the whole hashes to. `wishes`: it is a manifest that takes wishlists.
    """

    total: int | None = None
    etag: str | None = None
    last_modified: str | None = None
    modified_strong: bool = False
    media_type: str | None = None
    digests: tuple[Published, ...] = ()
    wishes: bool = False

    @property
    def strong_etag(self) -> str | None:
        return self.etag if self.etag and not self.etag.startswith("W/") else None

    @property
    def validator(self) -> str | None:
        """What asks whether it is still current."""
        return self.etag or self.last_modified

    @property
    def trust(self) -> Trust:
        """T2 by a strong ETag, T1 by a strong Last-Modified, both with a total; else T0."""
        if self.total is None:
            return Trust.T0
        if self.strong_etag:
            return Trust.T2
        return Trust.T1 if self.last_modified and self.modified_strong else Trust.T0

    @property
    def distinctive(self) -> bool:
        """Whether the strong ETag is long enough for a hash, as stores of objects send it: it
        hardly belongs to other bytes at another URL, as one of size and date may."""
        tag = self.strong_etag
        return self.total is not None and bool(tag and _LONG.search(tag))

    def contradicts(self, published: tuple[Published, ...]) -> bool:
        """Whether another answer published other digests of what should be the same."""
        hexes = {digest.algorithm: digest.hex for digest in self.digests}
        return any(hexes.get(one.algorithm, one.hex) != one.hex for one in published)

    def compare(self, other: Representation) -> Match:
        """Whether `other` is the same bytes, as far as totals and strong validators tell."""
        if None not in (self.total, other.total) and self.total != other.total:
            return Match.DIFFERENT
        if self.strong_etag or other.strong_etag:
            if self.strong_etag is None or other.strong_etag is None:
                return Match.UNKNOWN
            return Match.SAME if self.etag == other.etag else Match.DIFFERENT
        if self.etag != other.etag and self.etag and other.etag:
            return Match.DIFFERENT
        if self.last_modified != other.last_modified:
            both = self.last_modified and other.last_modified
            return Match.DIFFERENT if both else Match.UNKNOWN
        strong = self.modified_strong and self.last_modified is not None
        return Match.SAME if strong else Match.UNKNOWN
