"""What `import rdl` offers for one remote file at a time; a Session is for many."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import overload

from msgspec.structs import replace

from rdl.api import Session, Target, shared_session
from rdl.core.digest import parse_digest
from rdl.core.events import Result, Teller
from rdl.core.names import name_from_url
from rdl.engine.remote_file import RemoteFile
from rdl.engine.stream import Stream
from rdl.errors import UsageError
from rdl.options import LazyOptions, Options, RangeSpec, Source
from rdl.sources import shown_url

MiB = 1 << 20
MODES = ("r", "rb", "rt", "w", "wb", "a", "ab", "r+", "rb+", "r+b")
EXACT = LazyOptions(block=1, least=1, max_jump=0, read_ahead=0, keep=16 * MiB)


def get(
    url: str | Source,
    path: str | os.PathLike[str] | None = None,
    *,
    sha256: str | None = None,
    connections: int | None = None,
    options: Options | None = None,
    tell: Teller | None = None,
) -> Result:
    """Download `url`, or a Source, completely to `path` (default: the last segment of the URL).

    Resumes what an earlier call left. `sha256`: hex digest that the file must have;
    `connections`: at most so many. Raises an RdlError; its class says what may be done next.
    """
    options = options or Options()
    transfer = options.transfer
    if sha256 is not None:
        digest = parse_digest(f"sha256:{sha256}")
        transfer = replace(transfer, digests=(*transfer.digests, digest))
    if connections is not None:
        transfer = replace(transfer, connections=connections)
    name = Path(path) if path is not None else Path(name_from_url(shown_url(url)))
    with Session() as session:
        return session.get(Target(url, name, replace(options, transfer=transfer)), tell)


@contextmanager
def stream(
    url: str | Source,
    range: tuple[int, int | None] | RangeSpec | None = None,
    *,
    options: Options | None = None,
) -> Iterator[Stream]:
    """Read `url`, or the bytes [start, stop) of it (stop None: to the end), in order:
    `with rdl.stream(url) as remote: head = remote.read(100)`."""
    part = RangeSpec(range[0], range[1]) if isinstance(range, tuple) else range
    with Session() as session, session.stream(url, options, None, (part,) if part else ()) as own:
        yield own


@overload
def open(
    url: str | Source,
    path: str | os.PathLike[str] | None = None,
    *,
    cache: str | os.PathLike[str] | None = None,
    options: Options | None = None,
    lazy: LazyOptions | None = None,
) -> RemoteFile: ...


@overload
def open(
    url: str | Source,
    path: str | os.PathLike[str] | None = None,
    *,
    cache: str | os.PathLike[str] | None = None,
    buffering: int,
    options: Options | None = None,
    lazy: LazyOptions | None = None,
) -> io.BufferedReader: ...


def open(
    url: str | Source,
    path: str | os.PathLike[str] | None = None,
    *,
    cache: str | os.PathLike[str] | None = None,
    buffering: int = 0,
    options: Options | None = None,
    lazy: LazyOptions | None = None,
) -> RemoteFile | io.BufferedReader:
    """Open `url` as a file to read from: of it is fetched what is read, and kept.

    Nothing is asked before the first read. `path`: it is kept there, under that name when all of
    it is here; `cache`: in this folder, for later runs; without either in memory. `buffering`: of
    so many bytes in a BufferedReader around it, for many small reads.
    """
    if path in MODES:
        raise UsageError("open", f"{path!r} is no path; a remote file is opened to read bytes")
    file = shared_session().open(url, path, cache=cache, options=options, lazy=lazy)
    return io.BufferedReader(file, buffering) if buffering else file


def reader(url: str | Source, *, options: Options | None = None) -> RemoteFile:
    """Parts of `url`, each by a request for just its bytes: `rdl.reader(url).read_at(5, 50)`."""
    return shared_session().open(url, options=options, lazy=EXACT)
