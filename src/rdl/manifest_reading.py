"""Opens a manifest, or another program's index: by its path or its URL, whole or in parts."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Self
from urllib.parse import unquote

from msgspec.structs import replace

from rdl.api import Session
from rdl.core import manifest as rdlm
from rdl.core.caibx import INDEX, parse_caibx
from rdl.core.chunks import Chunks
from rdl.core.digest import disagreement, pinned
from rdl.core.file_url import decides
from rdl.core.metalink import parse_metalink
from rdl.core.names import last_segment
from rdl.core.text import is_url, redact_url, safe_text
from rdl.core.zsync import parse_zsync
from rdl.engine.remote_file import RemoteFile
from rdl.errors import DigestMismatch, ProtocolError, RdlError, UsageError
from rdl.manifests import LocalCarrier
from rdl.options import Digest, LazyOptions, Options, TransferOptions
from rdl.recipes import FIRST, ROUND_TRIP, Listed, Manifested, Recipe, Rolled, Tiled
from rdl.sources import origin_of, unknown
from rdl.storage.local_file import LocalFile

LAZY = LazyOptions(block=1, least=1, max_jump=0, read_ahead=0)
ZSYNC, CAIBX = b"zsync:", INDEX.to_bytes(8, "little")
SPACE, XML = b"\xef\xbb\xbf \t\r\n", (b"<?xml", b"<metalink")
METALINK, MOST_BLOCK = 8 << 20, 64 << 20
"""Bytes of a metalink, and of a block of which it has the digest."""
MOST_WHOLE = 256 << 20
"""Bytes of one that is read whole."""


class Whole:
    """A manifest in memory."""

    def __init__(self, data: bytes) -> None:
        self._data, self.round_trip = data, ROUND_TRIP

    def read_at(self, offset: int, size: int) -> bytes:
        return self._data[offset : offset + size]

    def size(self) -> int:
        return len(self._data)

    def close(self) -> None:
        """Nothing is open."""


class Remote:
    """A manifest at a server, of which is read what is needed. `round_trip`: how long its quickest
    answer took, in seconds."""

    def __init__(self, file: RemoteFile) -> None:
        self._file, self.round_trip = file, float("inf")

    def read_at(self, offset: int, size: int) -> bytes:
        asks = not any(
            run.start <= offset and offset + size <= run.stop for run in self._file.present()
        )
        begun = time.monotonic()
        data = self._file.read_at(offset, size)
        if asks:
            self.round_trip = min(self.round_trip, time.monotonic() - begun)
        return data

    def size(self) -> int:
        return self._file.size()

    @property
    def wishes(self) -> bool:
        """Whether the server takes wishlists for it."""
        with closing(self._file.subscribe(lambda: None)) as about:
            return about.representation is not None and about.representation.wishes

    def close(self) -> None:
        self._file.close()


class Local(LocalCarrier):
    """A manifest on this disk."""

    round_trip = ROUND_TRIP

    def __init__(self, path: Path) -> None:
        self._open = LocalFile(path)
        super().__init__(self._open.__enter__())

    def close(self) -> None:
        self._open.__exit__(None, None, None)


class Index:
    """What a manifest says; a context manager that lets go of it. `decides`: it is the user's, or
    has the digest that the user gave; else it is what a server says. `wishes`: the URL to which
    they are sent, where its server takes them."""

    def __init__(self, carrier: Whole | Remote | Local, recipe: Recipe, *, decides: bool) -> None:
        self._carrier, self.recipe, self.decides = carrier, recipe, decides
        self.wishes: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._carrier.close()


def opened(session: Session, url: str, manifest: str | os.PathLike[str], options: Options) -> Index:
    """The manifest at this path or URL, of the file at `url`. Raises ProtocolError where it is
    none, DigestMismatch where it is not the one that it should be, and as reading does."""
    text = os.fspath(manifest)
    address, digests = pinned(text)
    try:
        return _opened(session, url, address, digests, options)
    except RdlError as error:
        if (shown := safe_text(redact_url(address))) not in str(error):
            error.what, error.args = shown, (f"{shown}: {error}",)
        raise


def _opened(
    session: Session, url: str, address: str, digests: Sequence[Digest], options: Options
) -> Index:
    shown = safe_text(redact_url(address))
    if digests:
        data = _whole(session, url, address, options)
        found = {one.algorithm: hashlib.new(one.algorithm, data).hexdigest() for one in digests}
        if why := disagreement(found, {one.algorithm: one.hex for one in digests}):
            raise DigestMismatch(shown, why)
        return _index(Whole(data), shown, url, decides=True)
    carrier = _remote(session, url, address, options) if is_url(address) else Local(Path(address))
    try:
        index = _index(carrier, shown, url, decides=decides(address))
        if isinstance(carrier, Remote) and origin_of(address) == origin_of(url) and carrier.wishes:
            index.wishes = address
        return index
    except BaseException:
        carrier.close()
        raise


def _index(carrier: Whole | Remote | Local, shown: str, url: str, *, decides: bool) -> Index:
    first = carrier.read_at(0, FIRST)
    if first.startswith(rdlm.MAGIC):
        return Index(carrier, Manifested(carrier), decides=decides)
    if first[8:16] == CAIBX:
        return Index(
            carrier, Listed(parse_caibx(_all(carrier)), carrier.round_trip), decides=decides
        )
    if first.startswith(ZSYNC):
        return Index(
            carrier, Rolled(parse_zsync(_all(carrier)), carrier.round_trip), decides=decides
        )
    if first.lstrip(SPACE).startswith(XML):
        return Index(carrier, _of_metalink(carrier, shown, url), decides=decides)
    raise ProtocolError(shown, "it is no manifest, and no .zsync, .caibx or .meta4 file")


def _of_metalink(carrier: Whole | Remote | Local, shown: str, url: str) -> Tiled:
    """By the digests of blocks that it has of the file at `url`, or of its only one."""
    try:
        files = parse_metalink(_all(carrier, METALINK), shown)
    except UsageError as error:
        raise ProtocolError(error.what, error.why) from error
    name = unquote(last_segment(url))
    same = [one for one in files if one.name == name] or list(files)
    known, size = (same[0].blocks, same[0].size) if len(same) == 1 else (None, None)
    chunks = Chunks.of_blocks(known, size) if known and size is not None else None
    if known is None or chunks is None or known.size > MOST_BLOCK:
        raise ProtocolError(shown, "it has no usable digests of the blocks of this file")
    digests = {one.algorithm: one.hex for one in same[0].digests}
    return Tiled(chunks, digests, carrier.round_trip)


def _all(carrier: Whole | Remote | Local, most: int = MOST_WHOLE) -> bytes:
    """Of an index that can only be read whole."""
    size = carrier.size()
    if size > most:
        raise ProtocolError("index", f"it is larger than {most} bytes")
    return carrier.read_at(0, size)


def _options(url: str, address: str, options: Options) -> Options:
    """How a manifest is asked for: what is private of the file's server goes to no other."""
    same = origin_of(address) == origin_of(url)
    given = options.transfer
    transfer = TransferOptions(
        retry=given.retry,
        retry_max_time=given.retry_max_time,
        max_time=given.max_time,
        verify="off",
        allow_html=True,
    )
    network = options.network if same else unknown(options.network)
    return Options(network=network, transfer=transfer, limits=options.limits if same else None)


def _remote(session: Session, url: str, address: str, options: Options) -> Remote:
    return Remote(session.open(address, options=_options(url, address, options), lazy=LAZY))


def _whole(session: Session, url: str, address: str, options: Options) -> bytes:
    if not is_url(address):
        carrier = Local(Path(address))
        try:
            if carrier.size() > MOST_WHOLE:
                raise ProtocolError(safe_text(address), f"it is larger than {MOST_WHOLE} bytes")
            return carrier.read_at(0, carrier.size())
        finally:
            carrier.close()
    own = _options(url, address, options)
    own = replace(own, transfer=replace(own.transfer, max_filesize=MOST_WHOLE))
    with session.stream(address, own) as stream:
        return stream.read()
