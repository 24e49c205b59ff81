"""Every row of the protocol traps in each of its modes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.traps.harness import Row, play
from tests.traps.rows_bodies import ROWS as BODIES
from tests.traps.rows_changes import ROWS as CHANGES
from tests.traps.rows_heads import ROWS as HEADS
from tests.traps.rows_identity import ROWS as IDENTITY
from tests.traps.rows_ranges import ROWS as RANGES
from tests.traps.rows_stalls import ROWS as STALLS
from tests.traps.rows_statuses import ROWS as STATUSES
from tests.traps.rows_waits import ROWS as WAITS

ROWS = [*RANGES, *IDENTITY, *CHANGES, *BODIES, *STATUSES, *STALLS, *WAITS, *HEADS]
CASES = [(row, mode) for row in ROWS for mode in row.modes]


@pytest.mark.parametrize(("row", "mode"), CASES, ids=[f"{row.name}-{mode}" for row, mode in CASES])
def test_row(row: Row, mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played = play(row, mode, tmp_path, monkeypatch)
    assert played.requests, "the trap was not met"
    assert played.result.exit_code in row.right(mode)


def test_names_are_unique() -> None:
    names = [row.name for row in ROWS]
    assert len(names) == len(set(names))
