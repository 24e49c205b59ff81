"""Text on stderr without any progress: warnings, retries, and the closing line.

The other text displays are this one with progress added. `quiet` leaves only errors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct, field

from rdl.cli.display.summary import (
    closing_lines,
    failed_lines,
    name_of,
    outcome_lines,
    remote_text,
    total_line,
)
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
from rdl.core.text import format_size, format_time, redact_url, safe_text
from rdl.options import RangeSpec


class Style(Struct, frozen=True):
    """How much is said, and of how many downloads. `parts`: paths to what alone is asked for;
    `existing`: the paths at which a file stood before; `tries`: the value of --retry."""

    verbose: int = 0
    quiet: bool = False
    several: bool = False
    count: int = 1
    parts: Mapping[str, RangeSpec] = field(default_factory=dict)
    existing: frozenset[str] = frozenset()
    tries: int | None = None


class Display(Protocol):
    """Hears the facts of all downloads, one at a time, from any thread."""

    def tell(self, fact: Fact) -> None: ...

    def done(self, result: Result, warnings: Sequence[str]) -> None: ...

    def end(self, results: Sequence[Result], seconds: float) -> None:
        """After the last download."""
        ...

    def aside(self, write: Callable[[], None]) -> None:
        """Let `write` use stdout, which may be the same terminal."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was; may be called twice."""
        ...

    def abandon(self) -> None:
        """As close, from a signal handler and just before the process ends."""
        ...


def again(fact: Retrying, tries: int | None = None) -> str:
    """When the next try comes, of so many; the first after new bytes has no number."""
    limit = f" of {tries}" if tries else ""
    what = f"retry {fact.attempt}{limit}" if fact.attempt else "going on"
    return f"{what} in {format_time(fact.delay)}"


class Plain:
    """Messages only."""

    def __init__(self, messages: Messages, style: Style) -> None:
        self._messages, self._style = messages, style

    def line(self, text: str) -> None:
        self._messages.line(f"rdl: {text}")

    def tell(self, fact: Fact) -> None:
        match fact:
            case Progress():
                self.progress(fact)
            case Verifying():
                self.verifying(fact)
            case Started() if not self._style.quiet:
                self.started(fact)
            case Retrying() if not self._style.quiet:
                self.retrying(fact)
            case Changed() if not self._style.quiet:
                why = remote_text(fact.why)
                self.line(f"{name_of(fact.path)}: changed, starting anew: {why}")
            case Warned() if not self._style.quiet:
                self.line(f"{name_of(fact.path)}: warning: {remote_text(fact.message)}")
            case Planned() if self._style.verbose:
                url = safe_text(redact_url(fact.url), 2000)
                self.line(f"{name_of(fact.path)}: from {url}")
            case _:
                pass

    def progress(self, fact: Progress) -> None:
        """Only displays with progress show it."""

    def verifying(self, fact: Verifying) -> None:
        """Only displays with progress show it."""

    def started(self, fact: Started) -> None:
        if self._style.verbose:
            size = "size unknown" if fact.bytes_total is None else format_size(fact.bytes_total)
            ways = "parallel" if fact.parallel else "one connection"
            reused = f", {format_size(fact.bytes_reused)} reused" if fact.bytes_reused else ""
            self.line(f"{name_of(fact.path)}: {size}, {ways}{reused}, trust {fact.trust}")

    def retrying(self, fact: Retrying) -> None:
        why, when = remote_text(fact.why), again(fact, self._style.tries)
        self.line(f"{name_of(fact.path)}: {why}; {when}")

    def done(self, result: Result, warnings: Sequence[str]) -> None:
        if result.exit_code == 0 and self._style.quiet:
            return
        style = self._style
        replaced = result.path in style.existing
        for text in closing_lines(
            result, several=style.several, part=style.parts.get(result.path), replaced=replaced
        ):
            self.line(text)

    def end(self, results: Sequence[Result], seconds: float) -> None:
        if self._style.several and not self._style.quiet:
            for line in (*outcome_lines(results), *failed_lines(results)):
                self.line(line)
            self.line(total_line(results, seconds))

    def aside(self, write: Callable[[], None]) -> None:
        write()

    def close(self) -> None:
        """Nothing is open."""

    def abandon(self) -> None:
        """Nothing is open."""
