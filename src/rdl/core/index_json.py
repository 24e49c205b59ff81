"""The two records of the index that are JSON: its header and its sessions.

Pure. Reading checks the type and the bound of every field (docs/formats/index.md) and
raises ValueError; writing refuses what reading would.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import asdict, replace

from rdl.core.blockmap import MIN_BLOCK
from rdl.core.byterange import ByteRange
from rdl.core.digest import HEX_DIGITS
from rdl.core.fields import MAX_TOTAL
from rdl.core.published import Published
from rdl.core.representation import Representation

MAX_STRING = 8192
MAX_JSON = 1 << 18
MAX_RUNS = 4096
MAX_DIGESTS = 64
_HEX = re.compile(r"(?:[0-9a-f]{2})+")
_SOURCE = re.compile(r"[0-9a-z-]{1,64}")

T = TypeVar("T")


class Header(Struct, frozen=True):
    """What a part file is a part of. `url` is redacted. `span`: the bytes of the
    representation that the file holds (None: all of it); file offset 0 is span.start.
    `adopted`: these bytes are of unknown origin, to be proved by a digest of the whole."""

    url: str
    representation: Representation
    block_size: int
    span: ByteRange | None = None
    adopted: tuple[ByteRange, ...] = ()

    def mixed(self) -> Header:
        """The same, without validators: they do not speak for all that is here."""
        return replace(self, representation=Representation(self.representation.total))

    @property
    def size(self) -> int | None:
        """Bytes that the part file is to hold; None while unknown."""
        return self.representation.total if self.span is None else len(self.span)

    @property
    def wanted(self) -> ByteRange | None:
        """The bytes of the representation that it is to hold; None while unknown."""
        total = self.representation.total
        whole = None if total is None else ByteRange(0, total)
        return whole if self.span is None else self.span

    @property
    def start(self) -> int:
        """The offset of the part file's first byte."""
        return self.span.start if self.span else 0


class SessionRecord(Struct, frozen=True):
    """Who writes: the boot of the machine, a random token, and into which file. `local`:
    the file system is known to be on this machine."""

    boot: str
    owner: str
    device: int
    inode: int
    local: bool


def header_bytes(header: Header) -> bytes:
    """The payload of a header; ValueError when a bound is broken."""
    facts = header.representation
    seldom = {
        "adopted": [[run.start, run.stop] for run in header.adopted],
        "digests": [[one.algorithm, one.hex, one.source] for one in facts.digests],
    }
    payload = _dump(
        {
            "url": header.url,
            "total": facts.total,
            "etag": facts.etag,
            "last_modified": facts.last_modified,
            "modified_strong": facts.modified_strong,
            "media_type": facts.media_type,
            "block_size": header.block_size,
            "span": None if header.span is None else [header.span.start, header.span.stop],
        }
        | {name: some for name, some in seldom.items() if some}
    )
    read_header(payload)
    return payload


def read_header(payload: bytes) -> Header:
    """The header of a payload; ValueError when it is none."""
    fields = _Fields(payload)
    total = fields.optional("total", lambda name: fields.number(name, MAX_TOTAL))
    size = fields.number("block_size", 1 << 62)
    if size < MIN_BLOCK or size & (size - 1) or (total or 0) > size << 31:
        raise ValueError("block_size is out of bounds")
    representation = Representation(
        total=total,
        etag=fields.optional("etag", fields.text),
        last_modified=fields.optional("last_modified", fields.text),
        modified_strong=fields.boolean("modified_strong"),
        media_type=fields.optional("media_type", fields.text),
        digests=fields.digests("digests") if fields.has("digests") else (),
    )
    limit = MAX_TOTAL if total is None else total
    last = limit + (total is None)  # what stands for an end that nobody said
    span = fields.optional("span", lambda name: fields.span(name, last))
    adopted = fields.runs("adopted", limit) if fields.has("adopted") else ()
    return Header(fields.text("url"), representation, size, span, adopted)


def session_bytes(session: SessionRecord) -> bytes:
    """The payload of a session; ValueError when a bound is broken."""
    payload = _dump(asdict(session))
    read_session(payload)
    return payload


def read_session(payload: bytes) -> SessionRecord:
    """The session of a payload; ValueError when it is none."""
    fields = _Fields(payload)
    return SessionRecord(
        boot=fields.text("boot"),
        owner=fields.text("owner"),
        device=fields.number("device", (1 << 64) - 1),
        inode=fields.number("inode", (1 << 64) - 1),
        local=fields.boolean("local"),
    )


def _dump(fields: dict[str, Any]) -> bytes:
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


class _Fields:
    """A JSON object whose fields are taken by type and bound; ValueError otherwise."""

    def __init__(self, payload: bytes) -> None:
        if len(payload) > MAX_JSON:
            raise ValueError("a record is too long")
        try:
            value = json.loads(payload.decode())
        except RecursionError as error:
            raise ValueError("nested too deep") from error
        if not isinstance(value, dict):
            raise ValueError("no object")
        self._values: dict[str, Any] = value

    def optional(self, name: str, read: Callable[[str], T]) -> T | None:
        """What `read` makes of the field, or None where it is null."""
        return None if self._get(name) is None else read(name)

    def number(self, name: str, limit: int) -> int:
        return _bounded(self._get(name), limit)

    def text(self, name: str) -> str:
        value = self._get(name)
        if not isinstance(value, str) or len(value.encode()) > MAX_STRING:
            raise ValueError(f"{name} is no text of at most {MAX_STRING} bytes")
        return value

    def has(self, name: str) -> bool:
        return name in self._values

    def boolean(self, name: str) -> bool:
        value = self._get(name)
        if not isinstance(value, bool):
            raise ValueError(f"{name} is not true or false")
        return value

    def span(self, name: str, limit: int) -> ByteRange:
        return _range(self._get(name), name, limit)

    def runs(self, name: str, limit: int) -> tuple[ByteRange, ...]:
        """Ranges in order, none of them empty, with gaps between them."""
        value = self._get(name)
        if not isinstance(value, list) or len(value) > MAX_RUNS:
            raise ValueError(f"{name} is no list of at most {MAX_RUNS} ranges")
        runs = tuple(_range(one, name, limit) for one in value)
        ends = [-1, *(run.stop for run in runs)]
        if any(not run or run.start <= end for run, end in zip(runs, ends, strict=False)):
            raise ValueError(f"{name} is not in order")
        return runs

    def digests(self, name: str) -> tuple[Published, ...]:
        """What was published; of an algorithm that is not known it says nothing."""
        value = self._get(name)
        if not isinstance(value, list) or len(value) > MAX_DIGESTS:
            raise ValueError(f"{name} is no list of at most {MAX_DIGESTS}")
        found = [_published(one, name) for one in value]
        return tuple(one for one in found if one.algorithm in HEX_DIGITS)

    def _get(self, name: str) -> Any:
        if name not in self._values:
            raise ValueError(f"{name} is missing")
        return self._values[name]


def _published(value: object, name: str) -> Published:
    match value:
        case [str(algorithm), str(digits), str(source)] if _SOURCE.fullmatch(source):
            if _HEX.fullmatch(digits) and len(digits) == HEX_DIGITS.get(algorithm, len(digits)):
                return Published(algorithm, digits, source)
    raise ValueError(f"{name} holds what is no digest")


def _range(value: object, name: str, limit: int) -> ByteRange:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f"{name} is no range")
    return ByteRange(_bounded(value[0], limit), _bounded(value[1], limit))


def _bounded(value: object, limit: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= limit:
        raise ValueError("a number is out of bounds")
    return value
