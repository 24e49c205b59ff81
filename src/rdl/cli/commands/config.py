"""`rdl config show [URL]`: what each preference is, and who says so; `rdl config path`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import click
from click.core import ParameterSource
from msgspec import Struct

from rdl.cli.arguments import lone
from rdl.cli.config_file import OF_HOST, config_path, read_config
from rdl.cli.console import Console
from rdl.cli.display.json_lines import SCHEMA, encode
from rdl.cli.environment import PREFERENCES, warn_of_unknown
from rdl.cli.frame import framed
from rdl.cli.layers import winning
from rdl.cli.options import get_parameters
from rdl.cli.values import is_from, long_name, parse_url
from rdl.core.text import redact_url, safe_text
from rdl.errors import UsageError

BUILT_IN = "built-in"


class Row(Struct, frozen=True):
    """A preference, its value for people (None: there is none), and who says so: a variable, a
    place in the file, or nobody (None)."""

    name: str
    value: str | None
    source: str
    where: str | None


def config(console: Console, given: dict[str, Any]) -> int:
    """Run the command; returns the exit code. Raises UsageError."""
    action, url, json = given["action"], given["url"], given["json"]
    if action is None:
        hint = "rdl config show; rdl config --help tells more"
        raise UsageError("config", "show, or path?", hint=hint)
    if action == "path":
        if url is not None or json:
            raise UsageError("config path", "takes neither URL nor --json")
        lines = [safe_text(str(config_path(os.environ)), 5000)]
    else:
        rows = sorted(_rows(url), key=lambda row: row.name)
        warn_of_unknown(console.messages, {})
        lines = [encode(setting_object(row)) for row in rows] if json else _table(rows)
    for line in lines:
        console.output.line(line)
    console.output.settle()
    return 0


def _rows(url: str | None) -> Iterator[Row]:
    """What `get` would go by, for `url` or in general. Raises UsageError."""
    found = read_config(os.environ)
    key = found.key_of(parse_url(url).url) if url is not None else None
    with click.Command("get", params=get_parameters()).make_context("get", []) as context:
        of_host = winning(context, found.of_host(key))
        general = winning(context, found.general)
        for one in context.command.params:
            source = "host" if one.name in of_host else "general"
            setting = of_host.get(one.name or "") or general.get(one.name or "")
            if setting is not None:
                yield Row(long_name(one), setting.shown, source, setting.where)
            elif one.name in (PREFERENCES if url is None else PREFERENCES | OF_HOST):
                yield _other(one, context)


def _other(option: click.Parameter, context: click.Context) -> Row:
    name, value = long_name(option), context.params[option.name or ""]
    from_environment = is_from(ParameterSource.ENVIRONMENT, context, option.name)
    shown: str | None = None
    if isinstance(value, bool):
        shown = "yes" if value else "no"
    elif option.name == "proxy":
        shown = redact_url(value) if value is not None else None
    elif from_environment:
        shown = os.environ[str(option.envvar)]
    elif value not in (None, ()):
        shown = str(option.default)
    text = None if shown is None else safe_text(shown)
    if from_environment:
        return Row(name, text, "environment", str(option.envvar))
    return Row(name, text, BUILT_IN, None)


def setting_object(row: Row) -> dict[str, Any]:
    """The `setting` object; its fields are in docs/json-events.md."""
    return {
        "schema": SCHEMA,
        "event": "setting",
        "name": row.name,
        "value": row.value,
        "source": row.source,
        "where": row.where,
    }


def _table(rows: list[Row]) -> list[str]:
    wide = max(len(row.value or "") for row in rows)
    return [f"{row.name:<15}  {row.value or '-':<{wide}}  {row.where or BUILT_IN}" for row in rows]


def command() -> click.Command:
    """The click command of `config`."""
    return framed(
        "config",
        config,
        [
            click.Argument(["action"], type=click.Choice(["show", "path"]), required=False),
            lone("url", "config show", "[URL]"),
            click.Option(["--json"], is_flag=True, help="One JSON object a setting on stdout."),
        ],
        help="show: print what each preference is and who says so: a variable, the configuration "
        "file, or rdl itself; with URL, what goes for its host. Values of headers are not "
        "shown. path: print which file is read.",
        short_help="Print where each setting comes from.",
    )
