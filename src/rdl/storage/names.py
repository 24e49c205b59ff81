"""The names of a target's state files, in the target's folder."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from msgspec import Struct

from rdl.core.names import MAX_NAME

SUFFIXES = (".part", ".part.index", ".part.index.new", ".part.bad", ".part.foreign")
"""Of all that stands beside a target."""
PRIVATE = ".rdl-"
_MARK_BYTES = 8
PRIVATE_NAME = re.compile(rf"{re.escape(PRIVATE)}[0-9a-f]{{{2 * _MARK_BYTES}}}")


def private_name(about: str = "") -> str:
    """A name for a file of ours that nobody is to see yet: one that depends on `about` and nothing
    else, or a new one."""
    raw = about.encode("utf-8", "surrogatepass")
    mark = hashlib.sha256(raw).digest()[:_MARK_BYTES] if about else os.urandom(_MARK_BYTES)
    return PRIVATE + mark.hex()


class Names(Struct, frozen=True):
    """Names within one folder. A target whose name leaves no room for a suffix has state
    files named by a short hash of it."""

    target: str
    part: str
    index: str
    bad: str

    @classmethod
    def of(cls, path: Path) -> Names:
        stem, raw = path.name, os.fsencode(path.name)
        if len(raw) + max(map(len, SUFFIXES)) > MAX_NAME:
            stem = f"rdl-{hashlib.sha256(raw).hexdigest()[:24]}"
        return cls(path.name, f"{stem}.part", f"{stem}.part.index", f"{stem}.part.bad")
