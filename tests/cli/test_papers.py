"""docs/exit-codes.md and docs/json-events.md say what the program does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from msgspec import Struct

import rdl.api
from rdl.core import events
from rdl.errors import ExitCode, RdlError

DOCS = Path(__file__).parents[2] / "docs"
EXIT_CODES = (DOCS / "exit-codes.md").read_text()
JSON_EVENTS = (DOCS / "json-events.md").read_text()


def test_every_exit_code_is_in_the_table() -> None:
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", EXIT_CODES, re.M)] == list(ExitCode)


assert rdl.api.Session, "the import makes every kind of error known"


def kinds(root: type[RdlError]) -> list[type[RdlError]]:
    return [root, *(kind for child in root.__subclasses__() for kind in kinds(child))]


@pytest.mark.parametrize("kind", kinds(RdlError))
def test_the_word_of_every_error_is_beside_its_code(kind: type[RdlError]) -> None:
    (row,) = re.findall(rf"^\| {int(kind.exit_code)} \|.*", EXIT_CODES, re.M)
    assert f"`{kind.reason}`" in row


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ("plan", events.Planned),
        ("start", events.Started),
        ("progress", events.Progress),
        ("retry", events.Retrying),
        ("changed", events.Changed),
        ("verify", events.Verifying),
        ("done", events.Result),
    ],
)
def test_every_field_of_an_event_is_described(event: str, kind: type[Struct]) -> None:
    section = JSON_EVENTS.partition(f"\n## `{event}`")[2].partition("\n## ")[0]
    told = {name for row in re.findall(r"^\| (`.*?) \|", section, re.M) for name in row.split(", ")}
    fields = {f"`{field}`" for field in kind.__struct_fields__}
    assert told - {"`warnings`"} == fields
