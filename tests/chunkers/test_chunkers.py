"""Chunkers cut as their rules say (docs/formats/chunkers.md), however the content comes."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterable
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyfastcdc.py.constants import GEAR, MASKS

from rdl.chunkers import LONGEST, NAMES, chunker_of, limited
from rdl.chunkers.base import Chunker
from rdl.chunkers.buzhash import _TABLE
from rdl.errors import ProtocolError, RdlError, UsageError
from tests.traps.fuzzing import bounded

VECTORS = Path(__file__).parent.parent / "vectors" / "chunkers"
CAFS = (128, 8192, 131072)
SMALL = {"fastcdc": (64, 256, 1024), "cafs-adler32": CAFS, "buzhash": (48, 256, 1024)}
every_chunker = pytest.mark.parametrize("name", NAMES)


@cache
def content_of(name: str) -> bytes:
    """The content that a vector names."""
    if name == "decimals":
        return b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(32768))
    if name == "lines":
        return b"".join(b"line %d\n" % (number * number) for number in range(30000))
    assert name == "zeros"
    return bytes(300_000)


def whole(chunker: Chunker, content: bytes) -> list[int]:
    """The cuts of content that is there at once."""
    return chunker.cuts(memoryview(content), final=True)


def in_windows(chunker: Chunker, content: bytes, sizes: Iterable[int]) -> list[int]:
    """The cuts of content that comes so many bytes at a time."""
    cuts: list[int] = []
    start = stop = 0
    for size in [*sizes, len(content)]:
        stop = min(stop + size, len(content))
        window = memoryview(content)[start:stop]
        found = chunker.cuts(window, final=stop == len(content))
        assert found or len(window) < chunker.most
        cuts += [start + cut for cut in found]
        start = cuts[-1] if cuts else 0
        if stop == len(content):
            break
    return cuts


def sizes_of(cuts: list[int]) -> list[int]:
    return [stop - start for start, stop in pairwise([0, *cuts])]


def by_hand(content: bytes, least: int, most: int, is_cut: Callable[[int, int], bool]) -> list[int]:
    """The cuts where `is_cut(start, stop)`, asked for one after another."""
    cuts = [0]
    while (start := cuts[-1]) < len(content):
        last = min(start + most, len(content))
        tried = range(start + least, last)
        cuts.append(next((stop for stop in tried if is_cut(start, stop)), last))
    return cuts[1:]


@pytest.mark.parametrize("name", NAMES)
def test_vectors(name: str) -> None:
    vectors = json.loads((VECTORS / f"{name}.json").read_text())
    assert vectors
    for vector in vectors:
        chunker = chunker_of(name, vector["least"], vector["average"], vector["most"])
        assert sizes_of(whole(chunker, content_of(vector["content"]))) == vector["sizes"]


def test_the_cafs_rule_gives_what_cafs_gives() -> None:
    chunker = chunker_of("cafs-adler32", *CAFS)
    sizes = sizes_of(whole(chunker, content_of("decimals")))
    assert (len(sizes), sizes[-1]) == (124, 2157)
    assert sizes[:8] == [7654, 7425, 1836, 3265, 15533, 20898, 1980, 1297]
    assert sizes_of(whole(chunker, content_of("zeros"))) == [131072, 131072, 37856]


def test_cafs_is_adler32_of_48_bytes() -> None:
    content = content_of("decimals")[:100_000]

    def is_cut(_: int, stop: int) -> bool:
        return zlib.adler32(content[stop - 47 : stop + 1]) % 8191 == 4159

    expected = by_hand(content, 128, 131072, is_cut)
    assert whole(chunker_of("cafs-adler32", *CAFS), content) == expected


@pytest.mark.parametrize("sizes", [(64, 256, 1024), (4000, 4001, 9000)])
def test_buzhash_is_a_cyclic_polynomial_of_48_bytes(sizes: tuple[int, int, int]) -> None:
    least, average, most = sizes
    content = content_of("decimals")[:20_000]
    divisor = max(int(average / (-1.42888852e-7 * average + 1.33237515)), least)

    def is_cut(_: int, stop: int) -> bool:
        value = 0
        for byte in content[stop - 48 : stop]:
            value = (value << 1 & 0xFFFFFFFF | value >> 31) ^ int(_TABLE[byte])
        return value % divisor == divisor - 1

    assert whole(chunker_of("buzhash", *sizes), content) == by_hand(content, least, most, is_cut)


@pytest.mark.parametrize("sizes", [(64, 256, 1024), (100, 363, 1501), (64, 4096, 8000)])
def test_fastcdc_is_a_gear_hash_with_two_masks(sizes: tuple[int, int, int]) -> None:
    least, average, most = sizes
    bits = {256: 8, 363: 9, 4096: 12}[average]
    content = content_of("lines")[:40_001]
    cuts = [0]
    while (start := cuts[-1]) < len(content):
        room = min(most, len(content) - start)
        value, size = 0, room
        for position in range(least, room - room % 2):
            value = (2 * value + GEAR[content[start + position]]) % (1 << 64)
            if not value & MASKS[bits + 1 if position < average - average % 2 else bits - 1]:
                size = position
                break
        cuts.append(start + size)
    assert whole(chunker_of("fastcdc", *sizes), content) == cuts[1:]


def test_the_tables_are_those_that_are_written_down() -> None:
    paper = (Path(__file__).parents[2] / "docs" / "formats" / "chunkers.md").read_text()
    gear = np.array(GEAR, ">u8").tobytes()
    assert f"`{hashlib.sha256(gear).hexdigest()}`" in paper
    assert f"`{hashlib.sha256(_TABLE.astype('>u4').tobytes()).hexdigest()}`" in paper
    for content in ("decimals", "lines", "zeros"):
        assert f"`{hashlib.sha256(content_of(content)).hexdigest()}`" in paper
    for bits, mask in list(enumerate(MASKS))[7:24]:
        assert f"| {bits} | `{mask:016x}` |" in paper


@st.composite
def contents(draw: st.DrawFn) -> bytes:
    """Up to some hundred KiB of noise, runs of one byte, and what was there before."""
    noise = random.Random(draw(st.integers(0, 1000)))
    made = b""
    for kind in draw(st.lists(st.sampled_from("nnzr"), max_size=6)):
        size = draw(st.sampled_from([1, 47, 128, 1000, 4097, 65536, 140_000]))
        match kind:
            case "n":
                made += noise.randbytes(size)
            case "z":
                made += bytes([draw(st.integers(0, 3))]) * size
            case _:
                made += made[: size // 2]
    return made


@every_chunker
@bounded
@given(contents(), st.lists(st.sampled_from([1, 49, 1024, 1025, 70_001, 131072]), max_size=8))
def test_windows_cut_as_the_whole(name: str, content: bytes, sizes: list[int]) -> None:
    chunker = chunker_of(name, *SMALL[name])
    assert in_windows(chunker, content, sizes) == whole(chunker, content)


@every_chunker
@bounded
@given(contents())
def test_chunks_are_all_of_the_content_and_keep_their_limits(name: str, content: bytes) -> None:
    least, _, most = SMALL[name]
    sizes = sizes_of(whole(chunker_of(name, *SMALL[name]), content))
    assert sum(sizes) == len(content)
    assert all(least <= size <= most for size in sizes[:-1])
    assert all(0 < size <= most for size in sizes[-1:])


@every_chunker
@pytest.mark.parametrize("more", [-1, 0, 1])
def test_a_chunk_as_long_as_may_be_waits_for_nothing(name: str, more: int) -> None:
    least, average, most = SMALL[name]
    chunker = chunker_of(name, least, average, most)
    quiet = memoryview(bytes(most + more))
    assert chunker.cuts(quiet, final=False) == ([most] if more >= 0 else [])
    assert chunker.cuts(quiet[:0], final=True) == []


@every_chunker
def test_a_change_moves_no_cut_far_from_it(name: str) -> None:
    content = content_of("decimals")[:400_000]
    chunker = chunker_of(name, *SMALL[name])
    before = whole(chunker, content)
    after = whole(chunker, content[:100_000] + b"inserted" + content[100_008:200_000] + content)
    far = [cut - 200_000 for cut in after if cut > 250_000]
    assert set(far) >= {cut for cut in before if cut > 100_000}


@pytest.mark.parametrize("strip", [1, 7, 300])
@pytest.mark.parametrize("name", ["cafs-adler32", "buzhash"])
def test_strips_of_any_length_give_the_same(
    name: str, strip: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = content_of("lines")[:5000] + bytes(300) + content_of("decimals")[:5000]
    expected = whole(chunker_of(name, *SMALL[name]), content)
    monkeypatch.setattr(limited, "_STRIP", strip)
    assert whole(chunker_of(name, *SMALL[name]), content) == expected


def test_content_that_is_cut_at_every_byte_is_cut_at_the_least() -> None:
    """A run of one byte whose hash says so everywhere."""
    chunker = chunker_of("buzhash", 48, 48, 1000)
    values = np.zeros(256, np.int64)
    for _ in range(48):
        values = (values << 1 & 0xFFFFFFFF | values >> 31) ^ _TABLE
    (byte, *_) = np.flatnonzero(values % 48 == 47).tolist()
    assert whole(chunker, bytes([byte]) * 480) == list(range(48, 481, 48))


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("fastcdc", (65, 256, 1024)),
        ("fastcdc", (62, 256, 1024)),
        ("fastcdc", (64, 255, 1024)),
        ("fastcdc", (64, 256, 1023)),
        ("fastcdc", (2 << 20, 4 << 20, LONGEST)),
        ("buzhash", (47, 256, 1024)),
        ("buzhash", (64, 8 << 20, LONGEST)),
        ("cafs-adler32", (128, 8191, 131072)),
        *((name, sizes) for name in NAMES for sizes in [(0, 0, 0), (-64, 256, 1024)]),
        *((name, sizes) for name in NAMES for sizes in [(64, 1024, 256), (512, 256, 1024)]),
        *((name, (64, 256, size)) for name in NAMES for size in (LONGEST + 1, 1 << 70)),
    ],
)
def test_sizes_that_it_cannot_cut_to_are_refused(name: str, sizes: tuple[int, int, int]) -> None:
    with pytest.raises(ProtocolError, match=f"chunker {name}: cannot cut to chunks of") as caught:
        chunker_of(name, *sizes)
    assert caught.value.permanent


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ProtocolError) as caught:
        chunker_of("rab\nin", 64, 256, 1024)
    assert str(caught.value) == "chunker rab\\x0ain: is unknown"


@pytest.mark.parametrize(("name", "needs"), [("fastcdc", "pyfastcdc"), ("buzhash", "numpy")])
def test_what_is_not_installed_is_said(
    name: str, needs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("rdl.chunkers.fastcdc", "rdl.chunkers.buzhash", "rdl.chunkers.limited"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, needs, None)
    with pytest.raises(UsageError) as caught:
        chunker_of(name, *SMALL[name])
    error: RdlError = caught.value
    assert str(error) == f"chunker {name}: {needs} is not installed"
    assert error.hint == "pip install 'rdl-get[sync]'"


def test_what_chunkers_need_is_imported_when_one_is_made() -> None:
    code = "import sys, rdl.chunkers; print(*sys.modules)"
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert not {"numpy", "pyfastcdc"} & set(said.split())
