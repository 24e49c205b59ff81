"""The .zsync index: what zsyncmake writes is read; what makes no sense is refused in one line."""

from __future__ import annotations

import random
from contextlib import suppress
from hashlib import sha1
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdl.core import zsync
from rdl.core.zsync import Zsync, parse_zsync
from rdl.errors import ProtocolError
from tests.support.timing import seconds
from tests.support.zsyncs import sums_of

VECTORS = Path(__file__).parent.parent / "vectors" / "zsync"
"""NAME is SIZE-BLOCK of content made from SIZE; the first line says what made it."""
PLAIN = {
    "0-2048": (1, 2, 3),
    "1-2048": (1, 2, 3),
    "100-2048": (1, 2, 4),
    "2048-2048": (1, 2, 4),
    "4096-2048": (2, 2, 3),
    "5000-2048": (2, 2, 3),
    "5000-1024": (2, 2, 3),
    "5000-64": (2, 2, 4),
    "2000-16": (2, 2, 4),
    "70000-65536": (2, 2, 3),
    "70000-1048576": (1, 4, 5),
}
SUMS = bytes(range(15))
LINES = (
    "zsync: 0.6.2",
    "Filename: a.iso",
    "MTime: Tue, 14 Nov 2023 22:13:20 +0000",
    "Blocksize: 2048",
    "Length: 5000",
    "Hash-Lengths: 2,2,3",
    "URL: a.iso",
    f"SHA-1: {'aB' * 20}",
)


def stored(name: str) -> bytes:
    lines = (VECTORS / f"{name}.hex").read_text().splitlines()
    return bytes.fromhex("".join(line for line in lines if not line.startswith("#")))


def made(*more: str, sums: bytes = SUMS, **changed: str | None) -> bytes:
    """An index with other lines: `Length="7"` changes one, None leaves it out."""
    changes = {key.replace("_", "-"): value for key, value in changed.items()}
    lines = [
        f"{key}: {changes[key]}" if key in changes else line
        for line in LINES
        if changes.get(key := line.partition(":")[0], "") is not None
    ]
    return "\n".join([*lines, *more]).encode() + b"\n\n" + sums


def refusal(data: bytes) -> str:
    with pytest.raises(ProtocolError) as refused:
        parse_zsync(data)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("name", PLAIN)
