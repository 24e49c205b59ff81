"""A folder for what comes, and failures that are soon tried again."""

from __future__ import annotations

from pathlib import Path

import pytest

from rdl.core import pace


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has failed is tried again sooner than by the program: after a twentieth of a second."""
    monkeypatch.setattr(pace, "BASE_DELAY", 0.05)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    path = tmp_path / "here"
    path.mkdir()
    return path
