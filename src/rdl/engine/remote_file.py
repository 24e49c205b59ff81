"""A remote file as a file: a position on a flight. Only what is read is fetched, and kept.

A loss raises; a read that brings less than it was asked for has come to the end of the file.
"""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable, Iterator, Sequence
from operator import index
from typing import Any

from msgspec import Struct

from rdl.core.byterange import ByteRange
from rdl.core.digest import disagreement, parse_digest
from rdl.core.events import Result
from rdl.core.fields import parse_http_date
from rdl.core.representation import Representation
from rdl.engine.flights import CLOSED, Flight
from rdl.engine.ground import Waiter
from rdl.errors import DigestMismatch, UsageError
from rdl.options import Digest, LazyOptions

STEP = 4 << 20


class RemoteStat(Struct, frozen=True):
    """What is known of a remote file: `size` in bytes, `modified` in seconds since the epoch, the
    ETag as it was sent; `trust`: how sure it is that all parts are of one version."""

    size: int
    modified: float | None
    etag: str | None
    media_type: str | None
    trust: str


class Boarding(Struct, frozen=True):
    """How a file was opened. `leave` is called when it is closed; `again(way, at)` opens another
    one like it."""

    flight: Flight
    lazy: LazyOptions
    name: str
    leave: Callable[[], None]
    again: Callable[[Any, int], RemoteFile]
    way: Any


