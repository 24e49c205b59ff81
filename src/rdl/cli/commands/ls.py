"""`rdl ls URL`: the members of a remote zip or tar, one a line; next to nothing is fetched."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from rdl.cli.arguments import lone
from rdl.cli.console import Console
from rdl.cli.display.json_lines import SCHEMA, encode
from rdl.cli.display.plain import Plain, Style
from rdl.cli.display.summary import locating
from rdl.cli.environment import warn_of_unknown
from rdl.cli.frame import framed
from rdl.cli.layers import Layers
from rdl.cli.members import archive_at
from rdl.cli.options import get_parameters
from rdl.cli.repairs import REACHING
from rdl.cli.settings import session_options_from
from rdl.cli.single import open_session
from rdl.cli.values import parse_url
from rdl.core.text import safe_text
from rdl.errors import UsageError

if TYPE_CHECKING:
    from rdl.doors.members import Member

_SHARED = REACHING | {"quiet", "verbose"}
_OF_ZIP = {"symlink": " -> ?"}


def ls(console: Console, given: dict[str, Any]) -> int:
    """Run the command; returns the exit code. Raises RdlError, also after some lines."""
    layers = Layers(console, given)
    given = layers.given
    if given["url"] is None:
        raise UsageError("ls", "no URL given", hint="rdl ls URL; rdl ls --help tells more")
    address = parse_url(given["url"])
    options = layers.options_for(given)(address, ())
    warn_of_unknown(console.messages, given)
    style = Style(given["verbose"], given["quiet"], tries=options.transfer.retry)
    tell = Plain(console.messages, style).tell
    with (
        locating(address.url, options.network.user),
        open_session(session_options_from(given)) as session,
        archive_at(session, address.url, options, tell) as (archive, _),
    ):
        for member in archive.members():
            text = encode(member_object(member)) if given["json"] else member_line(member)
            console.output.line(text)
            if console.output.unread:
                break
    console.output.settle()
    return 0


def member_object(member: Member) -> dict[str, Any]:
    """The `member` object; its fields are in docs/json-events.md."""
    return {
        "schema": SCHEMA,
        "event": "member",
        "name": member.name,
        "kind": member.kind,
        "size": member.size,
        "stored": member.stored,
        "modified": _time(member.modified, "%Y-%m-%dT%H:%M:%SZ"),
        "crc32": member.crc32,
        "link": member.link or None,
    }


def member_line(member: Member) -> str:
    """Size, time (UTC) and name; of a link also where it leads, which a zip does not list."""
    time = _time(member.modified, "%Y-%m-%d %H:%M:%S") or "-"
    leads = f" -> {safe_text(member.link, 2000)}" if member.link else _OF_ZIP.get(member.kind, "")
    return f"{member.size:>12}  {time:<19}  {safe_text(member.name, 2000)}{leads}"


def _time(seconds: float | None, form: str) -> str | None:
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime(form)
    except (ValueError, OverflowError, OSError):  # no year has it
        return None


def parameters() -> list[click.Parameter]:
    """The URL and those options of `get` that say how to reach it."""
    shared = [one for one in get_parameters() if one.name in _SHARED]
    json = click.Option(["--json"], is_flag=True, help="One JSON object a member on stdout.")
    return [lone("url", "ls", "URL"), *shared, json]


def command() -> click.Command:
    """The click command of `ls`."""
    return framed(
        "ls",
        ls,
        parameters(),
        help="List the members of a remote zip or tar (plain, gz, bz2, xz): size, time (UTC) and "
        "name, in their order. 'rdl cat URL --member PATH' prints one and 'rdl get URL --member "
        "PATH' keeps it. Only what is needed is fetched: of a zip its directory, of a tar its "
        "headers; a compressed tar is read to its end.",
        short_help="List the members of a remote zip or tar.",
    )
