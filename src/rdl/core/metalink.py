"""Metalink 4 (RFC 5854): files with their size, digests, digests of blocks, and URLs.

Bytes in, values out. What would contradict itself is a UsageError that names the file; what
only informs, or is not http, is passed over. What is read: docs/formats/metalink.md.
"""

from __future__ import annotations

import re

from msgspec import Struct, field

from rdl.core.digest import HEX_DIGITS, algorithm_of, parse_digest
from rdl.core.lock import path_fault
from rdl.core.text import safe_text
from rdl.errors import UsageError
from rdl.options import BlockDigests, Digest

MOST_BYTES = 8 << 20
MOST_FILES, MOST_URLS, MOST_BLOCKS, DEEPEST = 10_000, 1000, 100_000, 32
"""Files and blocks of all of it, URLs of one file, elements within one another."""
LAST = 999_999
"""The lowest priority, and that of a URL without one (section 4.2.16.1)."""

_OURS, _VERSION_3 = "urn:ietf:params:xml:ns:metalink ", "http://www.metalinker.org/ "
_NUMBER = re.compile(r"[0-9]{1,18}")
_HTTP = re.compile(r"https?://\S+", re.IGNORECASE)


class MetalinkFile(Struct, frozen=True):
    """One file; `name` is a path below the folder that it will be fetched into. One digest of
    each algorithm, the strongest first; the best URL first."""

    name: str
    size: int | None = None
    digests: tuple[Digest, ...] = ()
    blocks: BlockDigests | None = None
    urls: tuple[str, ...] = ()


class _Row(Struct):
    """The digests of blocks as they are read; `size` of a block, in bytes."""

    size: int
    algorithm: str
    hexes: list[str] = field(default_factory=list)


class _Draft(Struct):
    """A file as it is read."""

    name: str
    size: int | None = None
    digests: dict[str, Digest] = field(default_factory=dict)
    rows: dict[str, _Row] = field(default_factory=dict)
    urls: list[tuple[int, str]] = field(default_factory=list)


def parse_metalink(data: bytes, name: str = "metalink") -> tuple[MetalinkFile, ...]:
    """The files of the metalink called `name` in errors. Raises UsageError."""
    from xml.parsers.expat import ErrorString, ExpatError, ParserCreate  # not at every start

    shown = safe_text(name)
    if len(data) > MOST_BYTES:
        raise UsageError(shown, f"more than {MOST_BYTES >> 20} MiB")
    reader = _Reader(shown)
    parser = ParserCreate("UTF-8", " ")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = reader.doctype
    parser.StartElementHandler = reader.start
    parser.CharacterDataHandler = reader.text
    parser.EndElementHandler = reader.end
    try:
        parser.Parse(data, True)
    except ExpatError as error:
        raise UsageError(f"{shown}:{error.lineno}", f"not XML: {ErrorString(error.code)}") from None
    return tuple(reader.files)


