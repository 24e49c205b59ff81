"""Commands that make one file: its display, its result, its exit code."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rdl.cli.console import Console
from rdl.cli.display.choose import display_for
from rdl.cli.display.plain import Style
from rdl.cli.report import Report
from rdl.cli.settings import session_options_from
from rdl.cli.signals import Interruptible
from rdl.cli.targets import Download
from rdl.core.events import Result, Teller, ended
from rdl.core.text import redact_url
from rdl.errors import RdlError
from rdl.options import SessionOptions

if TYPE_CHECKING:
    from rdl.api import Session, Target
    from rdl.cli.completing import Completing

Make = Callable[["Session", "Target", "Teller"], Result]


def open_session(options: SessionOptions) -> Session:
    """The engine is imported only when there is something to fetch."""
    from rdl.api import Session

    return Session(options)


def make_target(download: Download) -> Target:
    """The engine is imported only when there is something to fetch."""
    from rdl.api import Target

    return Target(download.url, download.path, download.options)


def completing(
    command: str | None, session: Interruptible, report: Report, downloads: Sequence[Download]
) -> Completing:
    """What hears of the downloads, and is interrupted, in place of the report and the session."""
    from rdl.cli.completing import Completing

    urls = {str(one.path): one.url for one in downloads}
    return Completing(command, session, report, urls)


def make_one(console: Console, given: dict[str, Any], download: Download, make: Make) -> int:
    """Make this file, and tell what became of it; returns the exit code."""
    path, options = download.path, download.options
    existing = frozenset([str(path)] if os.path.exists(path) else ())
    tries = options.transfer.retry
    style = Style(given["verbose"], given["quiet"], existing=existing, tries=tries)
    display = display_for(given["progress"], console.messages, style)
    report = Report(display, console.output, json=given["json"], plans=False)
    try:
        with open_session(session_options_from(given)) as session:
            with completing(given["on_complete"], session, report, [download]) as heard:
                console.signals.watch(heard, display.abandon)
                try:
                    result = make(session, make_target(download), heard.tell)
                except RdlError as error:
                    result = ended(redact_url(download.url), str(path), error)
                heard.done(result)
            console.signals.watch(None, display.abandon)
        report.end()
    finally:
        display.close()
    return report.exit_code()
