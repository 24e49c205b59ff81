"""rdl beside curl and others, before servers that cut, change and lie: who keeps a wrong file?

Every installed downloader plays every row over loopback, two plays at a time; one that failed
is run again once. Exit code 1 when rdl's answer in any row is neither `ok` nor `safe`.
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from scoreboard.play import BAD, OK, Outcome, play
from scoreboard.rows import ROWS, Row
from scoreboard.tools import RDL, TOOLS, Tool

MiB = 1 << 20
AT_ONCE = 2
Board = dict[tuple[str, str], Outcome]


def cell(row: Row, outcome: Outcome) -> str:
    """One outcome for people."""
    text = outcome.verdict
    if outcome.verdict == BAD:
        text += f" {outcome.percent} %"
    elif outcome.hung and outcome.verdict != "hang":
        text = f"hang, then {text}"
    elif outcome.verdict == OK and len(outcome.exits) > 1:
        text += ", 2nd run"
    if row.shows == "again" and outcome.verdict == OK:
        text += f", {outcome.again} %"
    if row.shows == "requests" and outcome.exits:
        text += f", {outcome.requests} requests"
    return text


def table(rows: list[Row], tools: list[Tool], board: Board) -> str:
    """A table in Markdown."""
    lines = ["| server | " + " | ".join(tool.name for tool in tools) + " |"]
    lines.append("|---" * (len(tools) + 1) + "|")
    for row in rows:
        cells = [cell(row, board[row.name, tool.name]) for tool in tools]
        lines.append(f"| {row.says} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def as_json(rows: list[Row], tools: list[Tool], board: Board, size: int) -> dict[str, Any]:
    """The same for programs."""
    return {
        "size": size,
        "tools": {tool.name: tool.version() for tool in tools},
        "rows": [
            {
                "name": row.name,
                "says": row.says,
                "outcomes": {tool.name: asdict(board[row.name, tool.name]) for tool in tools},
            }
            for row in rows
        ],
    }


def played(rows: list[Row], tools: list[Tool], size: int) -> Board:
    """Every outcome, by the names of row and tool."""
    pairs = [(row, tool) for row in rows for tool in tools]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = pool.map(lambda pair: play(*pair, size), pairs)
        return {
            (row.name, tool.name): one for (row, tool), one in zip(pairs, outcomes, strict=True)
        }


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scoreboard", description=__doc__)
    names = [row.name for row in ROWS]
    programs = ["rdl", *(tool.program for tool in TOOLS[1:])]
    parser.add_argument("--row", choices=names, action="append", help="only these rows (all)")
    parser.add_argument("--tool", choices=programs, action="append", help="only these (installed)")
    parser.add_argument("--size", type=int, default=8, help="MiB of the file (8)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    return parser.parse_args()


def main() -> int:
    """Exit code 1 when rdl broke its promise in a row."""
    chosen = options()
    size = chosen.size * MiB
    rows = [row for row in ROWS if row.name in (chosen.row or [row.name])]
    tools = [tool for tool in TOOLS if tool.is_installed()]
    if chosen.tool:
        tools = [tool for tool in tools if tool.name.split()[0] in chosen.tool]
    board = played(rows, tools, size)
    broken = [row for row in rows if not board.get((row.name, RDL.name), Outcome(OK)).is_good]
    if chosen.json:
        print(json.dumps(as_json(rows, tools, board, size)))
    else:
        print(f"{chosen.size} MiB; " + ", ".join(f"{one.name}: {one.version()}" for one in tools))
        print(f"\n{table(rows, tools, board)}")
    for row in broken:
        outcome = board[row.name, RDL.name]
        print(f"scoreboard: {row.name}: {outcome.verdict}: {outcome.said}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
