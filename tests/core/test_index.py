"""The index: what is written is read back; what is damaged is never believed."""

from __future__ import annotations

import json
import struct
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdl.core.byterange import ByteRange, Extent
from rdl.core.extents import Extents, Run
from rdl.core.fields import MAX_TOTAL
from rdl.core.index import (
    MAX_EXTENT,
    MAX_RUN,
    Decoded,
    IndexDamaged,
    IndexEncoder,
    IndexNewer,
    Stat,
    decode,
)
from rdl.core.index_json import (
    MAX_JSON,
    Header,
    SessionRecord,
    header_bytes,
    session_bytes,
)
from rdl.core.published import Published
from rdl.core.representation import Representation
from tests.support.timing import seconds

VECTORS = Path(__file__).parent.parent / "vectors" / "index"
TOTAL = 3 << 20
HEADER = Header(
    "https://example.org/a.bin?sig=",
    Representation(TOTAL, '"tag"', "Wed, 21 Oct 2015 07:28:00 GMT", True, "text/plain"),
    1 << 18,
)
SESSION = SessionRecord("boot-1", "c0ffee", 2049, 77, True)
PUBLISHED = (
    Published("sha512", "ab" * 64, "content-digest"),
    Published("sha256", "cd" * 32, "x-linked-etag"),
)
STAT = Stat(TOTAL, 1_700_000_000_123_456_789, 5)


def journal() -> tuple[bytes, list[int]]:
    """A real journal, and where its records end."""
    encoder = IndexEncoder()
    parts = [
        encoder.begin(HEADER),
        encoder.session(SESSION),
        encoder.extent(Extent(0, 1000, 11)),
        encoder.extent(Extent(1 << 20, 2 << 20, 22)),
        encoder.checkpoint(STAT),
        encoder.extent(Extent(5000, 6000, 33)),
        encoder.forget(ByteRange(10, 11)),
        encoder.extent(Extent(0, 500, 44)),
        encoder.clean(STAT),
    ]
    ends = [sum(map(len, parts[: number + 1])) for number in range(len(parts))]
    return b"".join(parts), ends


def frame(kind: int, payload: bytes, check: int) -> bytes:
    body = struct.pack("<IB", len(payload), kind) + payload
    return body + struct.pack("<I", crc32(body, check))


def preamble(version: int = 1) -> bytes:
    start = struct.pack("<8sI", b"RDLINDEX", version)
    return start + struct.pack("<I", crc32(start))


def chained(*records: tuple[int, bytes]) -> bytes:
    data = preamble()
    check = crc32(data[:12])
    for kind, payload in records:
        data += frame(kind, payload, check)
        check = struct.unpack("<I", data[-4:])[0]
    return data


def claims(decoded: Decoded) -> set[Extent]:
    return {*decoded.durable, *decoded.soft}


def test_a_journal_is_read_back() -> None:
    data, _ = journal()
    decoded = decode(data)
    assert decoded.header == HEADER
    assert decoded.session == SESSION
    assert tuple(decoded.durable) == (
        Extent(0, 500, 44),
        Extent(5000, 6000, 33),
        Extent(1 << 20, 2 << 20, 22),
    )
    assert tuple(decoded.soft) == ()
    assert decoded.clean == STAT
    assert decoded.consumed == len(data)


def test_every_truncation_is_a_prefix() -> None:
    data, ends = journal()
    for length in range(len(data)):
        if length < ends[0]:
            with pytest.raises(IndexDamaged):
                decode(data[:length])
            continue
        end = max(end for end in ends if end <= length)
        decoded = decode(data[:length])
        assert decoded.consumed == end
        assert decoded.clean is None
        assert claims(decoded) == claims(decode(data[:end]))


