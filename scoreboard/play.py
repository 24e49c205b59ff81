"""One tool plays one row: runs, a kill where the row wants one, one more run after a failure,
and what is to be said of the file that stands there then.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from scoreboard.rows import Row
from scoreboard.stage import Stage
from scoreboard.tools import NAME, Tool
from tests.support.origin import Origin

LIMIT = 20.0
"""Seconds a run may take."""
STEP = 1 << 10
OK, SAFE, BAD, HANG, NONE = "ok", "safe", "BAD", "hang", "n/a"


@dataclass(frozen=True, slots=True)
class Outcome:
    """`verdict`: ok (the right file, exit 0), safe (an error), BAD (exit 0 and another file),
    hang (the last run had to be ended), n/a. `exits`: of each run, None where it was ended by
    us; `hung`: how many were. `percent` of the file's KiB that are right; `again`: bytes sent
    twice, in percent of the file. `left`: something has the final name. `said`: the end of what
    the last run wrote to stderr."""

    verdict: str
    exits: tuple[int | None, ...] = ()
    percent: int = 0
    requests: int = 0
    again: int = 0
    hung: int = 0
    left: bool = False
    said: str = ""

    @property
    def is_good(self) -> bool:
        """What rdl promises in every row."""
        return self.verdict in (OK, SAFE, NONE) and not self.hung


def play(row: Row, tool: Tool, size: int) -> Outcome:
    """Play the row with a file of `size` bytes; leaves nothing behind."""
    if row.several and not tool.several:
        return Outcome(NONE)
    stage = Stage(row.script, size, size // 4 if row.shrinks else size, row.pause)
    with tempfile.TemporaryDirectory(prefix="scoreboard-") as folder:
        where = Path(folder)
        with Origin(stage.answer) as origin:
            command = tool.build(origin.url(f"/{NAME}"), size // 8)
            exits = _runs(row, stage, command, where)
        percent = _percent(where / NAME, [version.data for version in stage.versions])
        left = (where / NAME).exists()
        said = (where / "said").read_text(errors="replace").strip()[-300:]
    exit_code = exits[-1]
    if exit_code is None:
        verdict = HANG
    elif exit_code != 0:
        verdict = SAFE
    else:
        verdict = OK if percent == 100 else BAD
    again = max(0, 100 * (stage.sent - size) // size)
    hung = sum(code is None for code in exits)
    return Outcome(verdict, exits, percent, stage.requests, again, hung, left, said)


def _runs(row: Row, stage: Stage, command: list[str], where: Path) -> tuple[int | None, ...]:
    """Exit codes of the runs that were left to end by themselves: one, or two."""
    if row.killed:
        _kill_half_way(stage, command, where)
        stage.now = int(row.replaced)
    first = _run(command, where)
    return (first,) if first == 0 else (first, _run(command, where))


def _start(command: list[str], where: Path) -> subprocess.Popen[bytes]:
    """In the folder, which is its home too: no settings of the user's, no proxy."""
    kept = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    with (where / "said").open("wb") as said:
        return subprocess.Popen(
            command,
            cwd=where,
            env=kept | {"HOME": str(where)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
        )


def _kill_half_way(stage: Stage, command: list[str], where: Path) -> None:
    process = _start(command, where)
    stage.reached.wait(LIMIT)
    process.kill()
    process.wait()


def _run(command: list[str], where: Path) -> int | None:
    """The exit code, None when it had to be ended."""
    process = _start(command, where)
    try:
        return process.wait(LIMIT)
    except subprocess.TimeoutExpired:
        return None
    finally:
        process.kill()
        process.wait()


def _percent(path: Path, versions: list[bytes]) -> int:
    """How much of the file is one version's, by KiB in their places; 100: all, and no more."""
    data = path.read_bytes() if path.is_file() else b""
    return max(_share(data, version) for version in versions)


def _share(data: bytes, version: bytes) -> int:
    if data == version:
        return 100
    both = range(0, min(len(data), len(version)), STEP)
    right = sum(STEP for at in both if data[at : at + STEP] == version[at : at + STEP])
    return min(99, 100 * right // max(len(data), len(version)))
