"""The cyclic shuffle: as it is described step by step, its inverse, and what is no permutation."""

from __future__ import annotations

import struct
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdl.core.shuffle import MOST_SLOTS, TRIVIAL, Permutation, shuffle, unshuffle
from rdl.errors import ProtocolError
from tests.core.wishing import COUNTS, SIZES, seeded
from tests.traps.fuzzing import bounded

LENGTHS = sorted({*COUNTS, 3, 5, 9, 11, 99, 101, 999, 1000, 1001})


def described(slots: tuple[int, ...], items: list[str]) -> list[str | None]:
    """The description, word for word."""
    count, buffer, out = len(slots), dict[int, str | None](), []
    for step, item in enumerate([*items, *[None] * (count - 1)]):
        buffer[slots[step % count]] = item
        out.append(buffer.get(step % count))
    return out


@pytest.mark.parametrize(
    ("slots", "out"),
    [
        ((0,), "abcde"),
        ((0, 1), "abcde."),
        ((1, 0), ".abcde"),
        ((1, 2, 0), ".abcde."),
        ((2, 0, 1), "..abcde"),
        ((0, 2, 1), "a.bdce."),
    ],
)
def test_small_ones_by_hand(slots: tuple[int, ...], out: str) -> None:
    made = "".join(one or "." for one in shuffle(Permutation(slots), "abcde"))
    assert made == out
    assert made == "".join(one or "." for one in described(slots, [*"abcde"]))


@pytest.mark.parametrize("size", SIZES)
def test_row_54_undone_all_is_as_it_was(size: int) -> None:
    permutation = seeded(size)
    for length in LENGTHS:
        items = [*range(length)]
        mixed = [*shuffle(permutation, items)]
        assert len(mixed) == permutation.steps(length) == length + size - 1
        assert mixed.count(None) == size - 1
        assert [*unshuffle(permutation, mixed)] == items


@pytest.mark.parametrize("size", SIZES)
def test_the_inverse_is_k_minus_1_steps_late(size: int) -> None:
    permutation = seeded(size)
    for length in (0, 1, 2, 5, 400):
        mixed = [*shuffle(permutation, range(length))]
        again = [*shuffle(permutation.inverse, mixed)][: len(mixed)]
        assert again == [None] * (size - 1) + [*range(length)]


@pytest.mark.parametrize("size", SIZES)
def test_steps_are_known_without_a_buffer(size: int) -> None:
    permutation = seeded(size)
    for length in (0, 1, 7, 64, 400):
        mixed = [*shuffle(permutation, range(length))]
        numbers = [permutation.number(step) for step in range(len(mixed))]
        assert [one if 0 <= one < length else None for one in numbers] == mixed
        assert [permutation.step(one) for one in range(length)] == [
            mixed.index(one) for one in range(length)
        ]


@bounded
@given(st.permutations(range(9)), st.text("abcdefgh", max_size=40))
def test_any_permutation_of_any_text(slots: list[int], text: str) -> None:
    permutation = Permutation(slots)
    mixed = [*shuffle(permutation, text)]
    assert mixed == described(tuple(slots), [*text])
    assert "".join(unshuffle(permutation, mixed)) == text


def test_the_trivial_one_changes_nothing() -> None:
    assert [*shuffle(TRIVIAL, "abc")] == [*"abc"]
    assert (len(TRIVIAL), TRIVIAL.inverse.slots) == (1, (0,))


def test_a_seed_always_names_the_same() -> None:
    assert Permutation.seeded(8, 1).slots == (7, 4, 3, 2, 6, 0, 1, 5)
    assert Permutation.seeded(8, 2).slots != Permutation.seeded(8, 1).slots
    assert Permutation.seeded(8, 2**64 - 1).slots == tuple(
        sorted(range(8), key=lambda one: sha256(b"\xff" * 8 + struct.pack("<I", one)).digest())
    )


@pytest.mark.parametrize(
    ("slots", "why"),
    [
        ([], f"it has 0 numbers; 1 to {MOST_SLOTS} are allowed"),
        ([0] * (MOST_SLOTS + 1), f"it has {MOST_SLOTS + 1} numbers"),
        ([1], "a number is not within 0 to 0"),
        ([0, 1, 3], "a number is not within 0 to 2"),
        ([0, -1], "a number is not within 0 to 1"),
        ([0, 1 << 80], "a number is not within 0 to 1"),
        ([1, 0, 1], "it has 1 twice"),
        ([0, 0], "it has 0 twice"),
    ],
)
def test_what_is_no_permutation(slots: list[int], why: str) -> None:
    with pytest.raises(ProtocolError, match=why) as caught:
        Permutation(slots)
    assert str(caught.value).startswith("permutation: ")


@pytest.mark.parametrize("size", [-1, 0, MOST_SLOTS + 1, (1 << 32) - 1])
def test_no_seed_is_tried_for_a_size_out_of_bounds(size: int) -> None:
    with pytest.raises(ProtocolError, match=f"it has {size} numbers"):
        Permutation.seeded(size, 1)
