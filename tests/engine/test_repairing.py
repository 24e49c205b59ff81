"""Repaired copies: what is kept by which evidence, what is fetched, and what never happens."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import rdl
from rdl.errors import (
    ChangedError,
    DigestMismatch,
    HTTPStatusError,
    LocalFileError,
    TargetExists,
    UsageError,
)
from rdl.options import NetworkOptions, Options, RangeSpec, TransferOptions
from tests.scenarios.coded import KiB, MiB, Origin, coded

QUICK = Options(
    network=NetworkOptions(netrc=False, proxy=""),
    transfer=TransferOptions(retry=1, connections=2, min_split=256 * KiB),
)
SIZE = 4 * MiB


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@pytest.fixture
def origin() -> Iterator[Origin]:
    server = Origin(size=SIZE, salt=1)
    yield server
    server.close()


@pytest.fixture
def path(origin: Origin, tmp_path: Path) -> Path:
    """A file that is right."""
    (tmp_path / "f").write_bytes(origin.content)
    return tmp_path / "f"


def damage(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def mended(path: Path, origin: Origin) -> bool:
    return path.read_bytes() == origin.content and os.listdir(path.parent) == [path.name]


def test_a_right_file_costs_no_request(origin: Origin, path: Path) -> None:
    inode = path.stat().st_ino
    for part in (None, (0, MiB)):
        digest = sha256(origin.content if part is None else origin.content[:MiB])
        found = rdl.repair(path, origin.url, digest, range=part, options=QUICK)
        assert (found.reason, found.exit_code) == ("unchanged", 0)
    assert origin.log == []
    assert path.stat().st_ino == inode


def test_a_range_is_fetched_alone(origin: Origin, path: Path) -> None:
    damage(path, MiB + 5, b"x")
    right = sha256(origin.content[MiB : 2 * MiB])
    found = rdl.repair(path, origin.url, right, range=(MiB, 2 * MiB), options=QUICK)
    assert (found.bytes_downloaded, found.bytes_reused) == (MiB, SIZE - MiB)
    assert found.verified_by == ("sha256 of bytes 1048576-2097151",)
    asked = [request.fields["range"] for request in origin.log]
    assert asked[:2] == ["bytes=0-0", "bytes=1048576-2097151"]
    assert mended(path, origin)


def test_a_suffix_is_a_range_as_well(origin: Origin, path: Path) -> None:
    damage(path, SIZE - 1, b"x")
    suffix = RangeSpec(suffix=1000)
    rdl.repair(path, origin.url, sha256(origin.content[-1000:]), range=suffix, options=QUICK)
    assert mended(path, origin)


def test_what_the_remote_has_not_either_changes_nothing(origin: Origin, path: Path) -> None:
    damage(path, MiB, b"x")
    before = path.read_bytes()
    for part in (None, (MiB, 2 * MiB)):
        with pytest.raises(DigestMismatch):
            rdl.repair(path, origin.url, sha256(b"others"), range=part, options=QUICK)
        assert path.read_bytes() == before
    assert set(os.listdir(path.parent)) <= {"f", "f.part.bad"}


def test_a_range_of_a_file_of_another_length_is_no_evidence(origin: Origin, path: Path) -> None:
    damage(path, 0, b"x")
    origin.size += 1
    with pytest.raises(ChangedError, match="has 4194304 bytes, and the remote file 4194305"):
        rdl.repair(path, origin.url, sha256(coded(0, 9, 1)), range=(0, 9), options=QUICK)


def test_a_partial_beside_it_is_not_taken_over_for_a_range(origin: Origin, path: Path) -> None:
    damage(path, 0, b"x")
    path.with_name("f.part").write_bytes(b"somebody's")
    with pytest.raises(LocalFileError, match="a partial stands beside it"):
        rdl.repair(path, origin.url, sha256(coded(0, 9, 1)), range=(0, 9), options=QUICK)
    assert path.with_name("f.part").read_bytes() == b"somebody's"
    path.with_name("f.part").unlink()
    origin.log.clear()
    rdl.repair(path, origin.url, sha256(coded(0, 9, 1)), range=(0, 9), options=QUICK)
    assert mended(path, origin)
    assert origin.sent <= 1, "what was fetched by the first run is used by the second"


@pytest.mark.parametrize("holes", [[(MiB, 4 * KiB)], [(0, 4 * KiB), (3 * MiB, 300 * KiB)]])
def test_pages_of_zeros_are_fetched(
    origin: Origin, path: Path, holes: list[tuple[int, int]]
) -> None:
    for at, size in holes:
        damage(path, at, bytes(size))
    found = rdl.repair(path, origin.url, sha256(origin.content), options=QUICK)
    assert found.trust == "T4"
    assert found.bytes_downloaded <= sum(size for _, size in holes) + 64 * KiB
    assert mended(path, origin)


@pytest.mark.parametrize("kept", [MiB, SIZE - 1])
def test_a_file_that_was_cut_gets_its_end(origin: Origin, path: Path, kept: int) -> None:
    os.truncate(path, kept)
    found = rdl.repair(path, origin.url, sha256(origin.content), options=QUICK)
    assert found.bytes_downloaded <= SIZE - kept + 64 * KiB
    assert mended(path, origin)


def test_a_file_that_is_too_long_loses_its_end(origin: Origin, path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more" * 100_000)
    found = rdl.repair(path, origin.url, sha256(origin.content), options=QUICK)
    assert found.bytes_downloaded <= 64 * KiB
    assert mended(path, origin)


def test_without_evidence_all_is_fetched(origin: Origin, path: Path) -> None:
    damage(path, MiB + 77, b"x")
    found = rdl.repair(path, origin.url, sha256(origin.content), options=QUICK)
    assert found.bytes_downloaded >= SIZE
    assert mended(path, origin)


def test_an_empty_file_and_one_of_zeros_are_fetched(origin: Origin, path: Path) -> None:
    for data in (b"", bytes(SIZE)):
        path.write_bytes(data)
        rdl.repair(path, origin.url, sha256(origin.content), options=QUICK)
        assert mended(path, origin)


def test_a_server_that_fails_leaves_the_file(origin: Origin, path: Path) -> None:
    damage(path, MiB, b"x")
    before = path.read_bytes()
    origin.always = 404
    for part in (None, (MiB, 2 * MiB)):
        with pytest.raises(HTTPStatusError):
            rdl.repair(path, origin.url, sha256(b"others"), range=part, options=QUICK)
        assert path.read_bytes() == before


def test_a_file_that_is_written_meanwhile_is_left(
    origin: Origin, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(path, 0, b"x")
    from rdl import repairing

    real = repairing._write

    def write(*arguments: object) -> None:
        real(*arguments)
        path.write_bytes(b"mine now")

    monkeypatch.setattr(repairing, "_write", write)
    with pytest.raises(TargetExists):
        rdl.repair(path, origin.url, sha256(coded(0, 9, 1)), range=(0, 9), options=QUICK)
    assert path.read_bytes() == b"mine now"
    assert "f.part" not in os.listdir(path.parent)


def test_a_part_file_is_not_named(origin: Origin, path: Path) -> None:
    with pytest.raises(UsageError):
        rdl.repair(path.with_name("f.part"), origin.url, sha256(b""), options=QUICK)
