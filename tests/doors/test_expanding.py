"""Compressed bytes expanded a little at a time, and spans asked for at once."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable

import pytest

from rdl.doors import expanding
from rdl.doors.expanding import Expanded, Expander
from rdl.doors.spans import WINDOW, Spans
from rdl.errors import ArchiveError
from tests.doors.packing import Memory, Sparse

DATA = bytes(3000) + b"and then " * 500


def raw(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


KINDS: dict[str, tuple[Callable[[], Expander], Callable[[bytes], bytes]]] = {
    "stored": (expanding.stored, bytes),
    "deflate": (expanding.deflated, raw),
    "gzip": (expanding.gzipped, gzip.compress),
    "bzip2": (expanding.bzipped, bz2.compress),
    "xz": (expanding.xzipped, lzma.compress),
}


def expanded(packed: bytes, make: Callable[[], Expander], step: int = 1 << 16) -> Expanded:
    left = [packed[at : at + step] for at in range(0, len(packed), step)]
    found = Expanded(lambda _most: left.pop(0) if left else b"", make)
    found.grant(1 << 20)
    return found


@pytest.mark.parametrize("step", [1, 1 << 16], ids=["a byte at a time", "at once"])
@pytest.mark.parametrize("size", [1, 7, 5000])
@pytest.mark.parametrize("kind", KINDS)
def test_any_steps_give_the_bytes(kind: str, size: int, step: int) -> None:
    make, pack = KINDS[kind]
    file, found = expanded(pack(DATA), make, step), b""
    while chunk := file.read(size):
        assert len(chunk) <= size
        found += chunk
    assert found == DATA
    assert file.tell() == len(DATA)


def test_what_waits_in_the_decompressor_is_not_the_end() -> None:
    """Deflate may have taken all that is stored and hold bytes back still."""
    for size in range(1, 300):
        file = expanded(raw(bytes(size)), expanding.deflated)
        assert sum(len(file.read(1)) for _ in range(size)) == size
        assert file.read(1) == b""


def test_it_goes_forwards_only() -> None:
    file = expanded(gzip.compress(DATA), expanding.gzipped)
    assert file.seek(3000) == 3000
    assert file.read(9) == b"and then "
    with pytest.raises(ArchiveError, match="leads back"):
        file.seek(3000)
    assert file.seek(1 << 30) == len(DATA)


@pytest.mark.parametrize("kind", ["xz"])
def test_what_asks_for_much_memory_is_refused(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make, pack = KINDS[kind]
    monkeypatch.setattr(expanding, "MEMORY", 1 << 20)
    with pytest.raises(ArchiveError, match="Memory usage limit"):
        expanded(pack(DATA), make).read(1)


def test_a_read_is_paid_for() -> None:
    file = expanded(gzip.compress(DATA), expanding.gzipped)
    file.grant(10)
    assert len(file.read(6)) == 6
    with pytest.raises(ArchiveError, match="too large"):
        file.read(5)
    assert len(file.read(4)) == 4


def test_what_is_expected_is_asked_for_at_once_and_nothing_else() -> None:
    source = Memory(bytes(range(200)))
    spans = Spans(source)
    spans.grant(1000)
    spans.seek(10)
    assert spans.read(5) == bytes(range(10, 15))
    spans.expect(20, 60)
    spans.seek(30)
    assert spans.read(5) + spans.read(25) == bytes(range(30, 60))
    spans.seek(20)
    assert spans.read(1) == b"\x14"
    assert source.asked == [(10, 5), (20, 40)]
    assert spans.fetched == 45


def test_a_long_span_is_asked_for_by_windows() -> None:
    source = Sparse(3 * WINDOW, {})
    spans = Spans(source)
    spans.expect(5, 3 * WINDOW)
    spans.seek(5)
    for _ in range(24):
        spans.grant(1 << 20)
        spans.read(1 << 20)
    assert source.asked == [(5, WINDOW), (5 + WINDOW, WINDOW), (5 + 2 * WINDOW, WINDOW - 5)]
