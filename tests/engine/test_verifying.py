"""Verdicts on local bytes: what is hashed, what is refused, and what is no verdict at all."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from xxhash import xxh3_64_intdigest

import rdl
from rdl.core.byterange import ByteRange, Extent
from rdl.core.events import Fact, Verifying
from rdl.core.representation import Representation
from rdl.engine.verifying import PERIOD, STEP, Headway, Stop, hash_range
from rdl.errors import (
    DigestMismatch,
    DigestMissing,
    Interrupted,
    LocalFileError,
    PolicyError,
    ProtocolError,
    TargetExists,
    UsageError,
)
from rdl.options import Digest, RangeSpec
from rdl.storage.base import Header
from rdl.storage.local_file import FileChanged, LocalFile
from rdl.storage.part_file import PartStore
from rdl.storage.platform import PosixDisk
from rdl.verification import Check, Verifier, verify

DATA = bytes(number * 7 % 251 for number in range(100_000))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "disc.iso"
    made.write_bytes(DATA)
    return made


class Memory:
    """Bytes that come in small portions."""

    def __init__(self, data: bytes, portion: int = 1000) -> None:
        self.data, self.portion = data, portion

    def read_into(self, offset: int, view: memoryview) -> int:
        found = self.data[offset : offset + min(self.portion, len(view))]
        view[: len(found)] = found
        return len(found)


def test_a_range_is_hashed_by_every_algorithm() -> None:
    wanted = ByteRange(17, 70_001)
    found = hash_range(Memory(DATA), wanted, ("sha256", "blake2b"), Headway("f", None), Stop())
    part = DATA[17:70_001]
    assert found == {"sha256": sha256(part), "blake2b": hashlib.blake2b(part).hexdigest()}


def test_no_byte_has_a_digest_too() -> None:
    found = hash_range(Memory(b""), ByteRange(0, 0), ("sha256",), Headway("f", None), Stop())
    assert found == {"sha256": sha256(b"")}


def test_facts_come_ten_times_a_second_and_at_the_end() -> None:
    facts: list[Fact] = []
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 0.4 * PERIOD
        return now

    headway = Headway("f", facts.append, clock)
    hash_range(Memory(DATA, 10_000), ByteRange(0, len(DATA)), ("sha256",), headway, Stop())
    hashed = [fact.bytes_hashed for fact in facts if isinstance(fact, Verifying)]
    assert hashed == [10_000, 40_000, 70_000, 100_000]
    assert facts[-1] == Verifying("f", len(DATA), len(DATA))


def test_ranges_of_one_file_are_told_together() -> None:
    facts: list[Fact] = []
    headway = Headway("f", facts.append)
    for wanted in (ByteRange(0, 10), ByteRange(90, 95)):
        hash_range(Memory(DATA), wanted, ("sha256",), headway, Stop())
    assert facts[-1] == Verifying("f", 15, 15)


def test_a_signal_ends_the_hashing() -> None:
    stop = Stop()

    class Signalled(Memory):
        def read_into(self, offset: int, view: memoryview) -> int:
            stop.set("SIGTERM")
            return super().read_into(offset, view)

    headway = Headway("f", None)
    with pytest.raises(Interrupted) as caught:
        hash_range(Signalled(DATA), ByteRange(0, len(DATA)), ("sha256",), headway, stop)
    assert caught.value.signal == "SIGTERM"


@pytest.mark.parametrize(
    "spec",
    [
        f"sha256:{sha256(DATA)}",
        f"sha-256={sha256(DATA).upper()}",
        f"sha256-{base64.b64encode(hashlib.sha256(DATA).digest()).decode()}",
        sha256(DATA),
        hashlib.sha512(DATA).hexdigest(),
        f"blake2b:{hashlib.blake2b(DATA).hexdigest()}",
    ],
)
def test_every_form_of_a_digest_verifies(path: Path, spec: str) -> None:
    result = rdl.verify(path, spec)
    assert (result.exit_code, result.reason, result.range) == (0, "verified", None)
    assert result.digests == result.expected
    assert result.bytes_hashed == result.bytes_total == len(DATA)


def test_all_digests_must_hold(path: Path) -> None:
    right = Digest("sha512", hashlib.sha512(DATA).hexdigest())
    assert verify(path, [right, sha256(DATA)]).verified_by == ("sha512", "sha256")
    with pytest.raises(DigestMismatch, match=f"sha256 is {sha256(DATA)}, expected {sha256(b'')}"):
        verify(path, [right, sha256(b"")])


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ((0, 500), DATA[:500]),
        ((99_000, None), DATA[99_000:]),
        ((99_000, 200_000), DATA[99_000:]),
        (RangeSpec(suffix=700), DATA[-700:]),
        (RangeSpec(suffix=1 << 40), DATA),
    ],
)
def test_a_range_is_verified(
    path: Path, given: RangeSpec | tuple[int, int | None], meant: bytes
) -> None:
    result = verify(path, sha256(meant), range=given)
    assert result.range is not None
    assert DATA[result.range.start : result.range.stop] == meant


@pytest.mark.parametrize("given", [(5, 5), (6, 5), (-1, 5)])
def test_a_range_without_bytes_is_a_usage_error(path: Path, given: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="it holds no byte"):
        verify(path, sha256(b""), range=given)


def test_a_range_outside_of_the_file_is_impossible(path: Path) -> None:
    with pytest.raises(ProtocolError, match="the range lies outside of its 100000 bytes"):
        verify(path, sha256(b""), range=(100_000, None))


def test_an_empty_file_is_verified(path: Path) -> None:
    path.write_bytes(b"")
    assert verify(path, sha256(b"")).bytes_total == 0


def test_without_a_digest_there_is_no_verdict(path: Path) -> None:
    with pytest.raises(DigestMissing, match="nothing to check against"):
        verify(path, ())
    with pytest.raises(UsageError, match="two different sha256 digests"):
        verify(path, [sha256(b"1"), sha256(b"2")])


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "to_fifo").symlink_to("fifo")
    (tmp_path / "circle").symlink_to("circle")
    names = ("fifo", "to_fifo", "circle", "nothing", "nothing/at/all", "", "nul\0")
    for name in (*names, "/dev/null", "/dev/zero"):
        with pytest.raises(LocalFileError):
            verify(tmp_path / name, sha256(b""))


def test_a_file_of_the_system_has_no_size_to_trust() -> None:
    with pytest.raises(LocalFileError, match="it has no size"):
        verify("/proc/self/status", sha256(b""))


def test_links_are_followed_but_not_out_of_the_folder(path: Path, tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "link").symlink_to(path)
    assert verify(inner / "link", sha256(DATA)).exit_code == 0
    for name in ("link", "../disc.iso", str(path)):
        with pytest.raises(PolicyError, match="leads out of the folder"), _local(inner, name):
            pytest.fail("it was opened")
    with _local(tmp_path, "inner/../disc.iso") as file:
        assert len(file.span(None)) == len(DATA)


@contextmanager
def _local(folder: Path, name: str) -> Iterator[LocalFile]:
    with LocalFile(folder / name, within=folder) as file:
        yield file


class Restless(PosixDisk):
    """Does something to the file when it is read for the second time."""

    def __init__(self, path: Path, deed: str) -> None:
        self.path, self.deed, self.reads = path, deed, 0

    def pread(self, file: int, view: memoryview, offset: int) -> int:
        self.reads += 1
        if self.reads == 2:
            getattr(self, self.deed)()
        return super().pread(file, view, offset)

    def grow(self) -> None:
        with self.path.open("ab") as file:
            file.write(b"more")

    def shrink(self) -> None:
        os.truncate(self.path, 10)

    def rewrite(self) -> None:
        with self.path.open("r+b") as file:
            file.write(b"other")
        os.utime(self.path, ns=(1, 1))

    def replace(self) -> None:
        fresh = self.path.with_name("fresh")
        fresh.write_bytes(self.path.read_bytes())
        fresh.replace(self.path)

    def remove(self) -> None:
        self.path.unlink()


@pytest.mark.parametrize("deed", ["grow", "shrink", "rewrite", "replace", "remove"])
def test_a_file_that_changes_gets_no_verdict(path: Path, deed: str) -> None:
    path.write_bytes(bytes(3 * STEP))
    with pytest.raises(FileChanged, match="it changed while it was read") as caught:
        _read_whole(path, Restless(path, deed))
    assert (caught.value.exit_code, caught.value.reason) == (13, "file-changed")
    assert isinstance(caught.value, TargetExists)


def _read_whole(path: Path, disk: PosixDisk) -> None:
    with LocalFile(path, disk=disk) as file:
        hash_range(file, file.span(None), ("sha256",), Headway("f", None), Stop())
        file.check_unchanged()


def begun(path: Path, span: ByteRange | None = None) -> PartStore:
    """A store with a begun download of DATA."""
    store = PartStore(path)
    store.open()
    facts = Representation(len(DATA), '"one"')
    store.begin(Header("http://127.0.0.1/a", facts, 1 << 18, span))
    return store


def fill(store: PartStore, start: int, stop: int) -> None:
    data = DATA[start:stop]
    store.write_at(start, memoryview(data))
    store.record([Extent(start, stop, xxh3_64_intdigest(data))])


@pytest.mark.parametrize("running", [True, False])
def test_what_is_here_of_a_part_file_is_verified(tmp_path: Path, running: bool) -> None:
    store, part = begun(tmp_path / "f"), tmp_path / "f.part"
    fill(store, 0, 30_000)
    fill(store, 30_000, 40_000)
    fill(store, 90_000, 100_000)
    store.checkpoint()
    if not running:
        store.close()
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    assert verify(part, sha256(DATA[10:35_000]), range=(10, 35_000)).exit_code == 0
    assert verify(part, sha256(DATA[-500:]), range=RangeSpec(suffix=500)).exit_code == 0
    with pytest.raises(DigestMismatch):
        verify(part, sha256(b""), range=(10, 35_000))
    with pytest.raises(LocalFileError, match="incomplete: bytes 40000-49999 are not here"):
        verify(part, sha256(b""), range=(20_000, 50_000))
    with pytest.raises(LocalFileError, match="incomplete: bytes 40000-89999 are not here"):
        verify(part, sha256(DATA))
    with pytest.raises(LocalFileError, match="no such file") as caught:
        verify(tmp_path / "f", sha256(DATA))
    assert "f.part holds what is here" in caught.value.hint
    assert before == {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    store.close(discard=True)


def test_the_part_file_of_a_range_keeps_the_offsets_of_the_whole(tmp_path: Path) -> None:
    store, part = begun(tmp_path / "f", ByteRange(50_000, 60_000)), tmp_path / "f.part"
    fill(store, 50_000, 60_000)
    assert verify(part, sha256(DATA[50_000:60_000])).bytes_total == 10_000
    assert verify(part, sha256(DATA[50_010:50_020]), range=(50_010, 50_020)).exit_code == 0
    with pytest.raises(LocalFileError, match="bytes 0-9 are not here"):
        verify(part, sha256(DATA[:10]), range=(0, 10))
    store.close(discard=True)


def test_a_part_file_may_grow_but_not_begin_anew(tmp_path: Path) -> None:
    store = begun(tmp_path / "f")
    fill(store, 0, 10_000)
    with LocalFile(tmp_path / "f.part") as file:
        fill(store, 10_000, 20_000)
        file.check_unchanged()
        assert file.first_gap(ByteRange(0, 20_000)) is None
        store.begin(Header("http://127.0.0.1/a", Representation(7, '"two"'), 1 << 18))
        with pytest.raises(FileChanged):
            file.check_unchanged()
    store.close(discard=True)


def test_a_part_file_without_index_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "f.part").write_bytes(DATA)
    assert verify(tmp_path / "f.part", sha256(DATA)).exit_code == 0


def test_many_are_checked_at_once_in_their_order(tmp_path: Path) -> None:
    checks = []
    for number in range(40):
        file = tmp_path / str(number)
        file.write_bytes(bytes([number]) * 1000)
        right = sha256(file.read_bytes()) if number % 2 else sha256(b"")
        checks.append(Check(file, (Digest("sha256", right),)))
    checks.append(Check(tmp_path / "none", (Digest("sha256", sha256(b"")),)))
    ended: list[str] = []
    results = Verifier(4).run(checks, done=lambda result: ended.append(result.path))
    assert [result.path for result in results] == [str(check.path) for check in checks]
    assert [result.exit_code for result in results] == [10, 0] * 20 + [3]
    assert ended == [result.path for result in results]
    assert Verifier().run([]) == []


def test_an_interrupted_verifier_says_so_of_each(path: Path) -> None:
    verifier = Verifier()
    verifier.interrupt("SIGINT")
    check = Check(path, (Digest("sha256", sha256(DATA)),))
    results = verifier.run([check, check])
    assert [(one.exit_code, one.reason) for one in results] == [(130, "interrupted")] * 2
