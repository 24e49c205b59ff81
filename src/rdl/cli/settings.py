"""From the values of the command line to the frozen options of rdl; contradictions refused."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
from msgspec.structs import replace

from rdl.cli.environment import without_environment
from rdl.cli.options import get_parameters
from rdl.cli.values import NO_URL, named, parse_header, parse_mirror
from rdl.core.text import is_url, redact_url, safe_text
from rdl.errors import Interrupted, UsageError, why_of
from rdl.options import (
    NETWORK_FILES,
    FileOptions,
    NetworkOptions,
    Options,
    SessionOptions,
    TransferOptions,
)

MAX_HEADER_FILE = 1 << 20
_ALONE = (
    ("restart", "adopt", "--restart", "-c"),
    ("restart", "no_clobber", "--restart", "--no-clobber"),
    ("ipv4", "ipv6", "-4", "-6"),
    ("resume", "output", "--resume", "-o"),
    ("resume", "directory", "--resume", "-d"),
    ("resume", "ranges", "--resume", "-r"),
    ("resume", "restart", "--resume", "--restart"),
    ("locked", "urls", "--locked", "a URL"),
    ("locked", "input_file", "--locked", "-i"),
    ("locked", "resume", "--locked", "--resume"),
    ("locked", "output", "--locked", "-o"),
    ("locked", "ranges", "--locked", "-r"),
    ("locked", "mirrors", "--locked", "--mirror"),
    ("locked", "checksum", "--locked", "--checksum"),
    ("locked", "sha256", "--locked", "--sha256"),
    ("program", "output", "--exec", "-o"),
    ("program", "directory", "--exec", "-d"),
    ("program", "json", "--exec", "--json"),
    ("program", "resume", "--exec", "--resume"),
    ("program", "on_complete", "--exec", "--on-complete"),
    ("scheduler", "program", "--scheduler", "--exec"),
    ("scheduler", "member", "--scheduler", "--member"),
    ("scheduler", "restart", "--scheduler", "--restart"),
    ("scheduler", "no_clobber", "--scheduler", "--no-clobber"),
    ("no_netrc", "netrc_file", "--no-netrc", "--netrc-file"),
)


def options_from(given: Mapping[str, Any]) -> Options:
    """Everything but what belongs to one URL. Raises UsageError; may ask for a password."""
    _check(given)
    return Options(
        transfer=_transfer(given),
        file=_file(given),
        network=_network(given),
        dry_run=given["dry_run"],
        renew=_renew(given["url_command"]),
        mirrors=tuple(parse_mirror(url, "--mirror ") for url in given["mirrors"]),
    )


def _renew(command: str | None) -> Callable[[str], str] | None:
    if command is None:
        return None
    if not command.strip():
        raise UsageError("--url-command", "it is empty")
    from rdl.cli.url_command import UrlCommand

    return UrlCommand(command)


def given_as_in_get(given: Mapping[str, Any]) -> dict[str, Any]:
    """Of any command: what it does not have is as if it was not given to `get`."""
    parameters = without_environment(get_parameters())
    with click.Command("get", params=parameters).make_context("get", []) as context:
        return {**context.params, **given}


def options_over(options: Options, given: Mapping[str, Any]) -> Options:
    """`options` made anew of other values; login and header fields stay."""
    kept = options.network
    network = _network({**given, "headers": (), "user": None})
    network = replace(network, headers=kept.headers, user=kept.user, password=kept.password)
    return replace(options, transfer=_transfer(given), file=_file(given), network=network)


def session_options_from(given: Mapping[str, Any], parallel: int = 1) -> SessionOptions:
    """For so many files at the same time."""
    return SessionOptions(given["limit_rate"], given["limit_requests"], parallel)


def _check(given: Mapping[str, Any]) -> None:
    if given["base_url"] and not given["input_file"]:
        raise UsageError("--base-url", "useless without -i")
    for one, other, name, other_name in _ALONE:
        if given[one] and given[other]:
            raise UsageError(f"{name} with {other_name}", "these two contradict each other")
    if given["engine"] == "dask" and not given["scheduler"]:
        hint = "--scheduler tcp://HOST:8786 says where it is"
        raise UsageError("--engine dask", "useless without --scheduler", hint=hint)
    if given["scheduler"] and given["engine"] != "dask":
        raise UsageError("--scheduler", "useless without --engine dask")
    if given["key"] and not given["cert"]:
        raise UsageError("--key", "useless without --cert")
    if len(given["ranges"]) > 1:
        raise UsageError("-r", "get takes one range")
    if given["offset"] not in (None, "-"):
        why = f"only '-C -' is known, not '{safe_text(given['offset'], 40)}'"
        raise UsageError("-C", why, hint="-r OFFSET- fetches the rest from an offset")


def _transfer(given: Mapping[str, Any]) -> TransferOptions:
    return TransferOptions(
        connections=given["connections"],
        min_split=given["min_split_size"],
        retry=given["retry"],
        retry_max_time=given["retry_max_time"],
        max_time=given["max_time"],
        on_change=given["on_change"],
        strict=given["strict"],
        verify=given["verify"],
        max_filesize=given["max_filesize"],
        range=given["ranges"][0] if given["ranges"] else None,
        allow_html=given["allow_html"],
        block_size=given["block_size"],
    )


def _file(given: Mapping[str, Any]) -> FileOptions:
    return FileOptions(
        restart=given["restart"],
        no_clobber=given["no_clobber"],
        join=given["join"],
        adopt=given["adopt"] or given["offset"] == "-",
        preallocate=given["preallocate"],
        keep_time=given["keep_time"],
    )


def _network(given: Mapping[str, Any]) -> NetworkOptions:
    headers = tuple(field for value in given["headers"] for field in header_fields(value))
    files = {name: _existing(given, name) for name in NETWORK_FILES}
    user, password = given["user"] or (None, None)
    return NetworkOptions(
        headers=headers,
        user=user,
        password=_ask(user) if user and password is None else password,
        netrc=not given["no_netrc"],
        netrc_file=files["netrc_file"],
        cookies=files["cookies"],
        user_agent=given["user_agent"],
        proxy=given["proxy"],
        noproxy=tuple(part.strip() for part in (given["noproxy"] or "").split(",") if part.strip()),
        cacert=files["cacert"],
        cert=files["cert"],
        key=files["key"],
        insecure=given["insecure"],
        family=4 if given["ipv4"] else 6 if given["ipv6"] else None,
        connect_timeout=given["connect_timeout"],
        timeout=given["timeout"],
        allow_insecure_redirect=given["allow_insecure_redirect"],
        allow_private_redirect=given["allow_private_redirect"],
    )


def _existing(given: Mapping[str, Any], name: str) -> Path | None:
    if given[name] is None:
        return None
    path = Path(given[name])
    if not path.is_file():
        context = click.get_current_context()
        option = next(one for one in context.command.params if one.name == name)
        raise UsageError(named(option, context, safe_text(str(path))), "no such file")
    return path


def header_fields(value: str | tuple[str, str], what: str = "-H ") -> list[tuple[str, str]]:
    """One header, or those of `@FILE`: one a line, blank lines skipped. `what` asks for it."""
    if isinstance(value, tuple):
        return [value]
    name = value[1:]
    text = read_small(name, MAX_HEADER_FILE, f"{what}@{name}").decode("utf-8", "replace")
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                found.append(parse_header(line.rstrip("\r")))
            except ValueError as error:
                raise UsageError(f"{safe_text(name)}:{number}", str(error)) from None
    return found


def read_small(name: str, limit: int, what: str) -> bytes:
    """The content of a local file that an option names, at most `limit` bytes."""
    try:
        with open(name, "rb") as file:
            data = file.read(limit + 1)
    except (OSError, ValueError) as error:
        why = why_of(error)
        if is_url(name):
            shown = redact_url(name)
            what, hint = what.replace(name, shown), f"rdl get {safe_text(shown)}"
            raise UsageError(safe_text(what), NO_URL, hint=hint) from None
        raise UsageError(safe_text(what), why) from None
    if len(data) > limit:
        raise UsageError(safe_text(what), f"larger than {limit >> 20} MiB")
    return data


def _ask(user: str) -> str:
    if sys.stdin is None or not sys.stdin.isatty():
        hint = "-u USER:PASSWORD, or a netrc file"
        raise UsageError("-u", "no password, and no terminal to ask on", hint=hint)
    try:
        return getpass.getpass(f"rdl: password of {safe_text(user, 60)}: ")
    except EOFError:
        _end_line()
        raise UsageError("-u", "no password was typed") from None
    except Interrupted:
        _end_line()
        raise


def _end_line() -> None:
    """The question still stands on the last line of the terminal."""
    if sys.stderr is not None and sys.stderr.isatty():
        print(file=sys.stderr)
