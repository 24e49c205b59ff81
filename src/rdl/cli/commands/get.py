"""`rdl get URL...`: download each URL completely and verified."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from rdl.cli.commands.cat import cat_member, discard, pour, to_stdout, whole_or_ranges
from rdl.cli.console import Console
from rdl.cli.display.choose import display_for
from rdl.cli.display.plain import Style
from rdl.cli.engines import fetch_all, open_workers
from rdl.cli.environment import warn_of_unknown
from rdl.cli.frame import framed
from rdl.cli.input_list import Entry
from rdl.cli.layers import Layers
from rdl.cli.members import keep_member, refuse_with_member
from rdl.cli.options import get_parameters
from rdl.cli.report import Report
from rdl.cli.resuming import resumption
from rdl.cli.settings import session_options_from
from rdl.cli.single import completing, make_one, make_target, open_session
from rdl.cli.targets import (
    downloads_from,
    entries_from,
    lone_download,
    make_directories,
    member_download,
    member_path,
)
from rdl.core.events import Result, Teller
from rdl.errors import ProgramError, UsageError

if TYPE_CHECKING:
    from rdl.api import Session, Target


def get(console: Console, given: dict[str, Any]) -> int:
    """Run the command; returns the exit code. Raises RdlError before anything is fetched."""
    layers = Layers(console, given)
    given = layers.given
    if given["output"] in ("-", "/dev/stdout", "/dev/null"):
        return _to_stream(console, layers)
    if given["program"] is not None:
        return _to_program(console, layers)
    if given["member"] is not None:
        return _member(console, layers)
    options_for = layers.options_for(given)
    warn_of_unknown(console.messages, given)
    begun = [resumption(name) for name in given["resume"]]
    here = [one for one in begun if isinstance(one, Result)]
    entries = [*entries_from(given), *(one for one in begun if isinstance(one, Entry))]
    downloads = downloads_from(given, entries, options_for)
    if not given["dry_run"]:
        make_directories(given, entries)
    count = len(downloads) + len(here)
    style = Style(
        given["verbose"],
        given["quiet"],
        count > 1,
        count,
        {str(one.path): part for one in downloads if (part := one.options.transfer.range)},
        frozenset(str(one.path) for one in downloads if os.path.exists(one.path)),
        given["retry"],
    )
    display = display_for(given["progress"], console.messages, style)
    report = Report(display, console.output, json=given["json"], plans=given["dry_run"])
    limits = session_options_from(given, given["parallel"])
    far = given["engine"] == "dask" and not given["dry_run"]  # a plan is made here
    try:
        with open_workers(given, limits) if far else open_session(limits) as session:
            targets = [make_target(download) for download in downloads]
            with completing(given["on_complete"], session, report, downloads) as heard:
                console.signals.watch(heard, display.abandon)
                for result in here:
                    heard.done(result)
                fetch_all(session, targets, heard)
            console.signals.watch(None, display.abandon)
        report.end()
    finally:
        display.close()
    return report.exit_code()


def _to_stream(console: Console, layers: Layers) -> int:
    given = layers.given
    others = ("json", "dry_run", "input_file", "on_complete", "scheduler")
    if any(given[name] for name in others) or len(given["urls"]) != 1:
        why = "takes one URL, and neither -i, --json, --dry-run, --on-complete nor --scheduler"
        raise UsageError(f"-o {given['output']}", why)
    options_for = layers.options_for(given)
    free = given["output"] == "/dev/null"
    if given["member"] is not None:
        return cat_member(console, given, given["urls"][0], options_for, free=free)
    download = lone_download(given["urls"][0], given, options_for)
    wanted = download.options.transfer.range
    warn_of_unknown(console.messages, given)
    sink = discard if free else to_stdout(console, download.url)
    read = whole_or_ranges(download, (wanted,) if wanted else (), sink)
    return pour(console, given, download, read, free=free)


def _to_program(console: Console, layers: Layers) -> int:
    """The bytes into a command; it may stop reading where no digest is to be checked."""
    given = layers.given
    if given["dry_run"] or given["input_file"] or given["member"] or len(given["urls"]) != 1:
        why = "takes one URL, and neither -i, --member nor --dry-run"
        raise UsageError("--exec", why)
    download = lone_download(given["urls"][0], given, layers.options_for(given))
    wanted = download.options.transfer.range
    warn_of_unknown(console.messages, given)

    def read(session: Session, tell: Teller) -> None:
        from rdl.cli.executing import WHAT, Enough, Program

        with Program(given["program"], download.url) as program:
            console.signals.watch(program)
            try:
                ranges = (wanted,) if wanted else ()
                whole_or_ranges(download, ranges, program.write)(session, tell)
            except Enough:
                if download.options.transfer.digests:
                    why = "it did not read all, so the digest could not be checked"
                    raise ProgramError(WHAT, why) from None

    return pour(console, given, download, read, free=True)


def _member(console: Console, layers: Layers) -> int:
    """One member of an archive, to a file."""
    given = layers.given
    refuse_with_member()
    if len(given["urls"]) != 1:
        raise UsageError("--member", "takes one URL", hint="rdl get URL --member PATH -o FILE")
    options_for = layers.options_for(given)
    path = member_path(given, given["member"])
    download = member_download(given["urls"][0], given["member"], path, given, options_for)
    warn_of_unknown(console.messages, given)
    make_directories(given, ())

    def make(session: Session, target: Target, tell: Teller) -> Result:
        return keep_member(session, target, given["member"], tell)

    return make_one(console, given, download, make)


def command() -> click.Command:
    """The click command of `get`."""
    return framed(
        "get",
        get,
        get_parameters(),
        help="Download each URL completely; resumes by itself. The final name appears only when "
        "the file is complete and verified. 'rdl URL' means the same.",
        short_help="Download URLs completely and verified.",
        epilog="\b\n"
        "Trust: T0 no validator, T1 Last-Modified, T2 ETag, T3 the server's digest,\n"
        "T4 a digest of yours. 'man rdl-get' tells of them, and of the lists of -i.",
    )
