"""The manifest: the chunks of a file on two levels, and their digests (docs/formats/manifest.md).

Pure. The first level is read whole, of the second what lies under chunks that are missing.
What makes no sense is a ProtocolError about "manifest", before anything is built from it.
"""

from __future__ import annotations

import re
import struct
import sys
from array import array
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, repeat
from operator import ge, lt, mul
from zlib import crc32

import msgspec
from msgspec import Struct

from rdl.core.byterange import ByteRange
from rdl.core.chunks import Alive, Chunks, paced, unwatched
from rdl.core.text import safe_text
from rdl.errors import ProtocolError

MAGIC, MAJOR, MINOR = b"RDLMANIF", 1, 0
SUFFIX = ".rdlm"
ALGORITHM = "sha256"
LEAST_WIDTH, WIDTH, MOST_WIDTH = 16, 16, 32
"""Bytes of each digest that are kept; the second is what is written."""
MAX_FILE, MAX_COARSE, MAX_FINE = 1 << 46, 1 << 22, (1 << 16) - 1
"""Bytes of the file, its coarse chunks, and the fine chunks in one of these."""
MIN_LEAST, MAX_MOST = 64, 1 << 24
"""Bytes: no chunker is asked for smaller or larger chunks."""
MAX_META, MAX_NAME, MAX_URLS, MAX_URL = 1 << 16, 255, 16, 2000

_HEAD = struct.Struct("<8sHHIIIQQ32sI")
_CHECK = struct.Struct("<I")
HEAD_BYTES = _HEAD.size + _CHECK.size
"""To be read first."""
_COARSE = 6
"""Bytes of a coarse record besides its digest."""
_CHUNKER = re.compile("[a-z0-9][a-z0-9-]{0,31}")
_URL = re.compile(r"https?://[^\s/?#@]+(?:[/?#][!-~]*)?", re.ASCII)


class Sizes(Struct, frozen=True, array_like=True):
    """Of the chunks of one level, in bytes. Only the last of what they tile may be shorter."""

    least: int
    average: int
    most: int

    def allow(self, sizes: array[int]) -> bool:
        """Whether chunks of these sizes can tile something."""
        if not sizes:
            return True
        inner = min(sizes[:-1], default=self.least)
        return self.least <= inner and sizes[-1] > 0 and max(sizes) <= self.most


class Cutting(Struct, frozen=True):
    """How a file is cut: the name of the chunker, and the sizes on both levels. The chunker begins
    anew where a coarse chunk does."""

    chunker: str
    coarse: Sizes
    fine: Sizes


class Head(Struct, frozen=True):
    """What the first bytes say. `meta` and `fine`: lengths of these parts; `coarse`: how many
    chunks; `check`: of meta and the coarse part."""

    width: int
    meta: int
    coarse: int
    fine: int
    total: int
    sha256: str
    check: int

    @property
    def length_of_coarse(self) -> int:
        """Bytes of the first level, from the start of the manifest."""
        return HEAD_BYTES + self.meta + self.coarse * (_COARSE + self.width)

    @property
    def length(self) -> int:
        """Bytes of the manifest."""
        return self.length_of_coarse + self.fine


class Manifest(Struct, frozen=True):
    """The first level. `name` is a label and no path; `counts`: the fine chunks in each coarse one
    ("H"), `fine_stops`: and in all up to its end ("Q"); the fine part begins at `fine_at` of the
    manifest's `length` bytes; `urls`: where the file may be, as the manifest says."""

    name: str
    total: int
    sha256: str
    cutting: Cutting
    coarse: Chunks
    counts: array[int]
    fine_stops: array[int]
    fine_at: int
    length: int
    urls: tuple[str, ...] = ()

    @property
    def chunker(self) -> str:
        return self.cutting.chunker

    @property
    def fine_count(self) -> int:
        """All fine chunks."""
        return self.fine_stops[-1] if self.fine_stops else 0


class _Meta(Struct):
    name: str
    chunker: str
    coarse: Sizes
    fine: Sizes
    urls: tuple[str, ...] = ()


