"""Progress as live bars on a terminal, one row for each file that is being fetched.

Nothing is markup; no thread of rich's runs: a row is drawn again when a fact comes, at most
twenty times a second, and only while rdl is in the terminal's foreground.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import IO, cast

from rich.console import Console
from rich.live import Live
from rich.text import Text

from rdl.cli.display.bar_row import Row, row_text, total_text
from rdl.cli.display.picture import marks_for
from rdl.cli.display.plain import Plain, Style, again
from rdl.cli.display.summary import remote_text
from rdl.cli.streams import Messages
from rdl.core.events import Progress, Result, Retrying, Started, Verifying

FRAME = 0.05
FREE = 2
"""Columns at the end of a line: what the terminal shows of Ctrl-C must not break it."""
_SHOW_CURSOR = b"\r\x1b[?25h\n"


def is_in_foreground(messages: Messages) -> bool:
    """Whether rdl may draw on its terminal: a job in the background may not. True where stderr
    is not the terminal that jobs are controlled from."""
    try:
        return os.tcgetpgrp(messages.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return True


class Bar(Plain):
    """Plain text above, live rows below."""

    def __init__(
        self,
        messages: Messages,
        style: Style,
        *,
        force: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(messages, style)
        self._clock, self._drawn = clock, float("-inf")
        self._force = force
        self._console = self._new_console()
        self._marks = marks_for(messages.encoding)
        self._rows: dict[str, Row] = {}
        self._finished: list[Result] = []
        self._live: Live | None = None

    def line(self, text: str) -> None:
        if self._live is None:
            super().line(text)
        else:
            self._console.print(Text(f"rdl: {text}"), soft_wrap=True)

    def started(self, fact: Started) -> None:
        self._rows[fact.path] = Row(fact.path, fact.bytes_total, fact.bytes_reused)
        super().started(fact)
        self._draw()

    def progress(self, fact: Progress) -> None:
        row = self._rows.setdefault(fact.path, Row(fact.path))
        row.progress(fact)
        self._draw()

    def retrying(self, fact: Retrying) -> None:
        """The reason stands in the row, and with -v as a line."""
        row = self._rows.setdefault(fact.path, Row(fact.path))
        row.state = f"{again(fact, self._style.tries)}: {remote_text(fact.why)}"
        if self._style.verbose:
            super().retrying(fact)
        self._drawn = float("-inf")
        self._draw()

    def verifying(self, fact: Verifying) -> None:
        row = self._rows.setdefault(fact.path, Row(fact.path))
        row.verifying(fact)
        self._draw()

    def done(self, result: Result, warnings: Sequence[str]) -> None:
        self._rows.pop(result.path, None)
        self._finished.append(result)
        if not self._rows:
            self.close()
        super().done(result, warnings)

    def aside(self, write: Callable[[], None]) -> None:
        self.close()
        write()

    def close(self) -> None:
        self._leave()
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def abandon(self) -> None:
        if self._live is not None:
            os.write(self._messages.fileno(), _SHOW_CURSOR)

    def _draw(self) -> None:
        if self._clock() - self._drawn < FRAME:
            return
        self._drawn = self._clock()
        if self._leave():
            return
        if self._live is None:
            self._live = self._begin()
        self._live.update(self._picture(), refresh=True)

    def _leave(self) -> bool:
        """Whether the terminal is somebody else's now; what was drawn is then left as it is."""
        if is_in_foreground(self._messages):
            return False
        if self._live is not None:
            self._live, self._console = None, self._new_console()
        return True

    def _new_console(self) -> Console:
        return Console(
            file=cast(IO[str], self._messages),
            force_terminal=True if self._force else None,
            markup=False,
            emoji=False,
            highlight=False,
        )

    def _begin(self) -> Live:
        live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        live.start()
        return live

    def _picture(self) -> Text:
        width = max(1, self._console.width - FREE)
        rows = list(self._rows.values())
        room = max(1, self._console.height - 3)
        lines = [row_text(row, width, self._marks) for row in rows[:room]]
        if self._style.several:
            lines.append(total_text(rows, self._finished, self._style.count, width, self._marks))
        return Text("\n", no_wrap=True, overflow="crop").join(lines)
