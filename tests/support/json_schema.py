"""Holds every object that rdl prints as JSON to docs/json-events.schema.json.

The schema allows readers further fields; here a field that it does not name is an error.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

Object = dict[str, Any]
SCHEMA: Object = json.loads(
    (Path(__file__).parents[2] / "docs" / "json-events.schema.json").read_text()
)

DEFINITIONS: Object = SCHEMA["$defs"]
KINDS = {name for name, one in DEFINITIONS.items() if "properties" in one}
"""The kinds of objects; the other definitions are parts of them."""


def strict() -> Object:
    """The schema, allowing no field that it does not name."""
    closed = {name: DEFINITIONS[name] | {"additionalProperties": False} for name in KINDS}
    return SCHEMA | {"$defs": DEFINITIONS | closed}


_VALIDATOR = Draft202012Validator(strict())


def faults(value: object) -> list[str]:
    """Where and why a value is no object that rdl may print; empty when it is one."""
    return sorted(f"{one.json_path}: {one.message}" for one in _VALIDATOR.iter_errors(value))


def check(value: Object) -> Object:
    """The object itself. AssertionError unless it conforms."""
    assert not faults(value), f"{faults(value)} in {value}"
    return value


@lru_cache(4096)
def _check_line(line: str) -> None:
    assert line.startswith("{"), f"no object: {line}"
    assert line.isascii(), ascii(line)
    assert line.isprintable(), ascii(line)
    check(json.loads(line))


def parse(line: str) -> Object:
    """The object in a line. AssertionError unless it conforms and the line is clean ASCII."""
    line = line.removesuffix("\n")
    _check_line(line)
    found: Object = json.loads(line)
    return found


def parse_all(text: str) -> list[Object]:
    """The objects of several lines, of which each must be one."""
    return [parse(line) for line in text.split("\n") if line]


def among(text: str) -> Iterator[Object]:
    """Those lines that are objects of rdl, between whatever else was printed."""
    return (parse(line) for line in text.split("\n") if line.startswith('{"schema": '))


def kind_of(value: Object) -> str:
    """The name of its definition."""
    event = str(value["event"])
    if event in ("done", "error"):
        return "verdict" if "expected" in value else "result"
    return event


def types_of(field: Object) -> set[str]:
    """The types that a field's schema allows, as far as it names any."""
    if "$ref" in field:
        return types_of(DEFINITIONS[field["$ref"].rpartition("/")[2]])
    if "anyOf" in field:
        return set().union(*map(types_of, field["anyOf"]))
    types = field.get("type", ())
    return {types} if isinstance(types, str) else set(types)