def test_every_flipped_bit_ends_the_belief() -> None:
    data, ends = journal()
    allowed = [claims(decode(data[:end])) for end in ends]
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        intact = sum(end <= bit // 8 for end in ends)
        if not intact:
            with pytest.raises(IndexDamaged):
                decode(bytes(flipped))
            continue
        decoded = decode(bytes(flipped))
        assert decoded.consumed == ends[intact - 1]
        assert claims(decoded) == allowed[intact - 1]
        assert decoded.clean is None


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_junk_after_a_journal_changes_nothing(junk: bytes) -> None:
    data, _ = journal()
    decoded = decode(data + junk)
    assert decoded.consumed == len(data)
    assert claims(decoded) == claims(decode(data))
    assert (decoded.clean is None) == bool(junk)


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_junk_is_damage(junk: bytes) -> None:
    with pytest.raises(IndexDamaged):
        decode(junk)


def test_zeros_are_damage() -> None:
    with pytest.raises(IndexDamaged):
        decode(bytes(4096))


def test_another_version_is_left_alone() -> None:
    with pytest.raises(IndexNewer):
        decode(preamble(2) + b"whatever")


def test_unknown_records() -> None:
    head = (1, header_bytes(HEADER))
    extent = (3, struct.pack("<QQQ", 0, 10, 1))
    assert len(decode(chained(head, (200, b"later"), extent)).soft) == 1
    assert not decode(chained(head, (99, b"critical"), extent)).soft
    assert not decode(chained(head, head, extent)).soft


HOSTILE = {
    "stop before start": (3, struct.pack("<QQQ", 10, 5, 0)),
    "empty": (3, struct.pack("<QQQ", 10, 10, 0)),
    "beyond the total": (3, struct.pack("<QQQ", TOTAL - 1, TOTAL + 1, 0)),
    "huge": (3, struct.pack("<QQQ", 0, 1 << 60, 0)),
    "longer than a MiB": (3, struct.pack("<QQQ", 0, MAX_EXTENT + 1, 0)),
    "short payload": (3, b"\0" * 23),
    "long payload": (4, b"\0" * 17),
    "forget beyond": (4, struct.pack("<QQ", 0, (1 << 64) - 1)),
    "forget nothing": (4, struct.pack("<QQ", 5, 5)),
    "abort with payload": (7, b"x"),
    "checkpoint without time": (5, b"\0" * 8),
    "session is no object": (2, b"[1]"),
    "session too deep": (2, b"[" * 100_000),
    "session with a float": (
        2,
        b'{"boot":"","device":1.0,"inode":1,"local":true,"owner":""}',
    ),
    "type 0": (0, b""),
}


@pytest.mark.parametrize("record", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_record_out_of_bounds_is_the_end(record: tuple[int, bytes]) -> None:
    good = (3, struct.pack("<QQQ", 0, 10, 1))
    later = (3, struct.pack("<QQQ", 20, 30, 1))
    decoded = decode(chained((1, header_bytes(HEADER)), good, record, later))
    assert claims(decoded) == {Extent(0, 10, 1)}


def fields(**changed: Any) -> bytes:
    value = json.loads(header_bytes(HEADER))
    value.update(changed)
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    "payload",
    [
        fields(total=-1),
        fields(total=MAX_TOTAL + 1),
        fields(total=True),
        fields(total="5"),
        fields(total=1e3),
        fields(block_size=0),
        fields(block_size=2048),
        fields(block_size=5000),
        fields(block_size=1 << 63),
        fields(block_size=4096, total=1 << 60),
        fields(etag=5),
        fields(etag="x" * 8193),
        fields(url=None),
        fields(url="é" * 4097),
        fields(modified_strong=1),
        fields(span=[5]),
        fields(span=[9, 5]),
        fields(span=[0, TOTAL + 1]),
        fields(span={"start": 0}),
        fields(adopted=700),
        fields(adopted=[700]),
        fields(adopted=[[0, 0]]),
        fields(adopted=[[5, 9], [0, 3]]),
        fields(adopted=[[0, 5], [5, 9]]),
        fields(adopted=[[0, TOTAL + 1]]),
        fields(digests={}),
        fields(digests=["x"]),
        fields(digests=[["sha256", "00" * 32]]),
        fields(digests=[["sha256", "00" * 31, "digest"]]),
        fields(digests=[["sha256", "0G" * 32, "digest"]]),
        fields(digests=[["sha256", "AA" * 32, "digest"]]),
        fields(digests=[["sha256", "00" * 32, "di gest"]]),
        fields(digests=[["sha256", 7, "digest"]]),
        fields(digests=[["sha256", "00" * 32, "digest"]] * 65),
        fields(adopted=[[number * 2, number * 2 + 1] for number in range(4097)]),
        b"{}",
        b"",
        b"null",
        b"\xff",
        b"{" * 50_000,
        b"[" * 50_000,
        b'{"total":' + b"9" * 5000 + b"}",
        b" " * ((1 << 18) + 1),
    ],
)
def test_a_hostile_header_is_damage(payload: bytes) -> None:
    with pytest.raises(IndexDamaged):
        decode(chained((1, payload)))


def test_the_first_record_is_the_header() -> None:
    with pytest.raises(IndexDamaged):
        decode(chained((7, b"")))


@pytest.mark.parametrize(
    "header",
    [
        Header("x" * 8193, Representation(5), 4096),
        Header("u", Representation(5), 100),
        Header("u", Representation(MAX_TOTAL + 1), 1 << 40),
        Header("u", Representation(5, '"\ud800"'), 4096),
        Header("u", Representation(5), 4096, ByteRange(0, 6)),
    ],
)
def test_what_could_not_be_read_is_not_written(header: Header) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        IndexEncoder().begin(header)


@pytest.mark.parametrize(
    "header",
    [
        Header("u", Representation(None), 4096),
        Header("ü" * 4096, Representation(0, 'W/"\x80é"'), 4096),
        Header("u", Representation(MAX_TOTAL), 1 << 45, ByteRange(5, MAX_TOTAL)),
        Header("u", Representation(9, digests=PUBLISHED), 4096),
        Header("u", Representation(9), 4096, adopted=(ByteRange(0, 3), ByteRange(5, 9))),
    ],
)
def test_headers_survive(header: Header) -> None:
    assert decode(IndexEncoder().begin(header)).header == header


def test_a_digest_of_an_algorithm_to_come_says_nothing() -> None:
    known = ["sha512", "ab" * 64, "content-digest"]
    payload = fields(digests=[["sha3-256", "00" * 32, "repr-digest"], known])
    assert decode(chained((1, payload))).header.representation.digests == (PUBLISHED[0],)


def test_a_span_bounds_its_extents() -> None:
    encoder = IndexEncoder()
    data = encoder.begin(Header("u", Representation(100), 4096, ByteRange(10, 20)))
    data += encoder.extent(Extent(10, 20, 1)) + encoder.extent(Extent(9, 10, 1))
    assert tuple(decode(data).soft) == (Extent(10, 20, 1),)


def test_soft_extents_belong_to_a_boot_and_end_with_an_abort() -> None:
    def soft(after: Callable[[IndexEncoder], bytes]) -> int:
        encoder = IndexEncoder()
        data = encoder.begin(HEADER) + encoder.session(SESSION)
        data += encoder.extent(Extent(0, 10, 1)) + after(encoder)
        return len(decode(data).soft)

    other = SessionRecord("boot-2", "aa", 1, 1, True)
    assert soft(lambda encoder: b"") == 1
    assert soft(lambda encoder: encoder.session(SESSION)) == 1
    assert soft(lambda encoder: encoder.session(other)) == 0
    assert soft(lambda encoder: encoder.abort()) == 0
    assert soft(lambda encoder: encoder.checkpoint(STAT)) == 0


def test_anything_after_clean_undoes_it() -> None:
    encoder = IndexEncoder()
    data = encoder.begin(HEADER) + encoder.session(SESSION) + encoder.clean(STAT)
    assert decode(data).clean == STAT
    assert decode(data + encoder.session(SESSION)).clean is None


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[int, int, int]]:
    """(kind, start, stop): 0 extent, 1 forget, 2 checkpoint, 3 two extents in one record."""
    unit = MAX_EXTENT // 4
    history = []
    for _ in range(draw(st.integers(0, 25))):
        start = draw(st.integers(0, 11))
        length = draw(st.integers(1, 4))
        stop = min(12, start + length)
        history.append((draw(st.sampled_from([0, 0, 0, 1, 2, 3])), start * unit, stop * unit))
    return history


