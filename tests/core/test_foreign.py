"""What the states of smartremote and largefile claim, and what is none."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap

from rdl.core import foreign
from rdl.core.byterange import ByteRange
from rdl.core.foreign import (
    StateDamaged,
    is_largefile,
    is_smartremote,
    largefile_claims,
    smartremote_claims,
)

KiB = 1 << 10
BLOCK = 64 * KiB
BEGIN = bytes.fromhex("808008")


def smartremote(*blocks: int, begin: bytes = BEGIN) -> bytes:
    return begin + bytes(BitMap(blocks).serialize())


def largefile(size: object, block: object, *words: object) -> bytes:
    return json.dumps({"content_size": size, "block_size": block, "ranges": words}).encode()


def spans(runs: tuple[ByteRange, ...]) -> list[tuple[int, int]]:
    return [(run.start, run.stop) for run in runs]


@pytest.mark.parametrize(
    ("blocks", "size", "expected"),
    [
        ([], 5 * BLOCK, []),
        ([0], 5 * BLOCK, [(0, BLOCK)]),
        ([0, 1, 3], 5 * BLOCK, [(0, 2 * BLOCK), (3 * BLOCK, 4 * BLOCK)]),
        ([4], 4 * BLOCK + 7, [(4 * BLOCK, 4 * BLOCK + 7)]),
        ([1, 2], 2 * BLOCK, [(BLOCK, 2 * BLOCK)]),
        ([2], 2 * BLOCK, []),
        ([0, (1 << 32) - 1], BLOCK, [(0, BLOCK)]),
        ([0], 0, []),
    ],
    ids=str,
)
def test_smartremote_claims_blocks_and_none_past_the_end(
    blocks: list[int], size: int, expected: list[tuple[int, int]]
) -> None:
    state = smartremote(*blocks)
    assert is_smartremote(state)
    assert spans(smartremote_claims(state, size)) == expected


def test_a_bitmap_of_runs_is_read() -> None:
    many = BitMap(range(3, 100_000))
    many.run_optimize()
    state = BEGIN + bytes(many.serialize())
    assert is_smartremote(state)
    assert spans(smartremote_claims(state, 1 << 40)) == [(3 * BLOCK, 100_000 * BLOCK)]


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (smartremote(0, begin=b"\0"), "have no size"),
        (smartremote(0, begin=b"\1"), "have no size"),
        (smartremote(0, 9)[:-1], "broken"),
        (smartremote()[:5], "broken"),
        (BEGIN + b"\x3a\x30\0\0\xff\xff\xff\xff", "broken"),
        (BEGIN + bytes.fromhex("3a30000001000000000002001000000005000300 0300"), "broken"),
    ],
    ids=["zero", "negative", "cut", "cut short", "endless", "out of order"],
)
def test_a_damaged_state_of_smartremote_claims_nothing(state: bytes, why: str) -> None:
    assert is_smartremote(state)
    with pytest.raises(StateDamaged, match=why):
        smartremote_claims(state, 10 * BLOCK)


@pytest.mark.parametrize("data", [b"", b"\x80" * 20, BEGIN, bytes(64), b"PK\3\4 and more of it"])
def test_what_is_no_state_of_smartremote(data: bytes) -> None:
    assert not is_smartremote(data)


@pytest.mark.parametrize(
    ("size", "block", "words", "expected"),
    [
        (100, 10, ["0"], []),
        (100, 10, ["3"], [(0, 20)]),
        (95, 10, ["201"], [(0, 10), (90, 95)]),
        (95, 10, ["ffffffffffffffff"], [(0, 95)]),
        (1000, 10, ["8000000000000000", "1"], [(630, 650)]),
        (1280, 10, ["f" * 16, "F" * 16], [(0, 1280)]),
        (0, 10, [], []),
    ],
)
def test_largefile_claims_bits_lowest_first(
    size: int, block: int, words: list[str], expected: list[tuple[int, int]]
) -> None:
    index = largefile(str(size), block, *words)
    assert is_largefile(index)
    assert spans(largefile_claims(index, size)) == expected


@pytest.mark.parametrize(
    ("index", "why"),
    [
        (largefile("100", 10, "3")[:-4], "torn"),
        (largefile("100", 10, "3") + b"}", "torn"),
        (largefile(100, 10, "3"), "torn"),
        (largefile("-1", 10, "3"), "torn"),
        (largefile("1" * 30, 10, "3"), "torn"),
        (largefile("100", 0, "3"), "torn"),
        (largefile("100", -5, "3"), "torn"),
        (largefile("100", True, "3"), "torn"),
        (largefile("100", 10, 3), "torn"),
        (largefile("100", 10, "1_0"), "torn"),
        (largefile("100", 10, "-1"), "torn"),
        (largefile("100", 10, "1\n"), "torn"),
        (largefile("100", 10, "1" * 17), "torn"),
        (b'{"content_size": "100", "block_size": 10}', "torn"),
        (b'{"content_size": "100", "x": ' + b"[" * 100_000, "torn"),
        (b'{"content_size": "100", "block_size": 10, "ranges": ["\xff"]}', "torn"),
        (largefile("101", 10, "3"), "another size"),
        (largefile("100", 10), "0 words of bits for 10 blocks"),
        (largefile("100", 1, "3"), "1 words of bits for 100 blocks"),
        (largefile("100", 10, "3", "0"), "2 words of bits for 10 blocks"),
    ],
)
def test_a_damaged_index_of_largefile_claims_nothing(index: bytes, why: str) -> None:
    assert is_largefile(index)
    with pytest.raises(StateDamaged, match=why):
        largefile_claims(index, 100)


@pytest.mark.parametrize("data", [b"", b"{}", b'["content_size"]', b"00:01 a film", b"\0" * 9])
def test_what_is_no_index_of_largefile(data: bytes) -> None:
    assert not is_largefile(data)


def test_a_state_of_very_many_places_is_not_walked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign, "MAX_PLACES", 4)
    with pytest.raises(StateDamaged, match="more than 4 places"):
        smartremote_claims(smartremote(*range(0, 12, 2)), 20 * BLOCK)
    with pytest.raises(StateDamaged, match="more than 4 places"):
        largefile_claims(largefile("64", 1, "5" * 16), 64)


@given(st.sets(st.integers(0, 200)), st.integers(1, 50), st.integers(0, 5000))
def test_both_claim_what_they_hold(blocks: set[int], block: int, size: int) -> None:
    count = -(-size // block)
    held = {one for at in blocks for one in range(at * block, min(at * block + block, size))}
    number, begin = block << 1, bytearray()
    while number > 0x7F:
        begin.append(number & 0x7F | 0x80)
        number >>= 7
    begin.append(number)
    inside = [at for at in blocks if at < count]
    bits = sum(1 << at for at in inside)
    words = [f"{bits >> 64 * at & (1 << 64) - 1:x}" for at in range(-(-count // 64))]
    for runs in (
        smartremote_claims(smartremote(*blocks, begin=bytes(begin)), size),
        largefile_claims(largefile(str(size), block, *words), size),
    ):
        assert {at for run in runs for at in range(run.start, run.stop)} == held


@given(st.binary(max_size=60), st.integers(0, 1 << 20))
def test_no_bytes_break_it(noise: bytes, size: int) -> None:
    """Either claims within the file, or StateDamaged."""
    for claims, begin in ((smartremote_claims, BEGIN + b"\x3a\x30"), (largefile_claims, b"{")):
        for state in (noise, begin + noise):
            try:
                runs = claims(state, size)
            except StateDamaged:
                continue
            assert all(0 <= run.start < run.stop <= size for run in runs)
