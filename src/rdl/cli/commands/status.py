"""`rdl status FILE|DIR`: what of a download is on disk. Offline; changes nothing."""

from __future__ import annotations

import os
import shutil
import sys
import time
from typing import Any

import click

from rdl.cli.arguments import lone
from rdl.cli.console import Console
from rdl.cli.display.json_lines import encode
from rdl.cli.display.picture import ASCII, Marks, marks_for
from rdl.cli.display.standing import status_lines, status_object, table
from rdl.cli.display.summary import remote_text
from rdl.cli.frame import framed
from rdl.cli.options import parse_text
from rdl.cli.values import Value, refuse_url
from rdl.core.text import safe_text
from rdl.errors import BusyError, ExitCode

WIDEST = 200


def path_argument(command: str, metavar: str) -> click.Argument:
    """One path on the command line, as `path`, None where there is none."""

    def parse(text: str) -> str:
        refuse_url(text, command)
        return parse_text(text)

    return lone("path", command, metavar, Value(metavar.strip("[]"), parse))


def show(console: Console, given: dict[str, Any]) -> int:
    """Run the command; returns the exit code. Raises RdlError."""
    from rdl.looking import status

    path, json = given["path"] or ".", given["json"]
    if os.path.isdir(path):
        return _show_folder(console, path, json=json)
    found = status(path)
    if json:
        return _print(console, [encode(status_object(found))], ExitCode.OK)
    lines = status_lines(found, _width(), _marks(), wrap=_is_terminal())
    return _print(console, lines, ExitCode.OK)


def _show_folder(console: Console, path: str, *, json: bool) -> int:
    from rdl.looking import partials

    listing = partials(path)
    lines = [encode(status_object(found)) for found in listing.partials] if json else []
    if not json and listing.partials:
        width = _width() if _is_terminal() else None
        lines = table(listing.partials, time.time(), width, _marks())
    elif not json and not listing.errors:
        console.messages.line(f"rdl: {safe_text(path)}: no partials here")
    for error in listing.errors:
        console.messages.line(f"rdl: {remote_text(str(error))}")
    bad = any(not isinstance(error, BusyError) for error in listing.errors)
    return _print(console, lines, ExitCode.LOCAL_FILE if bad else ExitCode.OK)


def _print(console: Console, lines: list[str], code: ExitCode) -> int:
    for line in lines:
        console.output.line(line)
    console.output.settle()
    return code


def _is_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


def _width() -> int:
    """Of the terminal on stdout; 80 where there is none."""
    return min(WIDEST, shutil.get_terminal_size((80, 24)).columns)


def _marks() -> Marks:
    """Block characters only on a terminal that surely has them."""
    plain = os.environ.get("TERM", "") in ("", "dumb") or os.environ.get("NO_COLOR")
    if plain or not _is_terminal():
        return ASCII
    return marks_for(sys.stdout.encoding or "")


def command() -> click.Command:
    """The click command of `status`."""
    json = click.Option(["--json"], is_flag=True, help="One JSON object a file on stdout.")
    return framed(
        "status",
        show,
        [path_argument("status", "[FILE|DIR]"), json],
        help="Print what of a download is on disk: FILE is the final name or a file beside it; "
        "of a directory, by default this one, its partials are listed. Offline; changes nothing.",
        short_help="Print what of a download is on disk.",
    )
