"""`rdl serve [DIR]`: the files of a folder for many readers, until a signal comes."""

from __future__ import annotations

import ipaddress
import re
import socket
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from msgspec.structs import replace

from rdl.cli.commands.status import path_argument
from rdl.cli.console import Console
from rdl.cli.display.summary import remote_text
from rdl.cli.environment import warn_of_unknown
from rdl.cli.frame import framed
from rdl.cli.layers import Layers
from rdl.cli.options import get_parameters, text_value
from rdl.cli.repairs import REACHING, refuse_where_nothing_is_fetched
from rdl.cli.settings import read_small
from rdl.cli.values import (
    HOST,
    Value,
    parse_base,
    parse_count,
    parse_number,
    parse_size,
    parse_url,
    refuse_url,
)
from rdl.core.file_url import is_file_url
from rdl.core.text import redact_url, safe_text
from rdl.errors import Interrupted, NetworkError, UsageError
from rdl.options import Options, SessionOptions

if TYPE_CHECKING:
    from rdl.server.folder import Folder
    from rdl.server.loop import Address, Server
    from rdl.server.resource import Site
    from rdl.server.upstream import Upstream

_SHARED = (REACHING | {"quiet", "verbose"}) - {"max_time"}
ABREAST = 32
"""Connections to the upstream."""
_BIND = re.compile(rf"({HOST.pattern}):([0-9]{{1,5}})")
_TOKEN = re.compile(r"[\x21-\x7e]{1,256}")
MAX_TOKEN_FILE = 4096


class _Serving:
    """Ends when a signal comes, with what is being sent; a second one does not wait for that."""

    def __init__(self, server: Server) -> None:
        self._server, self.signal = server, ""

    def interrupt(self, signal: str) -> None:
        """Soon; called by a handler of signals."""
        self._server.stop(0 if self.signal else None)
        self.signal = self.signal or signal


def serve(console: Console, given: dict[str, Any]) -> int:
    """Run the command. Raises RdlError; Interrupted is how it ends."""
    from rdl.server.connection import Limits
    from rdl.server.loop import Server

    layers = Layers(console, given)
    given = layers.given
    folder = given["path"] or "."
    refuse_url(folder, "serve", "--upstream URL --cache DIR fetches from there")
    token = _token(given["token"])
    warn_of_unknown(console.messages, given)
    host, port = given["bind"]
    address, names = _resolved(host, port, token)

    def tell(line: str) -> None:
        console.messages.line(f"rdl: {line}")

    told = tell if given["verbose"] else None
    site = _site(_upstream(layers, given, token) or _folder(folder, given), given)
    limits = Limits(
        connections=given["readers"], per_address=given["per_address"], stall=given["stall"]
    )
    with (
        closing(site),
        Server(site, address, token=token, names=names, told=told, limits=limits) as server,
    ):
        serving = _Serving(server)
        console.signals.watch(serving, lambda: None)
        if not given["quiet"]:
            url = f"http://{_reached_at(server.address)}/"
            shown = remote_text(redact_url(given["upstream"]) if given["upstream"] else folder)
            console.messages.line(f"rdl: serving {shown} at {url}; Ctrl-C ends it")
        server.run()
    raise Interrupted(serving.signal)


def _parse_upstream(text: str) -> str:
    """That of a folder. Of a local one `serve DIR` knows what is not for others."""
    if is_file_url(text):
        raise ValueError("not an http or https URL; a folder is served by its name")
    return parse_base(text)


def _site(files: Folder | Upstream, given: dict[str, Any]) -> Site:
    """With --sync their lists of chunks too. Raises UsageError where nothing can cut them."""
    if not given["sync"]:
        return files
    from rdl.server.granting import Granting

    return Granting(files)


def _folder(path: str, given: dict[str, Any]) -> Folder:
    """Its files. Raises LocalFileError."""
    from rdl.server.folder import Folder

    return Folder(Path(path), hold=given["hold"])


def _upstream(layers: Layers, given: dict[str, Any], token: str | None) -> Upstream | None:
    """With --upstream: its files, kept in the folder of --cache. Raises UsageError,
    LocalFileError."""
    if given["upstream"] is None:
        for name in ("cache", "cache_size"):
            if given[name]:
                raise UsageError(f"--{name.replace('_', '-')}", "useless without --upstream")
        refuse_where_nothing_is_fetched("--upstream")
        return None
    if given["path"] is not None:
        raise UsageError("serve", "a folder, or an --upstream, and not both")
    if given["cache"] is None:
        raise UsageError("--upstream", "needs a folder to keep what it fetches: --cache DIR")
    address = parse_url(given["upstream"])
    options = layers.options_for(given)(address, ())
    if token is None:
        options = _without_login(options)
    from rdl.api import Session
    from rdl.server.room import claim
    from rdl.server.upstream import Upstream

    claim(Path(given["cache"]))
    return Upstream(
        Session(SessionOptions(given["limit_rate"], given["limit_requests"], connections=ABREAST)),
        address.url,
        Path(given["cache"]),
        options=options,
        hold=given["hold"],
        private=token is not None,
        most=given["cache_size"],
        budget=given["budget"],
    )


