"""What zsyncmake makes of a file is found in another version of it."""

from __future__ import annotations

import random
import subprocess
from hashlib import sha1
from pathlib import Path

import pytest

from rdl.chunkers.rolling import Sought
from rdl.core.zsync import parse_zsync
from tests.servers.conftest import required
from tests.support.zsyncs import sums_of


@pytest.mark.parametrize(("block", "size"), [(None, 150_001), (64, 20_000), (65536, 400_000)])
def test_an_index_of_zsyncmake(block: int | None, size: int, tmp_path: Path) -> None:
    content = random.Random(size).randbytes(size)
    target, made = tmp_path / "target", tmp_path / "made.zsync"
    target.write_bytes(content)
    options = ["-b", str(block)] if block else []
    words = [required("zsyncmake"), *options, "-u", "target", "-o", str(made), str(target)]
    subprocess.run(words, check=True, capture_output=True, timeout=60)
    index = parse_zsync(made.read_bytes())
    assert (index.total, index.block) == (size, block or 2048)
    assert index.sha1 == sha1(content).hexdigest()
    assert index.sums == sums_of(content, index.block, index.rsum_bytes, index.checksum_bytes)
    cut = index.block * 3 + 5
    seed = b"new" + content[:cut] + b"more" + content[cut:]

    def read(offset: int, into: memoryview) -> int:
        part = seed[offset : offset + len(into)]
        into[: len(part)] = part
        return len(part)

    places = dict(Sought(index).within(read, len(seed)))
    assert places.keys() == set(range(index.count)) - {3}
    rebuilt = bytearray(content)
    for number, offset in places.items():
        stop = min((number + 1) * index.block, size)
        rebuilt[number * index.block : stop] = seed[offset:][: stop - number * index.block]
    assert rebuilt == content
