"""docs/json-events.md, its schema and the program name the same fields, words and codes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import rdl.api
import rdl.verification
from rdl.core.digest import HEX_DIGITS
from rdl.errors import ExitCode, RdlError
from tests.support.json_schema import DEFINITIONS, KINDS, types_of

DOCS = Path(__file__).parents[2] / "docs"
PAPER = (DOCS / "json-events.md").read_text()
SECTIONS = {
    "plan": "`plan`",
    "start": "`start`",
    "progress": "`progress`",
    "retry": "`retry`",
    "changed": "`changed`",
    "verify": "`verify`",
    "result": "`done` and `error`",
    "verdict": "`rdl verify`",
    "info": "`info`",
    "status": "`status`",
    "setting": "`setting`",
    "member": "`member`",
    "manifest": "`manifest`",
    "cache": "`cache`",
}
assert rdl.api.Session
assert rdl.verification.Verifier, "the imports make every kind of error known"


def rows(kind: str) -> dict[str, str]:
    """Each field of a section's table, and what stands beside it."""
    section = PAPER.partition(f"\n## {SECTIONS[kind]}")[2].partition("\n## ")[0]
    found: dict[str, str] = {}
    for names, about in re.findall(r"^\| (`.*?`) \| (.*) \|$", section, re.M):
        for name in re.findall(r"`(\w+)`", names):
            assert name not in found
            found[name] = about
    return found


@pytest.mark.parametrize("kind", SECTIONS)
def test_paper_and_schema_name_the_same_fields(kind: str) -> None:
    common = {"schema", "event"}
    assert DEFINITIONS[kind]["properties"].keys() == rows(kind).keys() | common
    assert set(DEFINITIONS[kind]["required"]) == rows(kind).keys() | common


@pytest.mark.parametrize("kind", SECTIONS)
def test_paper_and_schema_agree_on_null(kind: str) -> None:
    for name, about in rows(kind).items():
        told = rows("plan")[name] if "as in `plan`" in about else about
        allowed = "null" in types_of(DEFINITIONS[kind]["properties"][name])
        assert allowed == ("null" in told), (name, told)


def test_every_section_of_the_paper_has_its_definition() -> None:
    assert len(re.findall(r"^## `", PAPER, re.M)) == len(SECTIONS)
    assert SECTIONS.keys() == KINDS


def kinds(root: type[RdlError]) -> list[type[RdlError]]:
    return [root, *(kind for child in root.__subclasses__() for kind in kinds(child))]


def test_the_reasons_are_those_of_the_errors_and_of_the_paper() -> None:
    failures = set(DEFINITIONS["failure_reason"]["enum"])
    ours = {one.reason for one in kinds(RdlError) if one.__module__.startswith("rdl.")}
    assert failures == ours
    table = re.findall(r"^\| \d+ \| (.*?) \|", (DOCS / "exit-codes.md").read_text(), re.M)
    words = {word for row in table for word in re.findall(r"`([\w-]+)`", row)}
    successes = {*successful("result")["reason"]["enum"], successful("verdict")["reason"]["const"]}
    assert words == failures | successes | {"dry-run"}  # of which a plan is told, and no result


def successful(kind: str) -> dict[str, Any]:
    """What must hold of a `done`."""
    found: dict[str, Any] = DEFINITIONS[kind]["then"]["properties"]
    return found


def test_the_exit_codes_are_those_of_the_program() -> None:
    of_one = set(ExitCode) - {ExitCode.OK, ExitCode.SEVERAL}
    assert set(DEFINITIONS["failure_code"]["enum"]) == of_one


def test_the_algorithms_are_those_that_can_verify() -> None:
    assert set(DEFINITIONS["algorithm"]["enum"]) == HEX_DIGITS.keys()