class _Reader:
    """Hears of elements in their order; of other namespaces than RFC 5854's nothing is taken."""

    def __init__(self, shown: str) -> None:
        self.files: list[MetalinkFile] = []
        self._shown = shown
        self._path: list[str] = []
        self._attributes: list[dict[str, str]] = []
        self._text: list[str] = []
        self._draft = _Draft("")
        self._row: _Row | None = None
        self._blocks = 0

    def doctype(self, *_declaration: object) -> None:
        """Entities are declared there, and no metalink needs any."""
        raise UsageError(self._shown, "it has a document type, which is not read")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """An element begins."""
        if not self._path:
            self._root(name)
        self._path.append(name.removeprefix(_OURS) if name.startswith(_OURS) else "")
        self._attributes.append(attributes)
        self._text.clear()
        self._at_most(DEEPEST, len(self._path), "elements within one another")
        match self._path:
            case [_, "file"]:
                self._begin_file(attributes)
            case [_, "file", "pieces"]:
                self._begin_row(attributes)

    def text(self, text: str) -> None:
        """Characters of the element that began last."""
        self._text.append(text)

    def end(self, _name: str) -> None:
        """An element ends."""
        text, attributes = "".join(self._text).strip(), self._attributes.pop()
        match self._path:
            case [_, "file"]:
                self.files.append(self._whole())
            case [_, "file", "size"]:
                self._size(text)
            case [_, "file", "hash"]:
                self._digest(attributes.get("type", ""), text)
            case [_, "file", "pieces", "hash"]:
                self._block(text)
            case [_, "file", "url"]:
                self._url(attributes.get("priority", ""), text)
        self._path.pop()
        self._text.clear()

    def _root(self, name: str) -> None:
        if name.startswith(_VERSION_3):
            raise UsageError(self._shown, "a Metalink of version 3; only 4 (RFC 5854) is read")
        if name != f"{_OURS}metalink":
            raise UsageError(self._shown, "not a metalink (RFC 5854)")

    def _at_most(self, most: int, count: int, what: str) -> None:
        if count > most:
            raise UsageError(self._shown, f"more than {most} {what}")

    def _refused(self, why: str) -> UsageError:
        return UsageError(f"{self._shown}: '{safe_text(self._draft.name)}'", why)

    def _begin_file(self, attributes: dict[str, str]) -> None:
        self._at_most(MOST_FILES, len(self.files) + 1, "files")
        self._draft = _Draft(attributes.get("name", ""))
        if fault := path_fault(self._draft.name):
            raise self._refused(fault)

    def _whole(self) -> MetalinkFile:
        draft = self._draft
        order = [*HEX_DIGITS]
        digests = sorted(draft.digests.values(), key=lambda one: order.index(one.algorithm))
        rows = [self._checked(draft.rows[one]) for one in order if one in draft.rows]
        urls = [url for _, url in sorted(draft.urls, key=lambda one: one[0])]
        return MetalinkFile(
            draft.name,
            draft.size,
            tuple(digests),
            rows[0] if rows else None,
            tuple(dict.fromkeys(urls)),
        )

    def _size(self, text: str) -> None:
        if self._draft.size is not None:
            raise self._refused("its size is given twice")
        if not _NUMBER.fullmatch(text):
            raise self._refused("its size is no number of bytes")
        self._draft.size = int(text)

    def _digest(self, name: str, text: str) -> None:
        algorithm = algorithm_of(name)
        if algorithm is None:
            return
        digest = self._read_digest(algorithm, text)
        if self._draft.digests.setdefault(algorithm, digest) != digest:
            raise self._refused(f"two different {algorithm} digests")

    def _read_digest(self, algorithm: str, text: str) -> Digest:
        try:
            return parse_digest(f"{algorithm}:{text}")
        except UsageError as error:
            raise self._refused(f"{algorithm}: {error.why}") from None

    def _begin_row(self, attributes: dict[str, str]) -> None:
        algorithm, length = algorithm_of(attributes.get("type", "")), attributes.get("length", "")
        self._row = None
        if algorithm is None:
            return
        if algorithm in self._draft.rows:
            raise self._refused(f"digests of blocks by {algorithm} are given twice")
        if not _NUMBER.fullmatch(length) or not int(length):
            raise self._refused("the length of its blocks is no number of bytes")
        self._row = self._draft.rows[algorithm] = _Row(int(length), algorithm)

    def _block(self, text: str) -> None:
        if self._row is not None:
            self._blocks += 1
            self._at_most(MOST_BLOCKS, self._blocks, "digests of blocks")
            self._row.hexes.append(self._read_digest(self._row.algorithm, text).hex)

    def _checked(self, row: _Row) -> BlockDigests:
        size, found = self._draft.size, len(row.hexes)
        if size is None:
            raise self._refused("digests of blocks, and no size")
        if found != (count := -(-size // row.size)):
            why = f"{found} digests of blocks, where {size} bytes are {count} of {row.size}"
            raise self._refused(why)
        return BlockDigests(row.size, row.algorithm, tuple(row.hexes))

    def _url(self, priority: str, text: str) -> None:
        if _HTTP.fullmatch(text) and text.isprintable():
            self._at_most(MOST_URLS, len(self._draft.urls) + 1, "URLs of one file")
            said = int(priority) if _NUMBER.fullmatch(priority) else 0
            self._draft.urls.append((said if 1 <= said <= LAST else LAST, text))
