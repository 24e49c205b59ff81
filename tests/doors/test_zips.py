"""Members of zips: the right bytes or an error, for whatever a directory says."""

from __future__ import annotations

import bz2
import lzma
import random
import re
import stat
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest

from rdl.doors import zips
from rdl.doors.archives import open_archive
from rdl.doors.members import check_size
from rdl.errors import ArchiveError, DigestMismatch, PolicyError
from tests.doors.packing import (
    Entry,
    Memory,
    Sparse,
    made_zip,
    read_all,
    streamed_zip,
    zip_of,
)

MiB = 1 << 20
PAPER = Path(__file__).parents[2] / "docs" / "archives.md"
MEMBERS = {
    "a.txt": b"hello\n" * 1000,
    "deep/er/b.bin": random.Random(1).randbytes(3 * MiB + 5),
    "empty": b"",
    "deep/\u00fc\u65e5.txt": b"named beyond ASCII",
}
METHODS = {
    "stored": zipfile.ZIP_STORED,
    "deflate": zipfile.ZIP_DEFLATED,
    "bzip2": zipfile.ZIP_BZIP2,
    "lzma": zipfile.ZIP_LZMA,
}


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_every_method_gives_the_bytes(method: int) -> None:
    archive = open_archive(Memory(made_zip(MEMBERS, method)))
    assert [one.name for one in archive.members()] == list(MEMBERS)
    for name, data in MEMBERS.items():
        assert read_all(archive, name) == data
    assert archive.verified_by == ("zip:crc32",)


def test_data_descriptors_and_zip64_fields_are_understood() -> None:
    archive = open_archive(Memory(streamed_zip(MEMBERS)))
    assert {name: read_all(archive, name) for name in MEMBERS} == MEMBERS


def test_what_is_known_of_a_member() -> None:
    data = zip_of(
        Entry(b"f", b"123", extra=b""),
        Entry(b"dir/", b""),
        Entry(b"link", b"f", mode=stat.S_IFLNK | 0o777),
        Entry(b"pipe", b"", mode=stat.S_IFIFO),
        Entry(b"never", b"", central={"stamp": 0}),
    )
    found = list(open_archive(Memory(data)).members())
    assert [(one.name, one.kind) for one in found] == [
        ("f", "file"),
        ("dir/", "directory"),
        ("link", "symlink"),
        ("pipe", "other"),
        ("never", "file"),
    ]
    assert (found[0].size, found[0].stored, found[0].crc32) == (3, 3, f"{zlib.crc32(b'123'):08x}")
    assert found[0].modified == 1359864306.0  # 2013-02-03 04:05:06, as UTC
    assert found[-1].modified is None


def test_little_is_asked_for() -> None:
    rest = random.Random(2)
    members = {f"data/{n:04}.bin": rest.randbytes(10_000) for n in range(200)}
    source = Memory(made_zip(members))
    archive = open_archive(source)
    assert read_all(archive, "data/0100.bin") == members["data/0100.bin"]
    tail, member = source.asked
    assert tail == (len(source.data) - zips.TAIL, zips.TAIL)
    assert 10_000 < member[1] < 10_200
    assert archive.fetched == tail[1] + member[1]


def test_a_directory_longer_than_the_tail_is_one_demand_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(zips, "TAIL", 1000)
    members = {f"{n:04}": b"%d" % n for n in range(100)}
    source = Memory(made_zip(members))
    assert len(list(open_archive(source).members())) == 100
    assert len(source.asked) == 2


def test_bytes_before_the_archive_do_not_disturb() -> None:
    archive = open_archive(Memory(b"#!/bin/sh\nexit\n" * 50 + made_zip(MEMBERS)))
    assert read_all(archive, "deep/er/b.bin") == MEMBERS["deep/er/b.bin"]


def test_of_a_name_that_stands_twice_the_last_is_taken() -> None:
    archive = open_archive(Memory(zip_of(Entry(data=b"first"), Entry(data=b"second"))))
    assert [one.name for one in archive.members()] == ["f", "f"]
    assert read_all(archive, "f") == b"second"


def test_zip64_of_terabytes_is_read_where_it_is() -> None:
    huge, data = 5 << 40, b"behind five terabytes"
    small = Entry(b"small", data)
    sizes = struct.pack("<HHQQ", 1, 16, huge, huge)
    first = Entry(b"huge", b"", extra=sizes, central={"stored": 0xFFFFFFFF, "size": 0xFFFFFFFF})
    place = 30 + 4 + huge
    small.extra = struct.pack("<HHQ", 1, 8, place)
    directory = first.listed(0) + small.listed(0xFFFFFFFF)
    start = place + 30 + 5 + len(data)
    end64 = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 2, 2, len(directory), start)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, start + len(directory), 1)
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    tail = directory + end64 + locator + end
    source = Sparse(start + len(tail), {0: first.head(), place: small.head() + data, start: tail})
    archive = open_archive(source)
    assert [one.size for one in archive.members()] == [huge, len(data)]
    assert read_all(archive, "small") == data
    assert sum(size for _, size in source.asked) < MiB