def test_what_zsyncmake_writes(name: str) -> None:
    size, block = map(int, name.split("-"))
    content, (matches, rsum, checksum) = random.Random(size).randbytes(size), PLAIN[name]
    index = parse_zsync(stored(name))
    assert (index.total, index.block, index.count) == (size, block, -(-size // block))
    assert index.sha1 == sha1(content).hexdigest()
    assert (index.seq_matches, index.rsum_bytes, index.checksum_bytes) == (matches, rsum, checksum)
    assert index.sums == sums_of(content, block, rsum, checksum)


def test_where_the_file_is_may_be_said_several_times() -> None:
    assert parse_zsync(stored("5000-2048-urls")) == parse_zsync(stored("5000-2048"))


@pytest.mark.parametrize("name", ["gzip", "gzip-made", "gzip-no-recompress"])
def test_what_a_gzip_file_contains_is_refused(name: str) -> None:
    why = "zsync index: it is of what a gzip file contains, which is not read"
    assert refusal(stored(name)) == why


@pytest.mark.parametrize("line", ["Z-Filename: a.gz", "Recompress: 1f8b", "Z-Map2: 3"])
def test_a_gzip_file_is_no_safe_thing(line: str) -> None:
    assert "gzip" in refusal(made("Safe: Z-Filename Recompress Z-Map2", line))


def test_a_gzip_file_as_it_is_is_a_file() -> None:
    index = parse_zsync(stored("gzip-as-it-is"))
    assert index.count == 3


def test_every_vector_is_read_above() -> None:
    others = {"5000-2048-urls", "gzip", "gzip-made", "gzip-no-recompress", "gzip-as-it-is"}
    assert {path.stem for path in VECTORS.iterdir()} == others | set(PLAIN)


def test_the_lines_of_one() -> None:
    expected = Zsync(5000, 2048, "ab" * 20, 2, 2, 3, SUMS)
    assert parse_zsync(made()) == expected


def test_lines_may_be_left_out_and_come_in_any_order() -> None:
    bare = parse_zsync(b"zsync: 0.6.2\nLength: 0\nBlocksize: 1\n\n")
    assert bare == Zsync(0, 1, None, 1, 4, 16, b"")


def test_without_lengths_the_sums_are_whole() -> None:
    """As indexes were before zsync 0.2."""
    index = parse_zsync(made(sums=bytes(60), Hash_Lengths=None))
    assert (index.seq_matches, index.rsum_bytes, index.checksum_bytes) == (1, 4, 16)


def test_the_sums_may_be_any_bytes() -> None:
    sums = b"\n\nzsync: 1\n\nxx"
    assert parse_zsync(made(sums=sums + b"\n")).sums == sums + b"\n"


def test_what_is_called_safe_is_passed_over() -> None:
    index = parse_zsync(made("Safe: Colour Taste", "Colour: red", "Colour: blue", "Taste:"))
    assert index == parse_zsync(made())


def test_the_same_line_twice_is_one() -> None:
    assert parse_zsync(made("Length: 5000", "URL: a.iso")) == parse_zsync(made())


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not a zsync index"),
        (b"\n", "not a zsync index"),
        (b"<html>\n\n", "not a zsync index"),
        (b"zsync: 0.6.2", "its header does not end"),
        (b"zsync: 0.6.2\nLength: 5\n", "its header does not end"),
        (made("URL: " + "x" * zsync.MOST_HEADER), "its header does not end"),
        (made("nonsense"), "a line of its header has no name"),
        (made("Colour: red"), "its header says 'Colour', which is not known here"),
        (made("Colour: red", "Safe: Colour"), "its header says 'Colour', which is not known here"),
        (made("\x1b[31m: red"), "its header says '\\x1b[31m', which is not known here"),
        (made("Length: 5001"), "its header says 'Length' twice"),
        (made(zsync="0.0.4"), "it is of a zsync before 0.1, which is not read"),
        (made(Length=None), "its Length is not a number from 0 to 1125899906842624"),
        (made(Length="-1"), "its Length is not a number from 0 to 1125899906842624"),
        (made(Length="٣"), "its Length is not a number from 0 to 1125899906842624"),
        (made(Length=str(2**50 + 1)), "its Length is not a number from 0 to 1125899906842624"),
        (made(Length="9" * 5000), "its Length is not a number from 0 to 1125899906842624"),
        (made(Blocksize=None), "its Blocksize is not a number from 1 to 1048576"),
        (made(Blocksize="0"), "its Blocksize is not a number from 1 to 1048576"),
        (made(Blocksize=str(2 << 20)), "its Blocksize is not a number from 1 to 1048576"),
        (made(Blocksize="2047"), "its block size is no power of two"),
        (made(Hash_Lengths="0,2,3"), "the lengths of its sums make no sense"),
        (made(Hash_Lengths="3,2,3"), "the lengths of its sums make no sense"),
        (made(Hash_Lengths="2,0,3"), "the lengths of its sums make no sense"),
        (made(Hash_Lengths="2,5,3"), "the lengths of its sums make no sense"),
        (made(Hash_Lengths="2,2,2"), "the lengths of its sums make no sense"),
        (made(Hash_Lengths="2,2,17"), "the lengths of its sums make no sense"),
        (made(Hash_Lengths="2,2"), "the lengths of its sums make no sense"),
        (made(SHA_1="ab" * 16), "its SHA-1 does not have 40 hex digits"),
        (made(Length=str(2**50)), "more than 8388608 blocks"),
        (made(sums=SUMS[1:]), "14 bytes of sums, where 5000 bytes of content have 15"),
        (made(sums=SUMS + b"x"), "16 bytes of sums, where 5000 bytes of content have 15"),
    ],
)
def test_what_makes_no_sense_is_refused(data: bytes, why: str) -> None:
    assert refusal(data) == f"zsync index: {why}"


def test_a_header_full_of_safe_names_takes_no_time() -> None:
    names = [f"{number:x}" for number in range(5000)]
    data = made(f"Safe: {' '.join(names)}", *(f"{name}:" for name in names))
    assert parse_zsync(data).total == 5000
    assert seconds(parse_zsync, data) < 1


@given(st.data())
def test_damage_is_refused_or_changes_a_value(data: st.DataObject) -> None:
    """Whatever is read is consistent with itself."""
    whole = bytearray(stored("5000-64"))
    for at in data.draw(st.lists(st.integers(0, 250), max_size=4)):
        whole[at] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    index = None
    with suppress(ProtocolError):
        index = parse_zsync(cut)
    if index is not None:
        assert len(index.sums) == index.count * (index.rsum_bytes + index.checksum_bytes)
