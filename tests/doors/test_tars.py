"""Members of tars, plain and compressed: every oddity is an error, never an early end."""

from __future__ import annotations

import gzip
import lzma
import random
import tarfile
import tracemalloc
import zlib

import pytest

from rdl.doors import tars
from rdl.doors.archives import open_archive
from rdl.errors import ArchiveError
from tests.doors.packing import Memory, Sparse, link, made_tar, made_zip, read_all

MiB = 1 << 20
MEMBERS = {
    "a.txt": b"hello\n" * 1000,
    "deep/er/" + "long" * 60 + ".bin": random.Random(1).randbytes(2 * MiB + 5),
    "empty": b"",
    "\u00fc\u65e5.txt": b"named beyond ASCII",
}
PACKINGS = ("", "gz", "bz2", "xz")
PROOF = {"": (), "gz": ("gzip:crc32",), "bz2": ("bzip2:crc32",), "xz": ()}
FORMS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
OTHERS = (
    link("dir", tarfile.DIRTYPE),
    link("sym", tarfile.SYMTYPE, "a.txt"),
    link("hard", tarfile.LNKTYPE, "a.txt"),
    link("fifo", tarfile.FIFOTYPE),
    link("device", tarfile.BLKTYPE),
)


@pytest.mark.parametrize("form", [FORMS["gnu"], FORMS["pax"]], ids=["gnu", "pax"])
@pytest.mark.parametrize("packing", PACKINGS, ids=["plain", *PACKINGS[1:]])
def test_every_packing_gives_the_bytes(packing: str, form: int) -> None:
    data = made_tar(MEMBERS.items(), packing, form, others=OTHERS)
    listed = list(open_archive(Memory(data)).members())
    assert [one.name for one in listed[:4]] == list(MEMBERS)
    assert [one.size for one in listed[:4]] == [len(data) for data in MEMBERS.values()]
    for name, content in MEMBERS.items():
        archive = open_archive(Memory(data))
        assert read_all(archive, name) == content
        assert archive.verified_by == PROOF[packing]


def test_what_is_known_of_members() -> None:
    data = made_tar(MEMBERS.items(), others=OTHERS, mtime=1_000_000_000.5)
    found = {one.name: one for one in open_archive(Memory(data)).members()}
    kinds = {name: found[name].kind for name in ("dir/", "sym", "hard", "fifo", "device")}
    assert list(kinds.values()) == ["directory", "symlink", "hardlink", "other", "other"]
    assert found["a.txt"].modified == 1_000_000_000.5
    assert found["sym"].link == "a.txt"


@pytest.mark.parametrize(
    ("name", "why", "hint"),
    [
        ("dir/", "is a directory", ""),
        ("sym", "is a symbolic link", ""),
        ("hard", "is a hard link", "the bytes are those of 'a.txt'"),
        ("fifo", "is no regular file", ""),
        ("device", "is no regular file", ""),
        ("b.txt", "no such member", "there is 'a.txt'"),
    ],
)
def test_what_is_no_file_is_refused(name: str, why: str, hint: str) -> None:
    data = made_tar([("a.txt", b"1")], others=OTHERS)
    with pytest.raises(ArchiveError, match=f"'{name}': {why}") as caught:
        open_archive(Memory(data)).find(name)
    assert caught.value.hint == hint


def test_of_a_plain_tar_only_headers_and_the_member_are_read() -> None:
    big, data = random.Random(5).randbytes(3 * MiB), b"behind it"
    source = Memory(made_tar([("big", big), ("small", data), ("last", big)]))
    archive = open_archive(source)
    assert read_all(archive, "small") == data
    assert archive.fetched < 8192


def test_a_plain_tar_of_terabytes_is_read_where_it_is() -> None:
    size = 3 << 40
    entry = tarfile.TarInfo("huge")
    entry.size = size
    head = entry.tobuf(tarfile.GNU_FORMAT)
    behind = made_tar([("small", b"behind it")], "", tarfile.GNU_FORMAT)
    source = Sparse(512 + size + len(behind), {0: head, 512 + size: behind})
    archive = open_archive(source)
    assert read_all(archive, "small") == b"behind it"
    assert sum(count for _, count in source.asked) < 1 << 18