HOSTILE = {
    "the CRC is another": ({"central": {"crc": 1}, "local": {"crc": 1}}, "its CRC-32 is"),
    "the header has another CRC": ({"local": {"crc": 1}}, "disagree"),
    "the header has another size": ({"local": {"size": 13}}, "disagree"),
    "the header has another stored size": ({"local": {"stored": 13}}, "disagree"),
    "the header has another method": ({"local": {"method": 8}}, "disagree"),
    "the header has another name": ({"local_name": b"g"}, "disagree"),
    "the directory leads elsewhere": ({"central": {"offset": 3}}, "no header where"),
    "the directory leads outside": ({"central": {"offset": 1 << 30}}, "outside of the archive"),
    "larger than what follows allows": (
        {"central": {"stored": 900, "size": 900}, "local": {"stored": 900, "size": 900}},
        "reaches into what follows",
    ),
    "stored, of two sizes": ({"central": {"size": 1000}}, "says two sizes"),
    "encrypted": ({"flags": 1}, "it is encrypted"),
    "encrypted strongly": ({"flags": 0x41}, "it is encrypted"),
    "deflate64": ({"method": 9}, "method 9, which is not known"),
    "zstd": ({"method": 93}, "method 93, which is not known"),
    "a symbolic link": ({"mode": stat.S_IFLNK | 0o777}, "is a symbolic link"),
    "a device": ({"mode": stat.S_IFBLK | 0o777}, "is no regular file"),
    "no deflate": ({"method": 8, "packed": b"\xff" * 14}, "data is damaged"),
    "no bzip2": ({"method": 12, "packed": b"\xff" * 14}, "data is damaged"),
    "no LZMA": ({"method": 14, "packed": b"\xff" * 14}, "LZMA header is damaged"),
    "an LZMA dictionary of 4 GiB": (
        {"method": 14, "packed": b"\x10\x04\x05\x00\x5d\xff\xff\xff\xff" + b"\0" * 20},
        "data is damaged: Memory",
    ),
    "deflate, cut off": (
        {"method": 8, "packed": raw_deflate(b"x" * 999)[:-4], "data": b"x" * 999},
        "ends early",
    ),
    "deflate, shorter": (
        {
            "method": 8,
            "packed": raw_deflate(b"the"),
            "central": {"size": 14},
            "local": {"size": 14},
        },
        "ends 11 bytes early",
    ),
    "deflate, larger": (
        {
            "method": 8,
            "packed": raw_deflate(b"x" * 99),
            "central": {"size": 14, "crc": zlib.crc32(b"x" * 14)},
            "local": {"size": 14, "crc": zlib.crc32(b"x" * 14)},
        },
        "larger than the directory says",
    ),
    "bzip2, larger": (
        {
            "method": 12,
            "packed": bz2.compress(b"x" * 99),
            "central": {"size": 14, "crc": zlib.crc32(b"x" * 14)},
            "local": {"size": 14, "crc": zlib.crc32(b"x" * 14)},
        },
        "larger than the directory says",
    ),
    "made of nothing": (
        {
            "method": 8,
            "packed": raw_deflate(b""),
            "central": {"size": 0xFFFF_FFF0},
            "local": {"size": 0xFFFF_FFF0},
        },
        "it is said to be 4294967280 bytes, and 2 are stored",
    ),
}


