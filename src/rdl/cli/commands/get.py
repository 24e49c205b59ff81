"""`rdl get URL...`: download each URL completely and verified."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from rdl.cli.commands.cat import pour
from rdl.cli.console import Console
from rdl.cli.display.choose import display_for
from rdl.cli.display.plain import Display, Style
from rdl.cli.exit_codes import overall
from rdl.cli.options import get_parameters
from rdl.cli.report import Report
from rdl.cli.settings import options_from, session_options_from
from rdl.cli.targets import (
    Download,
    downloads_from,
    entries_from,
    lone_download,
    make_directories,
)
from rdl.errors import UsageError
from rdl.options import SessionOptions

if TYPE_CHECKING:
    from rdl.api import Session, Target


def open_session(options: SessionOptions) -> Session:
    """The engine is imported only when there is something to fetch."""
    from rdl.api import Session

    return Session(options)


def make_target(download: Download) -> Target:
    from rdl.api import Target

    return Target(download.url, download.path, download.options)


def get(console: Console, given: dict[str, Any]) -> int:
    """Run the command; returns the exit code. Raises RdlError before anything is fetched."""
    console.verbose = given["verbose"]
    if given["output"] in ("-", "/dev/stdout", "/dev/null"):
        return _to_stream(console, given)
    entries = entries_from(given)
    downloads = downloads_from(given, entries, options_from(given))
    if not given["dry_run"]:
        make_directories(given, entries)
    several = len(downloads) > 1
    style = Style(given["verbose"], given["quiet"], several, len(downloads))
    display = display_for(given["progress"], console.messages, style)
    report = Report(display, console.output, json=given["json"], plans=given["dry_run"])
    return _download(console, downloads, session_options_from(given), display, report)


def _to_stream(console: Console, given: dict[str, Any]) -> int:
    if given["json"] or given["dry_run"] or given["input_file"] or len(given["urls"]) != 1:
        what = f"-o {given['output']}"
        raise UsageError(what, "takes one URL, and neither -i, --json nor --dry-run")
    options = options_from(given)
    download = lone_download(given["urls"][0], given, options)
    wanted = options.transfer.range
    options = download.options
    sink = (lambda chunk: None) if given["output"] == "/dev/null" else console.output.data
    return pour(console, given, download.url, options, (wanted,) if wanted else (), sink=sink)


def _download(
    console: Console,
    downloads: list[Download],
    options: SessionOptions,
    display: Display,
    report: Report,
) -> int:
    try:
        with open_session(options) as session:
            targets = [make_target(download) for download in downloads]
            console.signals.watch(session, display.abandon)
            results = session.get_all(targets, report.tell, report.done)
            console.signals.watch(None, display.abandon)
        report.end(results)
    finally:
        display.close()
    code = overall(results)
    if console.output.trouble and not code:
        raise console.output.trouble
    return code


def command() -> click.Command:
    """The click command of `get`."""

    def run(**given: Any) -> int:
        return get(click.get_current_context().find_object(Console) or Console(), given)

    return click.Command(
        "get",
        params=get_parameters(),
        callback=run,
        context_settings={"max_content_width": 100},
        help="Download each URL completely; resumes by itself. The final name appears only when "
        "the file is complete and verified. 'rdl URL' means the same.",
        short_help="Download URLs completely and verified.",
    )
