"""Manifests of bytes in memory, and files that differ from them in a known way."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

from rdl.chunkers import chunker_of
from rdl.core.manifest import Cutting, ManifestEncoder, Sizes
from tests.support.folders import Folder

COARSE, FINE = Sizes(1 << 10, 4 << 10, 16 << 10), Sizes(64, 256, 1024)


def manifest_of(
    data: bytes, coarse: Sizes = COARSE, fine: Sizes = FINE, *, chunker: str = "fastcdc"
) -> bytes:
    """What `rdl manifest make` writes of these bytes, cut in smaller chunks; by fastcdc, whatever
    it says."""
    encoder, parts, view = (
        ManifestEncoder("new", Cutting(chunker, coarse, fine)),
        list[bytes](),
        memoryview(data),
    )
    for chunk in cut(view, coarse):
        under = cut(chunk, fine)
        digests = [hashlib.sha256(one).digest() for one in under]
        parts.append(encoder.add(hashlib.sha256(chunk).digest(), map(len, under), digests))
    return encoder.first_level(hashlib.sha256(data).digest()) + b"".join(parts)


def cut(data: memoryview, sizes: Sizes) -> list[memoryview]:
    """The chunks of these bytes."""
    ends = chunker_of("fastcdc", sizes.least, sizes.average, sizes.most).cuts(data, final=True)
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def put(folder: Path, name: str, data: bytes) -> Path:
    """The file, and its manifest beside it."""
    path = folder / name
    path.write_bytes(data)
    path.with_name(name + ".rdlm").write_bytes(manifest_of(data))
    return path


def content_sent(folder: Folder) -> int:
    """Bytes that were sent of other files than manifests."""
    return sum(asked.sent for asked in folder.log if ".rdlm" not in asked.line)


def mixed(size: int, seed: int = 1) -> bytes:
    """Bytes that compress a little, as those of programs and texts."""
    numbers = random.Random(seed)
    words = [numbers.randbytes(numbers.randrange(1, 40)) for _ in range(400)]
    made = bytearray()
    while len(made) < size:
        made += numbers.choice(words) if numbers.random() < 0.7 else numbers.randbytes(16)
    return bytes(made[:size])
