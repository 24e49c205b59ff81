"""What a caller may ask for, as frozen values; each floor takes the one that concerns it.

Sizes are bytes, times seconds. Defaults are those of the command line.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol

from msgspec import Struct, field
from msgspec.structs import replace

MiB = 1 << 20


class NetworkOptions(Struct, frozen=True):
    """How to reach a server. Credentials belong to the origin of the URL they come with."""

    headers: tuple[tuple[str, str], ...] = ()
    user: str | None = None
    password: str | None = None
    netrc: bool = True
    netrc_file: Path | None = None
    cookies: Path | None = None
    """A file of cookies, as browsers and curl write them; each goes where it says itself."""
    user_agent: str | None = None
    proxy: str | None = None
    """None: from the environment; an empty string: none at all."""
    noproxy: tuple[str, ...] = ()
    cacert: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    insecure: bool = False
    family: Literal[4, 6] | None = None
    connect_timeout: float = 10.0
    timeout: float = 30.0
    """No byte for so long is a stall; also the deadline for a response head."""
    allow_insecure_redirect: bool = False
    allow_private_redirect: bool = False


NETWORK_FILES = ("netrc_file", "cookies", "cacert", "cert", "key")
"""Which of them are names of files."""


class Digest(Struct, frozen=True):
    """A digest as lower-case hex, with hashlib's name of its algorithm."""

    algorithm: str
    hex: str


class BlockDigests(Struct, frozen=True):
    """Digests of blocks of `size` bytes each, the last maybe shorter, in order. `algorithm` is
    hashlib's name."""

    size: int
    algorithm: str
    hexes: tuple[str, ...]


class RangeSpec(Struct, frozen=True):
    """A range as asked for: `[start, stop)`, stop None: to the end; or the last `suffix` bytes."""

    start: int = 0
    stop: int | None = None
    suffix: int | None = None

    @property
    def sensible(self) -> bool:
        """Whether some file has such a range."""
        if self.suffix is not None:
            return self.suffix > 0
        return self.start >= 0 and (self.stop is None or self.stop > self.start)


class TransferOptions(Struct, frozen=True):
    """How a row of blocks is filled."""

    connections: int | None = None
    """At most so many; None: found by measuring, `ceiling` at most."""
    ceiling: int = 8
    min_split: int = 8 * MiB
    retry: int = 10
    retry_max_time: float = 600.0
    max_time: float | None = None
    on_change: Literal["restart", "fail"] = "restart"
    strict: bool = False
    max_filesize: int | None = None
    range: RangeSpec | None = None
    digests: tuple[Digest, ...] = ()
    verify: Literal["auto", "discover", "require", "off"] = "auto"
    """auto: without a digest of the user's, one that the server publishes is checked; discover:
    it is looked for in sums files beside the file first; require: there must be one."""
    allow_html: bool = False
    block_size: int | None = None
    expected_size: int | None = None
    """The complete-length that the remote file must have."""
    blocks: BlockDigests | None = None
    """Digests of the blocks of the whole file; each block is checked when it is here."""

    def after(self, seconds: float) -> TransferOptions:
        """The same, of whose time so much is over."""
        if self.max_time is None:
            return self
        return replace(self, max_time=max(0.0, self.max_time - seconds))


class LazyOptions(Struct, frozen=True):
    """How a row is filled of which only what is read is asked for."""

    block: int = 64 << 10
    """Requests begin and end at multiples of it."""
    least: int = 128 << 10
    """A request is for so many bytes at least."""
    max_jump: int = 512 << 10
    """A reader that goes forward by no more than this still reads in a row, and bytes that come
    within it are waited for; what lies in between is kept."""
    read_ahead: int = 8 * MiB
    """At most so much is fetched ahead of one who reads in a row."""
    fill: bool = False
    """Fetch the rest too, while nobody reads."""
    keep: int = 256 * MiB
    """Without a path: so much is kept in memory."""


class FileOptions(Struct, frozen=True):
    """What happens to the files on disk."""

    restart: bool = False
    no_clobber: bool = False
    adopt: bool = False
    preallocate: Literal["auto", "none"] = "auto"
    keep_time: bool = True
    join: bool = False
    """Another rdl that is writing the file is waited for, and what it leaves is continued."""
    mode: int | None = None
    """Mode bits of the published file; None: as the umask says."""


class HostLimits(Struct, frozen=True):
    """Limits that the downloads with the same value share; None: as of the session."""

    name: str
    limit_rate: int | None = None
    limit_requests: float | None = None


class ChunkCache(Struct, frozen=True):
    """A folder that keeps chunks of files for later ones, `most` bytes of them; what was not used
    for the longest time goes. It is made where it is missing, and is the user's alone."""

    folder: Path
    most: int


class Source(Protocol):
    """Bytes of the caller's, in place of a URL: what rdl does with a server's it does with them.

    All of it may be called from several threads at the same time. Where it cannot be read now, it
    raises NetworkError (tried again, after `delay` seconds where that is given); any other error
    ends the download, what is no RdlError as ProtocolError. Attributes may be properties.
    """

    @property
    def name(self) -> str:
        """The same for the same bytes in every process: by it a later run finds its partial.
        Its last segment is the default name of the file."""
        ...

    @property
    def validator(self) -> str | None:
        """Another one when the bytes are others. It is compared after each read. None: parts
        cannot be joined, so it is read as one stream and not resumed, unless a digest decides."""
        ...

    @property
    def block_size(self) -> int | None:
        """In bytes, 16 MiB at most: each read begins at a multiple of it and is a whole number of
        blocks long, but for the end of the file. None: any."""
        ...

    @property
    def digest(self) -> str | None:
        """Of all bytes, like "sha256:HEX"; counts as what a server publishes does."""
        ...

    def size(self) -> int:
        """The number of bytes."""
        ...

    def read(self, offset: int, view: memoryview, /) -> int:
        """Fill `view` with the bytes from `offset` on, which all exist; returns how many these
        are: whole blocks, else at least one byte. `view` is not to be kept."""
        ...


class Head(Protocol):
    """Of a response."""

    @property
    def status(self) -> int: ...

    def all(self, name: str) -> list[str]:
        """Every value of the field `name` (lower-case), in order."""
        ...


class Options(Struct, frozen=True):
    """Everything about one download."""

    network: NetworkOptions = field(default_factory=NetworkOptions)
    transfer: TransferOptions = field(default_factory=TransferOptions)
    file: FileOptions = field(default_factory=FileOptions)
    dry_run: bool = False
    sums: tuple[str, ...] = ()
    """URLs of sums files; each must name the file."""
    mirrors: tuple[str, ...] = ()
    """Further URLs of the same bytes, best first."""
    found_mirrors: tuple[str, ...] = ()
    """Such as the server names; used only where a digest decides."""
    limits: HostLimits | None = None
    """In place of those of the session."""
    source: Source | None = None
    """Whose bytes these are, where a Source was given in place of a URL."""
    renew: Callable[[str], str] | None = None
    """Given the URL as it was given, returns a new one of the same file when that has had its
    time. Called in a thread of its own; it may raise an RdlError, which ends the download."""
    heard: Callable[[Head], None] | None = None
    """Given the head of each final response, before its body is taken, in any thread. A permanent
    RdlError that it raises ends the download."""


class SessionOptions(Struct, frozen=True):
    """What all downloads of a session share."""

    limit_rate: int | None = None
    limit_requests: float | None = None
    parallel: int = 4
    connections: int = 10
    """Of all lazy files together."""