class RemoteFile(io.RawIOBase):
    """Opened by `rdl.open`. Reads, and may be used by several threads: read_at() has no position,
    the others share the one of this file. Raises RdlError where the source fails or changes, and
    ValueError when it is closed."""

    def __init__(self, boarding: Boarding) -> None:
        super().__init__()
        self._boarding, self._flight, self._lazy = boarding, boarding.flight, boarding.lazy
        self._reader = self._flight.number()
        self._lock = threading.RLock()
        self._at = 0
        self._stop = self._row = self._fetched = 0
        """Where the last read ended, how much was read in a row then, and what was asked for."""

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"at {self._at}"
        return f"<rdl.RemoteFile {self.name!r} {state}>"

    @property
    def name(self) -> str:
        """The URL, without what may be secret in it."""
        return self._boarding.name

    # As any file

    def readable(self) -> bool:
        self._check()
        return True

    def seekable(self) -> bool:
        self._check()
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer; less only at the end of the file."""
        view = memoryview(buffer).cast("B")
        with self._lock:
            self._check()
            count = self._read(self._at, view)
            self._at += count
        return count

    def read(self, size: int | None = -1) -> bytes:
        """So many bytes, or all that follow; fewer only at the end of the file."""
        with self._lock:
            if size is None or size < 0:
                return self.readall()
            self._check()
            data = self._bytes(self._at, size)
            self._at += len(data)
        return data

    def readall(self) -> bytes:
        """All that follow."""
        with self._lock:
            self._check()
            rest = max(0, self.size() - self._at)
            return self.read(rest) if rest else b""

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Beyond the end is allowed: there is nothing to read."""
        with self._lock:
            self._check()
            if whence not in (io.SEEK_SET, io.SEEK_CUR, io.SEEK_END):
                raise ValueError(f"invalid whence ({whence}, should be 0, 1 or 2)")
            bases = {io.SEEK_SET: lambda: 0, io.SEEK_CUR: lambda: self._at, io.SEEK_END: self.size}
            at = bases[whence]() + index(offset)
            if at < 0:
                raise ValueError(f"negative seek position {at}")
            self._at = at
            return at

    def tell(self) -> int:
        self._check()
        return self._at

    def write(self, data: Any) -> int:
        """io.UnsupportedOperation: it is there to be read."""
        raise io.UnsupportedOperation("not writable")

    def close(self) -> None:
        """Reads that wait end with ValueError. With the last reader of it the fetching ends, and
        what is here is left in order."""
        if not self.closed:
            super().close()
            self._flight.left(self._reader)
            self._boarding.leave()

    # As no other

    def read_at(self, offset: int, size: int) -> bytes:
        """So many bytes from there on, fewer only at the end of the file. The position stays."""
        self._check()
        if offset < 0 or size < 0:
            raise ValueError(f"not a range: {size} bytes at {offset}")
        return self._bytes(offset, size)

    def size(self) -> int:
        """Bytes of the file."""
        self._check()
        return self._flight.size(self._reader)

    def set_size(self, size: int) -> None:
        """Say how long the file is, so that nobody needs to be asked; with another length it is
        another version (ChangedError)."""
        self._check()
        ByteRange(0, size)
        self._flight.expect(size)

    def stat(self) -> RemoteStat:
        """What the server says of it."""
        self._check()
        known = self._flight.representation(self._reader)
        etag = known.etag
        return RemoteStat(
            self.size(),
            parse_http_date(known.last_modified),
            None if etag is None else str(etag),
            known.media_type,
            known.trust.value,
        )

    def present(self) -> tuple[ByteRange, ...]:
        """Which bytes are here."""
        self._check()
        return self._flight.present()

    def look(self) -> tuple[int | None, tuple[ByteRange, ...]]:
        """How long it is, when that is known, and which bytes are here; asks nobody."""
        self._check()
        return self._flight.shown.size, self._flight.present()

    def complete(self) -> Result:
        """Fetch the rest; where the file has a path it stands there afterwards."""
        self._check()
        return self._flight.complete(self._reader)

    def save(self) -> None:
        """What is here survives a power cut, where the file has a path or a cache."""
        self._check()
        self._flight.save()

    def invalidate(self, start: int = 0, stop: int | None = None) -> None:
        """These bytes are not right: they come again when they are read."""
        self._check()
        size = self.size()
        range = ByteRange(start, size if stop is None else stop).clip(ByteRange(0, size))
        if range:
            self._flight.invalidate(self._blocks(range))

    def verify(self, digest: str | Digest) -> None:
        """Read all of it; DigestMismatch when it has another digest, and then all of it comes
        again when it is read."""
        self._check()
        self._prove(ByteRange(0, self.size()), digest)

    def verify_range(self, start: int, stop: int, digest: str | Digest) -> None:
        """The same of these bytes alone."""
        self._check()
        range = ByteRange(start, max(start, min(stop, self.size()))) if stop >= start else None
        if not range:
            raise UsageError("range", f"there is nothing to verify at {start} to {stop}")
        self._prove(range, digest)

    def subscribe(self, changed: Callable[[], None]) -> Subscription:
        """For one who does not wait; until it is closed, before this file is."""
        self._check()
        return Subscription(self._flight, changed)

    def follow(self) -> Follower:
        """Follow how the bytes grow that are here from the first one on."""
        self._check()
        return Follower(self._flight)

    # Inside

    def __reduce__(self) -> tuple[Callable[..., RemoteFile], tuple[Any, ...]]:
        """Pickled it is opened again where it is unpickled, at the same position."""
        self._check()
        return self._boarding.again, (self._boarding.way, self._at)

    def _check(self) -> None:
        if self.closed:
            raise ValueError(CLOSED)

    def _bytes(self, offset: int, size: int) -> bytes:
        if size > STEP:
            size = min(size, max(0, self.size() - offset))
        buffer = bytearray(size)
        with memoryview(buffer) as view:
            count = self._read(offset, view)
        del buffer[count:]
        return bytes(buffer)

    def _read(self, offset: int, view: memoryview) -> int:
        if not view:
            return 0
        range = ByteRange(offset, offset + len(view))
        ahead = self._ahead(range)
        count = self._flight.read_into(self._reader, offset, view, ahead)
        if ahead > range.stop and self._fetched < (range.stop + ahead) // 2:
            self._fetched = ahead
            if not self._flight.here(ByteRange(range.stop, ahead)):
                self._flight.prefetch(self._reader, range, ahead)
        return count

    def _ahead(self, range: ByteRange) -> int:
        """Where one who reads on like this will soon be: as far on as it had come before this
        read, which may be long and the last, as of a member after its header."""
        had, jump = self._row, range.start - self._stop
        if had and 0 <= jump <= self._lazy.max_jump:
            had, self._row = had + jump, self._row + range.stop - self._stop
        else:
            had, self._row, self._fetched = 0, len(range), 0
        self._stop = range.stop
        return range.stop + min(self._lazy.read_ahead, had) if had else 0

    def _blocks(self, range: ByteRange) -> ByteRange:
        """Whole blocks."""
        block = self._lazy.block
        return ByteRange(range.start // block * block, -(-range.stop // block) * block)

    def _prove(self, range: ByteRange, digest: str | Digest) -> None:
        wanted = parse_digest(digest) if isinstance(digest, str) else digest
        found = hashlib.new(wanted.algorithm)
        for data in self._chunks(range):
            found.update(data)
        hexes = {wanted.algorithm: found.hexdigest()}
        if why := disagreement(hexes, {wanted.algorithm: wanted.hex}, "expected"):
            self._flight.invalidate(self._blocks(range))
            raise DigestMismatch(self.name, why)

    def _chunks(self, range: ByteRange) -> Iterator[bytes]:
        at = range.start
        while at < range.stop and (data := self.read_at(at, min(STEP, range.stop - at))):
            yield data
            at += len(data)


class Follower:
    """Follows the contiguous head of a file; each follower sees every growth."""

    def __init__(self, flight: Flight) -> None:
        self._flight, self._waiter = flight, Waiter()
        self._seen = 0

    @property
    def head(self) -> int:
        """The end of the bytes that are here from the first one on."""
        return self._flight.head()

    @property
    def complete(self) -> bool:
        """Whether it will not grow any more."""
        return self._flight.result is not None

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the head has grown since this follower's last wait, or all is here; where it
        is. After `timeout` seconds it may be where it was. Raises the error that ended the
        fetching, and ValueError when this was cancelled, or the file closed."""
        self._seen = self._flight.follow(self._waiter, self._seen, timeout)
        return self._seen

    def cancel(self) -> None:
        """End a wait() in another thread, and every later one."""
        self._waiter.error = ValueError("following was cancelled")
        self._waiter.ring()


class Subscription(Waiter):
    """Bytes of a file for one who never waits, as a server of many readers: asked for, and told
    when something has come. `changed` is called by other threads and may not wait; after close()
    it may come once more."""

    def __init__(self, flight: Flight, changed: Callable[[], None]) -> None:
        super().__init__(flight.number())
        self._flight, self._changed = flight, changed
        self._given, self.spoiled = ByteRange(0, 0), False
        """What was read; whether some of it proved wrong since."""
        flight.subscribe(self)

    def ring(self) -> None:
        self._changed()

    def spoil(self, ranges: Sequence[ByteRange]) -> None:
        if any(one.clip(self._given) for one in ranges):
            self.spoiled = True
            self.ring()

    def want(self, start: int, stop: int, ahead: int = 0) -> None:
        """Ask for these bytes, to be gone on with to `ahead`, in place of what was asked before;
        the last error is over. What is here already is asked of nobody. Where nothing is known yet,
        an empty range asks for the length."""
        self._flight.want(self, ByteRange(start, stop) or None, ahead)

    def ready(self, offset: int) -> int:
        """The end of the bytes that are here from this one on; read_into() has them at once."""
        return self._flight.ready(offset)

    def read_into(self, offset: int, view: memoryview) -> int:
        """Some bytes that are ready, on from the last ones, or anew; 0: none is any more."""
        given = self._given
        begun = given.start if given.start <= offset <= given.stop else offset
        self._given = ByteRange(begun, offset + len(view))  # before: they may prove wrong meanwhile
        count = self._flight.read_ready(self.reader, offset, view)
        self._given = ByteRange(begun, offset + count)
        return count

    @property
    def size(self) -> int | None:
        """Bytes of the file, when that is known."""
        return self._flight.shown.size

    @property
    def representation(self) -> Representation | None:
        """What is read, when that is known."""
        row = self._flight.shown.row
        return row.representation if row else None

    def close(self) -> None:
        """Nothing is wanted any more."""
        self._flight.unsubscribe(self)
        self._flight.left(self.reader)
