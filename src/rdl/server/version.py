"""Which version is served: what of it tells of a change, and what readers are told of that."""

from __future__ import annotations

import os
import time
from hashlib import blake2b
from typing import NamedTuple

from rdl.core.byterange import ByteRange
from rdl.core.fields import parse_http_date
from rdl.core.representation import Representation, Trust, is_young


class Version(NamedTuple):
    """Another one after any change of a file, also of its times alone, and after a rename."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, file: int) -> Version:
        """Of an open file, as it is now."""
        now = os.fstat(file)
        return cls(now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns)

    @property
    def is_young(self) -> bool:
        """Whether the file may change without another version."""
        return is_young(max(self.mtime_ns, self.ctime_ns) / 1e9, time.time())

    def tag(self, kind: str = "") -> str:
        """An ETag of what is made of it in this way."""
        return tag_of(*self, kind)


def tag_of(*said: object) -> str:
    """A strong ETag of what tells versions apart."""
    return f'"{blake2b(repr(said).encode(), digest_size=12).hexdigest()}"'


def tag_and_time(
    known: Representation, span: ByteRange | None = None
) -> tuple[str | None, float | None]:
    """An ETag of ours and the Last-Modified (seconds since the epoch) for what an upstream has, or
    a part of it; none where its validators join no parts: a reader would join some by ours."""
    if known.trust is Trust.T0:
        return None, None
    tag = tag_of(known.etag, known.last_modified, known.total, span)
    return tag, parse_http_date(known.last_modified)