def test_of_a_name_that_stands_twice_the_last_is_taken() -> None:
    archive = open_archive(Memory(made_tar([("f", b"first"), ("f", b"second")])))
    assert read_all(archive, "f") == b"second"


def test_a_compressed_tar_with_a_name_twice_is_refused() -> None:
    """Which one is meant would be known only after the first was given."""
    archive = open_archive(Memory(made_tar([("f", b"first"), ("f", b"second")], "gz")))
    with pytest.raises(ArchiveError, match="two of this name"):
        read_all(archive, "f")


@pytest.mark.parametrize("packing", PACKINGS[1:])
def test_a_compressed_tar_is_read_in_one_demand_each_window(packing: str) -> None:
    source = Memory(made_tar([("f", random.Random(4).randbytes(MiB))], packing))
    read_all(open_archive(source), "f")
    assert source.asked[1:] == [(0, 512), (0, len(source.data))]


@pytest.mark.parametrize("packing", PACKINGS[1:])
@pytest.mark.parametrize("lost", [1, 5, 9, 200])
def test_a_compressed_tar_that_was_cut_off_is_an_error(packing: str, lost: int) -> None:
    data = made_tar([("f", random.Random(6).randbytes(5000))], packing)[:-lost]
    with pytest.raises(ArchiveError, match="ends early"):
        read_all(open_archive(Memory(data)), "f")
    with pytest.raises(ArchiveError, match="ends early"):
        list(open_archive(Memory(data)).members())


def test_the_check_sum_of_gzip_decides() -> None:
    data = bytearray(made_tar([("f", b"first")], "gz"))
    data[-6] ^= 1
    archive = open_archive(Memory(bytes(data)))
    chunks = archive.chunks(archive.find("f"))
    assert next(chunks) == b"first"
    with pytest.raises(ArchiveError, match="incorrect data check"):
        next(chunks)


PLAIN = made_tar([("f", b"1" * 700), ("g", b"2" * 700)], "", tarfile.GNU_FORMAT)
SECOND = 512 + 1024


def changed(at: int, data: bytes) -> bytes:
    return PLAIN[:at] + data + PLAIN[at + len(data) :]


def with_size(size: int) -> bytes:
    """The header of a member that says this size, in base 256."""
    entry = tarfile.TarInfo("g")
    head = bytearray(entry.tobuf(tarfile.GNU_FORMAT))
    head[124:136] = (size & (1 << 96) - 1 | 1 << 95).to_bytes(12, "big")
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return changed(SECOND, bytes(head))


HOSTILE = {
    "no end mark": (PLAIN[: SECOND + 512 + 1024], "no end mark"),
    "half an end mark": (PLAIN[: SECOND + 512 + 1024 + 100], "truncated header"),
    "cut off in a header": (PLAIN[: SECOND + 100], "truncated header"),
    "cut off in a member": (PLAIN[: SECOND + 512 + 300], "unexpected end of data"),
    "a damaged header": (changed(SECOND, b"x"), "bad checksum"),
    "something else": (changed(SECOND, b"\xff" * 512), "no tar that can be read"),
    "a negative size": (with_size(-1024), "negative"),
    "an endless size": (with_size(1 << 90), "no tar that can be read|unexpected end"),
}


