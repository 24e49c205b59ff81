"""`rdl cache [clear]`: what the caches hold, and to let it go. Offline."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rdl.cli.console import Console
from rdl.cli.display.json_lines import SCHEMA, encode
from rdl.cli.frame import framed
from rdl.cli.options import text_value
from rdl.core.text import format_size, safe_text
from rdl.errors import LocalFileError
from rdl.storage.disk import told

if TYPE_CHECKING:
    from rdl.storage.packs import Holdings


def cache(console: Console, given: dict[str, Any]) -> int:
    """Run the command; returns the exit code. Raises RdlError."""
    from rdl.storage.packs import default_folder

    own = default_folder()
    folders = [Path(one) for one in given["caches"]] or [own]
    for folder in folders:
        with told(safe_text(str(folder), 200)):
            if folder != own or os.path.lexists(own):
                _one(console, folder, clear=given["action"] == "clear", json=given["json"])
            elif given["json"]:
                from rdl.storage.packs import Holdings

                console.output.line(encode(cache_object(own, "chunks", Holdings(0, 0, 0, None))))
            else:
                console.messages.line(f"rdl: {safe_text(str(own), 200)}: no cache yet")
    if console.output.trouble:
        raise console.output.trouble
    return 0


def _one(console: Console, folder: Path, *, clear: bool, json: bool) -> None:
    """Raises OSError, LocalFileError."""
    from rdl.server.room import holdings, let_go
    from rdl.storage.packs import Packs

    with Packs(folder) as packs:
        chunks, files = packs.holdings(), holdings(folder)
        if packs.is_another() and not files.entries:
            raise LocalFileError(safe_text(str(folder), 200), "holds other files, and is no cache")
        kind = "files" if files.entries and not chunks.entries else "chunks"
        if clear:
            count, size = let_go(folder) if kind == "files" else packs.clear()
            shown = safe_text(str(folder), 200)
            said = f"{shown}: {format_size(size)} freed, {_counted(count, kind)}"
            console.messages.line(f"rdl: {said}")
            chunks, files = packs.holdings(), holdings(folder)
    held = files if kind == "files" else chunks
    if json:
        console.output.line(encode(cache_object(folder, kind, held)))
    elif not clear:
        for line in _lines(folder, kind, held):
            console.output.line(line)


_NAMES = {"files": "file", "chunks": "pack"}
"""Of what a cache holds: files of `rdl serve --upstream`, chunks of `rdl sync`."""


def _counted(count: int, kind: str) -> str:
    return f"{count} {_NAMES[kind]}{'s' * (count != 1)}"


def cache_object(folder: Path, kind: str, held: Holdings) -> dict[str, Any]:
    """The `cache` object; its fields are in docs/json-events.md."""
    return {
        "schema": SCHEMA,
        "event": "cache",
        "path": str(folder),
        "kind": kind,
        "entries": held.entries,
        "bytes_used": held.used,
        "bytes_locked": held.locked,
        "bytes_capacity": held.capacity,
    }


def _lines(folder: Path, kind: str, held: Holdings) -> list[str]:
    capacity = "-" if held.capacity is None else format_size(held.capacity)
    rows = [
        ("cache", safe_text(str(folder), 2000)),
        ("holds", f"{kind}: {_counted(held.entries, kind)}"),
        ("used", format_size(held.used)),
        ("locked", format_size(held.locked)),
        ("capacity", capacity),
    ]
    return [f"{name:<8}  {text}" for name, text in rows]


def command() -> click.Command:
    """The click command of `cache`."""
    return framed(
        "cache",
        cache,
        [
            click.Argument(["action"], type=click.Choice(["clear"]), required=False),
            click.Option(
                ["--cache", "caches"],
                type=text_value("DIR"),
                multiple=True,
                help="This one, of 'rdl sync --cache' or of 'rdl serve --cache'; default: where "
                "'rdl sync' keeps chunks.",
            ),
            click.Option(["--json"], is_flag=True, help="One JSON object a cache on stdout."),
        ],
        help="Print what a cache holds: how much it takes, how much of that is locked, for it is "
        "in use now, and how much it may take. clear: let all go that is not in use. What a "
        "server keeps it goes on with: it fetches it again.",
        short_help="Print what the caches hold, or clear them.",
    )
