"""The manifest: what is written is read back; what makes no sense is refused before memory is
given to it."""

from __future__ import annotations

import json
import struct
import sys
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from rdl.core import manifest as module
from rdl.core.byterange import ByteRange
from rdl.core.manifest import (
    HEAD_BYTES,
    MAX_COARSE,
    MAX_FILE,
    MAX_META,
    MAX_NAME,
    WIDTH,
    Cutting,
    Manifest,
    ManifestEncoder,
    Sizes,
    fine_range,
    parse_coarse,
    parse_fine,
    parse_head,
)
from rdl.errors import ExitCode, ProtocolError

VECTORS = Path(__file__).parent.parent / "vectors" / "manifest"
CUTTING = Cutting("fixed", Sizes(256, 512, 1000), Sizes(64, 100, 200))
WIDE = Cutting("fixed-2", Sizes(70_000, 70_000, 140_000), Sizes(64, 70_000, 70_000))
DATA = b"".join(b"%04d" % number for number in range(375))
HEX = sha256(DATA).hexdigest()


def cut(size: int, step: int) -> list[int]:
    """As many of `step` as there are, and the rest."""
    return [step] * (size // step) + [size % step] * (size % step > 0)


def made(
    data: bytes = DATA,
    cutting: Cutting = CUTTING,
    name: str = "data.bin",
    urls: tuple[str, ...] = (),
) -> bytes:
    """The manifest of `data`, cut at every `average`."""
    encoder, at, fine = ManifestEncoder(name, cutting, urls), 0, []
    for size in cut(len(data), cutting.coarse.average):
        chunk, start, digests = data[at : at + size], 0, []
        sizes = cut(size, cutting.fine.average)
        for part in sizes:
            digests.append(sha256(chunk[start : start + part]).digest())
            start += part
        fine.append(encoder.add(sha256(chunk).digest(), sizes, digests))
        at += size
    assert len(encoder) == len(fine)
    return encoder.first_level(sha256(data).digest()) + b"".join(fine)


def read(data: bytes) -> Manifest:
    """As a reader does that knows how long it is."""
    head = parse_head(data[:HEAD_BYTES], len(data))
    return parse_coarse(head, data[: head.length_of_coarse])


def fine_of(data: bytes, first: int = 0, last: int | None = None) -> Any:
    found = read(data)
    last = len(found.coarse) if last is None else last
    span = fine_range(found, first, last)
    return parse_fine(found, first, last, data[span.start : span.stop])


def sealed(
    data: bytes, *, head: dict[int, bytes] | None = None, at: int = 0, new: bytes = b""
) -> bytes:
    """`data` with other bytes at offsets of its head, or `at` the first level after that, and the
    checks that belong to it."""
    first = parse_head(data).length_of_coarse
    changed = bytearray(data)
    if new:
        changed[at : at + len(new)] = new
        changed[72:76] = struct.pack("<I", crc32(changed[HEAD_BYTES:first]))
    for offset, content in (head or {}).items():
        changed[offset : offset + len(content)] = content
    changed[76:80] = struct.pack("<I", crc32(changed[:76]))
    return bytes(changed)


def with_meta(meta: bytes, data: bytes | None = None) -> bytes:
    """`data` with another meta."""
    data = made() if data is None else data
    head = parse_head(data)
    rest = data[HEAD_BYTES + head.meta :]
    start = bytearray(data[:HEAD_BYTES])
    start[16:20] = struct.pack("<I", len(meta))
    coarse = rest[: head.length_of_coarse - HEAD_BYTES - head.meta]
    start[72:76] = struct.pack("<I", crc32(meta + coarse))
    start[76:80] = struct.pack("<I", crc32(start[:76]))
    return bytes(start) + meta + rest


def meta_of(**change: object) -> bytes:
    """The meta of `made()`, changed; None leaves a key out."""
    head = parse_head(made())
    meta = json.loads(made()[HEAD_BYTES : HEAD_BYTES + head.meta])
    kept = {name: value for name, value in (meta | change).items() if value is not None}
    return json.dumps(kept).encode()


def coarse_at(data: bytes) -> int:
    """Where the coarse part begins."""
    return HEAD_BYTES + parse_head(data).meta


# What is written is read back


def test_a_manifest_is_read_back() -> None:
    data = made(urls=("https://h/data.bin", "http://h:8080/?x=1"))
    found = read(data)
    assert (found.name, found.total, found.sha256) == ("data.bin", 1500, HEX)
    assert (found.cutting, found.chunker) == (CUTTING, "fixed")
    assert found.urls == ("https://h/data.bin", "http://h:8080/?x=1")
    assert [*found.coarse.stops] == [512, 1024, 1500]
    assert found.coarse.digest(1) == sha256(DATA[512:1024]).digest()[:WIDTH]
    assert ([*found.counts], [*found.fine_stops], found.fine_count) == ([6, 6, 5], [6, 12, 17], 17)
    assert found.length == len(data)
    assert data == made(urls=found.urls), "the same bytes each time"


def test_fine_chunks_of_a_range_of_coarse_ones() -> None:
    fine = fine_of(made(), 1, 3)
    assert (fine.span, len(fine)) == (ByteRange(512, 1500), 11)
    for number in range(len(fine)):
        chunk = fine.chunk(number)
        digest = sha256(DATA[chunk.start : chunk.stop]).digest()
        assert fine.digest(number) == digest[:WIDTH]


@pytest.mark.parametrize(("first", "last"), [(0, 0), (2, 2), (3, 3)])
def test_no_coarse_chunk_has_no_fine_ones(first: int, last: int) -> None:
    found, fine = read(made()), fine_of(made(), first, last)
    start = found.coarse.stops[first - 1] if first else 0
    assert (len(fine), fine.span) == (0, ByteRange(start, start))


def test_a_file_without_bytes() -> None:
    data = made(b"")
    found = read(data)
    assert (found.total, len(found.coarse), found.fine_count) == (0, 0, 0)
    assert len(data) == found.fine_at == found.length
    assert found.sha256 == sha256(b"").hexdigest()
    assert len(fine_of(data)) == 0


def test_large_fine_chunks_take_four_bytes() -> None:
    content = bytes(300_000)
    data, small = made(content, WIDE), made(content, replace(WIDE, fine=Sizes(64, 100, 65_535)))
    assert len(fine_range(read(data), 0, 1)) == 1 * (4 + WIDTH)
    assert len(fine_range(read(small), 0, 1)) == 700 * (2 + WIDTH)
    assert [*fine_of(data).stops] == [70_000, 140_000, 210_000, 280_000, 300_000]


def test_on_a_machine_of_the_other_byte_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where numbers stand the other way round everywhere, the bytes do too."""
    here = made()
    other = {"little": "big", "big": "little"}[sys.byteorder]
    monkeypatch.setattr(module.sys, "byteorder", other)
    there = made()
    at = coarse_at(here)
    assert (here[at : at + 4], there[at : at + 4]) == (b"\0\2\0\0", b"\0\0\2\0")
    assert [*fine_of(there).stops] == [
        start + stop
        for start, size in ((0, 512), (512, 512), (1024, 476))
        for stop in [*range(100, size, 100), size]
    ]


@given(
    st.binary(max_size=3000),
    st.text(max_size=300),
    st.integers(64, 600),
    st.integers(64, 300),
)
@settings(max_examples=30)
def test_whatever_is_cut_is_read_back(data: bytes, name: str, coarse: int, fine: int) -> None:
    cutting = Cutting("x", Sizes(coarse, coarse, coarse), Sizes(fine, fine, fine))
    written = made(data, cutting, name)
    found, chunks = read(written), fine_of(written)
    assert (found.total, found.coarse.span, chunks.span) == (
        len(data),
        *[ByteRange(0, len(data))] * 2,
    )
    assert found.name.isprintable()
    assert len(found.name) <= MAX_NAME
    assert parse_coarse(parse_head(written), written) == found


# Vectors


def as_json(data: bytes) -> dict[str, Any]:
    """What a reader finds."""
    try:
        found = read(data)
        fine = fine_of(data)
    except ProtocolError as error:
        return {"refused": error.why}
    return {
        "name": found.name,
        "total": found.total,
        "sha256": found.sha256,
        "chunker": found.chunker,
        "sizes": {
            "coarse": [
                found.cutting.coarse.least,
                found.cutting.coarse.average,
                found.cutting.coarse.most,
            ],
            "fine": [found.cutting.fine.least, found.cutting.fine.average, found.cutting.fine.most],
        },
        "urls": [*found.urls],
        "coarse": [[s, found.coarse.digest(n).hex()] for n, s in enumerate(found.coarse.stops)],
        "fine": [[s, fine.digest(n).hex()] for n, s in enumerate(fine.stops)],
        "fine_at": found.fine_at,
    }


def vectors() -> dict[str, tuple[str, bytes]]:
    """What each is about, and its bytes."""
    plain = made(DATA[:600])
    at, fine = coarse_at(plain), parse_head(plain).length_of_coarse
    return {
        "plain": ("600 bytes in two coarse chunks and seven fine ones", plain),
        "empty": ("a file without bytes", made(b"")),
        "wide": ("sizes of four bytes", made(DATA[:600] * 120, WIDE)),
        "named": (
            "a name that was harmful, and two URLs",
            made(b"x", name="../\x1b[2J\u202e", urls=("http://a/", "https://b/c?d#e")),
        ),
        "unknown-key": (
            "a key and a minor version of later",
            sealed(with_meta(meta_of(later=[1, {"a": 2}]), made()), head={10: b"\7"}),
        ),
        "newer": ("another major version", sealed(plain, head={8: b"\2"})),
        "flipped": (
            "a bit of the coarse part is another",
            plain[:at] + bytes([plain[at] ^ 1]) + plain[at + 1 :],
        ),
        "torn": ("a byte is missing", plain[:-1]),
        "overlong": (
            "coarse chunks that are more than the file",
            sealed(plain, head={32: struct.pack("<Q", 599)}),
        ),
        "hole": ("fine chunks that do not fill theirs", plain[:fine] + b"\x63" + plain[fine + 1 :]),
    }


@pytest.mark.parametrize("name", sorted(path.stem for path in VECTORS.glob("*.hex")))
def test_vectors(name: str) -> None:
    lines = (VECTORS / f"{name}.hex").read_text().splitlines()
    data = bytes.fromhex("".join(line for line in lines if not line.startswith("#")))
    assert as_json(data) == json.loads((VECTORS / f"{name}.json").read_text())


def test_the_vectors_are_those_that_are_written_here() -> None:
    stored = {path.stem: path.read_text() for path in VECTORS.glob("*.hex")}
    assert stored == {name: as_text(*vector) for name, vector in vectors().items()}


def as_text(about: str, data: bytes) -> str:
    digits = data.hex()
    lines = [f"# {about}", *(digits[at : at + 96] for at in range(0, len(digits), 96))]
    return "\n".join(lines) + "\n"


# What is refused


def refused(act: Callable[[], object]) -> str:
    """Why; the error is of the kind that all of these are."""
    with pytest.raises(ProtocolError) as caught:
        act()
    error = caught.value
    assert (error.what, error.exit_code, error.reason) == ("manifest", ExitCode.POLICY, "protocol")
    assert "\n" not in str(error)
    return error.why


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not a manifest of rdl"),
        (b"<html>", "not a manifest of rdl"),
        (b"RDLINDEX" + bytes(100), "not a manifest of rdl"),
        (made()[:8], "it ends within its head"),
        (made()[:79], "it ends within its head"),
        (made()[:60] + b"\0" + made()[61:], "its head is damaged"),
        (sealed(made(), head={8: b"\0\0"}), "version 0; this rdl knows 1"),
        (b"RDLMANIF\2\0" + bytes(70), "version 2; this rdl knows 1"),
        (made()[:200], "it has 200 bytes and says 543"),
        (made() + b"\0", "it has 544 bytes and says 543"),
    ],
)
def test_what_is_no_manifest(data: bytes, why: str) -> None:
    assert refused(lambda: read(data)) == why


@pytest.mark.parametrize(
    ("at", "form", "value", "why"),
    [
        (12, "<I", 15, "digests of 15 bytes"),
        (12, "<I", 33, "digests of 33 bytes"),
        (12, "<I", 2**32 - 1, "digests of 4294967295 bytes"),
        (16, "<I", MAX_META + 1, "65537 bytes about the file; at most 65536 are read"),
        (16, "<I", 2**32 - 1, "4294967295 bytes about the file; at most 65536 are read"),
        (20, "<I", 2**32 - 1, "4294967295 coarse chunks of 1500 bytes"),
        (20, "<I", 25, "25 coarse chunks of 1500 bytes"),
        (32, "<Q", MAX_FILE + 1, f"a file of {MAX_FILE + 1} bytes; at most {MAX_FILE} are read"),
        (32, "<Q", 0, "3 coarse chunks of 0 bytes"),
        (20, "<I", 4, "it has 543 bytes and says 565"),
        (24, "<Q", 2**64 - 1, f"it has 543 bytes and says {543 - 306 + 2**64 - 1}"),
        (24, "<Q", 0, "it has 543 bytes and says 237"),
    ],
)
def test_a_bound_of_the_head(at: int, form: str, value: int, why: str) -> None:
    assert refused(lambda: read(sealed(made(), head={at: struct.pack(form, value)}))) == why


def test_as_many_coarse_chunks_as_there_may_be_and_one_more() -> None:
    total = struct.pack("<Q", MAX_FILE)
    most = sealed(made(), head={32: total, 20: struct.pack("<I", MAX_COARSE)})
    assert parse_head(most).coarse == MAX_COARSE
    more = sealed(most, head={20: struct.pack("<I", MAX_COARSE + 1)})
    assert "coarse chunks of" in refused(lambda: parse_head(more))


def test_a_length_that_is_not_known_is_not_compared() -> None:
    assert parse_head(made()[:HEAD_BYTES]).length == len(made())


def test_what_does_not_come_takes_no_memory() -> None:
    """2^22 chunks and 2^64 bytes are said, and a few are there."""
    lie = {20: struct.pack("<I", MAX_COARSE), 24: b"\xff" * 8, 32: struct.pack("<Q", MAX_FILE)}
    data = sealed(made(), head=lie)
    tracemalloc.start()
    try:
        why = refused(lambda: parse_coarse(parse_head(data), data))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert why == "it ends within its first level"
    assert peak < 1 << 17


@pytest.mark.parametrize(
    ("meta", "why"),
    [
        (b"", "makes no sense"),
        (b"{}", "makes no sense"),
        (b"[]", "makes no sense"),
        (b"\xff", "makes no sense"),
        (b'{"x":' + b"[" * 60_000, "makes no sense"),
        (meta_of(name=None), "makes no sense"),
        (meta_of(name=7), "makes no sense"),
        (meta_of(urls="http://h/"), "makes no sense"),
        (meta_of(fine=[64, 100]), "makes no sense"),
        (meta_of(fine=[64, 100, 1e3]), "makes no sense"),
        (meta_of(fine=[64, 100, 10**30]), "sizes of chunks that are out of bounds"),
        (meta_of(name="n" * (MAX_NAME + 1)), "a name of more than 255 characters"),
        (meta_of(chunker=""), "its chunker has no name"),
        (meta_of(chunker="../x"), "its chunker has no name"),
        (meta_of(chunker="os.system"), "its chunker has no name"),
        (meta_of(chunker="a" * 33), "its chunker has no name"),
        (b'{"name":"","chunker":"x","fine":[1,1,1],"coarse":[1,1,1' + b"0" * 5000 + b"]}", "makes"),
        (meta_of(fine=[0, 100, 200]), "sizes of chunks that are out of bounds"),
        (meta_of(fine=[-64, 100, 200]), "sizes of chunks that are out of bounds"),
        (meta_of(fine=[64, 63, 200]), "sizes of chunks that are out of bounds"),
        (meta_of(coarse=[64, 201, 200]), "sizes of chunks that are out of bounds"),
        (meta_of(coarse=[64, 100, 2**24 + 1]), "sizes of chunks that are out of bounds"),
        (meta_of(coarse=[64, 100, 2**24]), "may be too many fine ones"),
        (meta_of(urls=["http://h/"] * 17), "URLs that are none, or more than 16"),
        (meta_of(urls=["http://h/" + "x" * 2000]), "URLs that are none"),
        (meta_of(urls=["file:///etc/passwd"]), "URLs that are none"),
        (meta_of(urls=["http://user:word@h/"]), "URLs that are none"),
        (meta_of(urls=["http://h/\n"]), "URLs that are none"),
        (meta_of(urls=["http://h/ü"]), "URLs that are none"),
        (meta_of(urls=["HTTP//h"]), "URLs that are none"),
        (meta_of(fine=[64, 100, 2**16]), "its fine part has 306 bytes for 17 chunks"),
        (meta_of(fine=[64, 64, 70]), "a coarse chunk cannot be so many fine ones"),
        (meta_of(fine=[120, 120, 200]), "a coarse chunk cannot be so many fine ones"),
        (meta_of(coarse=[64, 100, 511]), "its coarse chunks do not tile 1500 bytes"),
        (meta_of(coarse=[513, 600, 700]), "its coarse chunks do not tile 1500 bytes"),
    ],
)
def test_a_meta_that_makes_no_sense(meta: bytes, why: str) -> None:
    assert why in refused(lambda: read(with_meta(meta)))


def test_a_name_is_a_label() -> None:
    for name in ("../../etc/passwd", "a\x00b", "\x1b[2J", "\u202egpj.exe", "x" * 1000, "\ud800"):
        found = read(made(name=name))
        assert found.name.isprintable()
        assert len(found.name) <= MAX_NAME
    assert read(with_meta(meta_of(name="\x1b[2J"))).name == "\\x1b[2J"


@pytest.mark.parametrize(
    ("column", "values", "why"),
    [
        ("I", (512, 512, 475), "do not tile"),
        ("I", (512, 512, 477), "do not tile"),
        ("I", (1000, 0, 500), "do not tile"),
        ("I", (1000, 500, 0), "do not tile"),
        ("I", (1001, 256, 243), "do not tile"),
        ("I", (1000, 255, 245), "do not tile"),
        ("I", (1000, 2**32 - 1, 501), "do not tile"),
        ("I", (2**31, 2**31, 1500), "do not tile"),
        ("I", (300, 724, 476), "so many fine ones"),
        ("H", (0, 12, 5), "so many fine ones"),
        ("H", (2, 6, 5), "so many fine ones"),
        ("H", (6, 9, 5), "so many fine ones"),
        ("H", (6, 6, 65_535), "so many fine ones"),
        ("H", (6, 6, 4), "its fine part has 306 bytes for 16 chunks"),
    ],
)
def test_hostile_coarse_chunks(column: str, values: tuple[int, ...], why: str) -> None:
    data = made()
    at = coarse_at(data) + (0 if column == "I" else 12)
    hostile = sealed(data, at=at, new=struct.pack(f"<3{column}", *values))
    assert why in refused(lambda: read(hostile))


@pytest.mark.parametrize(
    "sizes",
    [
        (100, 100, 100, 100, 100, 13),
        (100, 100, 100, 100, 100, 11),
        (201, 64, 64, 64, 64, 55),
        (112, 63, 100, 100, 100, 37),
        (0, 112, 100, 100, 100, 100),
        (112, 100, 100, 100, 100, 0),
        (65_535, 65_535, 100, 100, 100, 0),
    ],
)
def test_hostile_fine_chunks(sizes: tuple[int, ...]) -> None:
    data = made()
    found = read(data)
    span = fine_range(found, 1, 2)
    records = bytearray(data[span.start : span.stop])
    records[:12] = struct.pack("<6H", *sizes)
    why = refused(lambda: parse_fine(found, 1, 2, records))
    assert why == "the fine chunks of coarse chunk 1 do not tile it"


def test_fine_chunks_that_were_not_asked_for() -> None:
    data = made()
    found = read(data)
    for length in (0, 107, 109, 216):
        why = refused(lambda length=length: parse_fine(found, 0, 1, bytes(length)))
        assert why == f"{length} bytes of fine chunks where others were asked for"


def test_coarse_data_that_ends_too_early() -> None:
    data = made()
    head = parse_head(data)
    for stop in (HEAD_BYTES, head.length_of_coarse - 1):
        why = refused(lambda stop=stop: parse_coarse(head, data[:stop]))
        assert why == "it ends within its first level"


# Nothing else than these errors, whatever comes


@given(st.data())
@settings(max_examples=300)
def test_whatever_is_changed_is_refused_or_means_something(data: st.DataObject) -> None:
    good = made()
    at = data.draw(st.integers(0, len(good) - 1))
    new = data.draw(st.binary(min_size=1, max_size=8))
    seal = data.draw(st.booleans())
    changed = good[:at] + new + good[at + len(new) :]
    if seal and at + len(new) <= 72:
        changed = sealed(good, head={at: new})
    elif seal and HEAD_BYTES <= at < parse_head(good).length_of_coarse - len(new):
        changed = sealed(good, at=at, new=new)
    with suppress(ProtocolError):
        found, fine = read(changed), fine_of(changed)
        assert found.coarse.span == fine.span == ByteRange(0, found.total)
        assert len(found.coarse.digests) == len(found.coarse) * found.coarse.width


@given(st.binary(max_size=300))
@settings(max_examples=100)
def test_whatever_comes_is_refused(data: bytes) -> None:
    assert refused(lambda: read(data))
    assert refused(lambda: read(made()[:12] + data))


# What no reader would take is not written


@pytest.mark.parametrize(
    ("sizes", "digests"),
    [
        ((), 0),
        ((100,), 0),
        ((100, 100), 1),
        ((63, 100), 2),
        ((201,), 1),
        ((100, 0), 2),
        ((200,) * 6, 6),
    ],
)
def test_a_chunker_that_does_not_keep_to_its_sizes(sizes: tuple[int, ...], digests: int) -> None:
    encoder = ManifestEncoder("f", CUTTING)
    why = refused(lambda: encoder.add(bytes(32), sizes, [bytes(32)] * digests))
    assert why == "the chunker did not keep to its sizes"
    assert len(encoder) == 0


def test_other_manifests_that_are_not_written() -> None:
    encoder = ManifestEncoder("f", CUTTING)
    for size in (100, 200):  # the first is too short, and not the last
        encoder.add(bytes(32), [size], [bytes(32)])
    assert "do not tile" in refused(lambda: encoder.first_level(bytes(32)))
    assert refused(lambda: ManifestEncoder("f", replace(CUTTING, chunker="A b")))
    assert refused(lambda: ManifestEncoder("f", CUTTING, ("ftp://h/",)))
