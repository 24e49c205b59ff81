"""What a client wishes: bits, in the order of steps; and what a server refuses of them."""

from __future__ import annotations

import struct
import sys
import tracemalloc
from array import array
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdl.core import wishlist
from rdl.core.chunks import Chunks
from rdl.core.manifest import (
    Manifest,
    fine_range,
    refined,
)
from rdl.core.shuffle import MOST_SLOTS, Permutation, shuffle
from rdl.core.wishlist import (
    MOST_WISHES,
    Wish,
    asks_fine,
    bits_of,
    encode_fine,
    encode_wishlist,
    list_in,
    name_of,
    numbers_in,
    parse_wishlist,
    wish,
)
from rdl.errors import ChangedError, ProtocolError
from tests.core.wishing import SIZES, chunks_of, manifest_of, part, seeded
from tests.traps.fuzzing import bounded, mutated

HEAD = 56
ROW = chunks_of([*map(part, range(10))])
ALL = range(10)


def body(size: int = 3, wished: Wish | None = None, chunks: Chunks = ROW) -> bytes:
    """A request for all chunks, where nothing else is said."""
    wished = wished or wish(chunks, seeded(size), range(len(chunks)))
    return encode_wishlist(chunks, size, 7, wished)


def test_a_request_byte_by_byte() -> None:
    mixed = [*shuffle(seeded(3), ALL)]
    bits = "".join(str(int(one in {0, 4, 9})) for one in mixed).ljust(16, "0")
    asked = encode_wishlist(ROW, 3, 7, wish(ROW, seeded(3), [9, 0, 4]))
    assert asked[:8] == b"RDLWISH\x01"
    assert asked[8:40] == name_of(ROW)
    assert struct.unpack("<IQI", asked[40:HEAD]) == (3, 7, 0)
    assert asked[HEAD:] == int(bits, 2).to_bytes(2)
    assert len(bits) >= len(mixed) == 12


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 64, 100])
def test_what_is_wished_is_understood(size: int, count: int) -> None:
    row = chunks_of(map(part, range(count)))
    for lacking in (range(count), range(0, count, 3), range(count // 2), ()):
        wished = wish(row, seeded(size), lacking)
        order = [one for one in shuffle(seeded(size), range(count)) if one in {*lacking}]
        asked = body(size, wished, row)
        assert [*wished.numbers] == order
        assert [*parse_wishlist(row, asked)] == order
        assert len(asked) == HEAD + (count + size - 1 + 7) // 8


def test_the_same_content_is_wished_once() -> None:
    row = chunks_of([b"a", b"bb", b"a", b"", b"bb", b"a", b""])
    wished = wish(row, seeded(1), range(7))
    assert ([*wished.numbers], dict(wished.others)) == ([0, 1], {0: [2, 5], 1: [4]})
    late = wish(row, Permutation([1, 0, 2]), range(7))
    assert [*late.numbers] == [0, 1]
    part_of_it = wish(row, seeded(1), [2, 3, 5])
    assert ([*part_of_it.numbers], dict(part_of_it.others)) == ([2], {2: [5]})


def test_one_digest_of_two_sizes_is_two_wishes() -> None:
    row = Chunks("sha256", 16, array("Q", [1, 3]), bytes(32))
    assert [*wish(row, seeded(1), [0, 1]).numbers] == [0, 1]


def test_chunks_without_bytes_are_never_wished() -> None:
    row = chunks_of([b"", b"a", b""])
    assert [*wish(row, seeded(2), range(3)).numbers] == [1]
    assert not wish(chunks_of([b""]), seeded(2), [0]).numbers


def test_the_name_of_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    row = chunks_of([b"a", b"bb"], 32)
    digests = sha256(b"a").digest() + sha256(b"bb").digest()
    begin = b"sha256\0" + struct.pack("<IQQ", 32, 1, 3)
    assert name_of(row) == sha256(begin + digests).digest()
    others = [chunks_of([b"a", b"bb"]), chunks_of([b"a", b"bc"]), chunks_of([b"a"])]
    assert len({name_of(one) for one in [row, *others]}) == 4
    swapped = array("Q", [1, 3])
    swapped.byteswap()
    other = "little" if sys.byteorder == "big" else "big"
    monkeypatch.setattr(sys, "byteorder", other)
    backwards = Chunks("sha256", 32, swapped, digests)
    assert name_of(backwards) == sha256(begin + digests).digest()
    assert backwards.stops is swapped


def at_step(step: int) -> Callable[[bytes], bytes]:
    """With a wish at this step, and no other."""
    bits = bytearray(2)
    bits[step >> 3] |= 0x80 >> (step & 7)
    return lambda data: data[:HEAD] + bits


PLACEHOLDER = [*shuffle(seeded(3), ALL)].index(None)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda data: b"", "too short: it ends within its head"),
        (lambda data: data[:20], "too short: it ends within its head"),
        (lambda data: data[: HEAD - 1], "too short: it ends within its head"),
        (lambda data: data[:HEAD], "too short: 0 bytes for 12 steps"),
        (lambda data: data[:-1], "too short: 1 bytes for 12 steps"),
        (lambda data: data + b"\0", "too long: 3 bytes for 12 steps"),
        (at_step(12), "too long: a wish beyond its 12 steps"),
        (at_step(15), "too long: a wish beyond its 12 steps"),
        (at_step(PLACEHOLDER), f"a wish at step {PLACEHOLDER}, where no chunk comes out"),
        (lambda data: b"X" + data[1:], "it does not begin like one"),
        (lambda data: b"RDLSENT\x01" + data[8:], "it does not begin like one"),
        (lambda data: b"GET", "it does not begin like one"),
        (lambda data: data[:7] + b"\x02" + data[8:], "version 2; this rdl knows 1"),
    ],
)
def test_damages(damage: Callable[[bytes], bytes], why: str) -> None:
    assert [*parse_wishlist(ROW, body())]
    with pytest.raises(ProtocolError, match=why) as caught:
        parse_wishlist(ROW, damage(body()))
    assert str(caught.value).startswith("wishlist: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [0, MOST_SLOTS + 1, (1 << 32) - 1])
def test_an_order_out_of_bounds(size: int) -> None:
    data = body()[:40] + struct.pack("<I", size) + body()[44:]
    with pytest.raises(ProtocolError, match=f"^permutation: it has {size} numbers"):
        parse_wishlist(ROW, data)


def test_a_wish_for_a_chunk_without_bytes() -> None:
    row = chunks_of([b"a", b""])
    with pytest.raises(ProtocolError, match="a wish for chunk 1, which has no bytes"):
        numbers_in(seeded(1), row, bits_of(seeded(1), 2, [1]))


def test_a_list_that_has_changed() -> None:
    with pytest.raises(ChangedError, match="it is of another list of chunks"):
        parse_wishlist(chunks_of(map(part, range(1, 11))), body())


def test_every_placeholder_is_refused() -> None:
    permutation = seeded(10)
    mixed = [*shuffle(permutation, ALL)]
    refused = 0
    for step in [step for step, one in enumerate(mixed) if one is None]:
        bits = (1 << 23 - step).to_bytes(3)
        with pytest.raises(ProtocolError, match=f"at step {step}, where no chunk"):
            numbers_in(permutation, ROW, bits)
        refused += 1
    assert refused == 9


def test_the_longest_wishlist_is_bounded() -> None:
    steps = wishlist.MAX_COARSE + MOST_SLOTS - 1
    assert MOST_WISHES == HEAD + (steps + 7) // 8 == 532536


def test_bits_take_little_memory() -> None:
    """Of a long list nothing but what is wished takes place."""
    count = 1 << 20
    row = Chunks("sha256", 16, array("Q", [1]) * count, b"")
    data = bytes((count + 7) // 8)
    tracemalloc.start()
    found = numbers_in(seeded(1), row, data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (len(found), peak < 100_000) == (0, True)


@bounded
@given(st.data())
def test_whatever_comes_is_in_order_or_refused(data: st.DataObject) -> None:
    asked = data.draw(mutated(body(5)))
    found: array[int] = array("I")
    with suppress(ProtocolError, ChangedError):
        found = parse_wishlist(ROW, asked)
    size, seed = struct.unpack("<IQ", asked[40:52]) if found else (1, 0)
    steps = [*map(Permutation.seeded(size, seed).step, found)]
    assert steps == sorted(set(steps))
    assert not found or max(found) < 10


FINE = [[part(10 * one + two, "fine") * 16 for two in range(3)] for one in range(4)]


def manifest() -> tuple[Manifest, bytes]:
    return manifest_of(FINE)


def listed(body: bytes) -> Chunks:
    found, data = manifest()
    return list_in(found, body, lambda span: data[span.start : span.stop])


def test_coarse_chunks_wished_in_part() -> None:
    found, data = manifest()
    spans = {one: fine_range(found, one, one + 1) for one in (1, 3)}
    fine = {one: data[span.start : span.stop] for one, span in spans.items()}
    chunks = refined(found, fine)
    whole = [b"".join(parts) for parts in FINE]
    assert chunks == chunks_of([whole[0], *FINE[1], whole[2], *FINE[3]])
    wished = wish(chunks, seeded(3), [0, 2, 7])
    asked = encode_wishlist(chunks, 3, 7, wished, found.coarse)
    assert struct.unpack("<IQI", asked[40:HEAD]) == (3, 7, 1)
    assert asked[HEAD] == 0b01010000
    assert listed(asked) == chunks
    assert parse_wishlist(chunks, asked) == wished.numbers
    assert {*wished.numbers} == {0, 2, 7}


def test_a_list_of_coarse_chunks_is_the_manifests() -> None:
    found, _ = manifest()
    asked = encode_wishlist(found.coarse, 3, 7, wish(found.coarse, seeded(3), [2]), found.coarse)
    assert asked == encode_wishlist(found.coarse, 3, 7, wish(found.coarse, seeded(3), [2]))
    assert listed(asked) is not found.coarse
    assert listed(asked) == found.coarse


def test_fine_chunks_are_asked_for() -> None:
    found, _ = manifest()
    asked = encode_fine(found.coarse, [1, 2])
    assert asks_fine(asked)
    assert not asks_fine(body())
    assert [*parse_wishlist(listed(asked), asked)] == [1, 2]


SPLIT = struct.pack("<I", 1)


@pytest.mark.parametrize(
    ("length", "rest", "why"),
    [
        (1, b"", "too short: 0 bytes for 4 steps"),
        (2, b"\x40\0", "too long: 2 bytes for 4 steps"),
        (1, b"\x08", "too long: a wish beyond its 4 steps"),
        ((1 << 32) - 1, b"\x40" * 100, "too long: 100 bytes for 4 steps"),
    ],
)
def test_what_is_split_is_bounded(length: int, rest: bytes, why: str) -> None:
    head = body()[: HEAD - 4] + struct.pack("<I", length)
    with pytest.raises(ProtocolError, match=why):
        listed(head + rest)


def test_a_list_that_would_be_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wishlist, "MOST_REFINED", 7)
    head = body()[: HEAD - 4] + SPLIT
    assert len(listed(head + b"\x80")) == 6
    with pytest.raises(ProtocolError, match="its list has more than 7 chunks"):
        listed(head + b"\xc0")


def test_fine_chunks_of_fine_ones() -> None:
    asked = encode_fine(manifest()[0].coarse, [1])
    with pytest.raises(ProtocolError, match="under coarse ones only"):
        listed(asked[: HEAD - 4] + SPLIT + b"\x40" + asked[HEAD:])
