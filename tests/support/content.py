"""Test content: seeded random bytes, so that every byte has one right place."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

MiB = 1 << 20


def write_seeded(path: Path, size: int, seed: int) -> str:
    """Write `size` bytes that depend on `seed` alone; returns their SHA-256 as hex."""
    source = random.Random(seed)
    digest = hashlib.sha256()
    with path.open("wb") as out:
        for start in range(0, size, MiB):
            block = source.randbytes(min(MiB, size - start))
            digest.update(block)
            out.write(block)
    return digest.hexdigest()


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file as hex."""
    with path.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()
