"""Which version of a file is open: what of it tells of a change."""

from __future__ import annotations

import os
import time
from hashlib import blake2b
from typing import NamedTuple

TICK = 0.02
"""Clocks of file systems go in steps: of what changes twice within one, the times do not tell."""


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
        return 0 <= time.time() - max(self.mtime_ns, self.ctime_ns) / 1e9 < TICK

    def tag(self, kind: str = "") -> str:
        """An ETag of what is made of it in this way."""
        return f'"{blake2b(repr((*self, kind)).encode(), digest_size=12).hexdigest()}"'
