"""`rdl cat URL`: print bytes of a remote file, in order; also `get -o -`.

stdout carries the bytes and nothing else. A reader that goes away ends it quietly with 141.
Binary data is not written to a terminal.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rdl.cli.arguments import lone
from rdl.cli.console import Console
from rdl.cli.display.choose import can_draw, display_for
from rdl.cli.display.plain import Style
from rdl.cli.display.summary import locating
from rdl.cli.environment import warn_of_unknown
from rdl.cli.frame import framed
from rdl.cli.layers import Layers, OptionsFor
from rdl.cli.members import member_of, refuse_with_member
from rdl.cli.options import get_parameters
from rdl.cli.settings import session_options_from
from rdl.cli.single import open_session
from rdl.cli.targets import Download, lone_download, member_download
from rdl.core.text import redact_url, safe_text
from rdl.errors import Interrupted, UsageError
from rdl.options import RangeSpec

if TYPE_CHECKING:
    from rdl.api import Session
    from rdl.core.events import Teller

Sink = Callable[[memoryview], None]
Read = Callable[["Session", "Teller"], None]

CHUNK = 1 << 20
_NOT_HERE = frozenset(
    (
        *("program", "on_complete", "join", "engine", "scheduler"),
        *("urls", "output", "directory", "input_file", "parallel", "min_split_size", "adopt"),
        *("offset", "restart", "no_clobber", "on_change", "block_size", "preallocate"),
        *("keep_time", "json", "dry_run", "resume", "locked", "base_url"),
    )
)


def discard(_chunk: memoryview) -> None:
    """The sink of /dev/null."""


def cat(console: Console, given: dict[str, Any]) -> int:
    """Run the command; returns the exit code. Raises RdlError."""
    layers = Layers(console, given)
    given = layers.given
    if given["url"] is None:
        raise UsageError("cat", "no URL given", hint="rdl cat URL; rdl cat --help tells more")
    ranges = given["ranges"]
    whole = given | {"ranges": ()}
    options_for = layers.options_for(whole)
    if given["member"] is not None:
        return cat_member(console, given, given["url"], options_for)
    download = lone_download(given["url"], given, options_for)
    warn_of_unknown(console.messages, given)
    sink = to_stdout(console, download.url)
    return pour(console, given, download, whole_or_ranges(download, ranges, sink))


def cat_member(
    console: Console,
    given: dict[str, Any],
    url: str,
    options_for: OptionsFor,
    *,
    free: bool = False,
) -> int:
    """A member of the archive at `url` to stdout; `free`: to nowhere."""
    refuse_with_member()
    download = member_download(url, given["member"], Path(), given, options_for)
    warn_of_unknown(console.messages, given)
    sink = discard if free else to_stdout(console, download.url)
    return pour(console, given, download, member_of(download, given["member"], sink), free=free)


def to_stdout(console: Console, url: str) -> Sink:
    """Writes to stdout; what holds a NUL is refused (UsageError) where that is a terminal."""
    if not console.output.isatty():
        return console.output.data

    def write(chunk: memoryview) -> None:
        if b"\0" in bytes(chunk):
            shown = safe_text(redact_url(url), 300)
            hint = "-o FILE keeps it (rdl get), | xxd shows it"
            raise UsageError(shown, "this is binary, and stdout is a terminal", hint=hint)
        console.output.data(chunk)

    return write


def whole_or_ranges(download: Download, ranges: tuple[RangeSpec, ...], sink: Sink) -> Read:
    """What reads the remote file, or ranges of it."""

    def read(session: Session, tell: Teller) -> None:
        with session.stream(download.url, download.options, tell, ranges) as stream:
            for chunk in stream.chunks(CHUNK):
                sink(chunk)

    return read


def pour(
    console: Console, given: dict[str, Any], download: Download, read: Read, *, free: bool = False
) -> int:
    """Run `read`; `free`: what it reads does not go to stdout. Returns the exit code."""
    progress, quiet = _progress(console, given, free=free)
    style = Style(given["verbose"], quiet, tries=download.options.transfer.retry)
    display = display_for(progress, console.messages, style)
    console.signals.watch(None, display.abandon)
    try:
        with (
            locating(download.url, download.options.network.user),
            open_session(session_options_from(given)) as session,
        ):
            read(session, display.tell)
    except Interrupted:
        display.close()
        if not quiet and progress != "json":
            console.messages.line("rdl: interrupted")
        raise
    finally:
        display.close()
    return 0


def _progress(console: Console, given: dict[str, Any], *, free: bool) -> tuple[str, bool]:
    """Which display, and whether it is quiet: `auto` is nothing, but a bar where the terminal is
    not taken by the bytes (`free`: they go nowhere), and lines with -v."""
    progress, verbose = given["progress"], bool(given["verbose"])
    if given["quiet"]:
        return progress, True
    if progress != "auto":
        return progress, not (verbose or progress in ("bar", "lines"))
    if console.output.isatty() and not free:
        return "none", not verbose
    return progress, not (verbose or can_draw(console.messages))


def parameters() -> list[click.Parameter]:
    """The URL, and those options of `get` that make sense here."""
    shared = [one for one in get_parameters() if one.name not in _NOT_HERE]
    for one in shared:
        if one.name == "ranges" and isinstance(one, click.Option):
            one.help = "Only this part; several are printed in the order given."
    return [lone("url", "cat", "URL"), *shared]


def command() -> click.Command:
    """The click command of `cat`."""
    return framed(
        "cat",
        cat,
        parameters(),
        help="Print a remote file, or ranges of it, to stdout, in order; several connections "
        "fetch ahead within bounded memory, and no file is left. A digest is checked at the end.",
        short_help="Print a remote file or parts of it.",
    )
