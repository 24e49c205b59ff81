"""Blob indexes of casync: what real ones say, and what is refused with one line."""

from __future__ import annotations

import hashlib
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdl.core import caibx
from rdl.core.caibx import Caibx, parse_caibx
from rdl.errors import ProtocolError
from tests.traps.fuzzing import FUZZ

VECTORS = Path(__file__).parent.parent / "vectors" / "caibx"
"""`casync make --digest=ALGORITHM --chunk-size=4096:8192:32768` of `content()`; and a tree's."""
FLAGS = 9 << 60
Damage = Callable[[bytearray], object]


def content() -> bytes:
    """Of which the first part comes twice."""
    once = b"".join(hashlib.sha256(number.to_bytes(4)).digest() for number in range(2000))
    return once + once[:30000]


def vector(name: str) -> bytes:
    return bytes.fromhex((VECTORS / f"{name}.hex").read_text())


def made(
    *stops: int, least: int = 1, average: int = 2, most: int = 10, flags: int = FLAGS
) -> bytes:
    """An index whose chunks have the digests 0, 1, ..."""
    head = struct.pack(
        "<8Q", 48, caibx.INDEX, flags, least, average, most, (1 << 64) - 1, caibx.TABLE
    )
    items = b"".join(
        struct.pack("<Q", one) + bytes([at % 256]) * 32 for at, one in enumerate(stops)
    )
    return head + items + struct.pack("<5Q", 0, 0, 48, 56 + len(items), caibx.END)


def put(at: int, number: int) -> Damage:
    """This number in place of the 8 bytes at `at`; from the end where it is negative."""
    return lambda data: struct.pack_into("<Q", data, at % len(data), number)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512_256"])
def test_what_casync_wrote(algorithm: str) -> None:
    found, data = parse_caibx(vector(algorithm)), content()
    chunks = found.chunks
    assert (found.least, found.average, found.most) == (4096, 8192, 32768)
    assert (found.total, chunks.span.stop, chunks.start) == (len(data), len(data), 0)
    assert (chunks.algorithm, chunks.width, len(chunks)) == (algorithm, 32, 14)
    for number in range(len(chunks)):
        span = chunks.chunk(number)
        part = data[span.start : span.stop]
        assert hashlib.new(algorithm, part).digest() == chunks.digest(number)
    assert len({chunks.digest(number) for number in range(len(chunks))}) == 10


def test_the_index_of_an_empty_file() -> None:
    found = parse_caibx(made())
    assert (found.total, len(found.chunks), found.chunks.digests) == (0, 0, b"")


@pytest.mark.parametrize("flags", [0, FLAGS, 0xA << 60, 0xF << 60], ids=hex)
def test_the_flags_say_the_digest(flags: int) -> None:
    found = parse_caibx(made(5, 15, flags=flags))
    assert found.chunks.algorithm == ("sha512_256" if flags >> 61 & 1 else "sha256")
    assert list(found.chunks.stops) == [5, 15]


