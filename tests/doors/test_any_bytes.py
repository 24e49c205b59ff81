"""Archives damaged at random: of a zip the right bytes or an error; of anything, no other error."""

from __future__ import annotations

import random
import tarfile
import zipfile

import pytest

from rdl.doors.archives import open_archive
from rdl.errors import RdlError
from tests.doors.packing import Memory, made_tar, made_zip, read_all, streamed_zip

MEMBERS = {
    "a.txt": b"hello\n" * 100,
    "b/c.bin": random.Random(1).randbytes(3000),
    "empty": b"",
    "zeros": bytes(20_000),
}
FORMS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
ZIPS = [made_zip(MEMBERS, method) for method in (0, 8, 12, zipfile.ZIP_LZMA)]
ZIPS.append(streamed_zip(MEMBERS))
TARS = [made_tar(MEMBERS.items(), packing, form) for packing in ("gz", "xz", "") for form in FORMS]
COUNT = 400


def damaged(data: bytes, chance: random.Random) -> bytes:
    found, at = bytearray(data), chance.randrange(len(data))
    match chance.randrange(4):
        case 0:
            del found[at:]
        case 1:
            found[at] ^= 1 << chance.randrange(8)
        case 2:
            size = chance.choice((1, 2, 4, 8))
            found[at : at + size] = chance.choice((b"\xff", b"\0", b"7")) * size
        case _:
            other = chance.randrange(len(data))
            found[at : at + 64] = found[other : other + 64]
    return bytes(found)


def outcome(data: bytes, name: str) -> bytes | None:
    try:
        return read_all(open_archive(Memory(data)), name)
    except RdlError:
        return None


@pytest.mark.parametrize("data", ZIPS, ids=["stored", "deflate", "bzip2", "lzma", "streamed"])
def test_of_a_damaged_zip_come_right_bytes_or_an_error(data: bytes) -> None:
    chance, ended = random.Random(len(data)), set()
    for _ in range(COUNT):
        name = chance.choice(list(MEMBERS))
        found = outcome(damaged(data, chance), name)
        assert found in (None, MEMBERS[name])
        ended.add(found is None)
    assert ended == {True, False}


@pytest.mark.parametrize("number", range(len(TARS)))
def test_of_a_damaged_tar_come_as_many_bytes_or_an_error(number: int) -> None:
    """What is compressed is checked by its own sum; a plain tar has none for what is in it."""
    chance, lost, compressed = random.Random(number), 0, number < 2 * len(FORMS)
    for _ in range(COUNT):
        name = chance.choice(list(MEMBERS))
        found = outcome(damaged(TARS[number], chance), name)
        assert found is None or len(found) == len(MEMBERS[name])
        if compressed:
            assert found in (None, MEMBERS[name])
        lost += found is None
    assert lost > COUNT * (0.9 if compressed else 0.2)
