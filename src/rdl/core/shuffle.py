"""The cyclic shuffle: a row in an order of its own, none of it more than k-1 steps late.

Pure (docs/formats/wishlist.md). A permutation that is none is a ProtocolError.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import chain, repeat
from typing import TypeVar

from rdl.errors import ProtocolError

MOST_SLOTS = 1 << 16
WHAT = "permutation"
_SEEDED = struct.Struct("<QI")

Item = TypeVar("Item")


def _bounded(count: int) -> None:
    if not 1 <= count <= MOST_SLOTS:
        raise ProtocolError(WHAT, f"it has {count} numbers; 1 to {MOST_SLOTS} are allowed")


class Permutation:
    """Each of 0 ... k-1 once: in `slots[i]` goes what comes at a step t with t mod k = i."""

    def __init__(self, slots: Sequence[int]) -> None:
        count = len(slots)
        _bounded(count)
        if min(slots) < 0 or max(slots) >= count:
            raise ProtocolError(WHAT, f"a number is not within 0 to {count - 1}")
        self.slots = tuple(slots)
        self._delays = [(slot - number) % count for number, slot in enumerate(slots)]
        self._late = [-1] * count
        for slot, delay in zip(self.slots, self._delays, strict=True):
            if self._late[slot] >= 0:
                raise ProtocolError(WHAT, f"it has {slot} twice")
            self._late[slot] = delay

    def __len__(self) -> int:
        return len(self.slots)

    @classmethod
    def seeded(cls, count: int, seed: int) -> Permutation:
        """The one of `count` numbers that `seed` names."""
        _bounded(count)
        by = [sha256(_SEEDED.pack(seed, number)).digest() for number in range(count)]
        return cls(sorted(range(count), key=by.__getitem__))

    @property
    def inverse(self) -> Permutation:
        """The one that undoes it: all comes out in the first order, k-1 steps late."""
        count = len(self)
        slots = [0] * count
        for number, slot in enumerate(self.slots):
            slots[slot] = (number - 1) % count
        return Permutation(slots)

    def steps(self, count: int) -> int:
        """How many steps a row of `count` takes."""
        return count + len(self) - 1

    def step(self, number: int) -> int:
        """At which step number `number` of a row comes out."""
        return number + self._delays[number % len(self)]

    def number(self, step: int) -> int:
        """What comes out at this step; a placeholder where the row has no such number."""
        return step - self._late[step % len(self)]


TRIVIAL = Permutation((0,))
"""All in the order in which it comes."""


def shuffle(permutation: Permutation, items: Iterable[Item]) -> Iterator[Item | None]:
    """`items` in their new order; None, which none of them is, is a placeholder."""
    return _through(permutation.slots, chain(items, repeat(None, len(permutation) - 1)))


def unshuffle(permutation: Permutation, items: Iterable[Item | None]) -> Iterator[Item]:
    """What shuffle() was given, of what it made."""
    for item in _through(permutation.inverse.slots, items):
        if item is not None:
            yield item


def _through(slots: Sequence[int], items: Iterable[Item | None]) -> Iterator[Item | None]:
    count = len(slots)
    buffer: list[Item | None] = [None] * count
    for step, item in enumerate(items):
        buffer[slots[step % count]] = item
        yield buffer[step % count]
