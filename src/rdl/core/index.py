"""The index's records as bytes and back; docs/formats/index.md is the law.

Pure. Only the prefix whose chained checksums hold is believed, and every field is checked
against a hard bound before anything is built from it.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import ClassVar
from zlib import crc32

from msgspec import Struct

from rdl.core.byterange import ByteRange, Extent
from rdl.core.index_json import (
    MAX_JSON,
    MAX_OFFSET,
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
OPTIONAL_TYPES = 128
"""Records of an unknown type from here on are skipped; below, they end the reading."""

_PREAMBLE = struct.Struct("<8sII")
_HEAD = struct.Struct("<IB")
_CHECK = struct.Struct("<I")
_EXTENT = struct.Struct("<QQQ")
_FORGET = struct.Struct("<QQ")
_CHECKPOINT = struct.Struct("<Qq")
_CLEAN = struct.Struct("<Qqq")


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


class Stat(Struct, frozen=True):
    """The part file as last seen: size in bytes, times in ns."""

    size: int
    mtime_ns: int
    ctime_ns: int = 0


class Decoded(Struct, frozen=True):
    """What an index says. `soft` extents count only while `session.boot` is this boot and
    `session.local`; `clean` is set when the last run stopped in order; `consumed` bytes of
    the input were believed. Extents ascend and are disjoint."""

    header: Header
    durable: tuple[Extent, ...] = ()
    soft: tuple[Extent, ...] = ()
    session: SessionRecord | None = None
    checkpoint: Stat | None = None
    clean: Stat | None = None
    consumed: int = 0


class Encoder:
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


def decode(data: bytes) -> Decoded:
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


def _records(data: bytes) -> Iterator[tuple[int, bytes, int]]:
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
        yield kind, data[offset + _HEAD.size : stop], stop + _CHECK.size
        offset = stop + _CHECK.size


class _Reader:
    """Applies records one after the other."""

    def __init__(self, header: Header) -> None:
        self.header = header
        limit = header.representation.total
        whole = ByteRange(0, MAX_OFFSET if limit is None else limit)
        self._bounds = whole if header.span is None else header.span
        self._durable, self._soft = _Extents(), _Extents()
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
            self._durable.sorted(),
            self._soft.sorted(),
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
        if start < self._top:
            self._drop(start, stop)
        self._top = max(self._top, stop)
        self._soft.add(Extent(start, stop, checksum))

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


class _Extents:
    """Disjoint extents, kept by the MiB in which they start (none is longer than that)."""

    def __init__(self) -> None:
        self._cells: dict[int, list[Extent]] = {}

    def add(self, extent: Extent) -> None:
        """Add an extent that touches none of those here."""
        cell = self._cells.setdefault(extent.start // MAX_EXTENT, [])
        if not cell or cell[-1].start < extent.start:
            cell.append(extent)
        else:
            cell.insert(bisect_left(cell, extent.start, key=_start), extent)

    def drop(self, start: int, stop: int) -> None:
        """Remove every extent that has a byte in `[start, stop)`, as a whole."""
        low, high = start // MAX_EXTENT - 1, (stop - 1) // MAX_EXTENT + 1
        few = high - low <= len(self._cells)
        numbers = range(low, high) if few else [n for n in self._cells if low <= n < high]
        for number in numbers:
            cell = self._cells.get(number)
            if cell and cell[-1].stop > start:
                last = bisect_left(cell, stop, key=_start)
                first = bisect_left(cell, start + 1, 0, last, key=_stop)
                del cell[first:last]

    def take_all(self, other: _Extents) -> None:
        """Move all of `other`, none of which touches one here, to this one."""
        if not self._cells:  # a fresh index is one run of records
            self._cells, other._cells = other._cells, self._cells
            return
        for cell in other._cells.values():
            for extent in cell:
                self.add(extent)
        other.clear()

    def clear(self) -> None:
        self._cells.clear()

    def sorted(self) -> tuple[Extent, ...]:
        return tuple(extent for number in sorted(self._cells) for extent in self._cells[number])


def _start(extent: Extent) -> int:
    return extent.start


def _stop(extent: Extent) -> int:
    return extent.stop


def _unpack(form: struct.Struct, payload: bytes) -> tuple[int, ...]:
    if len(payload) != form.size:
        raise ValueError("a record has the wrong length")
    return form.unpack(payload)
