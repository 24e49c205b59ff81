"""The program as forked processes, for rows that need its exit code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.traps.forks import Forks
from tests.traps.place import Place


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks() as program:
        yield program


@pytest.fixture
def place(forks: Forks, tmp_path: Path) -> Iterator[Place]:
    made = Place(forks, tmp_path)
    with made.origin:
        yield made
