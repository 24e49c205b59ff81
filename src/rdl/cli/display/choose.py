"""Which display: what --progress says, or for `auto` what stderr is."""

from __future__ import annotations

import os

from rdl.cli.display.json_lines import JsonLines
from rdl.cli.display.lines import Lines
from rdl.cli.display.plain import Display, Plain, Style
from rdl.cli.streams import Messages


def display_for(progress: str, messages: Messages, style: Style) -> Display:
    """`auto` is a bar on a terminal that can draw one, else lines; nothing when quiet."""
    chosen = _automatic(messages, style) if progress == "auto" else progress
    if chosen == "json":
        return JsonLines(messages)
    if chosen == "lines":
        return Lines(messages, style)
    if chosen == "bar":
        from rdl.cli.display.bar import Bar

        return Bar(messages, style, force=progress == "bar")
    return Plain(messages, style)


def _automatic(messages: Messages, style: Style) -> str:
    if style.quiet:
        return "none"
    return "bar" if can_draw(messages) else "lines"


def can_draw(messages: Messages) -> bool:
    """Whether stderr is a terminal on which a bar can be drawn."""
    return messages.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "")