def test_a_directory_tree_is_refused() -> None:
    with pytest.raises(ProtocolError, match=r"^chunk index: it is of a directory tree") as caught:
        parse_caibx(vector("tree"))
    assert "one file" in caught.value.hint


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda data: data.clear(), "no .caibx, or cut short"),
        (lambda data: data.__delitem__(slice(63, None)), "no .caibx, or cut short"),
        (put(0, 47), "does not begin like one"),
        (put(8, caibx.TABLE), "does not begin like one"),
        (put(16, 1), "directory tree"),
        (put(24, 0), "chunks of 0 to 10 bytes, 2 on average, make no sense"),
        (put(24, 3), "make no sense"),
        (put(32, 11), "make no sense"),
        (put(40, 1), "make no sense"),
        (put(40, (128 << 20) + 1), "make no sense"),
        (put(40, (1 << 64) - 1), "make no sense"),
        (put(48, 136), "table of chunks does not begin"),
        (put(56, caibx.INDEX), "table of chunks does not begin"),
        (put(-40, 1), "at its end"),
        (put(-32, 1), "at its end"),
        (put(-24, 0), "at its end"),
        (put(-16, 1 << 40), "at its end"),
        (put(-8, 0), "at its end"),
        (lambda data: data.__delitem__(slice(-1, None)), "at its end"),
        (lambda data: data.__delitem__(slice(64, None)), "at its end"),
        (lambda data: data.__delitem__(slice(64, 104)), "at its end"),
        (lambda data: data.__delitem__(slice(100, None)), "at its end"),
        (lambda data: data.extend(b"x"), "at its end"),
        (lambda data: data.extend(bytes(40)), "at its end"),
        (put(64, 0), "chunk 0 is from 0 to 0, where 10 bytes are the most"),
        (put(64, 11), "chunk 0 is from 0 to 11"),
        (put(104, 5), "chunk 1 is from 5 to 5"),
        (put(104, 4), "chunk 1 is from 5 to 4"),
        (put(104, 16), "chunk 1 is from 5 to 16"),
        (put(104, (1 << 64) - 1), "chunk 1 is from 5 to 1844"),
    ],
)
def test_damages(damage: Damage, why: str) -> None:
    data = bytearray(made(5, 15))
    damage(data)
    with pytest.raises(ProtocolError, match=why) as caught:
        parse_caibx(bytes(data))
    assert str(caught.value).startswith("chunk index: ")
    assert "\n" not in str(caught.value)


def test_what_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse_caibx(made(5, 15)).total == 15
    monkeypatch.setattr(caibx, "MOST_TOTAL", 14)
    with pytest.raises(ProtocolError, match="a file of 15 bytes is too large"):
        parse_caibx(made(5, 15))
    monkeypatch.setattr(caibx, "LARGEST", 100 << 20)
    with pytest.raises(ProtocolError, match="larger than 100 MiB"):
        parse_caibx(bytes((100 << 20) + 1))


def test_memory_for_little_more_than_what_it_says() -> None:
    data = made(*range(10, 200_001, 10))
    tracemalloc.start()
    try:
        assert parse_caibx(data).total == 200_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2.5 * len(data)


def consistent(found: Caibx) -> bool:
    """What is promised of every index that is taken."""
    before, spans = 0, [found.chunks.chunk(number) for number in range(len(found.chunks))]
    for span in spans:
        if span.start != before or not 0 < len(span) <= found.most:
            return False
        before = span.stop
    return before == found.total and len(found.chunks.digests) == 32 * len(spans)


@settings(max_examples=FUZZ)
@given(st.data())
def test_whatever_comes_is_taken_whole_or_refused(data: st.DataObject) -> None:
    """Words of a real index are replaced, its bytes cut or lengthened."""
    index = bytearray(data.draw(st.sampled_from([vector("sha256"), made(), made(5, 15)])))
    numbers = st.sampled_from([0, 1, 40, 48, 96, 1 << 31, 1 << 50, 1 << 63, (1 << 64) - 1])
    for _ in range(data.draw(st.integers(0, 3))):
        put(data.draw(st.integers(0, len(index) // 8 - 1)) * 8, data.draw(numbers))(index)
    index = index[: data.draw(st.integers(0, len(index)))] if data.draw(st.booleans()) else index
    index += data.draw(st.binary(max_size=50))
    try:
        found: Caibx | None = parse_caibx(bytes(index))
    except ProtocolError:
        found = None
    assert found is None or consistent(found)


@settings(max_examples=FUZZ)
@given(st.lists(st.integers(1, 1 << 27), max_size=50))
def test_what_is_right_is_taken(sizes: list[int]) -> None:
    stops = [sum(sizes[: number + 1]) for number in range(len(sizes))]
    found = parse_caibx(made(*stops, most=1 << 27))
    assert list(found.chunks.stops) == stops
    assert found.total == sum(sizes)
    assert [found.chunks.digest(number)[0] for number in range(len(stops))] == [*range(len(stops))]
