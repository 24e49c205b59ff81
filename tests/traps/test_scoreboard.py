"""rdl's column of the scoreboard: the right file, or an error and no file, in every row."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scoreboard.play import BAD, HANG, NONE, OK, SAFE, Outcome, play
from scoreboard.rows import ROWS, Row, honest
from scoreboard.scoreboard import cell, table
from scoreboard.tools import NAME, RDL, Tool

SIZE = 2 << 20
ENDS = {"page": {SAFE}, "portal": {SAFE}, "no-length": {SAFE}, "other-total": {OK, SAFE}}
"""All other rows end with the right file."""


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_rdl_keeps_no_wrong_file(row: Row) -> None:
    outcome = play(row, RDL, SIZE)
    assert outcome.is_good, outcome
    assert outcome.verdict in ENDS.get(row.name, {OK}), outcome
    assert outcome.left == (outcome.verdict == OK), "a file under the final name after an error"
    if row.shows == "requests":
        assert outcome.requests <= 16, outcome


def writes(code: str) -> Tool:
    """A stand-in that runs Python; it has the URL as `url` and the name as `name`."""
    start = "import sys, urllib.request; url, name = sys.argv[1:];"
    return replace(RDL, build=lambda url, split: [RDL.program, "-c", start + code, url, NAME])


@pytest.mark.parametrize(
    ("code", "verdict", "percent"),
    [
        ("open(name, 'wb').write(urllib.request.urlopen(url).read())", OK, 100),
        ("open(name, 'wb').write(urllib.request.urlopen(url).read()[:1048576])", BAD, 50),
        ("open(name, 'wb').write(urllib.request.urlopen(url).read() + b'x')", BAD, 99),
        ("pass", BAD, 0),
        ("sys.exit(3)", SAFE, 0),
    ],
)
def test_the_scoreboard_sees_what_is_wrong(code: str, verdict: str, percent: int) -> None:
    outcome = play(Row("honest", "", honest, pause=0.0), writes(code), SIZE)
    assert (outcome.verdict, outcome.percent) == (verdict, percent)
    assert len(outcome.exits) == (2 if verdict == SAFE else 1)


def test_a_run_without_end_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scoreboard.play.LIMIT", 0.3)
    outcome = play(Row("honest", "", honest), writes("import time; time.sleep(60)"), SIZE)
    assert (outcome.verdict, outcome.exits, outcome.is_good) == (HANG, (None, None), False)


def test_the_table_names_what_matters() -> None:
    row = Row("kill", "killed", honest, shows="again")
    shown = {
        "ok, 13 %": Outcome(OK, (0,), 100, 5, 13),
        "BAD 37 %": Outcome(BAD, (0,), 37),
        "safe": Outcome(SAFE, (7, 7)),
        "hang, then ok, 0 %": Outcome(OK, (None, 0), 100, hung=1),
        "hang": Outcome(HANG, (None, None), hung=2),
        "n/a": Outcome(NONE),
    }
    assert [cell(row, outcome) for outcome in shown.values()] == list(shown)
    assert cell(replace(row, shows="requests"), Outcome(OK, (8, 0), 100, 9)) == (
        "ok, 2nd run, 9 requests"
    )
    board = {("kill", RDL.name): Outcome(OK, (0,), 100, 5, 13)}
    assert table([row], [RDL], board).splitlines()[-1] == "| killed | ok, 13 % |"
