"""`rdl manifest make FILE`: cut a file by content and write its manifest; `rdl manifest show M`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rdl.cli.arguments import lone
from rdl.cli.console import Console
from rdl.cli.display.choose import display_for
from rdl.cli.display.json_lines import encode
from rdl.cli.display.plain import Style
from rdl.cli.display.summary import counted, name_of
from rdl.cli.environment import warn_of_unknown
from rdl.cli.frame import framed, said
from rdl.cli.layers import Layers
from rdl.cli.manifests import load, manifest_lines, manifest_object
from rdl.cli.options import get_parameters, text_value
from rdl.cli.repairs import REACHING
from rdl.cli.values import refuse_url
from rdl.cli.verdicts import Manner, Verdicts
from rdl.core.text import format_size
from rdl.errors import UsageError

if TYPE_CHECKING:
    from rdl.engine.verifying import Stop

_MAKING = frozenset(("output", "progress"))
_BOTH = frozenset(("quiet", "verbose", "json"))


def manifest(console: Console, given: dict[str, Any]) -> int:
    """Run the command; returns the exit code. Raises RdlError."""
    action, name = given["action"], given["file"]
    if action is None or name is None:
        hint = "rdl manifest make FILE, rdl manifest show M"
        raise UsageError("manifest", "make of which FILE, or show which M?", hint=hint)
    for option in said(REACHING if action == "make" else _MAKING):  # it is the other's
        raise UsageError(f"manifest {action}", f"takes no {option}")
    layers = Layers(console, given)
    warn_of_unknown(console.messages, layers.given)
    if action == "make":
        refuse_url(name, "manifest make")
        _make(console, layers.given, name)
    else:
        _show(console, layers, name)
    console.output.settle()
    return 0


class _Making:
    """Ends when a signal comes."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop

    def interrupt(self, signal: str) -> None:
        """Soon."""
        self._stop.set(signal)


def _make(console: Console, given: dict[str, Any], name: str) -> None:
    from rdl.core.manifest import SUFFIX
    from rdl.engine.verifying import Stop
    from rdl.manifests import make_manifest

    out, events = given["output"] or name + SUFFIX, given["progress"] == "json"
    if out == "-":
        raise UsageError("-o -", "a manifest is a file: its beginning is written last")
    if os.path.isdir(out):
        out = os.path.join(out, Path(name).name + SUFFIX)
    style = Style(given["verbose"], given["quiet"])
    display, stop = display_for(given["progress"], console.messages, style), Stop()
    manner = Manner(given["json"], events, given["quiet"], 1)
    tell = Verdicts(display, console.output, console.messages, manner).tell
    try:
        console.signals.watch(_Making(stop), display.abandon)
        made = make_manifest(Path(name), Path(out), tell=tell, stop=stop)
        console.signals.watch(None, display.abandon)
    finally:
        display.close()
    text = encode(manifest_object(made, out))
    if given["json"]:
        console.output.line(text)
    if events:
        console.messages.line(text)
    elif not given["quiet"]:
        chunks = f"{len(made.coarse)} coarse and {made.fine_count} fine chunks"
        of = f"{chunks} of {format_size(made.total)}"
        console.messages.line(f"rdl: {name_of(out)}: {counted(made.length)}, {of}")


def _show(console: Console, layers: Layers, name: str) -> None:
    found, place = load(layers, console.messages, name)
    whole = [encode(manifest_object(found, place))]
    for line in whole if layers.given["json"] else manifest_lines(found):
        console.output.line(line)


def parameters() -> list[click.Parameter]:
    """What to do, with what, and those options of `get` that make sense for one of both."""
    wanted = REACHING | _MAKING | _BOTH
    shared = [one for one in get_parameters() if one.name in wanted]
    for one in shared:
        if one.name == "output" and isinstance(one, click.Option):
            one.help = (
                "Of make: the manifest; an existing directory means into it.  [default: FILE.rdlm]"
            )
        if one.name == "json" and isinstance(one, click.Option):
            one.help = "One JSON object on stdout."
    return [
        click.Argument(["action"], type=click.Choice(["make", "show"]), required=False),
        lone("file", "manifest", "FILE|M", text_value("FILE")),
        *shared,
    ]


def command() -> click.Command:
    """The click command of `manifest`."""
    return framed(
        "manifest",
        manifest,
        parameters(),
        help="make: cut FILE by content and write the digests of its chunks into its manifest, to "
        "be served beside it, so that others fetch only what they lack; 'rdl verify --manifest' "
        "says where a file differs from it. show: print what is in the manifest M, a path or a "
        "URL; M#sha256=HEX must be that one. The other options say how to fetch M.",
        short_help="Make the manifest of a file, or show one.",
    )