def _without_login(options: Options) -> Options:
    """As for everybody: where a login was given, UsageError; what netrc has is left."""
    from rdl.transport.policy import crosses, user_fields

    network = options.network
    files = network.netrc_file, network.cookies, network.cert
    own = [field for field in user_fields(network.headers) if not crosses(field)]
    if network.user is not None or any(files) or own:
        why = "what a login gets is not for everybody"
        raise UsageError("--upstream", why, hint="--token T says who may read it")
    return replace(options, network=replace(network, netrc=False))


def _token(given: str | None) -> str | None:
    """As given, or the first line of a file. Raises UsageError."""
    if given is None or not given.startswith("@"):
        return given
    what = f"--token {given}"
    text = read_small(given[1:], MAX_TOKEN_FILE, what).decode("utf-8", "replace")
    try:
        return _parse_token(text.partition("\n")[0].strip())
    except ValueError as error:
        raise UsageError(safe_text(what), str(error)) from None


def _parse_token(text: str) -> str:
    if not _TOKEN.fullmatch(text):
        raise ValueError("not 1 to 256 visible ASCII characters")
    return text


def _parse_bind(text: str) -> tuple[str, int]:
    found = _BIND.fullmatch(text)
    if not found or int(found[2]) > 65535:
        raise ValueError("not HOST:PORT (like 127.0.0.1:8080, [::1]:8080)")
    return found[1].strip("[]"), int(found[2])


def _resolved(host: str, port: int, token: str | None) -> tuple[Address, tuple[str, ...]]:
    """The address of --bind, and under which names it may be asked. Raises UsageError where
    others reach it and there is no token; NetworkError."""
    from rdl.server.loop import Address, is_loopback

    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "no such host"
        raise NetworkError(f"--bind {safe_text(host)}", why) from error
    ip = str(found[0][4][0])
    if is_loopback(ip):
        return Address(ip, port), (host,)
    if token is None:
        raise UsageError(
            f"--bind {safe_text(host)}",
            "others reach this address, and there is no token",
            hint="--token T, or --token @FILE; 127.0.0.1 is for this machine alone",
        )
    return Address(ip, port), (host, socket.gethostname())


def _reached_at(address: Address) -> str:
    """Of all addresses the one of this machine's name."""
    from rdl.server.loop import Address

    if ipaddress.ip_address(address.host.partition("%")[0]).is_unspecified:
        return Address(socket.gethostname(), address.port).shown
    return address.shown


def _limits() -> list[click.Option]:
    """What readers may take."""
    return [
        click.Option(
            ["--readers"],
            type=Value("N", parse_count(1, 4096)),
            default=64,
            show_default=True,
            help="Connections at the same time; more wait, or the idle ones give way.",
        ),
        click.Option(
            ["--per-address"],
            type=Value("N", parse_count(1, 4096)),
            default=16,
            show_default=True,
            help="So many of them from one address; loopback counts only for all.",
        ),
        click.Option(
            ["--stall"],
            type=Value("S", parse_number),
            default=60.0,
            show_default=True,
            help="Seconds that a reader may take nothing before it is cut off.",
        ),
        click.Option(
            ["--budget"],
            type=Value("SIZE", parse_size),
            default="4G",
            show_default=True,
            help="Bytes that one address may cost an --upstream in an hour, beyond four times what "
            "it is sent: small reads cost whole blocks.",
        ),
    ]


def command() -> click.Command:
    """The click command of `serve`."""
    shared = [one for one in get_parameters() if one.name in _SHARED]
    return framed(
        "serve",
        serve,
        [
            path_argument("serve", "[DIR]"),
            click.Option(
                ["--bind"],
                type=Value("HOST:PORT", _parse_bind),
                default="127.0.0.1:8080",
                show_default=True,
                help="Where to listen; port 0 is any free one. Other than this machine's own "
                "addresses need --token.",
            ),
            click.Option(
                ["--token"],
                type=Value("T", _parse_token, secret=True),
                help="Who asks must say it: as a Bearer token, or as the password of any user "
                "(rdl get -u x:T). @FILE reads it from a file.",
            ),
            *_limits(),
            click.Option(
                ["--upstream"],
                type=Value("URL", _parse_upstream),
                help="Serve what is below this URL instead: each file is fetched once for all who "
                "read it, and kept. The options at the end say how to fetch.",
            ),
            click.Option(
                ["--cache"],
                type=text_value("DIR"),
                help="Where it is kept, and partials too; the folder is for this alone.",
            ),
            click.Option(
                ["--cache-size"],
                type=Value("SIZE", parse_size),
                help="Keep at most so much: what was not read for the longest time goes.",
            ),
            click.Option(
                ["--hold"],
                is_flag=True,
                help="Serve a file only when all of it is there and verified: of DIR, a download "
                "that is running when it has ended.",
            ),
            click.Option(
                ["--sync"],
                is_flag=True,
                help="Make the manifest of a file when FILE.rdlm is asked for, and send the chunks "
                "that a client wishes in one answer (rdl sync). Needs the extra: pip install "
                "'rdl-get[sync]'.",
            ),
            *shared,
        ],
        help="Share the files of DIR, by default of this folder, by HTTP: whole or in parts, with "
        "strong validators, for many readers at a time; and downloads that other rdl still write "
        "there: what is here is sent at once, the rest as it comes. Names that begin with a dot, "
        "links, and what rdl keeps beside downloads are not served. / is a page of what is going "
        "on, /healthz says ok, /metrics tells numbers. SIGINT and SIGTERM end it when what is "
        "being sent has ended, in 10 s at most.",
        short_help="Share files by HTTP with many readers.",
    )
