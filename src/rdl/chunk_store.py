"""A chunk store of casync or desync (`.castr`) as a Source: a file that lies there in chunks.

Nothing of the store is believed: what has not the digest that the index says is no chunk of it.
"""

from __future__ import annotations

import hashlib
import lzma
import threading
import zlib
from collections import OrderedDict
from copy import copy
from itertools import chain, pairwise
from urllib.parse import urlsplit

from msgspec.structs import replace

from rdl.api import Session
from rdl.core.byterange import ByteRange
from rdl.core.caibx import Caibx
from rdl.core.text import redact_url, safe_text
from rdl.errors import (
    AuthError,
    HTTPStatusError,
    Interrupted,
    LocalFileError,
    NetworkError,
    PolicyError,
    ProtocolError,
    RdlError,
    UsageError,
)
from rdl.options import HostLimits, NetworkOptions, Options, TransferOptions
from rdl.sources import check_given

KEPT = 32 << 20
"""Bytes of chunks that are kept in memory, or READERS chunks where these are more."""
READERS = 8
LARGEST = 32 << 20
"""Bytes of a chunk that is fetched; casync makes none of more than 256 KiB unless it is told to."""
LEAST_WINDOW = 8 << 20
"""Bytes that any zstd decoder is to have memory for (RFC 8878)."""
XZ_MEMORY = 96 << 20
"""Bytes; its highest preset needs 65 MiB."""
OVERHEAD = 4096
"""Bytes that compressing may add, and a sixty-fourth."""
ZSTD, XZ, GZIP = b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", b"\x1f\x8b"
COMPRESSED, PLAIN = ".cacnk", ""
"""How the names of chunks end; both forms may lie in one store."""
ABSENT = (HTTPStatusError, AuthError, LocalFileError)
"""How stores say that there is no such chunk; some that are private say 403."""
TRIES = 1
"""In vain, before the download hears of it, which has its own patience."""


