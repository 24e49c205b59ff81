"""Arguments of which there is one: none, or several, are an error in rdl's own words."""

from __future__ import annotations

from typing import Any

import click

from rdl.errors import UsageError


def lone(
    name: str, command: str, metavar: str, kind: click.ParamType[Any] | None = None
) -> click.Argument:
    """The argument `name` of `command`, None where it was not given. Raises UsageError for more
    than one."""

    def check(_context: click.Context, _parameter: click.Parameter, value: tuple[Any, ...]) -> Any:
        if len(value) > 1:
            raise UsageError(command, f"one {metavar.strip('[]')}, not {len(value)}")
        return value[0] if value else None

    return click.Argument([name], metavar=metavar, type=kind, nargs=-1, callback=check)