@pytest.mark.parametrize(("wrong", "why"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_member_is_refused(wrong: dict[str, Any], why: str) -> None:
    data = zip_of(Entry(**wrong), Entry(b"other", b"is right"))
    archive = open_archive(Memory(data))
    with pytest.raises((ArchiveError, DigestMismatch), match=why) as caught:
        read_all(archive, "f")
    assert str(caught.value).startswith("'f': ") or caught.value.what == "archive"
    assert caught.value.exit_code in (7, 10)
    assert read_all(open_archive(Memory(data)), "other") == b"is right"


def test_members_that_overlap_are_refused() -> None:
    """As in the bombs that quote their own headers."""
    inner = Entry(b"inner", b"x" * 100)
    outer = Entry(b"outer", inner.head() + inner.data)
    data = outer.head() + outer.data
    directory = outer.listed(0) + inner.listed(len(outer.head()))
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 2, 2, len(directory), len(data), 0)
    archive = open_archive(Memory(data + directory + end))
    assert read_all(archive, "inner") == inner.data
    with pytest.raises(ArchiveError, match="reaches into what follows"):
        read_all(archive, "outer")


def test_a_bomb_takes_no_memory() -> None:
    """200 bytes of bzip2 that are 256 MiB, of which the directory says 5 MiB."""
    packer, packed = bz2.BZ2Compressor(), b""
    for _ in range(16):
        packed += packer.compress(b"\0" * (16 * MiB))
    packed += packer.flush()
    told = {"size": 5 * MiB, "crc": zlib.crc32(bytes(5 * MiB))}
    data = zip_of(Entry(method=12, packed=packed, central=told, local=told))
    tracemalloc.start()
    try:
        with pytest.raises(ArchiveError, match="larger than the directory says"):
            read_all(open_archive(Memory(data)), "f")
        assert tracemalloc.get_traced_memory()[1] < 32 * MiB
    finally:
        tracemalloc.stop()


def test_what_is_trusted_may_be_a_thousand_times_larger() -> None:
    data = made_zip({"zeros": bytes(40 * MiB)}, zipfile.ZIP_BZIP2)
    with pytest.raises(ArchiveError, match="are stored") as caught:
        read_all(open_archive(Memory(data)), "zeros")
    assert "--max-filesize" in caught.value.hint
    archive = open_archive(Memory(data), trusted=True)
    assert sum(map(len, archive.chunks(archive.find("zeros")))) == 40 * MiB


def test_names_are_as_they_are_and_open_no_way() -> None:
    names = [b"../../etc/passwd", b"/etc/passwd", b"C:\\x", b"a\x1b[31m", b"x\0y", b"a\\b"]
    archive = open_archive(Memory(zip_of(*(Entry(name) for name in names))))
    assert [one.name.encode() for one in archive.members()] == names
    assert read_all(archive, "../../etc/passwd") == b"the bytes of f"


def test_a_name_with_nul_is_not_what_stands_before_it() -> None:
    archive = open_archive(Memory(zip_of(Entry(b"x\0y"))))
    with pytest.raises(ArchiveError, match="no such member"):
        archive.find("x")


def test_what_is_not_there_is_said_with_names_like_it() -> None:
    archive = open_archive(Memory(made_zip(MEMBERS)))
    with pytest.raises(ArchiveError, match=r"'b\.txt': no such member") as caught:
        archive.find("b.txt")
    assert caught.value.hint == "there is 'a.txt'"
    with pytest.raises(ArchiveError) as caught:
        archive.find("something else")
    assert caught.value.hint == "rdl ls lists them"


def test_too_many_members_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = zip_of(*(Entry(b"%d" % n, b"") for n in range(20)))
    monkeypatch.setattr(zips, "MAX_MEMBERS", 19)
    with pytest.raises(ArchiveError, match="more than"):
        open_archive(Memory(data))
    monkeypatch.setattr(zips, "MAX_MEMBERS", 20)
    assert len(list(open_archive(Memory(data)).members())) == 20


def test_a_directory_of_gigabytes_is_not_read() -> None:
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, 0xF000_0000, 0, 0)
    with pytest.raises(ArchiveError, match="too large"):
        open_archive(Sparse(0xF000_0000 + len(end), {0: b"PK\3\4", 0xF000_0000: end}))


@pytest.mark.parametrize("lost", [1, 22, 60, 5000])
def test_an_archive_that_was_cut_off_is_none(lost: int) -> None:
    data = made_zip({"f": random.Random(3).randbytes(20_000)})
    with pytest.raises(ArchiveError, match="no zip that can be read"):
        open_archive(Memory(data[:-lost]))


def test_a_source_that_ends_early_is_an_error() -> None:
    source = Memory(made_zip({"f": random.Random(3).randbytes(400_000)}, zipfile.ZIP_STORED))
    archive = open_archive(source)
    source.data = source.data[:10_000]
    with pytest.raises(ArchiveError, match="shorter than the server said"):
        read_all(archive, "f")


def test_a_limit_is_about_the_member() -> None:
    member = open_archive(Memory(zip_of(Entry()))).find("f")
    check_size(member, 14)
    check_size(member, None)
    with pytest.raises(PolicyError, match="14 bytes, and --max-filesize is 13"):
        check_size(member, 13)


def test_lzma_whose_mark_at_the_end_is_not_announced() -> None:
    data = b"lzma " * 1000
    alone = lzma.compress(data, lzma.FORMAT_ALONE, filters=[{"id": lzma.FILTER_LZMA1}])
    entry = Entry(data=data, packed=b"\x10\x04\x05\x00" + alone[:5] + alone[13:], method=14)
    assert read_all(open_archive(Memory(zip_of(entry))), "f") == data


def test_the_example_of_the_paper_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAPER.read_text(), re.DOTALL)
    exec(compile(block, PAPER.name, "exec"), {})
    assert capsys.readouterr().out == "['a.txt']\nb'hello'\n"
