"""The index: bytes that were changed claim no more than was written, and raise its own errors."""

from __future__ import annotations

import json
import struct
from itertools import accumulate, pairwise
from typing import Any
from zlib import crc32

from hypothesis import example, given
from hypothesis import strategies as st

from rdl.core.byterange import ByteRange, Extent
from rdl.core.fields import MAX_TOTAL
from rdl.core.index import MAX_EXTENT, Decoded, IndexDamaged, IndexEncoder, IndexNewer, Stat, decode
from rdl.core.index_json import Header, SessionRecord, header_bytes
from rdl.core.representation import Representation
from tests.traps.fuzzing import bounded, mutated

TOTAL = 5 << 20
HEADER = Header("http://h/a", Representation(TOTAL, '"t"', None, False, "text/plain"), 1 << 18)
SESSION = SessionRecord("boot", "cafe", 1, 2, True)
STAT = Stat(TOTAL, 10, 11)
EXTENTS = [
    Extent(0, 1000, 1),
    Extent(1 << 20, 2 << 20, 2),
    Extent(500, 1500, 3),
    Extent(TOTAL - 1, TOTAL, 4),
    Extent(4096, 8192, 5),
]
Claims = frozenset[Extent]


def written() -> tuple[bytes, list[int]]:
    """A journal, and where its records end."""
    encoder = IndexEncoder()
    parts = [encoder.begin(HEADER), encoder.session(SESSION)]
    parts += [encoder.extent(extent) for extent in EXTENTS[:3]]
    parts += [encoder.checkpoint(STAT), encoder.forget(ByteRange(0, 10))]
    parts += [encoder.extent(extent) for extent in EXTENTS[3:]]
    parts += [encoder.clean(STAT)]
    return b"".join(parts), [sum(map(len, parts[: n + 1])) for n in range(len(parts))]


DATA, ENDS = written()


def claims(decoded: Decoded) -> Claims:
    return frozenset({*decoded.durable, *decoded.soft})


HISTORY = {end: claims(decode(DATA[:end])) for end in ENDS}
"""What was here after each record."""


def is_sound(decoded: Decoded, limit: int) -> bool:
    """Whether all that is claimed could have been written: bounded, in order, disjoint."""
    for extents in (decoded.durable, decoded.soft):
        ends = [0, *(extent.stop for extent in extents)]
        if any(extent.start < end for extent, end in zip(extents, ends, strict=False)):
            return False
    both = sorted((one.start, one.stop) for one in claims(decoded))
    apart = all(a[1] <= b[0] for a, b in pairwise(both))
    return apart and all(0 <= a < b <= limit and b - a <= MAX_EXTENT for a, b in both)


@bounded
@given(mutated(DATA))
def test_changed_bytes_claim_what_was_here_at_some_time(data: bytes) -> None:
    try:
        decoded = decode(data)
    except (IndexDamaged, IndexNewer):
        return
    assert decoded.consumed in ENDS
    assert data[: decoded.consumed] == DATA[: decoded.consumed]
    assert claims(decoded) == HISTORY[decoded.consumed]
    assert decoded.clean is None or data == DATA


def chained(records: list[tuple[int, bytes]]) -> bytes:
    """Records of any sense, with checks that hold."""
    start = struct.pack("<8sI", b"RDLINDEX", 1)
    check = crc32(start)
    data = start + struct.pack("<I", check)
    for kind, payload in records:
        body = struct.pack("<IB", len(payload), kind) + payload
        check = crc32(body, check)
        data += body + struct.pack("<I", check)
    return data


UNIT = MAX_EXTENT // 4


def _numbers(start: int, stop: int, kind: int) -> bytes:
    """The payload of an extent, or of what is to be forgotten."""
    return struct.pack("<QQQ", start, stop, 7)[: 24 if kind == 3 else 16]


