"""Manifests of files: made of a local file, read from wherever they can be read.

The file is read once, in windows; what is written depends on its name, its bytes and how it is
cut, and nothing else. Names concrete stores, as api does.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import IO

from rdl.chunkers import chunker_of
from rdl.chunkers.base import Chunker
from rdl.core.byterange import ByteRange
from rdl.core.digest import disagreement
from rdl.core.events import Teller
from rdl.core.manifest import (
    HEAD_BYTES,
    SUFFIX,
    Cutting,
    Manifest,
    ManifestEncoder,
    Sizes,
    parse_coarse,
    parse_head,
)
from rdl.core.reads import Carrier, filled
from rdl.core.text import format_size, safe_text
from rdl.engine.hashing import Readable
from rdl.engine.seeding import cut
from rdl.engine.verifying import Headway, Stop
from rdl.errors import DigestMismatch, PolicyError, ProtocolError, UsageError
from rdl.options import Digest
from rdl.storage.disk import told
from rdl.storage.local_file import LocalFile
from rdl.storage.whole import write_whole
from rdl.verification import need

CHUNKER = "fastcdc"
KiB, MiB, GiB = 1 << 10, 1 << 20, 1 << 30
STEP, WINDOW = MiB, 4 * MiB
"""Bytes that are read at a time, and looked at together, or a few of the largest chunks."""

AVERAGES = (
    (1 * GiB, 16 * KiB, 512),
    (16 * GiB, 32 * KiB, 1 * KiB),
    (64 * GiB, 64 * KiB, 1 * KiB),
    (128 * GiB, 128 * KiB, 2 * KiB),
    (256 * GiB, 256 * KiB, 2 * KiB),
    (512 * GiB, 512 * KiB, 2 * KiB),
    (1024 * GiB, 1 * MiB, 4 * KiB),
    (2048 * GiB, 2 * MiB, 4 * KiB),
    (4096 * GiB, 4 * MiB, 8 * KiB),
)
"""For files up to so many bytes: coarse chunks of so many on average, and fine ones. Few coarse
ones are quickly read, small ones leave little to fetch around a change; none of these sizes makes
more of them than a manifest may have, whatever the file is."""


def sizes_for(total: int) -> Cutting:
    """How a file of `total` bytes is cut. PolicyError for one that is too large."""
    row = bisect_left(AVERAGES, total, key=lambda row: row[0])
    if row == len(AVERAGES):
        most = format_size(AVERAGES[-1][0])
        raise PolicyError("manifest", f"a file of {format_size(total)}; at most {most} are cut")
    _, coarse, fine = AVERAGES[row]
    return Cutting(CHUNKER, *(Sizes(one // 4, one, one * 4) for one in (coarse, fine)))


def make_manifest(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    cutting: Cutting | None = None,
    tell: Teller | None = None,
    stop: Stop | None = None,
) -> Manifest:
    """Write the manifest of the file `path` to `out`, else beside it; what stands there is
    replaced when it is complete. `tell` hears Verifying facts.

    Raises UsageError for a chunker that is not there; PolicyError for a file that is too large;
    FileChanged (a TargetExists) when it changes meanwhile; LocalFileError, NoSpaceError;
    Interrupted after `stop` was set. Nothing is written then.
    """
    path = Path(path)
    out = path.with_name(path.name + SUFFIX) if out is None else Path(out)
    if os.path.realpath(out) == os.path.realpath(path):
        raise UsageError(safe_text(str(out)), "the manifest would take the place of the file")
    with (
        LocalFile(path) as file,
        told(safe_text(str(out))),
        tempfile.TemporaryFile(dir=out.parent) as fine,
    ):
        whole = ByteRange(0, file.span(None).stop)
        need(file, whole)
        headway = Headway(str(path), tell)
        headway.expect(len(whole))
        cutter = Cutter(file, whole, cutting or sizes_for(len(whole)), headway, stop or Stop())
        first = cutter.write(path.name, fine)
        file.check_unchanged()
        fine.seek(0)
        write_whole(out, chain((first,), _rest(fine)))
    return parse_coarse(parse_head(first), first)


class Cutter:
    """Reads a file and cuts it on both levels. `whole`: the SHA-256 of what was read."""

    def __init__(
        self, file: Readable, span: ByteRange, cutting: Cutting, headway: Headway, stop: Stop
    ) -> None:
        def chunker(sizes: Sizes) -> Chunker:
            return chunker_of(cutting.chunker, sizes.least, sizes.average, sizes.most)

        self.cutting, self.whole = cutting, hashlib.sha256()
        self._file, self._span, self._headway, self._stop = file, span, headway, stop
        self._coarse, self._fine = chunker(cutting.coarse), chunker(cutting.fine)

    def write(self, name: str, fine: IO[bytes]) -> bytes:
        """The first level of the manifest; what is to follow it is written to `fine`."""
        encoder = ManifestEncoder(name, self.cutting)
        fine.writelines(self._records(encoder))
        return encoder.first_level(self.whole.digest())

    def _records(self, encoder: ManifestEncoder) -> Iterator[bytes]:
        """The fine part of the manifest, coarse chunk by coarse chunk."""
        for chunk in self._chunks():
            edges = [0, *self._fine.cuts(chunk, final=True)]
            digests = [hashlib.sha256(chunk[a:b]).digest() for a, b in pairwise(edges)]
            sizes = (stop - start for start, stop in pairwise(edges))
            yield encoder.add(hashlib.sha256(chunk).digest(), sizes, digests)

    def _chunks(self) -> Iterator[memoryview]:
        """The coarse chunks, each to be used before the next."""
        room = min(len(self._span), max(WINDOW, 2 * self._coarse.most))
        view = memoryview(bytearray(room))
        for _, chunk in cut(self._read, self._span, self._coarse, view):
            yield chunk

    def _read(self, offset: int, view: memoryview) -> int:
        self._stop.check()
        count = self._file.read_into(offset, view[:STEP])
        self.whole.update(view[:count])
        self._headway.advance(count)
        return count


def _rest(file: IO[bytes]) -> Iterator[bytes]:
    while data := file.read(STEP):
        yield data


def open_manifest(path: Path, digests: Sequence[Digest] = ()) -> Manifest:
    """read_manifest() of a local file. Raises LocalFileError, FileChanged besides."""
    with LocalFile(path) as file:
        found = read_manifest(LocalCarrier(file), file.shown, digests)
        file.check_unchanged()
    return found


def read_manifest(carrier: Carrier, shown: str, digests: Sequence[Digest] = ()) -> Manifest:
    """The first level of the manifest that people know as `shown`, which must have these `digests`
    as a whole: only then it is read to its end. Raises ProtocolError, DigestMismatch, and what
    reading raises."""
    try:
        length = carrier.size()
        head = parse_head(carrier.read_at(0, HEAD_BYTES), length)
        data = b"".join(_read(carrier, 0, head.length_of_coarse))
        found = parse_coarse(head, data)
        _prove(chain((data,), _read(carrier, len(data), length)), shown, digests)
        return found
    except ProtocolError as error:
        if error.what == "manifest":
            error.args = (f"{shown}: {error.why}",)
        raise


def _prove(parts: Iterator[bytes], shown: str, digests: Sequence[Digest]) -> None:
    hashes = {one.algorithm: hashlib.new(one.algorithm) for one in digests}
    for part in parts if hashes else ():
        for one in hashes.values():
            one.update(part)
    found = {algorithm: one.hexdigest() for algorithm, one in hashes.items()}
    if why := disagreement(found, {one.algorithm: one.hex for one in digests}):
        raise DigestMismatch(shown, why)


def _read(carrier: Carrier, start: int, stop: int) -> Iterator[bytes]:
    """These bytes, or as many of them as there are."""
    for at in range(start, stop, STEP):
        yield carrier.read_at(at, min(STEP, stop - at))


class LocalCarrier:
    """A local file as a carrier."""

    def __init__(self, file: LocalFile) -> None:
        self._file, self._size = file, file.stat.size

    def size(self) -> int:
        return self._size

    def read_at(self, offset: int, size: int) -> bytes:
        view = memoryview(bytearray(max(0, min(size, self._size - offset))))
        filled(self._file.read_into, offset, view)
        return bytes(view)
