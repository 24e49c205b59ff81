"""A folder that is served, and one beside it for what comes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rdl.core import pace
from tests.support.folders import Folder, serving


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has failed is tried again sooner than by the program: after a twentieth of a second."""
    monkeypatch.setattr(pace, "BASE_DELAY", 0.05)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    root = tmp_path / "served"
    root.mkdir()
    with serving(root) as folder:
        yield folder


@pytest.fixture
def here(tmp_path: Path) -> Path:
    path = tmp_path / "here"
    path.mkdir()
    return path