near = st.builds(
    lambda kind, start, length: (kind, _numbers(start * UNIT, (start + length) * UNIT, kind)),
    st.sampled_from([3, 3, 3, 4]),
    st.integers(0, 20),
    st.integers(0, 5),
)
"""Records of extents that meet each other, and the file's end."""
in_a_row = st.builds(
    lambda start, lengths: (
        8,
        struct.pack("<QI", start * UNIT, len(lengths))
        + struct.pack(f"<{len(lengths)}I", *lengths)
        + struct.pack(f"<{len(lengths)}Q", *range(len(lengths))),
    ),
    st.integers(0, 20),
    st.lists(st.sampled_from([0, 1, UNIT, UNIT, MAX_EXTENT, MAX_EXTENT + 1]), max_size=6),
)
"""Records of several extents."""
numbers = st.one_of(
    st.integers(0, 2 * TOTAL),
    st.sampled_from([0, TOTAL, MAX_EXTENT, MAX_TOTAL, 2**63, 2**64 - 1]),
)
payloads = st.one_of(
    st.builds(lambda *some: struct.pack("<QQQ", *some), numbers, numbers, numbers),
    st.builds(
        lambda a, n: struct.pack("<QQQ", a, a + n % MAX_EXTENT, 7),
        st.integers(0, TOTAL),
        st.integers(0),
    ),
    st.builds(lambda *some: struct.pack("<QQ", *some), numbers, numbers),
    st.sampled_from([b"", struct.pack("<Qqq", 1, 2, 3), b"{}", b"[" * 5000, b'{"boot":"\\ud800"}']),
    st.binary(max_size=30),
)
kinds = st.sampled_from([1, 2, 3, 3, 3, 3, 4, 5, 6, 7, 8, 127, 128, 255])


@bounded
@given(st.lists(st.one_of(near, in_a_row, st.tuples(kinds, payloads)), max_size=12))
@example([(2, b"[" * 100_000)])
def test_records_whose_checks_hold_but_make_no_sense(records: list[tuple[int, bytes]]) -> None:
    decoded = decode(chained([(1, header_bytes(HEADER)), *records]))
    assert decoded.header == HEADER
    assert is_sound(decoded, TOTAL)
    said = {payload for kind, payload in records if kind == 3}
    said |= {one for kind, payload in records if kind == 8 for one in in_run(payload)}
    assert {
        struct.pack("<QQQ", one.start, one.stop, one.checksum) for one in claims(decoded)
    } <= said
    assert again(decoded) == [*decoded.durable, *decoded.soft]


def in_run(payload: bytes) -> list[bytes]:
    """The extents of a record of many, as records of their own would say them."""
    if len(payload) < 12:
        return []
    start, count = struct.unpack_from("<QI", payload)
    if len(payload) != 12 + 12 * count:
        return []
    lengths = struct.unpack_from(f"<{count}I", payload, 12)
    sums = struct.unpack_from(f"<{count}Q", payload, 12 + 4 * count)
    edges = pairwise(accumulate(lengths, initial=start))
    many = [(a, b, one) for (a, b), one in zip(edges, sums, strict=True) if b < 2**64]
    return [struct.pack("<QQQ", *one) for one in many]


def again(decoded: Decoded) -> list[Extent]:
    """What is claimed, after being written anew."""
    encoder = IndexEncoder()
    data = encoder.begin(decoded.header)
    data += b"".join(encoder.runs(decoded.durable))
    data += encoder.checkpoint(STAT)
    data += b"".join(encoder.extent(extent) for extent in decoded.soft)
    renewed = decode(data)
    return [*renewed.durable, *renewed.soft]


values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2**70),
    st.floats(),
    st.text(alphabet=st.characters(codec=None), max_size=12),
    st.lists(st.integers(-1, TOTAL + 1), max_size=3),
    st.lists(st.lists(st.integers(0, TOTAL), min_size=2, max_size=2), max_size=3),
)
FIELDS: dict[str, Any] = json.loads(header_bytes(HEADER))


@bounded
@given(st.dictionaries(st.sampled_from([*FIELDS, "adopted", "later"]), values, max_size=3))
def test_a_header_is_read_by_type_and_bound(changes: dict[str, Any]) -> None:
    payload = json.dumps(FIELDS | changes).encode()
    try:
        decoded = decode(chained([(1, payload)]))
    except IndexDamaged:
        return
    header = decoded.header
    assert decode(IndexEncoder().begin(header)).header == header
    bound = (
        header.representation.total if header.representation.total is not None else MAX_TOTAL + 1
    )
    spans = [*header.adopted, *([header.span] if header.span else [])]
    assert all(0 <= span.start <= span.stop <= bound for span in spans)


@bounded
@given(mutated(header_bytes(HEADER)), st.binary(max_size=20))
def test_a_header_of_changed_bytes(payload: bytes, junk: bytes) -> None:
    try:
        header = decode(chained([(1, payload)]) + junk).header
    except (IndexDamaged, IndexNewer):
        return
    assert decode(IndexEncoder().begin(header)).header == header