def parse_head(data: bytes | bytearray, length: int | None = None) -> Head:
    """The head, which `data` begins with. `length`: of the whole manifest, where that is known.
    Raises ProtocolError."""
    if data[: len(MAGIC)] != MAGIC:
        raise _refused("not a manifest of rdl")
    if len(data) < HEAD_BYTES:
        raise _refused("it ends within its head")
    _, major, _, width, meta, coarse, fine, total, sha256, check = _HEAD.unpack_from(data)
    if major != MAJOR:
        raise _refused(f"version {major}; this rdl knows {MAJOR}")
    if _CHECK.unpack_from(data, _HEAD.size)[0] != crc32(data[: _HEAD.size]):
        raise _refused("its head is damaged")
    head = Head(width, meta, coarse, fine, total, sha256.hex(), check)
    if not LEAST_WIDTH <= width <= MOST_WIDTH:
        raise _refused(f"digests of {width} bytes")
    if total > MAX_FILE:
        raise _refused(f"a file of {total} bytes; at most {MAX_FILE} are read")
    if meta > MAX_META:
        raise _refused(f"{meta} bytes about the file; at most {MAX_META} are read")
    if coarse > min(MAX_COARSE, -(-total // MIN_LEAST)):
        raise _refused(f"{coarse} coarse chunks of {total} bytes")
    if length is not None and length != head.length:
        raise _refused(f"it has {length} bytes and says {head.length}")
    return head


def parse_coarse(head: Head, data: bytes | bytearray) -> Manifest:
    """The first level: `data` has its bytes, from the start of the manifest. Raises
    ProtocolError."""
    view, count = memoryview(data)[HEAD_BYTES : head.length_of_coarse], head.coarse
    if HEAD_BYTES + len(view) < head.length_of_coarse:
        raise _refused("it ends within its first level")
    if crc32(view) != head.check:
        raise _refused("its first level is damaged")
    meta = _read_meta(bytes(view[: head.meta]))
    at = head.meta
    sizes = _numbers("I", view[at : at + 4 * count])
    counts = _numbers("H", view[at + 4 * count : at + _COARSE * count])
    if not meta.coarse.allow(sizes) or sum(sizes) != head.total:
        raise _refused(f"its coarse chunks do not tile {head.total} bytes")
    if not _can_hold(meta.fine, sizes, counts):
        raise _refused("a coarse chunk cannot be so many fine ones")
    stops, fine_stops = array("Q", accumulate(sizes)), array("Q", accumulate(counts))
    coarse = Chunks(ALGORITHM, head.width, stops, bytes(view[at + _COARSE * count :]))
    found = Manifest(
        safe_text(meta.name, MAX_NAME),
        head.total,
        head.sha256,
        Cutting(meta.chunker, meta.coarse, meta.fine),
        coarse,
        counts,
        fine_stops,
        head.length_of_coarse,
        head.length,
        meta.urls,
    )
    if head.fine != found.fine_count * _record(found):
        raise _refused(f"its fine part has {head.fine} bytes for {found.fine_count} chunks")
    return found


def fine_range(manifest: Manifest, first: int, last: int) -> ByteRange:
    """Where in the manifest the fine chunks of the coarse ones [first, last) are."""
    record, stops = _record(manifest), manifest.fine_stops
    start, stop = (stops[number - 1] if number else 0 for number in (first, last))
    return ByteRange(manifest.fine_at + start * record, manifest.fine_at + stop * record)


def parse_fine(manifest: Manifest, first: int, last: int, data: bytes | bytearray) -> Chunks:
    """The fine chunks of the coarse ones [first, last), of the bytes of fine_range(). Raises
    ProtocolError."""
    coarse, bounds = manifest.coarse, manifest.cutting.fine
    form, view, at = _form(bounds), memoryview(data), 0
    if len(view) != len(fine_range(manifest, first, last)):
        raise _refused(f"{len(view)} bytes of fine chunks where others were asked for")
    sizes, digests = array(form), list[memoryview]()
    for number in range(first, last):
        edge = at + manifest.counts[number] * sizes.itemsize
        own = _numbers(form, view[at:edge])
        at = edge + manifest.counts[number] * coarse.width
        if not bounds.allow(own) or sum(own) != len(coarse.chunk(number)):
            raise _refused(f"the fine chunks of coarse chunk {number} do not tile it")
        sizes.extend(own)
        digests.append(view[edge:at])
    start = coarse.stops[first - 1] if first else 0
    stops = array("Q", accumulate(sizes, initial=start))[1:]
    return Chunks(ALGORITHM, coarse.width, stops, b"".join(digests), start)


def refined(manifest: Manifest, fine: Mapping[int, bytes], alive: Alive = unwatched) -> Chunks:
    """The coarse chunks, but where these are, of which `fine` has the bytes of fine_range(): there
    their fine ones. Raises ProtocolError, and what `alive` raises."""
    coarse, done = manifest.coarse, 0
    stops, digests, width = array("Q"), bytearray(), coarse.width
    for number in paced(sorted(fine), alive):
        under = parse_fine(manifest, number, number + 1, fine[number])
        stops += coarse.stops[done:number] + under.stops
        digests += coarse.digests[done * width : number * width] + under.digests
        done = number + 1
    stops += coarse.stops[done:]
    digests += coarse.digests[done * width :]
    return Chunks(coarse.algorithm, width, stops, bytes(digests))


class ManifestEncoder:
    """Makes a manifest, coarse chunk by coarse chunk, in their order. In the file first_level()
    comes first, then what every add() returned. Both raise ProtocolError for what no reader would
    take."""

    def __init__(self, name: str, cutting: Cutting, urls: Sequence[str] = ()) -> None:
        label = safe_text(name, MAX_NAME)
        meta = _Meta(label, cutting.chunker, cutting.coarse, cutting.fine, (*urls,))
        self._meta = msgspec.json.encode(meta, order="sorted")
        _read_meta(self._meta)
        self._cutting = cutting
        self._sizes, self._counts, self._digests = array("I"), array("H"), bytearray()
        self._fine = 0

    def __len__(self) -> int:
        return len(self._sizes)

    def add(self, digest: bytes, sizes: Iterable[int], digests: Sequence[bytes]) -> bytes:
        """The next coarse chunk: its SHA-256, and sizes and SHA-256 of the fine ones in it."""
        bounds, fine = self._cutting.fine, array("Q", sizes)
        size, count = sum(fine), len(fine)
        kept = bounds.allow(fine) and count == len(digests) and count <= MAX_FINE
        if not (kept and 0 < size <= self._cutting.coarse.most):
            raise _refused("the chunker did not keep to its sizes")
        self._sizes.append(size)
        self._counts.append(count)
        self._digests += digest[:WIDTH]
        records = _packed(array(_form(bounds), fine)), *(one[:WIDTH] for one in digests)
        made = b"".join(records)
        self._fine += len(made)
        return made

    def first_level(self, sha256: bytes) -> bytes:
        """Everything before the fine part. `sha256`: of the whole file."""
        body = b"".join((self._meta, _packed(self._sizes), _packed(self._counts), self._digests))
        lengths = len(self._meta), len(self._sizes), self._fine, sum(self._sizes)
        start = _HEAD.pack(MAGIC, MAJOR, MINOR, WIDTH, *lengths, sha256, crc32(body))
        made = b"".join((start, _CHECK.pack(crc32(start)), body))
        parse_coarse(parse_head(made), made)
        return made


def _refused(why: str) -> ProtocolError:
    return ProtocolError("manifest", why)


def _read_meta(data: bytes) -> _Meta:
    try:
        meta = msgspec.json.decode(data, type=_Meta)
    except (ValueError, RecursionError):  # also text that is not UTF-8, and depth
        raise _refused("what it says of the file makes no sense") from None
    if len(meta.name) > MAX_NAME:
        raise _refused(f"a name of more than {MAX_NAME} characters")
    if not _CHUNKER.fullmatch(meta.chunker):
        raise _refused("its chunker has no name")
    for one in (meta.coarse, meta.fine):
        if not MIN_LEAST <= one.least <= one.average <= one.most <= MAX_MOST:
            raise _refused("sizes of chunks that are out of bounds")
    if meta.coarse.most > meta.fine.least * MAX_FINE:
        raise _refused("a coarse chunk may be too many fine ones")
    urls = meta.urls
    if len(urls) > MAX_URLS or any(len(url) > MAX_URL or not _URL.fullmatch(url) for url in urls):
        raise _refused(f"URLs that are none, or more than {MAX_URLS}")
    return meta


def _can_hold(fine: Sizes, sizes: array[int], counts: array[int]) -> bool:
    """Whether coarse chunks of these sizes can be so many fine ones, each."""
    enough = map(ge, map(mul, counts, repeat(fine.most)), sizes)
    full = (count - 1 for count in counts)
    return all(enough) and all(map(lt, map(mul, full, repeat(fine.least)), sizes))


def _form(fine: Sizes) -> str:
    """The size of a fine chunk takes 2 bytes where each of them fits, else 4."""
    return "H" if fine.most < 1 << 16 else "I"


def _record(manifest: Manifest) -> int:
    """Bytes of a fine chunk in the manifest."""
    return array(_form(manifest.cutting.fine)).itemsize + manifest.coarse.width


def _numbers(form: str, data: memoryview) -> array[int]:
    numbers = array(form)
    numbers.frombytes(data)
    return _little(numbers)


def _packed(numbers: array[int]) -> bytes:
    return _little(numbers[:]).tobytes()


def _little(numbers: array[int]) -> array[int]:
    """Little-endian, from or to the order of this machine."""
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
