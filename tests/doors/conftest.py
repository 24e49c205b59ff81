"""A served folder, and nothing of the environment in between."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.folders import Folder, serving


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy, no login of whoever runs this."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("NETRC", "/dev/null")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    (tmp_path / "served").mkdir()
    with serving(tmp_path / "served") as served:
        yield served
