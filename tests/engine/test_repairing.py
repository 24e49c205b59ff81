"""Repaired copies: what is kept by which evidence, what is fetched, and what never happens."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import rdl
import rdl.verification
from rdl.errors import (
    ChangedError,
    DigestMismatch,
    HTTPStatusError,
    LocalFileError,
    NetworkError,
    TargetExists,
    UsageError,
)
from rdl.options import NetworkOptions, Options, RangeSpec, TransferOptions
from rdl.repairing import repair_with
from tests.scenarios.coded import KiB, MiB, Origin, coded

QUICK = Options(
    network=NetworkOptions(netrc=False, proxy=""),
    transfer=TransferOptions(retry=1, connections=1),
)
SIZE = 4 * MiB


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin(size=SIZE, salt=1) as server:
        yield server


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
    assert asked[0] == "bytes=1048576-2097151"
    assert mended(path, origin)


def test_several_connections_repair_as_well(origin: Origin, path: Path) -> None:
    several = Options(QUICK.network, TransferOptions(connections=3, min_split=256 * KiB))
    damage(path, MiB, bytes(2 * MiB))
    rdl.repair(path, origin.url, sha256(origin.content), options=several)
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
    with pytest.raises(ChangedError, match="the remote file has 4194305 bytes, not 4194304"):
        rdl.repair(path, origin.url, sha256(coded(0, 9, 1)), range=(0, 9), options=QUICK)


BESIDE = ["f.part", "f.part.index", "f.0-8.repair", "f.0-8.repair.part.bad"]


@pytest.mark.parametrize("name", BESIDE)
def test_what_others_keep_beside_it_stays(origin: Origin, path: Path, name: str) -> None:
    damage(path, 0, b"x")
    path.with_name(name).write_bytes(b"somebody's")
    rdl.repair(path, origin.url, sha256(coded(0, 9, 1)), range=(0, 9), options=QUICK)
    assert path.read_bytes() == origin.content
    with pytest.raises(DigestMismatch):
        rdl.repair(path, origin.url, sha256(b"others"), range=(0, 9), options=QUICK)
    assert path.with_name(name).read_bytes() == b"somebody's"
    assert sorted(os.listdir(path.parent)) == ["f", name]


def test_a_whole_is_not_repaired_over_a_foreign_partial(origin: Origin, path: Path) -> None:
    damage(path, 0, b"x")
    path.with_name("f.part").write_bytes(b"somebody's")
    with pytest.raises(LocalFileError, match="no index says what it holds"):
        rdl.repair(path, origin.url, sha256(origin.content), options=QUICK)
    assert path.with_name("f.part").read_bytes() == b"somebody's"


def test_a_partial_that_was_begun_does_not_empty_the_copy(origin: Origin, path: Path) -> None:
    """An index of ours without its part file, beside a damaged file."""
    path.rename(path.with_name("kept"))
    origin.broken_at = 2 * MiB
    with pytest.raises(NetworkError):
        rdl.get(origin.url, path, options=QUICK)
    path.with_name("f.part").unlink()
    path.with_name("kept").rename(path)
    origin.broken_at = None
    damage(path, SIZE - 1, b"x")
    right = sha256(origin.content[3 * MiB :])
    rdl.repair(path, origin.url, right, range=(3 * MiB, None), options=QUICK)
    assert path.read_bytes() == origin.content


def test_the_mode_of_the_file_stays(origin: Origin, path: Path) -> None:
    for part in (None, (0, 9)):
        path.chmod(0o640)
        damage(path, 0, b"x")
        digest = sha256(origin.content if part is None else origin.content[:9])
        rdl.repair(path, origin.url, digest, range=part, options=QUICK)
        assert path.stat().st_mode & 0o777 == 0o640
        assert mended(path, origin)


def test_a_range_that_was_fetched_is_used_by_the_next_run(origin: Origin, path: Path) -> None:
    damage(path, 0, b"x")
    damage(path, 2 * MiB, b"x")
    first = rdl.verification.Check(
        path, (rdl.Digest("sha256", sha256(origin.content[:MiB])[7:]),), RangeSpec(0, MiB)
    )
    other = rdl.Digest("sha256", sha256(origin.content[2 * MiB :])[7:])
    second = rdl.verification.Check(path, (other,), RangeSpec(2 * MiB, None))
    origin.broken_at = 2 * MiB
    with rdl.Session() as session:
        with pytest.raises(NetworkError) as caught:
            repair_with(session, origin.url, [first, second], QUICK)
        assert ".rdl-" not in str(caught.value)
        origin.broken_at = None
        found = repair_with(session, origin.url, [first, second], QUICK)
    assert found.bytes_downloaded <= 2 * MiB
    assert mended(path, origin)


def test_a_failed_repair_of_the_whole_leaves_no_copy(origin: Origin, path: Path) -> None:
    damage(path, 0, b"x")
    origin.always = 404
    with pytest.raises(HTTPStatusError):
        rdl.repair(path, origin.url, sha256(origin.content), options=QUICK)
    assert os.listdir(path.parent) == ["f"]


def test_links_and_folders_are_not_repaired(origin: Origin, path: Path) -> None:
    path.with_name("link").symlink_to("f")
    path.with_name("folder").mkdir()
    for name in ("link", "folder"):
        for part in (None, (0, 9)):
            with pytest.raises(LocalFileError):
                rdl.repair(
                    path.with_name(name), origin.url, sha256(b"x"), range=part, options=QUICK
                )
    assert origin.log == []


HOLES = [[(MiB, 4 * KiB)], [(0, 4 * KiB), (3 * MiB, 300 * KiB)], [(MiB + 77, 30_000)]]


@pytest.mark.parametrize("holes", HOLES)
def test_pages_of_zeros_are_fetched(
    origin: Origin, path: Path, holes: list[tuple[int, int]]
) -> None:
    for at, size in holes:
        damage(path, at, bytes(size))
    found = rdl.repair(path, origin.url, sha256(origin.content), options=QUICK)
    assert found.trust == "T4"
    assert found.bytes_downloaded <= sum(size for _, size in holes) + 80 * KiB
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