@pytest.mark.parametrize(("data", "why"), HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("packing", ["", "gz"], ids=["plain", "gz"])
def test_an_oddity_is_an_error_and_never_the_end(data: bytes, why: str, packing: str) -> None:
    packed = gzip.compress(data) if packing else data
    seen = open_archive(Memory(packed)).members()
    assert next(seen).name == "f"
    with pytest.raises(ArchiveError, match=why):
        list(seen)
    with pytest.raises(ArchiveError):
        read_all(open_archive(Memory(packed)), "g")


def test_a_name_of_gigabytes_is_not_read() -> None:
    entry = tarfile.TarInfo("././@LongLink")
    entry.type, entry.size = tarfile.GNUTYPE_LONGNAME, 3 << 30
    head = entry.tobuf(tarfile.GNU_FORMAT)
    with pytest.raises(ArchiveError, match="too large"):
        open_archive(Sparse(4 << 30, {0: head}))


def test_endless_extended_headers_are_an_error() -> None:
    entry = tarfile.TarInfo("x")
    entry.type = tarfile.XHDTYPE
    data = entry.tobuf(tarfile.USTAR_FORMAT) * 20_000
    with pytest.raises(ArchiveError):
        open_archive(Memory(data))


def test_a_tar_with_holes_is_refused() -> None:
    entry = tarfile.TarInfo("holes")
    entry.type = tarfile.GNUTYPE_SPARSE
    head = bytearray(entry.tobuf(tarfile.GNU_FORMAT))
    head[483:495] = b"77777777777\0"
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    archive = open_archive(Memory(bytes(head) + bytes(10240)))
    with pytest.raises(ArchiveError, match="it has holes"):
        archive.find("holes")


def test_a_bomb_ends_when_it_is_seen() -> None:
    data = gzip.compress(lzma.compress(b""))  # something compressed that is no tar
    with pytest.raises(ArchiveError, match="no tar that can be read"):
        open_archive(Memory(data))
    zeros = made_tar([("zeros", bytes(64 * MiB)), ("f", b"1")], "xz")
    with pytest.raises(ArchiveError, match="more than 1100 times") as caught:
        list(open_archive(Memory(zeros)).members())
    assert "--max-filesize" in caught.value.hint
    assert read_all(open_archive(Memory(zeros), trusted=True), "f") == b"1"


def test_streams_that_follow_one_another_are_one() -> None:
    data = made_tar(MEMBERS.items())
    parts = gzip.compress(data[:5000]) + gzip.compress(data[5000:]) + bytes(100)
    assert read_all(open_archive(Memory(parts)), "a.txt") == MEMBERS["a.txt"]
    with pytest.raises(ArchiveError, match="is damaged"):
        read_all(open_archive(Memory(parts + b"what is this")), "a.txt")


def test_too_many_members_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = made_tar([(str(n), b"") for n in range(20)])
    monkeypatch.setattr(tars, "MAX_MEMBERS", 19)
    with pytest.raises(ArchiveError, match="more than"):
        list(open_archive(Memory(data)).members())
    monkeypatch.setattr(tars, "MAX_MEMBERS", 20)
    assert len(list(open_archive(Memory(data)).members())) == 20


def test_a_listing_does_not_grow() -> None:
    source = Memory(made_tar((str(n), b"") for n in range(4000)))
    archive = open_archive(source)
    tracemalloc.start()
    try:
        assert sum(1 for _ in archive.members()) == 4000
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


NOT = {
    "nothing": b"",
    "text": b"<!doctype html>\n" * 500,
    "zeros": bytes(10240),
    "a compressed file": gzip.compress(b"hello"),
    "a compressed tar of nothing": gzip.compress(bytes(10240)),
    "the beginning of a zip": made_zip({"f": random.Random(7).randbytes(5000)})[:400],
    "a gzip header": b"\x1f\x8b\x08",
    "zlib": zlib.compress(b"hello" * 1000),
}


@pytest.mark.parametrize("data", NOT.values(), ids=NOT)
def test_what_is_no_archive_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(ArchiveError) as caught:
        open_archive(Memory(data))
    assert caught.value.exit_code == 7
    assert caught.value.hint == "zip, tar, tar.gz, tar.bz2 and tar.xz are read"


def test_a_tar_that_ends_with_a_zip_is_a_tar() -> None:
    data = made_tar([("inner.zip", made_zip({"x": b"1"}))])
    assert [one.name for one in open_archive(Memory(data)).members()] == ["inner.zip"]


def test_a_tar_of_the_seventies_is_read() -> None:
    entry = bytearray(tarfile.TarInfo("old").tobuf(tarfile.USTAR_FORMAT))
    entry[257:512] = bytes(255)
    entry[148:156] = b" " * 8
    entry[148:156] = b"%06o\0 " % sum(entry)
    archive = open_archive(Memory(bytes(entry) + bytes(1024)))
    assert [one.name for one in archive.members()] == ["old"]
