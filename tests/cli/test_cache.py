"""`rdl cache`: what the caches hold, and to clear them; `sync --cache-size`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from array import array
from hashlib import sha256
from pathlib import Path

import pytest

from rdl.core.chunks import Chunks
from rdl.storage.local_file import LocalFile
from rdl.storage.packs import Packs, default_folder
from tests.cli.conftest import Rdl


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "rdl" / "chunks"


def fill(folder: Path, most: int = 1 << 20) -> None:
    """One pack of one chunk."""
    path = folder.with_name("file")
    folder.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(5000))
    chunks = Chunks("sha256", 32, array("Q", [5000]), sha256(bytes(5000)).digest())
    with Packs(folder, most) as packs, LocalFile(path) as file:
        packs.add(file, chunks, [0])


def test_where_the_cache_is(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_folder() == own
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert default_folder() == Path.home() / ".cache" / "rdl" / "chunks"


def test_none_yet(rdl: Rdl, own: Path) -> None:
    answer = rdl("cache")
    assert (answer.code, answer.out) == (0, "")
    assert "no cache yet" in answer.err
    said = json.loads(rdl("cache", "--json").out)
    assert (said["path"], said["entries"], said["bytes_capacity"]) == (str(own), 0, None)
    assert rdl("cache", "clear").code == 0
    assert not own.exists()


def test_row_57_used_locked_capacity_and_clear(rdl: Rdl, own: Path) -> None:
    fill(own)
    text = rdl("cache").out
    assert "chunks: 1 pack\n" in text
    assert "8.0 KiB" in text
    with Packs(own) as packs:
        assert packs.pin(packs.packs()[0])
        said = json.loads(rdl("cache", "--json").out)
        assert said == {
            "schema": 1,
            "event": "cache",
            "path": str(own),
            "kind": "chunks",
            "entries": 1,
            "bytes_used": 8192,
            "bytes_locked": 8192,
            "bytes_capacity": 1 << 20,
        }
        assert json.loads(rdl("cache", "clear", "--json").out)["entries"] == 1
    answer = rdl("cache", "clear")
    assert (answer.code, answer.out) == (0, "")
    assert "8.0 KiB freed" in answer.err
    assert json.loads(rdl("cache", "--json").out)["bytes_used"] == 0


def test_that_of_a_server(rdl: Rdl, tmp_path: Path) -> None:
    cache = tmp_path / "served"
    cache.mkdir(mode=0o700)
    for name in (f"{'b' * 40}.part", f"{'b' * 40}.part.index", "notes", "c" * 40):
        (cache / name).write_bytes(bytes(4096))
    (tmp_path / "file").write_bytes(bytes(4096))
    assert rdl("get", (tmp_path / "file").as_uri(), "-o", str(cache / ("a" * 40))).code == 0
    from rdl.storage.platform import PosixDisk

    file = os.open(cache / f"{'b' * 40}.part", os.O_RDWR)
    try:
        assert PosixDisk().lock(file)
        said = json.loads(rdl("cache", "clear", "--cache", str(cache), "--json").out)
    finally:
        os.close(file)
    assert (said["kind"], said["entries"]) == ("files", 2)
    assert 0 < said["bytes_locked"] < said["bytes_used"]
    assert not (cache / ("a" * 40)).exists()
    assert rdl("cache", "clear", "--cache", str(cache)).code == 0
    assert {one.name for one in cache.iterdir()} == {"notes", "c" * 40}, "others name files so too"


@pytest.mark.parametrize("words", [(), ("clear",), ("--json",)])
def test_a_folder_of_other_files_is_no_cache(
    rdl: Rdl, tmp_path: Path, words: tuple[str, ...]
) -> None:
    (tmp_path / "notes").write_bytes(b"the user's")
    answer = rdl("cache", *words, "--cache", str(tmp_path))
    assert (answer.code, answer.out) == (3, "")
    assert answer.err == f"rdl: {tmp_path}: holds other files, and is no cache\n"


def test_an_empty_folder_holds_nothing(rdl: Rdl, tmp_path: Path) -> None:
    assert "chunks: 0 packs\n" in rdl("cache", "--cache", str(tmp_path)).out


def test_a_folder_that_is_not_there(rdl: Rdl, tmp_path: Path) -> None:
    answer = rdl("cache", "--cache", str(tmp_path / "none"))
    assert (answer.code, answer.out) == (3, "")
    assert "No such file" in answer.err


@pytest.mark.parametrize(
    "words",
    [
        ("cache", "show"),
        ("cache", "clear", "clear"),
        ("cache", "--cache"),
        ("sync", "http://h/f", "--cache", "here"),
        ("sync", "http://h/f", "--cache-size", "much"),
    ],
)
def test_usage(rdl: Rdl, words: tuple[str, ...]) -> None:
    assert rdl(*words).code == 2


def test_an_output_that_is_full(tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "rdl", "cache", "--cache", str(tmp_path)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode == 3
    assert "stdout" in ended.stderr
