"""Repr-Digest of files of a folder: of this version, read once, and never of another one."""

from __future__ import annotations

import hashlib
import os
import threading
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from rdl.core.byterange import ByteRange
from rdl.core.representation import TICK
from rdl.server import digesting
from rdl.server.digesting import FileDigests
from rdl.server.folder import Folder
from rdl.server.version import Version
from tests.server.conftest import Start
from tests.server.wire import ask, request
from tests.support.waiting import until


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "data.bin"
    write(path, b"x" * 3000)
    return path


def write(path: Path, data: bytes) -> None:
    """And wait until it is old enough to be told from another version."""
    path.write_bytes(data)
    with path.open("rb") as file:
        assert until(lambda: not Version.of(file.fileno()).is_young)


@pytest.fixture
def folder(file: Path) -> Iterator[Folder]:
    site = Folder(file.parent)
    yield site
    site.close()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Descriptors that were read through."""
    found: list[int] = []
    digest = FileDigests._digest

    def counted(self: FileDigests, file: int) -> bytes | None:
        found.append(file)
        return digest(self, file)

    monkeypatch.setattr(FileDigests, "_digest", counted)
    return found


def said(site: Folder, size: int = 3000) -> bytes | None:
    """What the head says; and so many bytes are asked for."""
    reading = site.find("/data.bin")
    facts = reading.facts
    assert facts is not None
    reading.demand(ByteRange(0, size))
    reading.close()
    return facts.sha256


def test_a_digest_is_known_when_the_whole_was_asked_for(
    folder: Folder, file: Path, reads: list[int]
) -> None:
    assert said(folder, 2999) is None
    assert said(folder) is None
    right = hashlib.sha256(file.read_bytes()).digest()
    assert until(lambda: said(folder, 1) == right)
    for _ in range(3):
        assert said(folder) == right
    assert len(reads) == 1


def test_a_version_has_its_own_digest(folder: Folder, file: Path) -> None:
    said(folder)
    assert until(lambda: said(folder) is not None)
    old = file.stat()
    write(file, b"y" * 3000)
    os.utime(file, ns=(old.st_atime_ns, old.st_mtime_ns))  # as who hides a change
    assert said(folder) in (None, hashlib.sha256(b"y" * 3000).digest())
    assert until(lambda: said(folder) == hashlib.sha256(b"y" * 3000).digest())


def test_what_changes_while_it_is_read_has_none(
    folder: Folder, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = FileDigests._digest

    def late(self: FileDigests, descriptor: int) -> bytes | None:
        found = digest(self, descriptor)
        file.write_bytes(b"z" * 3000)
        return found

    monkeypatch.setattr(FileDigests, "_digest", late)
    said(folder)
    assert until(lambda: not folder._notes.digests._waiting)
    assert folder._notes.digests._known == {}


def test_what_is_young_is_not_read(
    folder: Folder, file: Path, reads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    at = file.stat().st_ctime
    monkeypatch.setattr("rdl.server.version.time.time", lambda: at + TICK / 2)
    said(folder)
    assert not folder._notes.digests._waiting
    monkeypatch.setattr("rdl.server.version.time.time", lambda: at + TICK * 2)
    said(folder)
    assert until(lambda: len(reads) == 1)


def test_the_end_does_not_wait_for_long_files(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, site = threading.Event(), Folder(file.parent)
    monkeypatch.setattr(digesting, "STEP", 1)
    digest = FileDigests._digest

    def slow(self: FileDigests, descriptor: int) -> bytes | None:
        begun.set()
        assert until(lambda: self._over)
        return digest(self, descriptor)

    monkeypatch.setattr(FileDigests, "_digest", slow)
    before = len(os.listdir("/proc/self/fd"))
    write(file.with_name("other"), b"o")
    for path in ("/data.bin", "/other"):
        reading = site.find(path)
        assert reading.facts is not None
        reading.demand(ByteRange(0, reading.facts.size))
        reading.close()
    assert begun.wait(5)
    site.close()
    assert len(os.listdir("/proc/self/fd")) == before - 1
    assert site._notes.digests._known == {}


def test_the_field(start: Start, file: Path) -> None:
    running = start(file.parent)
    field = f"Repr-Digest: sha-256=:{b64encode(hashlib.sha256(b'x' * 3000).digest()).decode()}:"
    whole = request(running.port, "/data.bin", "Connection: close")
    part = request(running.port, "/data.bin", "Connection: close", "Range: bytes=5-9")
    assert field.encode() not in ask(running.port, part)
    assert until(lambda: field.encode() in ask(running.port, whole))
    assert field.encode() in ask(running.port, part)
