"""A part file into which bytes of other files are copied, and copies within it."""

from __future__ import annotations

import errno
from pathlib import Path
from random import Random

import pytest
from xxhash import xxh3_64_intdigest

from rdl.core.byterange import Extent
from rdl.core.index_json import Header
from rdl.core.representation import Representation
from rdl.engine import repeating
from rdl.engine.repeating import repeat
from rdl.errors import LocalFileError
from rdl.storage.base import Finish
from rdl.storage.local_file import FileChanged, LocalFile
from rdl.storage.memory import MemoryDisk
from rdl.storage.part_file import PartStore
from rdl.storage.publishing import read_published
from rdl.storage.sown_part import SownPart
from tests.core.playing import rng

FILE, SEED = Path("/here/f"), Path("/there/seed")
DATA = Random(5).randbytes(20_000)


def header(*adopted: tuple[int, int], etag: str | None = None) -> Header:
    known = Representation(len(DATA), etag)
    return Header("http://h/f", known, 4096, None, tuple(rng(*run) for run in adopted))


def part_of(disk: MemoryDisk) -> bytes | None:
    return disk.read(FILE.with_name("f.part"))


@pytest.fixture
def disk() -> MemoryDisk:
    disk = MemoryDisk()
    disk.write(SEED, DATA)
    return disk


@pytest.fixture
def part(disk: MemoryDisk) -> SownPart:
    part = SownPart(FILE, disk)
    part.open()
    return part


def test_what_is_sown_is_kept_by_a_begin_that_says_so(disk: MemoryDisk, part: SownPart) -> None:
    part.sow(header((0, 9000)))
    with LocalFile(SEED, disk=disk) as seed:
        part.copy(seed, 1000, rng(0, 9000))
    part.begin(header((0, 9000), etag='"a"'))
    assert part_of(disk) == DATA[1000:10_000]
    part.begin(header(etag='"b"'))
    assert part_of(disk) == b"", "another version keeps nothing"


@pytest.mark.parametrize(("at", "start"), [(0, 0), (1000, 5096), (1000, 904), (7, 4000)])
def test_copies_to_any_place(disk: MemoryDisk, part: SownPart, at: int, start: int) -> None:
    part.sow(header((start, start + 9001)))
    disk.short = lambda length: min(length, 3000)
    with LocalFile(SEED, disk=disk) as seed:
        part.copy(seed, at, rng(start, start + 9001))
    assert part_of(disk) == bytes(start) + DATA[at : at + 9001]


def test_a_seed_that_is_shorter_now(disk: MemoryDisk, part: SownPart) -> None:
    part.sow(header((0, 9000)))
    with LocalFile(SEED, disk=disk) as seed, pytest.raises(FileChanged):
        part.copy(seed, 15_000, rng(0, 9000))
    part.close()
    assert part_of(disk) == DATA[15_000:], "the claim is too large, and will be looked at"


@pytest.mark.parametrize(
    ("operation", "where", "kind"),
    [("pread", "seed", LocalFileError), ("pwrite", "f.part", OSError)],
)
def test_it_is_told_which_of_the_two_fails(
    disk: MemoryDisk, part: SownPart, operation: str, where: str, kind: type[Exception]
) -> None:
    part.sow(header((0, 9000)))

    def fault(*what: str) -> OSError | None:
        return OSError(errno.EIO, "broken") if what == (operation, where) else None

    with LocalFile(SEED, disk=disk) as seed:
        disk.fault = fault
        with pytest.raises(kind, match="broken"):
            part.copy(seed, 0, rng(0, 9000))


def test_a_copy_that_fails_in_one_way_is_made_in_another(disk: MemoryDisk, part: SownPart) -> None:
    part.sow(header((0, 9000)))
    failing = iter([OSError(errno.EIO, "broken")])
    with LocalFile(SEED, disk=disk) as seed:
        disk.fault = lambda operation, where: next(failing, None) if operation == "pread" else None
        part.copy(seed, 0, rng(0, 9000))
    assert part_of(disk) == DATA[:9000]


def test_a_run_that_is_killed_leaves_claims_and_no_extents(
    disk: MemoryDisk, part: SownPart
) -> None:
    part.sow(header((0, 9000), (12_000, 15_000)))
    with LocalFile(SEED, disk=disk) as seed:
        part.copy(seed, 0, rng(0, 9000))
    disk.kill()
    store = PartStore(FILE, disk)
    saved = store.open()
    assert saved is not None
    assert saved.extents.ranges() == ()
    assert saved.header.adopted == (rng(0, 9000),), "beyond the end of the file nothing is"
    store.close(discard=True)


def test_what_is_published_is_not_told_by_the_validators_of_the_server(
    disk: MemoryDisk, part: SownPart
) -> None:
    part.sow(header((0, len(DATA))))
    with LocalFile(SEED, disk=disk) as seed:
        part.copy(seed, 0, rng(0, len(DATA)))
    part.begin(header((0, len(DATA)), etag='"a"'))
    part.publish(Finish(False, 1e9, Representation(len(DATA), '"a"')))
    part.close()
    facts = read_published(FILE, disk)
    assert disk.read(FILE) == DATA
    assert facts is not None
    assert (facts["etag"], facts["size"]) == (None, len(DATA))


def test_copies_within_it_are_written_and_not_recorded(
    disk: MemoryDisk, part: SownPart, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeating, "STEP", 1000)
    part.begin(header(etag='"a"'))
    part.write_at(0, memoryview(DATA[:2500]))
    part.record((Extent(0, 2500, xxh3_64_intdigest(DATA[:2500])),))
    repeat(part, rng(0, 2500), (rng(3000, 5500), rng(6000, 8500)))
    part.close()
    once = DATA[:2500]
    assert part_of(disk) == once + bytes(500) + once + bytes(500) + once
    saved = part.open()
    assert saved is not None
    assert saved.extents.ranges() == (rng(0, 2500),)
    part.close()


def test_a_source_that_is_not_there(part: SownPart) -> None:
    part.begin(header(etag='"a"'))
    part.write_at(0, memoryview(DATA[:100]))
    with pytest.raises(LocalFileError, match="shorter"):
        repeat(part, rng(0, 200), (rng(300, 500),))
    part.close(discard=True)
