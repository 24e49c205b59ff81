"""Progress as lines, for logs: one every 10 seconds or 10 percent of a file."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rdl.cli.display.plain import Plain, Style
from rdl.cli.display.summary import STAGES, name_of
from rdl.cli.streams import Messages
from rdl.core.events import Progress, Result, Verifying
from rdl.core.text import format_size, format_time

EVERY_SECONDS = 10.0
EVERY_PERCENT = 10


class Lines(Plain):
    """Plain text, and a line of progress now and then."""

    def __init__(
        self,
        messages: Messages,
        style: Style,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(messages, style)
        self._clock = clock
        self._last: dict[str, tuple[float, int]] = {}

    def progress(self, fact: Progress) -> None:
        now, step = self._clock(), _step(fact)
        if fact.path not in self._last:
            self._last[fact.path] = (now, step)
            return
        before, last = self._last[fact.path]
        if step > last or now - before >= EVERY_SECONDS:
            self._last[fact.path] = (now, step)
            if fact.bytes_present != fact.bytes_total:
                self.line(f"{name_of(fact.path)}: {progress_text(fact)}")

    def verifying(self, fact: Verifying) -> None:
        """Digests take seconds; to look through old files may take minutes."""
        now = self._clock()
        before, last = self._last.setdefault(fact.path, (now, 0))
        if fact.stage != "digests" and now - before >= EVERY_SECONDS:
            self._last[fact.path] = (now, last)
            share = fact.bytes_hashed / fact.bytes_total if fact.bytes_total else 1.0
            self.line(f"{name_of(fact.path)}: {STAGES[fact.stage]}, {share:.0%}")

    def done(self, result: Result, warnings: Sequence[str]) -> None:
        self._last.pop(result.path, None)
        super().done(result, warnings)


def _step(fact: Progress) -> int:
    if not fact.bytes_total:
        return 0
    return 100 * fact.bytes_present // fact.bytes_total // EVERY_PERCENT


def progress_text(fact: Progress) -> str:
    """`40%, 480 MiB of 1.2 GiB, 98 MiB/s, 7.5 s left`."""
    present = format_size(fact.bytes_present)
    speed = f", {format_size(fact.speed)}/s" if fact.speed else ""
    if not fact.bytes_total:
        return f"{present}{speed}"
    percent = 100 * fact.bytes_present // fact.bytes_total
    left = "" if fact.eta is None else f", {format_time(fact.eta)} left"
    return f"{percent}%, {present} of {format_size(fact.bytes_total)}{speed}{left}"
