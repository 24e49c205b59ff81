"""fsspec's own tests of a file system, as far as one that only reads is concerned.

What their fixtures write is made in the served folder; what they read comes through rdl.
"""

from __future__ import annotations

import errno
import inspect
import shutil
from pathlib import Path
from typing import Any

import pytest
from fsspec.tests import abstract
from fsspec.tests.abstract import AbstractFixtures, AbstractGetTests

from rdl.doors.fsspec import RemoteFileSystem
from tests.support.folders import Folder

WRITING = {
    "AbstractCopyTests": "copies from the server to the server",
    "AbstractOpenTests": "opens to write, and to create exclusively",
    "AbstractPipeTests": "writes bytes to the server",
    "AbstractPutTests": "copies from here to the server",
}
"""Not applicable, and why: each of them writes to the server."""


class Filled(RemoteFileSystem):
    """As it is read; what the tests put there is written into the folder that is served."""

    cachable = False

    def __init__(self, folder: Folder) -> None:
        super().__init__()
        self._folder = folder

    def at(self, path: str) -> Path:
        return self._folder.root / path.removeprefix(self._folder.url).strip("/")

    def mkdir(self, path: str, *_: Any, **__: Any) -> None:
        self.at(path).mkdir(parents=True, exist_ok=True)

    makedirs = mkdir

    def touch(self, path: str, *_: Any, **__: Any) -> None:
        self.pipe(path, b"")

    def pipe(self, path: str, value: bytes) -> None:
        self.mkdir(self._parent(path))
        self.at(path).write_bytes(value)

    def rm(self, path: str, recursive: bool = False) -> None:
        shutil.rmtree(self.at(path))


class TestGet(AbstractFixtures, AbstractGetTests):
    @pytest.fixture
    def fs(self, folder: Folder) -> Filled:
        return Filled(folder)

    @pytest.fixture
    def fs_path(self, folder: Folder) -> str:
        (folder.root / "tests").mkdir()
        return f"{folder.url}/tests"

    @pytest.fixture
    def fs_join(self) -> Any:
        return lambda *parts: "/".join(parts)


def test_all_of_fsspecs_tests_are_run_or_write() -> None:
    known = {name for name in vars(abstract) if name.endswith("Tests")}
    assert known == {"AbstractGetTests"} | set(WRITING)
    for name in WRITING:
        source = inspect.getsource(getattr(abstract, name))
        assert any(word in source for word in ('"wb"', "fs.pipe", "fs.put", "fs.cp"))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("mkdir", ()),
        ("makedirs", ()),
        ("rmdir", ()),
        ("rm", ()),
        ("rm_file", ()),
        ("pipe", (b"x",)),
        ("pipe_file", (b"x",)),
        ("write_text", ("x",)),
        ("put", ("there",)),
        ("put_file", ("there",)),
        ("touch", ()),
        ("mv", ("there",)),
        ("cp_file", ("there",)),
        ("copy", ("there",)),
        ("open", ("wb",)),
        ("open", ("ab",)),
        ("open", ("xb",)),
    ],
)
def test_what_writes_is_refused(folder: Folder, name: str, arguments: tuple[Any, ...]) -> None:
    fs = RemoteFileSystem()
    with pytest.raises(OSError, match="rdl only reads") as raised:
        getattr(fs, name)(f"{folder.url}/x", *arguments)
    assert raised.value.errno == errno.EROFS
    assert folder.log == []
