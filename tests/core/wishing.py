"""What tests of wishlists are made of."""

from __future__ import annotations

from functools import cache

from rdl.core.shuffle import Permutation

SIZES = (1, 2, 3, 5, 10, 100, 1000)
"""Of permutations."""
COUNTS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 400)
"""Of chunks in a file."""


@cache
def seeded(size: int, seed: int = 7) -> Permutation:
    return Permutation.seeded(size, seed)
