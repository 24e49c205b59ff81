"""`rdl clean DIR`: remove partials, after asking. What is not surely ours stays."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from rdl.cli.commands.status import path_argument
from rdl.cli.console import Console
from rdl.cli.display.summary import remote_text
from rdl.cli.frame import framed
from rdl.core.text import format_size, safe_text
from rdl.errors import BusyError, ExitCode, RdlError, UsageError

if TYPE_CHECKING:
    from rdl.storage.clearing import Leftover


def clean(console: Console, given: dict[str, Any]) -> int:
    """Run the command; returns the exit code. Raises RdlError."""
    from rdl.looking import leftovers

    path, yes, bad = given["path"], given["yes"], given["bad"]
    if path is None:
        raise UsageError("clean", "no DIR given", hint="rdl clean DIR; . is this one")
    found, refused = leftovers(path, bad=bad)
    if not yes and not _can_ask(console):
        raise UsageError("clean", "no terminal to ask on", hint="--yes removes without asking")
    for error in refused:
        _say(console, f"{error}; it stays")
    if not found:
        bads = 0 if bad else len(leftovers(path, bad=True)[0])
        rest = f", but {bads} FILE.part.bad (--bad)" if bads else ""
        _say(console, f"{path}: nothing to remove{rest}")
        return ExitCode.OK
    if not yes and not _is_confirmed(console, found):
        _say(console, "nothing was removed")
        return ExitCode.OK
    return _remove(console, path, found)


def _can_ask(console: Console) -> bool:
    """Whether the question is seen, and can be answered."""
    return sys.stdin is not None and sys.stdin.isatty() and console.messages.isatty()


def _is_confirmed(console: Console, found: list[Leftover]) -> bool:
    for one in found:
        console.messages.line(f"  {safe_text(one.name)}  {format_size(one.size)}")
    size = format_size(sum(one.size for one in found))
    console.messages.write(f"rdl: remove {_count(len(found))}, {size} on disk? [y/N] ")
    console.messages.flush()
    answer = sys.stdin.readline()
    if not answer:  # the end of the input leaves the question's line open
        console.messages.line("")
    return answer.strip().lower() in ("y", "yes")


def _remove(console: Console, path: str, found: list[Leftover]) -> int:
    """Remove them one by one; one that cannot be removed does not keep the others."""
    from rdl.looking import clear

    count = freed = 0
    failed: list[RdlError] = []
    for one in found:
        try:
            size = clear(path, one)
        except BusyError as error:
            _say(console, f"{error}; it stays")
        except RdlError as error:
            _say(console, str(error))
            failed.append(error)
        else:
            _say(console, f"removed {one.name}, {size} bytes")
            count, freed = count + 1, freed + size
    summary = f"removed {_count(count)}, {freed} bytes ({format_size(freed)})"
    _say(console, summary if count else "nothing was removed")
    return ExitCode.LOCAL_FILE if failed else ExitCode.OK


def _say(console: Console, text: str) -> None:
    console.messages.line(f"rdl: {remote_text(text)}")


def _count(count: int) -> str:
    return "1 partial" if count == 1 else f"{count} partials"


def command() -> click.Command:
    """The click command of `clean`."""
    return framed(
        "clean",
        clean,
        [
            path_argument("clean", "DIR"),
            click.Option(["-y", "--yes"], is_flag=True, help="Do not ask."),
            click.Option(["--bad"], is_flag=True, help="Also FILE.part.bad: digest mismatches."),
        ],
        help="Remove the partials in a directory, after asking: FILE.part with its index. What "
        "is not surely rdl's own, or is being fetched now, stays.",
        short_help="Remove partials, after asking.",
    )
