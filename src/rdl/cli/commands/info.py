"""`rdl info URL`: what the server says of a file; no body is fetched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from rdl.cli.arguments import lone
from rdl.cli.console import Console
from rdl.cli.display.json_lines import SCHEMA, encode
from rdl.cli.display.summary import counted, locating
from rdl.cli.environment import warn_of_unknown
from rdl.cli.frame import framed
from rdl.cli.layers import Layers
from rdl.cli.options import get_parameters
from rdl.cli.values import parse_url
from rdl.core.text import safe_text
from rdl.errors import UsageError
from rdl.options import NetworkOptions

if TYPE_CHECKING:
    from rdl.core.describing import Info

_OF_GET = frozenset(
    (
        *("connect_timeout", "timeout", "headers", "user", "netrc_file", "no_netrc", "user_agent"),
        *("cookies", "proxy", "noproxy", "cacert", "cert", "key", "insecure", "ipv4", "ipv6"),
        *("allow_insecure_redirect", "allow_private_redirect", "verbose"),
    )
)
_RANGES = {True: "yes", False: "no", None: "not known"}


def look(url: str, network: NetworkOptions) -> Info:
    """The engine is imported only when there is somebody to ask."""
    from rdl.looking import info

    return info(url, network)


def show(console: Console, given: dict[str, Any]) -> int:
    """Run the command; returns the exit code. Raises RdlError."""
    layers = Layers(console, given)
    given = layers.given
    if given["url"] is None:
        raise UsageError("info", "no URL given", hint="rdl info URL; rdl info --help tells more")
    address = parse_url(given["url"])
    network = layers.options_for(given)(address, ()).network
    warn_of_unknown(console.messages, given)
    with locating(address.url, network.user):
        found = look(given["url"], network)
    lines = [encode(info_object(found))] if given["json"] else info_lines(found)
    for line in lines:
        console.output.line(line)
    console.output.settle()
    return 0


def info_object(found: Info) -> dict[str, Any]:
    """The `info` object; its fields are in docs/json-events.md."""
    return {
        "schema": SCHEMA,
        "event": "info",
        "url": found.url,
        "final_url": found.final_url,
        "length": found.length,
        "ranges": found.ranges,
        "etag": found.etag,
        "last_modified": found.last_modified,
        "media_type": found.media_type,
        "digests": found.digests,
        "filename": found.filename,
        "offered_filename": found.offered_filename,
        "trust": found.trust,
    }


def info_lines(found: Info) -> list[str]:
    """The same for people; what the server does not say is left out, except the length."""
    length = "not said"
    if found.length is not None:
        length = counted(found.length)
    modified = _strength(found.last_modified, strong=found.modified_strong)
    etag = _strength(found.etag, strong=not (found.etag or "").startswith("W/"))
    rows = [
        ("url", found.url),
        ("final", found.final_url if found.final_url != found.url else None),
        ("length", length),
        ("ranges", _RANGES[found.ranges]),
        ("etag", etag),
        ("modified", modified),
        ("type", found.media_type),
        *((name, text) for name, text in found.digests.items()),
        ("name", found.filename),
        ("offers", found.offered_filename),
    ]
    return [f"{name:<8}  {safe_text(text, 2000)}" for name, text in rows if text is not None]


def _strength(text: str | None, *, strong: bool) -> str | None:
    return None if text is None else f"{text} ({'strong' if strong else 'weak'})"


def parameters() -> list[click.Parameter]:
    """The URL and those options of `get` that say how to reach it."""
    shared = [one for one in get_parameters() if one.name in _OF_GET]
    json = click.Option(["--json"], is_flag=True, help="One JSON object on stdout.")
    return [lone("url", "info", "URL"), *shared, json]


def command() -> click.Command:
    """The click command of `info`."""
    return framed(
        "info",
        show,
        parameters(),
        help="Print what the server says of a file: length, ranges, validators, digests, "
        "redirects, names. No body is fetched.",
        short_help="Print what the server says of a file.",
    )
