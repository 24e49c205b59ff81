"""`rdl completion SHELL`: print the completion script; the shell then asks rdl itself."""

from __future__ import annotations

import os
from typing import Any

import click

from rdl.cli.console import Console
from rdl.cli.frame import framed

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_RDL_COMPLETE"
"""Set by the scripts: which shell asks, and what for."""


def script(tree: click.Group, shell: str) -> str:
    """The script for `shell`, to be read by it when it starts."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    return kind(tree, {}, "rdl", VARIABLE).source().strip()


def answer(tree: click.Group) -> str | None:
    """What the shell that asked is to offer; None when no shell asks."""
    shell, _, instruction = os.environ.get(VARIABLE, "").partition("_")
    if instruction != "complete":
        return None
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    return kind(tree, {}, "rdl", VARIABLE).complete() if kind is not None else None


def completion(console: Console, given: dict[str, Any]) -> int:
    """Run the command; returns the exit code. Raises RdlError."""
    tree: Any = click.get_current_context().find_root().command
    for line in script(tree, given["shell"]).split("\n"):
        console.output.line(line)
    console.output.settle()
    return 0


def command() -> click.Command:
    """The click command of `completion`."""
    return framed(
        "completion",
        completion,
        [click.Argument(["shell"], type=click.Choice(SHELLS))],
        help="Print the completion script of a shell: source <(rdl completion bash) in ~/.bashrc; "
        "rdl completion zsh > a file of $fpath; rdl completion fish | source.",
        short_help="Print the completion script of a shell.",
    )