class ChunkStore:
    """The file that `index` says, from the store at the URL `store` (http, https or file).

    Its chunks come over `session`, whose rate limit counts them as they are stored; leaving that
    ends what is read. `network` is for the origin of `store`; a login in that URL is used. `name`:
    of a Source, without secrets.

    read() raises NetworkError where the store does not answer now; for a chunk that is not there,
    the error that this is, and ProtocolError for one that was damaged twice in a row: both name it.
    """

    block_size: int | None = None
    digest: str | None = None

    def __init__(
        self,
        index: Caibx,
        store: str,
        session: Session,
        *,
        name: str,
        network: NetworkOptions | None = None,
        limits: HostLimits | None = None,
    ) -> None:
        self.name = name
        self._chunks, self._session = index.chunks, session
        begin = f"{index.chunks.algorithm} {index.total} ".encode()
        self.validator: str | None = hashlib.sha256(begin + index.chunks.digests).hexdigest()
        """Of the chunks alone: where they are fetched makes no difference."""
        check_given(store)
        self._place, self._shown = urlsplit(store), safe_text(redact_url(store))
        transfer = TransferOptions(connections=1, retry=TRIES, verify="off")
        self._options = Options(network or NetworkOptions(), transfer, limits=limits)
        try:
            hashlib.new(self._chunks.algorithm)
        except ValueError:
            why = f"the OpenSSL of this Python has no {self._chunks.algorithm}"
            raise UsageError("chunk index", why) from None
        largest = max((b - a for a, b in pairwise(chain((0,), self._chunks.stops))), default=0)
        if largest > LARGEST:
            why = f"it has chunks of {largest} bytes; {LARGEST >> 20} MiB are the most"
            raise PolicyError("chunk index", why)
        self._kept: OrderedDict[tuple[bytes, int], bytes] = OrderedDict()
        """By digest and size; the one used last stands last."""
        self._room = max(KEPT, READERS * largest)
        self._coming: set[tuple[bytes, int]] = set()
        self._bell = threading.Condition()
        self._forms = (COMPRESSED, PLAIN)
        """The one that was found last stands first."""

    def size(self) -> int:
        return self._chunks.span.stop

    def read(self, offset: int, view: memoryview, /) -> int:
        """To the end of a chunk at most."""
        number = self._chunks.numbers(ByteRange(offset, offset + 1)).start
        span = self._chunks.chunk(number)
        data = memoryview(self._chunk((self._chunks.digest(number), len(span))))
        part = data[offset - span.start :][: len(view)]
        view[: len(part)] = part
        return len(part)

    def _chunk(self, key: tuple[bytes, int]) -> bytes:
        """The chunk, fetched by one thread while the others that want it wait."""
        with self._bell:
            self._bell.wait_for(lambda: key not in self._coming)
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            self._coming.add(key)
        data = b""
        try:
            data = self._fetch(*key)
        finally:
            with self._bell:
                self._coming.remove(key)
                self._keep(key, data)
                self._bell.notify_all()
        return data

    def _keep(self, key: tuple[bytes, int], data: bytes) -> None:
        if data:
            self._kept[key] = data
            self._room -= len(data)
        while self._room < 0:
            _, oldest = self._kept.popitem(last=False)
            self._room += len(oldest)

    def _fetch(self, digest: bytes, size: int) -> bytes:
        name, why = digest.hex(), ""
        for network in (self._options.network, _anew(self._options.network)):
            form, stored = self._stored(name, size, replace(self._options, network=network))
            try:
                data = expanded(stored, size) if form == COMPRESSED else stored
            except ValueError as error:
                why = f"it cannot be expanded: {safe_text(str(error))}"
                continue
            if len(data) == size and hashlib.new(self._chunks.algorithm, data).digest() == digest:
                return data
            why = f"it is not the {size} bytes that have this digest"
        damaged = ProtocolError(f"chunk {name}", f"{why} ({self._shown})")
        damaged.resumable = True  # once the store is mended
        raise damaged

    def _stored(self, name: str, size: int, options: Options) -> tuple[str, bytes]:
        """In which form the chunk is there, and its bytes: a few more than are right at most."""
        missing: list[RdlError] = []
        for form in self._forms:
            path = f"{self._place.path.rstrip('/')}/{name[:4]}/{name}{form}"
            url = self._place._replace(path=path, fragment="").geturl()
            try:
                data = self._read(url, size + size // 64 + OVERHEAD, options)
            except RdlError as error:
                if not (isinstance(error, ABSENT) and error.permanent):
                    raise self._about(name, error) from error
                missing.append(error)
            else:
                self._forms = (COMPRESSED, PLAIN) if form == COMPRESSED else (PLAIN, COMPRESSED)
                return form, data
        raise self._about(name, missing[0]) from missing[0]

    def _read(self, url: str, most: int, options: Options) -> bytes:
        """What is there; of more than `most` bytes only the first."""
        data = bytearray()
        with self._session.stream(url, options) as stream:
            for some in stream.chunks():
                data += some
                if len(data) > most:
                    break
        return bytes(data)

    def _about(self, name: str, error: RdlError) -> RdlError:
        """The error, naming the chunk; one that may pass is tried again by who downloads."""
        if isinstance(error, Interrupted):
            return error
        what, why = f"chunk {name}", f"{error} ({self._shown})"
        if not error.permanent:
            return NetworkError(what, why, hint=error.hint, delay=error.delay)
        named = copy(error)
        RdlError.__init__(named, what, why, hint=error.hint)
        named.resumable = True
        return named


def _anew(network: NetworkOptions) -> NetworkOptions:
    """Not from a cache on the way."""
    return replace(network, headers=(*network.headers, ("Cache-Control", "no-cache")))


def expanded(stored: bytes, size: int) -> bytes:
    """What a compressed chunk expands to, one byte more than `size` at most. Raises ValueError
    where it is damaged, and UsageError where zstandard is needed and missing."""
    try:
        if stored.startswith(ZSTD):
            return _of_zstd(stored, size)
        if stored.startswith(XZ):
            xz = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY)
            return xz.decompress(stored, size + 1)
        if stored.startswith(GZIP):
            return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(stored, size + 1)
    except (lzma.LZMAError, zlib.error) as error:
        raise ValueError(str(error)) from error
    raise ValueError("neither zstd, xz nor gzip")


def _of_zstd(stored: bytes, size: int) -> bytes:
    """As a stream: what is taken at one go is made as large as it claims to be."""
    try:
        import zstandard
    except ImportError:
        hint = "pip install 'rdl-get[sync]'"
        raise UsageError("chunk store", "zstandard is not installed", hint=hint) from None
    opened = zstandard.ZstdDecompressor(max_window_size=max(LEAST_WINDOW, size))
    try:
        with opened.stream_reader(stored) as reader:
            return reader.read(size + 1)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error
