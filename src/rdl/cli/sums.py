"""Sums files as the command line names them: read once, small, and with what their name says."""

from __future__ import annotations

import os
from pathlib import Path

from msgspec import Struct

from rdl.cli.settings import read_small
from rdl.core.digest import MAX_SUMS, parse_digest
from rdl.errors import UsageError
from rdl.options import Digest


class Sums(Struct, frozen=True):
    """A sums file that was read. `bare`: the algorithm of its 128-digit lines; `folder`:
    where the files are that it names."""

    name: str
    text: str
    bare: str
    folder: Path


def digest_or_sums(spec: str) -> Digest | Sums:
    """What --checksum says: a digest, or else the sums file of that path. Raises UsageError."""
    try:
        return parse_digest(spec)
    except UsageError as error:
        if "://" in spec:
            raise UsageError("--checksum", "a URL; give the path of a local sums file") from None
        if not os.path.isfile(spec):
            why = error.why + "; and no sums file has this name"
            raise UsageError(error.what, why, hint=error.hint) from None
    return sums_from(spec, read_small(spec, MAX_SUMS, spec))


def sums_from(name: str, data: bytes) -> Sums:
    """The sums file called `name`; `-` is stdin, whose names are relative to this folder."""
    last = os.path.basename(name).lower()
    bare = "blake2b" if "b2" in last or "blake2" in last else "sha512"
    shown, folder = ("stdin", Path()) if name == "-" else (name, Path(name).parent)
    return Sums(shown, data.decode("utf-8", "surrogateescape"), bare, folder)
