"""Buzhash cuts where casync does."""

from __future__ import annotations

import random
import struct
import subprocess
import tarfile
from pathlib import Path

import pytest

import rdl
from rdl.chunkers import chunker_of
from tests.servers.conftest import required

HEADER, TABLE = 0x96824D9C7B129FF9, 0xE75B9E112F17417D


def written(kind: str, path: Path) -> Path:
    """A file of this kind."""
    if kind == "tar":
        with tarfile.open(path, "w") as tar:
            tar.add(Path(rdl.__file__).parent, "rdl")
    elif kind == "random":
        path.write_bytes(random.Random(7).randbytes(1_000_000))
    else:
        path.write_bytes(bytes(300_000) + b"\xff" * 300_000)
    return path


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [("tar", "1024:4096:16384"), ("random", "500:600:9999"), ("runs", "16384:65536:262144")],
)
def test_cuts_are_those_of_casync(kind: str, sizes: str, tmp_path: Path) -> None:
    casync = required("casync")
    path = written(kind, tmp_path / kind)
    index = tmp_path / "index.caibx"
    options = [f"--store={tmp_path / 'store.castr'}", f"--chunk-size={sizes}"]
    subprocess.run(
        [casync, "make", *options, str(index), str(path)],
        stdout=subprocess.DEVNULL,
        timeout=60,
        check=True,
    )
    made = index.read_bytes()
    _, header, _, least, average, most, _, table = struct.unpack_from("<8Q", made)
    ends = [end for (end,) in struct.iter_unpack("<Q32x", made[64:-40])]
    assert (header, table) == (HEADER, TABLE)
    assert f"{least}:{average}:{most}" == sizes
    chunker = chunker_of("buzhash", least, average, most)
    assert chunker.cuts(memoryview(path.read_bytes()), final=True) == ends
