"""Verdicts on their way to the display and, where asked for, to stdout as JSON.

The displays are those of downloads: bytes hashed are shown as bytes present.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import asdict

from rdl.cli.display.json_lines import SCHEMA, encode
from rdl.cli.display.plain import Display
from rdl.cli.display.summary import took
from rdl.cli.exit_codes import SIGNALS
from rdl.cli.streams import Messages, Output
from rdl.core.events import Fact, Progress, Result, Verifying
from rdl.core.text import format_size, redact_text

if TYPE_CHECKING:
    from rdl.verification import Verification


class Manner(Struct, frozen=True):
    """How to report: `json` objects on stdout, `events` (JSON) on stderr, only errors when
    `quiet`; `threads` hash at the same time."""

    json: bool
    events: bool
    quiet: bool
    threads: int


class Verdicts:
    """Hears one fact or verdict at a time."""

    def __init__(self, display: Display, output: Output, messages: Messages, manner: Manner):
        self._display, self._output, self._messages = display, output, messages
        self._manner = manner
        self._began = time.monotonic()
        self._first: dict[str, tuple[float, int]] = {}

    def tell(self, fact: Fact) -> None:
        """Pass a fact on; what is hashed becomes progress for displays that draw it."""
        if isinstance(fact, Verifying) and not self._manner.events:
            fact = self._progress(fact)
        self._display.tell(fact)

    def done(self, verdict: Verification) -> None:
        """One check has ended."""
        if self._manner.events:
            self._messages.line(encode(verdict_object(verdict)))
        elif verdict.exit_code not in SIGNALS:
            self._display.done(as_result(verdict), ())
        if self._manner.json:
            text = encode(verdict_object(verdict))
            self._display.aside(lambda: self._output.line(text))

    def end(self, verdicts: Sequence[Verification]) -> None:
        """All have ended."""
        self._display.close()
        if self._manner.events:
            return
        if any(verdict.exit_code in SIGNALS for verdict in verdicts):
            self._messages.line("rdl: interrupted: not everything was checked")
        elif len(verdicts) > 1 and not self._manner.quiet:
            good = sum(verdict.exit_code == 0 for verdict in verdicts)
            read = format_size(sum(verdict.bytes_hashed for verdict in verdicts))
            seconds = took(time.monotonic() - self._began)
            self._messages.line(
                f"rdl: {good} of {len(verdicts)} verified, {read} read in {seconds}"
            )

    def _progress(self, fact: Verifying) -> Progress:
        now = time.monotonic()
        began, before = self._first.setdefault(fact.path, (now, fact.bytes_hashed))
        speed = (fact.bytes_hashed - before) / (now - began) if now > began else 0.0
        rest = fact.bytes_total - fact.bytes_hashed
        return Progress(
            path=fact.path,
            bytes_total=fact.bytes_total,
            bytes_present=fact.bytes_hashed,
            bytes_downloaded=0,
            speed=speed,
            eta=rest / speed if speed else None,
            connections=self._manner.threads,
        )


def verdict_object(verdict: Verification) -> dict[str, Any]:
    """The JSON object of a verdict; `range` becomes first and last byte."""
    event = "error" if verdict.exit_code else "done"
    fields = asdict(verdict)
    span = verdict.range
    fields["range"] = None if span is None else [span.start, span.stop - 1]
    fields["wrong"] = [[one.start, one.stop - 1] for one in verdict.wrong]
    fields["seconds"] = round(verdict.seconds, 3)
    fields["error"], fields["hint"] = redact_text(verdict.error), redact_text(verdict.hint)
    return {"schema": SCHEMA, "event": event, **fields}


def as_result(verdict: Verification) -> Result:
    """A verdict as the displays know the end of a download."""
    span = verdict.range
    part = "" if span is None else f" of bytes {span.start}-{span.stop - 1}"
    return Result(
        url="",
        path=verdict.path,
        exit_code=verdict.exit_code,
        reason=verdict.reason,
        bytes_total=verdict.bytes_total,
        bytes_present=verdict.bytes_hashed,
        bytes_downloaded=verdict.bytes_hashed,
        seconds=verdict.seconds,
        verified_by=tuple(name + part for name in verdict.verified_by),
        trust=verdict.trust,
        error=verdict.error,
        hint=verdict.hint,
    )