@settings(max_examples=300)
@given(histories())
def test_later_records_win_whole(history: list[tuple[int, int, int]]) -> None:
    encoder = IndexEncoder()
    data = encoder.begin(HEADER) + encoder.session(SESSION)
    model: dict[Extent, bool] = {}
    for number, (kind, start, stop) in enumerate(history):
        if kind == 2:
            data += encoder.checkpoint(STAT)
            model = dict.fromkeys(model, True)
            continue
        model = {e: kept for e, kept in model.items() if e.stop <= start or stop <= e.start}
        if kind == 1:
            data += encoder.forget(ByteRange(start, stop))
        elif kind == 3:
            pair = [Extent(start, stop - 9, number), Extent(stop - 9, stop, number)]
            data += b"".join(encoder.runs(Extents(pair)))
            model |= dict.fromkeys(pair, False)
        else:
            extent = Extent(start, stop, number)
            data += encoder.extent(extent)
            model[extent] = False
    decoded = decode(data)
    assert tuple(decoded.durable) == tuple(sorted((e for e in model if model[e]), key=repr_start))
    assert tuple(decoded.soft) == tuple(sorted((e for e in model if not model[e]), key=repr_start))


def repr_start(extent: Extent) -> int:
    return extent.start


def test_many_extents_in_a_bad_order_are_read_quickly() -> None:
    encoder = IndexEncoder()
    total = 1 << 40
    data = [encoder.begin(Header("u", Representation(total), 1 << 22))]
    for number in reversed(range(20_000)):
        data.append(encoder.extent(Extent(number, number + 1, number)))
    data += [encoder.forget(ByteRange(1 << 21, total))] * 100
    written = b"".join(data)
    assert len(decode(written).soft) == 20_000
    assert seconds(decode, written) < 3.0


def packed(start: int, *lengths: int, count: int | None = None) -> bytes:
    """The payload of a RUN."""
    many = len(lengths)
    head = struct.pack("<QI", start, many if count is None else count)
    return head + struct.pack(f"<{many}I", *lengths) + struct.pack(f"<{many}Q", *range(many))


