"""Manifests are made of what the file held, or not at all; and read as far as they are needed."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from msgspec.structs import replace

from rdl import manifests
from rdl.core.byterange import ByteRange
from rdl.core.events import Fact, Verifying
from rdl.core.manifest import (
    HEAD_BYTES,
    MAX_COARSE,
    Cutting,
    Manifest,
    Sizes,
    fine_range,
    parse_fine,
)
from rdl.engine.verifying import Stop
from rdl.errors import (
    DigestMismatch,
    Interrupted,
    LocalFileError,
    PolicyError,
    ProtocolError,
    RdlError,
    UsageError,
)
from rdl.manifests import AVERAGES, make_manifest, open_manifest, read_manifest, sizes_for
from rdl.options import Digest
from rdl.storage.local_file import FileChanged
from rdl.verification import Check, Verification, Verifier
from tests.cli.test_status import MiB, partial

DATA = b"".join(sha256(b"%d" % number).digest() for number in range(1000))
CUTTING = Cutting("zeros", Sizes(256, 512, 2000), Sizes(64, 100, 400))


class Zeros:
    """Cuts after each byte whose lowest bits are zero, as many of them as `average` says."""

    def __init__(self, least: int, average: int, most: int) -> None:
        self.least, self.mask, self.most = (
            least,
            (1 << (average - least).bit_length() - 1) - 1,
            most,
        )

    def cuts(self, data: memoryview, *, final: bool) -> list[int]:
        cuts, start = [], 0
        for at, byte in enumerate(data, 1):
            if at - start == self.most or (at - start >= self.least and not byte & self.mask & 255):
                cuts.append(at)
                start = at
        return [*cuts, len(data)] if final and start < len(data) else cuts


@pytest.fixture(autouse=True)
def _chunker(monkeypatch: pytest.MonkeyPatch) -> None:
    def chunker_of(name: str, least: int, average: int, most: int) -> Zeros:
        assert name == "zeros"
        return Zeros(least, average, most)

    monkeypatch.setattr(manifests, "chunker_of", chunker_of)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "data.bin"
    made.write_bytes(DATA)
    return made


def make(path: Path, **rest: object) -> Manifest:
    return make_manifest(path, cutting=CUTTING, **rest)


def names(path: Path) -> list[str]:
    return sorted(os.listdir(path.parent))


def test_the_manifest_is_of_the_file(path: Path) -> None:
    made = make(path)
    out = path.with_name("data.bin.rdlm")
    assert open_manifest(out) == made
    assert (made.name, made.sha256, made.length) == (
        "data.bin",
        sha256(DATA).hexdigest(),
        out.stat().st_size,
    )
    assert [*made.coarse.stops] == Zeros(256, 512, 2000).cuts(memoryview(DATA), final=True)
    span = fine_range(made, 0, len(made.coarse))
    fine = parse_fine(made, 0, len(made.coarse), out.read_bytes()[span.start : span.stop])
    wanted = []
    for number in range(len(made.coarse)):
        chunk = made.coarse.chunk(number)
        data = DATA[chunk.start : chunk.stop]
        assert made.coarse.digest(number) == sha256(data).digest()[:16]
        cuts = Zeros(64, 100, 400).cuts(memoryview(data), final=True)
        wanted += [chunk.start + cut for cut in cuts]
    assert [*fine.stops] == wanted
    for number in range(len(fine)):
        chunk = fine.chunk(number)
        assert fine.digest(number) == sha256(DATA[chunk.start : chunk.stop]).digest()[:16]
    assert names(path) == ["data.bin", "data.bin.rdlm"]


@pytest.mark.parametrize("window", [1, 2000, 4001, 1 << 20])
def test_it_does_not_depend_on_how_it_is_read(
    path: Path, monkeypatch: pytest.MonkeyPatch, window: int
) -> None:
    make(path)
    monkeypatch.setattr(manifests, "WINDOW", window)
    monkeypatch.setattr(manifests, "STEP", 777)
    make(path, out=path.with_name("other"))
    assert path.with_name("other").read_bytes() == path.with_name("data.bin.rdlm").read_bytes()


def test_a_file_without_bytes(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    assert (make(path).total, len(make(path).coarse)) == (0, 0)
    assert verdict(path, make(path)).reason == "verified"


def test_it_takes_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifests, "WINDOW", 1 << 16)
    monkeypatch.setattr(manifests, "STEP", 1 << 16)

    class Fixed(Zeros):
        def __init__(self, _name: str, least: int, average: int, most: int) -> None:
            self.most = most

        def cuts(self, data: memoryview, *, final: bool) -> list[int]:
            cuts = [*range(self.most, len(data) + 1, self.most)]
            return [*cuts, len(data)] if final and len(data) % self.most else cuts

    monkeypatch.setattr(manifests, "chunker_of", Fixed)
    path = tmp_path / "f"
    with path.open("wb") as file:
        file.truncate(8 << 20)
    cutting = Cutting("fixed", Sizes(64, 4096, 8192), Sizes(64, 64, 512))
    tracemalloc.start()
    try:
        made = make_manifest(path, cutting=cutting)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (len(made.coarse), made.fine_count) == (1024, 16_384)
    assert peak < 1 << 20


def test_how_far_it_is_is_told(path: Path) -> None:
    facts: list[Fact] = []
    make(path, tell=facts.append)
    assert facts[-1] == Verifying(str(path), len(DATA), len(DATA))


def during(path: Path, act: Callable[[], object], stop: Stop | None = None) -> RdlError:
    """What it ends with when this is done as soon as something was read."""

    def tell(_fact: Fact) -> None:
        act()

    with pytest.raises(RdlError) as caught:
        make(path, tell=tell, stop=stop)
    return caught.value


def test_a_file_that_changes_meanwhile(path: Path) -> None:
    def grow() -> None:
        with path.open("ab") as file:
            file.write(b"more")

    def shrink() -> None:
        os.truncate(path, 5)

    def replace_it() -> None:
        new = path.with_name("new")
        new.write_bytes(DATA)
        new.replace(path)

    old = path.with_name("data.bin.rdlm")
    old.write_bytes(b"old")
    for act in (grow, replace_it, shrink):
        assert isinstance(during(path, act), FileChanged)
        path.write_bytes(DATA)
    assert old.read_bytes() == b"old"
    assert names(path) == ["data.bin", "data.bin.rdlm"]


def test_a_signal_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifests, "STEP", 1000)
    stop = Stop()
    error = during(path, lambda: stop.set("SIGTERM"), stop)
    assert isinstance(error, Interrupted)
    assert names(path) == ["data.bin"]


def test_what_is_not_there_or_not_complete(tmp_path: Path) -> None:
    with pytest.raises(LocalFileError, match="no such file"):
        make(tmp_path / "none")
    assert names(tmp_path / "none") == []
    store = partial(tmp_path / "a.iso", (0, MiB))
    store.close()
    before = names(tmp_path / "none")
    with pytest.raises(LocalFileError, match="incomplete: bytes 1048576-"):
        make(tmp_path / "a.iso.part")
    assert names(tmp_path / "none") == before


def test_a_part_is_no_match_for_the_manifest_of_the_whole(path: Path) -> None:
    made = make(path)
    partial(path, (MiB, 2 * MiB), span=ByteRange(MiB, 2 * MiB)).close()
    found = verdict(path.with_name("data.bin.part"), made)
    assert (found.exit_code, found.wrong) == (3, ())
    assert "incomplete: bytes 0-1048575 are not here" in found.error


@pytest.mark.parametrize("kind", ["folder", "link", "pipe"])
def test_what_must_not_be_replaced(path: Path, kind: str) -> None:
    out = path.with_name("out")
    acts: dict[str, Callable[[], object]] = {
        "folder": out.mkdir,
        "link": lambda: out.symlink_to("data.bin"),
        "pipe": lambda: os.mkfifo(out),
    }
    acts[kind]()
    mode = out.lstat().st_mode
    with pytest.raises((LocalFileError, UsageError)):
        make(path, out=out)
    assert (path.read_bytes(), out.lstat().st_mode) == (DATA, mode)
    assert names(path) == ["data.bin", "out"]


def test_where_it_cannot_be_written(path: Path) -> None:
    with pytest.raises(UsageError, match="take the place of the file"):
        make(path, out=path.parent / ".." / path.parent.name / "data.bin")
    with pytest.raises(LocalFileError, match="none"):
        make(path, out=path.with_name("none") / "m")
    assert names(path) == ["data.bin"]


# How files are cut


@pytest.mark.parametrize(
    ("total", "coarse", "fine"),
    [
        (0, 16 << 10, 512),
        (1 << 30, 16 << 10, 512),
        ((1 << 30) + 1, 32 << 10, 1 << 10),
        (100 << 30, 128 << 10, 2 << 10),
        (4 << 40, 4 << 20, 8 << 10),
    ],
)
def test_larger_files_have_larger_chunks(total: int, coarse: int, fine: int) -> None:
    found = sizes_for(total)
    assert found.chunker == "fastcdc"
    assert found.coarse == Sizes(coarse // 4, coarse, coarse * 4)
    assert found.fine == Sizes(fine // 4, fine, fine * 4)


def test_no_file_has_too_many_chunks() -> None:
    for total, _, _ in AVERAGES:
        assert total // sizes_for(total).coarse.least <= MAX_COARSE
    with pytest.raises(PolicyError, match=r"a file of 4\.0 TiB; at most 4\.0 TiB are cut"):
        sizes_for((4 << 40) + 1)


# Reading one


class Memory:
    """A carrier, and how many bytes were read of it."""

    def __init__(self, data: bytes, claim: int | None = None) -> None:
        self.data, self.claim, self.read = data, claim, 0

    def size(self) -> int:
        return len(self.data) if self.claim is None else self.claim

    def read_at(self, offset: int, size: int) -> bytes:
        found = self.data[offset : offset + size]
        self.read += len(found)
        return found


def test_only_the_first_level_is_read(path: Path) -> None:
    made = make(path)
    carrier = Memory(path.with_name("data.bin.rdlm").read_bytes())
    assert read_manifest(carrier, "m") == made
    assert carrier.read == HEAD_BYTES + made.fine_at < made.length / 2


def test_a_digest_of_the_manifest_itself(path: Path) -> None:
    made = make(path)
    out = path.with_name("data.bin.rdlm")
    data = out.read_bytes()
    right = Digest("sha256", sha256(data).hexdigest())
    assert open_manifest(out, [right]) == made
    out.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert open_manifest(out) == made, "nothing of the first level changed"
    with pytest.raises(DigestMismatch, match=f"data.bin.rdlm: sha256 is .*, expected {right.hex}"):
        open_manifest(out, [right])


@pytest.mark.parametrize(
    ("carrier", "why"),
    [
        (Memory(b""), "m: not a manifest of rdl"),
        (Memory(b"<!doctype html>" * 10), "m: not a manifest of rdl"),
        (Memory(b"RDLMANIF", 1 << 50), "m: it ends within its head"),
    ],
)
def test_what_is_no_manifest_is_named(carrier: Memory, why: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        read_manifest(carrier, "m")
    assert str(caught.value) == why


def test_a_carrier_that_is_shorter_than_it_says(path: Path) -> None:
    made = make(path)
    data = path.with_name("data.bin.rdlm").read_bytes()
    carrier = Memory(data[: made.fine_at - 1], made.length)
    with pytest.raises(ProtocolError, match="m: it ends within its first level"):
        read_manifest(carrier, "m")


def test_an_error_of_the_carrier_is_its_own() -> None:
    class Broken(Memory):
        def read_at(self, offset: int, size: int) -> bytes:
            raise ProtocolError("HTTP", "a lie")

    with pytest.raises(ProtocolError, match="HTTP: a lie"):
        read_manifest(Broken(b""), "m")


# A file against its manifest


def verdict(path: Path, manifest: Manifest) -> Verification:
    (found,) = Verifier().run([Check(path, manifest=manifest)])
    return found


def test_a_file_that_is_as_its_manifest_says(path: Path) -> None:
    found = verdict(path, make(path))
    assert (found.exit_code, found.wrong, found.verified_by) == (0, (), ("sha256",))
    assert (found.bytes_total, found.bytes_hashed) == (len(DATA), len(DATA))


def test_where_a_file_is_not(path: Path) -> None:
    made = make(path)
    coarse = made.coarse
    changed = bytearray(DATA)
    for number in (2, 3, 7):
        changed[coarse.stops[number] - 1] ^= 1
    path.write_bytes(changed)
    found = verdict(path, made)
    wrong = (ByteRange(coarse.stops[1], coarse.stops[3]), coarse.chunk(7))
    assert (found.exit_code, found.reason, found.wrong) == (10, "digest-mismatch", wrong)
    places = ", ".join(f"{one.start}-{one.stop - 1}" for one in wrong)
    assert found.error.endswith(f"; wrong are bytes {places}")


@pytest.mark.parametrize("size", [0, 1, 1000, len(DATA) - 1, len(DATA) + 1, len(DATA) * 2])
def test_a_file_of_another_length(path: Path, size: int) -> None:
    made = make(path)
    path.write_bytes((DATA * 2)[:size])
    found = verdict(path, made)
    inside = [0, *(stop for stop in made.coarse.stops if stop <= size)]
    assert found.wrong == (ByteRange(inside[-1], max(size, len(DATA))),)
    assert found.digests == {"sha256": sha256((DATA * 2)[:size]).hexdigest()}
    assert found.exit_code == 10


def test_many_wrong_places_are_one_line(path: Path) -> None:
    made = make(path)
    changed = bytearray(DATA)
    for number in range(0, 12, 2):
        changed[made.coarse.stops[number] - 1] ^= 1
    path.write_bytes(changed)
    found = verdict(path, made)
    assert len(found.wrong) == 6
    assert found.error.endswith(" and 2 more ranges")


def test_chunks_that_are_right_do_not_make_the_file_right(path: Path) -> None:
    """A manifest whose digest of the whole is of something else."""
    made = make(path)
    found = verdict(path, replace(made, sha256="0" * 64))
    assert (found.exit_code, found.wrong) == (10, ())
    lie = replace(made.coarse, digests=bytes(len(made.coarse.digests)))
    found = verdict(path, replace(made, coarse=lie))
    assert (found.exit_code, found.wrong) == (10, (ByteRange(0, len(DATA)),))
    assert found.verified_by == ("sha256",)
