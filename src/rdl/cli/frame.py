"""The frame of every command: click parses, the command's function is given the console."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

import click
from click.core import ParameterSource

from rdl.cli.console import Console
from rdl.cli.sections import SectionedCommand
from rdl.cli.values import is_from


def said(names: Collection[str]) -> Iterator[str]:
    """Which options of these the command line has, as they are written there."""
    context = click.get_current_context()
    for one in context.command.params:
        if one.name in names and is_from(ParameterSource.COMMANDLINE, context, one.name):
            yield one.opts[-1]


def framed(
    name: str,
    act: Callable[[Console, dict[str, Any]], int],
    params: list[click.Parameter],
    *,
    help: str,
    short_help: str,
    epilog: str | None = None,
) -> click.Command:
    """The click command `name`: `act` gets the console and the parameters by name and returns the
    exit code."""

    def run(**given: Any) -> int:
        return act(click.get_current_context().find_object(Console) or Console(), given)

    return SectionedCommand(
        name, params=params, callback=run, help=help, short_help=short_help, epilog=epilog
    )