def test_a_run_holds_the_extents_one_after_the_other() -> None:
    data = chained((1, header_bytes(HEADER)), (8, packed(1000, 10, MAX_EXTENT)))
    after = 1010 + MAX_EXTENT
    assert list(decode(data).soft) == [Extent(1000, 1010, 0), Extent(1010, after, 1)]


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        packed(0),
        packed(0, 5, 0, 5),
        packed(0, 5, MAX_EXTENT + 1),
        packed(TOTAL - 5, 5, 1),
        packed(2**64 - 1, 5),
        packed(0, 5, count=2),
        packed(0, 5, 5, count=1),
        packed(0, 5)[:-1],
        packed(0, *[1] * (MAX_RUN + 1)),
    ],
)
def test_a_run_that_breaks_a_bound_ends_the_reading(payload: bytes) -> None:
    fine = (8, packed(0, 7))
    data = chained((1, header_bytes(HEADER)), fine, (8, payload), (5, struct.pack("<Qq", 1, 2)))
    decoded = decode(data)
    assert list(decoded.soft) == [Extent(0, 7, 0)]
    assert not decoded.durable


def test_a_million_extents_are_read_at_once() -> None:
    encoder = IndexEncoder()
    count, total = 1 << 20, 1 << 40
    one = Run(0, total, array("I", [MAX_EXTENT]) * count, array("Q", [5]) * count)
    known = Extents()
    known.add(one)
    parts = [encoder.begin(Header("u", Representation(total), 1 << 22)), *encoder.runs(known)]
    data = b"".join(parts)
    assert len(data) < 13 << 20
    decoded = decode(data)
    assert seconds(decode, data) < 2.0  # 0.1 s; by objects it would be 3
    assert decoded.soft.ranges() == (ByteRange(0, total),)
    assert len(decoded.soft) == count


def as_json(data: bytes) -> dict[str, Any]:
    try:
        decoded = decode(data)
    except IndexNewer:
        return {"error": "newer"}
    except IndexDamaged:
        return {"error": "damaged"}
    clean = decoded.clean
    return {
        "header": json.loads(header_bytes(decoded.header)),
        "boot": decoded.session.boot if decoded.session else None,
        "durable": [[e.start, e.stop, f"{e.checksum:016x}"] for e in decoded.durable],
        "soft": [[e.start, e.stop, f"{e.checksum:016x}"] for e in decoded.soft],
        "clean": [clean.size, clean.mtime_ns, clean.ctime_ns] if clean else None,
        "consumed": decoded.consumed,
    }


@pytest.mark.parametrize("vector", sorted(VECTORS.glob("*.hex")), ids=lambda path: path.stem)
def test_vectors(vector: Path) -> None:
    lines = vector.read_text().splitlines()
    data = bytes.fromhex("".join(line for line in lines if not line.startswith("#")))
    assert as_json(data) == json.loads(vector.with_suffix(".json").read_text())


def test_the_vectors_are_there_and_can_be_written_again() -> None:
    assert len(list(VECTORS.glob("*.hex"))) >= 6
    lines = (VECTORS / "clean.hex").read_text().splitlines()
    stored = bytes.fromhex("".join(line for line in lines if not line.startswith("#")))
    assert journal()[0] == stored


def test_a_record_that_no_reader_would_take_is_not_written() -> None:
    with pytest.raises(ValueError, match="too long"):
        session_bytes(SessionRecord("b" * MAX_JSON, "aa", 1, 1, True))


@pytest.mark.parametrize(("span", "start", "size"), [(None, 0, 5000), (ByteRange(10, 30), 10, 20)])
def test_a_header_says_what_the_part_file_is_to_hold(
    span: ByteRange | None, start: int, size: int
) -> None:
    header = Header("http://h/a", Representation(5000, None), 1 << 18, span)
    assert (header.start, header.size) == (start, size)


@pytest.mark.parametrize(
    ("total", "span", "wanted"),
    [
        (None, None, None),
        (5, None, ByteRange(0, 5)),
        (5, ByteRange(2, 4), ByteRange(2, 4)),
        (None, ByteRange(2, 4), ByteRange(2, 4)),
    ],
)
def test_what_a_part_file_is_to_hold(
    total: int | None, span: ByteRange | None, wanted: ByteRange | None
) -> None:
    assert Header("u", Representation(total), 4096, span).wanted == wanted


def test_what_is_mixed_keeps_its_place_and_no_validator() -> None:
    before = Header("u", Representation(9, '"1"', "Mon"), 4096, ByteRange(2, 9), (ByteRange(2, 3),))
    after = Header("u", Representation(9), 4096, ByteRange(2, 9), (ByteRange(2, 3),))
    assert before.mixed() == after
