"""The index's records as bytes and back; docs/formats/index.md is the law.

Pure. Only the prefix whose chained checksums hold is believed, and every field is checked
against a hard bound before anything is built from it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import ClassVar
from zlib import crc32

from msgspec import Struct, field

from rdl.core.byterange import ByteRange, Extent
from rdl.core.extents import Extents, Run
from rdl.core.fields import MAX_TOTAL
from rdl.core.index_json import (
    MAX_JSON,
    Header,
    SessionRecord,
    header_bytes,
    read_header,
    read_session,
    session_bytes,
)
from rdl.errors import LocalFileError

MAGIC, VERSION = b"RDLINDEX", 1
MAX_EXTENT = 1 << 20
MAX_RUN = 1 << 14
"""Extents in one record."""
OPTIONAL_TYPES = 128
"""Records of an unknown type from here on are skipped; below, they end the reading."""

_PREAMBLE = struct.Struct("<8sII")
_HEAD = struct.Struct("<IB")
_CHECK = struct.Struct("<I")
_EXTENT = struct.Struct("<QQQ")
_FORGET = struct.Struct("<QQ")
_CHECKPOINT = struct.Struct("<Qq")
_CLEAN = struct.Struct("<Qqq")
_RUN = struct.Struct("<QI")


class IndexDamaged(LocalFileError):
    """The preamble or the header cannot be believed: nothing is known about the data."""

    reason: ClassVar[str] = "index-damaged"


class IndexNewer(LocalFileError):
    """Written by another version of the program, which may know better: leave it alone."""

    reason: ClassVar[str] = "index-newer"


class Kind(IntEnum):
    """Types of records."""

    HEADER = 1
    SESSION = 2
    EXTENT = 3
    FORGET = 4
    CHECKPOINT = 5
    CLEAN = 6
    ABORT = 7
    RUN = 8


class Stat(Struct, frozen=True):
    """The part file as last seen: size in bytes, times in ns."""

    size: int
    mtime_ns: int
    ctime_ns: int = 0


class Decoded(Struct, frozen=True):
    """What an index says. `soft` extents count only while `session.boot` is this boot and
    `session.local`; `clean` is set when the last run stopped in order; `consumed` bytes of
    the input were believed."""

    header: Header
    durable: Extents = field(default_factory=Extents)
    soft: Extents = field(default_factory=Extents)
    session: SessionRecord | None = None
    checkpoint: Stat | None = None
    clean: Stat | None = None
    consumed: int = 0


class IndexEncoder:
    """Makes records, each chained to the one before. ValueError when a bound is broken."""

    def __init__(self) -> None:
        self._check = 0

    def begin(self, header: Header) -> bytes:
        """The preamble and the header: the start of a file."""
        payload = header_bytes(header)
        start = _PREAMBLE.pack(MAGIC, VERSION, crc32(struct.pack("<8sI", MAGIC, VERSION)))
        self._check = crc32(start[:12])
        return start + self._frame(Kind.HEADER, payload)

    def session(self, session: SessionRecord) -> bytes:
        return self._frame(Kind.SESSION, session_bytes(session))

    def extent(self, extent: Extent) -> bytes:
        payload = _EXTENT.pack(extent.start, extent.stop, extent.checksum)
        return self._frame(Kind.EXTENT, payload)

    def runs(self, extents: Extents) -> Iterator[bytes]:
        """A record for every 16,384 of them that follow one another, or less."""
        for run in extents.runs:
            for part in run.parts(MAX_RUN):
                yield self._frame(
                    Kind.RUN, b"".join((_RUN.pack(part.start, len(part)), *part.pack()))
                )

    def forget(self, range: ByteRange) -> bytes:
        return self._frame(Kind.FORGET, _FORGET.pack(range.start, range.stop))

    def checkpoint(self, stat: Stat) -> bytes:
        return self._frame(Kind.CHECKPOINT, _CHECKPOINT.pack(stat.size, stat.mtime_ns))

    def clean(self, stat: Stat) -> bytes:
        payload = _CLEAN.pack(stat.size, stat.mtime_ns, stat.ctime_ns)
        return self._frame(Kind.CLEAN, payload)

    def abort(self) -> bytes:
        return self._frame(Kind.ABORT, b"")

    def _frame(self, kind: Kind, payload: bytes) -> bytes:
        body = _HEAD.pack(len(payload), kind) + payload
        self._check = crc32(body, self._check)
        return body + _CHECK.pack(self._check)


def decode(data: bytes | bytearray) -> Decoded:
    """Read an index. Raises IndexDamaged or IndexNewer; never fails on what follows an
    intact header, which is cut at the last good record."""
    records = _records(data)
    try:
        kind, payload, end = next(records)
        if kind != Kind.HEADER:
            raise ValueError("the first record is no header")
        header = read_header(payload)
    except (StopIteration, ValueError) as error:
        raise IndexDamaged("the index is damaged", str(error) or "no intact header") from error
    reader = _Reader(header)
    for kind, payload, after in records:
        try:
            reader.take(kind, payload)
        except ValueError:  # the chain holds but the record makes no sense: the end
            break
        end = after
    return reader.result(end, whole=end == len(data))


def _records(data: bytes | bytearray) -> Iterator[tuple[int, bytes, int]]:
    """(type, payload, offset after it) of each record whose chain holds."""
    if len(data) < _PREAMBLE.size:
        raise ValueError("too short")
    magic, version, check = _PREAMBLE.unpack_from(data)
    if magic != MAGIC or check != crc32(data[:12]):
        raise ValueError("not an index")
    if version != VERSION:
        raise IndexNewer("the index is of another version", f"version {version}")
    offset = _PREAMBLE.size
    while offset + _HEAD.size + _CHECK.size <= len(data):
        length, kind = _HEAD.unpack_from(data, offset)
        stop = offset + _HEAD.size + length
        if length > MAX_JSON or stop + _CHECK.size > len(data):
            return
        check = crc32(data[offset:stop], check)
        if _CHECK.unpack_from(data, stop)[0] != check:
            return
        yield kind, bytes(data[offset + _HEAD.size : stop]), stop + _CHECK.size
        offset = stop + _CHECK.size


class _Reader:
    """Applies records one after the other."""

    def __init__(self, header: Header) -> None:
        self.header = header
        limit = header.representation.total
        whole = ByteRange(0, MAX_TOTAL if limit is None else limit)
        self._bounds = whole if header.span is None else header.span
        self._durable, self._soft = Extents(), Extents()
        self._top = 0
        """Where the furthest extent ends that was ever seen."""
        self._session: SessionRecord | None = None
        self._checkpoint: Stat | None = None
        self._clean: Stat | None = None
        self._take: dict[int, Callable[[bytes], None]] = {
            Kind.SESSION: self._on_session,
            Kind.EXTENT: self._on_extent,
            Kind.FORGET: self._on_forget,
            Kind.CHECKPOINT: self._on_checkpoint,
            Kind.CLEAN: self._on_clean,
            Kind.ABORT: self._on_abort,
            Kind.RUN: self._on_run,
        }

    def take(self, kind: int, payload: bytes) -> None:
        """Apply one record; ValueError when it is unknown or breaks a bound."""
        if kind not in self._take and kind < OPTIONAL_TYPES:
            raise ValueError(f"record of type {kind}")
        self._clean = None
        if kind in self._take:
            self._take[kind](payload)

    def result(self, consumed: int, *, whole: bool) -> Decoded:
        return Decoded(
            self.header,
            self._durable,
            self._soft,
            self._session,
            self._checkpoint,
            self._clean if whole else None,
            consumed,
        )

    def _on_session(self, payload: bytes) -> None:
        session = read_session(payload)
        before = self._session
        if before is None or not session.boot or before.boot != session.boot:
            self._soft.clear()
        self._session = session

    def _on_extent(self, payload: bytes) -> None:
        start, stop, checksum = _unpack(_EXTENT, payload)
        self._check_range(start, stop)
        if stop - start > MAX_EXTENT:
            raise ValueError("an extent is too long")
        self._add(Run.of(Extent(start, stop, checksum)))

    def _on_run(self, payload: bytes) -> None:
        start, count = _RUN.unpack_from(payload) if len(payload) >= _RUN.size else (0, 0)
        sums = _RUN.size + 4 * count
        if not 0 < count <= MAX_RUN or len(payload) != sums + 8 * count:
            raise ValueError("a record has the wrong length")
        run = Run.packed(start, payload[_RUN.size : sums], payload[sums:])
        if not 0 < min(run.lengths) <= max(run.lengths) <= MAX_EXTENT:
            raise ValueError("an extent is too long, or empty")
        self._check_range(start, run.stop)
        self._add(run)

    def _add(self, run: Run) -> None:
        if run.start < self._top:
            self._drop(run.start, run.stop)
        self._top = max(self._top, run.stop)
        self._soft.add(run)

    def _on_forget(self, payload: bytes) -> None:
        start, stop = _unpack(_FORGET, payload)
        self._check_range(start, stop)
        self._drop(start, stop)

    def _on_checkpoint(self, payload: bytes) -> None:
        self._checkpoint = Stat(*_unpack(_CHECKPOINT, payload))
        self._durable.take_all(self._soft)

    def _on_clean(self, payload: bytes) -> None:
        self._clean = self._checkpoint = Stat(*_unpack(_CLEAN, payload))
        self._durable.take_all(self._soft)

    def _on_abort(self, payload: bytes) -> None:
        if payload:
            raise ValueError("a payload where none belongs")
        self._soft.clear()

    def _check_range(self, start: int, stop: int) -> None:
        if not self._bounds.start <= start < stop <= self._bounds.stop:
            raise ValueError("a range is out of bounds")

    def _drop(self, start: int, stop: int) -> None:
        self._durable.drop(start, stop)
        self._soft.drop(start, stop)


def _unpack(form: struct.Struct, payload: bytes) -> tuple[int, ...]:
    if len(payload) != form.size:
        raise ValueError("a record has the wrong length")
    return form.unpack(payload)
