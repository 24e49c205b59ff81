"""The lock file: what a list stood for when it was locked (docs/formats/lock.md).

Bytes in, values out; whatever makes no sense is a UsageError that names the file's number.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from rdl.core.fields import MAX_TOTAL
from rdl.core.names import name_fault
from rdl.core.text import safe_text
from rdl.errors import UsageError

VERSION = 1
_HEX = re.compile("[0-9a-f]{64}")


class Locked(Struct, frozen=True):
    """One file; `path` is below the folder that it will be fetched into."""

    path: str
    sha256: str
    size: int
    url: str


class _Head(Struct):
    rdl_lock: int


class _Lock(Struct):
    files: list[msgspec.Raw]


def encode_lock(files: Sequence[Locked]) -> bytes:
    """The same files are the same bytes."""
    lines = b",\n".join(msgspec.json.encode(one) for one in files)
    return b'{"rdl_lock": %d, "files": [\n%s\n]}\n' % (VERSION, lines)


def decode_lock(data: bytes, name: str) -> list[Locked]:
    """The files of the lock called `name`. Raises UsageError."""
    shown = safe_text(name)
    try:
        version = msgspec.json.decode(data, type=_Head).rdl_lock
        if version != VERSION:
            raise UsageError(shown, f"a lock of version {version}; this rdl knows {VERSION}")
        raw = msgspec.json.decode(data, type=_Lock).files
    except (ValueError, RecursionError):  # also text that is not UTF-8, and depth
        raise UsageError(shown, "not a lock file", hint="rdl lock LIST writes one") from None
    return [_checked(one, f"{shown}: file {number}") for number, one in enumerate(raw, 1)]


def path_fault(path: str) -> str:
    """Why it is no path below a folder; empty when it is one."""
    faults = (name_fault(segment) for segment in path.split("/"))
    return next((fault for fault in faults if fault), "")


def _checked(raw: msgspec.Raw, where: str) -> Locked:
    try:
        one = msgspec.json.decode(raw, type=Locked)
    except (ValueError, RecursionError) as error:
        raise UsageError(where, safe_text(str(error), 100)) from None
    if fault := path_fault(one.path):
        raise UsageError(where, f"path: {fault}")
    if not _HEX.fullmatch(one.sha256):
        raise UsageError(where, "sha256: not 64 lower-case hex digits")
    if not 0 <= one.size <= MAX_TOTAL:
        raise UsageError(where, "size: out of range")
    return one
