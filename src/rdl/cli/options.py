"""The options of `get`, declared once; the order here is the order of the help text.

An option that is not here does not exist. What each value may be is in values.py, what
they mean together in settings.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from rdl.cli import values as v
from rdl.cli.environment import prefer
from rdl.errors import UsageError

_SIZE = v.Value("SIZE", v.parse_size)
_NUMBER = v.Value("N", v.parse_number)
_SECONDS = v.Value("S", v.parse_number)


def text_value(name: str) -> v.Value:
    """The click type of text that says something."""
    return v.Value(name, parse_text)


def parse_text(text: str) -> str:
    if not text or "\0" in text:
        raise ValueError("empty" if not text else "holds a NUL character")
    return text


def _option(*names: str, **rest: Any) -> click.Option:
    return click.Option(list(names), **rest)


def _flag(*names: str, **rest: Any) -> click.Option:
    return click.Option(list(names), is_flag=True, **rest)


def _choice(*names: str, of: str, default: str, **rest: Any) -> click.Option:
    kind = click.Choice(of.split())
    return click.Option(list(names), type=kind, default=default, show_default=True, **rest)


def _where() -> list[click.Parameter]:
    return [
        _option(
            *("-o", "--output"),
            type=text_value("FILE"),
            help="Where to; an existing directory means into it. Default: the URL's last segment.",
        ),
        _option(
            *("-d", "-P", "--output-dir", "--directory", "directory"),
            type=text_value("DIR"),
            help="Directory for the files, made when missing.",
        ),
        _option(
            *("-i", "--input-file"),
            type=text_value("LIST"),
            help="URLs of a list, or a metalink; - is stdin.",
        ),
        _option(
            "--base-url",
            type=v.Value("URL", v.parse_base),
            help="LIST is a sums file: its names, below this URL, with their digests.",
        ),
        _option(
            "--locked",
            type=text_value("LOCK"),
            help="The files of a lock file, each with its size and digest (see 'rdl lock').",
        ),
        _option(
            "--resume",
            type=text_value("FILE"),
            multiple=True,
            help="Continue FILE from the URL that its index knows.",
        ),
        _flag("--join", help="Another rdl that is fetching the same file is waited for."),
        _option(
            *("--exec", "program"),
            type=text_value("CMD"),
            help="Feed the bytes to a command of the shell (RDL_URL), and keep no file.",
        ),
        _option(
            "--on-complete",
            type=text_value("CMD"),
            help="Run a command of the shell for each complete file (RDL_PATH, RDL_URL, ...).",
        ),
        _option(
            *("-j", "--parallel"),
            type=v.Value("N", v.parse_count(1, 256)),
            default=4,
            show_default=True,
            help="Files at the same time; with a scheduler, on each worker.",
        ),
        _choice("--engine", of="threads dask", default="threads", help="Who downloads a list."),
        _option(
            "--scheduler",
            type=text_value("ADDRESS"),
            help="Of dask: its workers download, into a folder that they share.",
        ),
    ]


def _how() -> list[click.Parameter]:
    return [
        _option(
            *("-x", "--connections"),
            type=v.Value("N", v.parse_count(1, 256)),
            help="At most N connections to a file.  [default: measured, 8 at most]",
        ),
        _option(
            *("-k", "--min-split-size"),
            type=_SIZE,
            default="8M",
            show_default=True,
            help="Never split below this.",
        ),
        _option(
            *("-r", "--range", "ranges"),
            type=v.Value("RANGE", v.parse_range),
            multiple=True,
            help="Only this part: 0-499, 500-, -500 (the last 500), 500+100K.",
        ),
        _option(
            "--member",
            type=text_value("PATH"),
            help="Of a zip or tar only this member, as 'rdl ls' names it; digests are its own.",
        ),
        _flag("-c", "--continue", "adopt", help="Also adopt a partial that has no index."),
        _option("-C", "offset", type=text_value("-"), hidden=True),
        _flag("--restart", help="Forget what is there, a finished target too."),
        _flag("--no-clobber", help="Keep an existing target and exit 13."),
        _choice(
            "--on-change",
            of="restart fail",
            default="restart",
            help="When the remote file changed since the partial was begun.",
        ),
        _flag("--strict", help="Fail where completeness cannot be confirmed."),
        _flag("--allow-html", help="Accept an HTML page under a name that is none."),
        _option("--max-filesize", type=_SIZE, help="Refuse larger files."),
        _option("--limit-rate", type=_SIZE, help="Bytes a second, all connections together."),
        _option("--limit-requests", type=_NUMBER, help="Requests a second to one origin."),
    ]


def _verification() -> list[click.Parameter]:
    return [
        _option(
            "--checksum",
            type=text_value("SPEC"),
            multiple=True,
            help="sha256:HEX, sha256-BASE64, bare hex, or the path or URL of a sums file.",
        ),
        _option("--sha256", type=text_value("HEX"), help="Short for --checksum sha256:HEX."),
        _choice(
            "--verify",
            of="auto discover require off",
            default="auto",
            help="auto: when no digest is given, check one that the server publishes; discover: "
            "also look for sums files and metalinks; require: exit 11 when there is none.",
        ),
    ]


def _patience() -> list[click.Parameter]:
    seconds = [
        ("--retry-max-time", 600, "Seconds to keep trying without a new byte."),
        ("--connect-timeout", 10, "Seconds for a connection to be made."),
    ]
    return [
        _option(
            "--retry",
            type=v.Value("N", v.parse_count(0, 1_000_000)),
            default=10,
            show_default=True,
            help="Tries in a row without a new byte.",
        ),
        *(
            _option(name, type=_SECONDS, default=value, show_default=True, help=text)
            for name, value, text in seconds
        ),
        _option(
            *("-T", "--timeout"),
            type=_SECONDS,
            default=30,
            show_default=True,
            help="Seconds without a byte before a connection is given up.",
        ),
        _option("--max-time", type=_SECONDS, help="Seconds for everything."),
    ]


def _request() -> list[click.Parameter]:
    return [
        _option(
            *("-H", "--header", "headers"),
            type=v.Value("'N: V'", _header_or_file, secret=True),
            multiple=True,
            help="A request header; @FILE reads them from a file.",
        ),
        _option(
            *("-u", "--user"),
            type=v.Value("U[:P]", v.parse_user, secret=True),
            help="User and password; asks when there is no password.",
        ),
        _option(
            *("--mirror", "mirrors"),
            type=text_value("URL"),
            multiple=True,
            help="A further URL of the same bytes; may be given more than once.",
        ),
        _option(
            "--url-command",
            type=text_value("CMD"),
            help="Prints a fresh URL when the one given (RDL_URL) has had its time.",
        ),
        _option("--netrc-file", type=text_value("F"), help="Use this instead of ~/.netrc."),
        _flag("--no-netrc", help="Use no netrc file."),
        _option(
            *("-b", "--cookies"),
            type=text_value("FILE"),
            help="Cookies, in the format of browsers and curl.",
        ),
        _option("-A", "--user-agent", type=v.Value("TEXT", v.parse_agent), help="User-Agent."),
    ]


def _header_or_file(text: str) -> str | tuple[str, str]:
    return text if text.startswith("@") else v.parse_header(text)


def _network() -> list[click.Parameter]:
    return [
        _option(
            "--proxy",
            type=v.Value("URL", v.parse_proxy, secret=True),
            help="Use this proxy; '' is none.  [default: from the environment]",
        ),
        _option("--noproxy", metavar="LIST", help="Hosts without proxy, by commas; * is all."),
        _option("--cacert", type=text_value("F"), help="Trust these certificates."),
        _option("--cert", type=text_value("F"), help="Client certificate."),
        _option("--key", type=text_value("F"), help="Its private key."),
        _flag("--insecure", help="Do not verify the server."),
        _flag("-4", "ipv4", help="IPv4 only."),
        _flag("-6", "ipv6", help="IPv6 only."),
        _flag("--allow-insecure-redirect", help="Follow from https to http."),
        _flag("--allow-private-redirect", help="Follow from public to private addresses."),
    ]


def _storage() -> list[click.Parameter]:
    return [
        _option(
            "--block-size",
            type=v.Value("SIZE", v.parse_block_size),
            help="Unit of the block map, a power of two.",
        ),
        _choice("--preallocate", of="auto none", default="auto", help="Reserve the space first."),
        _flag("--keep-time/--no-keep-time", default=True, help="Give the file its Last-Modified."),
    ]


def _talk() -> list[click.Parameter]:
    return [
        _flag("-q", "-s", "--quiet", help="Errors only."),
        _option(
            *("-v", "--verbose"),
            count=True,
            type=v.Value("N", v.parse_count(0, 9)),
            help="More; -vv more still.",
        ),
        _choice("--progress", of="auto bar lines json none", default="auto", help="On stderr."),
        _flag("--json", help="One JSON result object per file on stdout."),
        _flag("--dry-run", help="Print the plan, fetch no body."),
    ]


_ELSEWHERE = {
    "-O": "-o FILE names the output; without it the URL's last segment does",
    "-n": "-x N limits the connections",
    "-t": "--retry N limits the tries",
    "-m": "--max-time S limits the time",
}


def _foreign() -> list[click.Parameter]:
    """What fingers trained on curl, wget and axel type: accepted when it changes nothing,
    else refused with the spelling of rdl."""
    same: list[click.Parameter] = [
        _flag(name, name[1:], hidden=True, expose_value=False) for name in ("-f", "-L", "-S")
    ]
    return same + [
        _option(
            *(name, f"foreign_{name[1:]}"),
            is_flag=False,
            flag_value="",
            hidden=True,
            is_eager=True,
            expose_value=False,
            callback=_refuse(name, hint),
        )
        for name, hint in _ELSEWHERE.items()
    ]


def _refuse(name: str, hint: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def refuse(_ctx: click.Context, _param: click.Parameter, value: Any) -> None:
        if value is not None:
            raise UsageError(name, "not an option of rdl", hint=hint)

    return refuse


def get_parameters() -> list[click.Parameter]:
    """The argument and all options of `get`."""
    groups = (_where, _how, _verification, _patience, _request, _network, _storage, _talk)
    options = [option for group in groups for option in group()]
    prefer(options)
    return [click.Argument(["urls"], nargs=-1, metavar="URL..."), *options, *_foreign()]
