"""Numbers of variable length: what is written is read back, and nothing else is taken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdl.core import varint
from rdl.errors import ProtocolError
from tests.traps.fuzzing import bounded


@pytest.mark.parametrize(
    ("number", "data"),
    [(0, "00"), (1, "01"), (127, "7f"), (128, "8001"), (300, "ac02"), (16384, "808001")],
)
def test_what_a_number_is(number: int, data: str) -> None:
    assert varint.encode(number).hex() == data
    assert varint.decode(bytes.fromhex(data), 0, 1 << 20, "it") == (number, len(data) // 2)


@pytest.mark.parametrize(("number", "data"), [(0, "00"), (-1, "01"), (1, "02"), (-64, "7f")])
def test_what_a_signed_number_is(number: int, data: str) -> None:
    assert varint.encode_signed(number).hex() == data
    assert varint.decode_signed(bytes.fromhex(data), 0, 64, "it") == (number, 1)


@bounded
@given(st.integers(0, 1 << 64), st.binary(max_size=3), st.binary(max_size=3))
def test_round_trips(number: int, before: bytes, after: bytes) -> None:
    data = before + varint.encode(number) + after
    stop = len(data) - len(after)
    assert varint.decode(data, len(before), number, "it") == (number, stop)
    assert varint.decode(data[: stop - 1], len(before), number, "it") is None


@bounded
@given(st.integers(-(1 << 64), 1 << 64))
def test_signed_round_trips(number: int) -> None:
    data = varint.encode_signed(number)
    assert varint.decode_signed(data, 0, 1 << 64, "it") == (number, len(data))
    assert varint.decode_signed(data[:-1], 0, 1 << 64, "it") is None


@pytest.mark.parametrize("data", ["81808000", "8000", "ff00"])
def test_longer_than_need_be(data: str) -> None:
    with pytest.raises(ProtocolError, match=r"^it: a number that is longer than it need be$"):
        varint.decode(bytes.fromhex(data), 0, 1 << 24, "it")


@pytest.mark.parametrize("data", ["e907", "80808080808080", "ffff"])
def test_above_what_it_may_be(data: str) -> None:
    with pytest.raises(ProtocolError, match=r"^it: a number above 1000$"):
        varint.decode(bytes.fromhex(data), 0, 1000, "it")


def test_an_endless_number_is_refused_before_its_end() -> None:
    assert varint.decode(b"\x80", 0, 1000, "it") is None
    with pytest.raises(ProtocolError, match="above 1000"):
        varint.decode(b"\x80\x80", 0, 1000, "it")
