"""`rdl` in this process, with the stand-in for the engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from rdl.cli.commands import get
from rdl.cli.main import main
from rdl.options import SessionOptions
from tests.cli.stand_in import StandIn
from tests.support import json_schema


class Answer(NamedTuple):
    """How a command line ended, and what its session was asked (None: no session)."""

    code: int
    out: str
    err: str
    session: StandIn | None


Rdl = Callable[..., Answer]


@pytest.fixture
def rdl(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Rdl:
    """Run a command line in an empty directory; all JSON that it prints conforms."""
    sessions: list[StandIn] = []

    def open_session(options: SessionOptions) -> StandIn:
        sessions.append(StandIn(options))
        return sessions[-1]

    def run(*arguments: str) -> Answer:
        sessions.clear()
        code = main(arguments)
        out, err = capsys.readouterr()
        list(json_schema.among(out + err))
        return Answer(code, out, err, sessions[0] if sessions else None)

    monkeypatch.setattr(get, "open_session", open_session)
    monkeypatch.chdir(tmp_path)
    return run
