"""Facts and results as JSON objects, one a line; the fields are in docs/json-events.md.

Pure ASCII by the serializer, so nothing in a name can end a line or reach a terminal.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import asdict

from rdl.cli.streams import Messages
from rdl.core.events import (
    Changed,
    Fact,
    Planned,
    Progress,
    Result,
    Retrying,
    Started,
    Verifying,
    Warned,
)
from rdl.core.text import redact_text, redact_url

SCHEMA = 1
_EVENTS: dict[type[Fact], str] = {
    Planned: "plan",
    Started: "start",
    Progress: "progress",
    Retrying: "retry",
    Changed: "changed",
    Verifying: "verify",
}
_REDACTED: dict[str, Callable[[str], str]] = {
    "url": redact_url,
    "why": redact_text,
    "error": redact_text,
    "hint": redact_text,
}


def fact_object(fact: Fact) -> dict[str, Any]:
    """The event object of a fact; a Warned has none of its own (see result_object)."""
    return {"schema": SCHEMA, "event": _EVENTS[type(fact)], **_clean(asdict(fact))}


def result_object(result: Result, warnings: Sequence[str] = ()) -> dict[str, Any]:
    """The object of one download's end; `event` is "done" or "error"."""
    event = "error" if result.exit_code else "done"
    fields = _clean(asdict(result)) | {"warnings": [redact_text(text) for text in warnings]}
    fields["sources"] = [_clean(asdict(one)) for one in result.sources]
    return {"schema": SCHEMA, "event": event, **fields}


def encode(value: dict[str, Any]) -> str:
    """One line of printable ASCII."""
    return json.dumps(value, allow_nan=False).replace("\x7f", "\\u007f")


def _clean(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: _clean_value(name, value) for name, value in fields.items()}


def _clean_value(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return _REDACTED[name](value) if name in _REDACTED else value
    if isinstance(value, float):
        return round(value, 3) if math.isfinite(value) else None
    if isinstance(value, tuple):
        return [_clean_value(name, item) for item in value]
    return value


class JsonLines:
    """Every fact and result is a line of JSON on stderr, and there is nothing else."""

    def __init__(self, messages: Messages) -> None:
        self._messages = messages

    def tell(self, fact: Fact) -> None:
        if not isinstance(fact, Warned):
            self._messages.line(encode(fact_object(fact)))

    def done(self, result: Result, warnings: Sequence[str]) -> None:
        self._messages.line(encode(result_object(result, warnings)))

    def end(self, results: Sequence[Result], seconds: float) -> None:
        """Each result was told already."""

    def aside(self, write: Callable[[], None]) -> None:
        write()

    def close(self) -> None:
        """Nothing is open."""

    def abandon(self) -> None:
        """Nothing is open."""
