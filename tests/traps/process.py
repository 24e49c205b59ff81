"""`rdl` as a process with a home of its own, and all that it said."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.support.program import RDL

ROOT = Path(__file__).parents[2]


class Said:
    """What a process left: exit code, stdout and stderr."""

    def __init__(self, code: int, out: bytes, err: bytes) -> None:
        self.code, self.out, self.err = code, out, err

    def __repr__(self) -> str:
        return f"Said({self.code}, {self.out[:2000]!r}, {self.err!r})"


def command(folder: Path, *arguments: str, program: tuple[str, ...] = RDL, **more: str) -> Said:
    """Run `rdl` in `folder`, with a home of its own."""
    own = {name: value for name, value in os.environ.items() if not name.lower().endswith("proxy")}
    environment = {**own, "HOME": str(folder), "PYTHONPATH": str(ROOT / "src"), **more}
    ended = subprocess.run(
        [*program, *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=30,
        check=False,
        env=environment,
    )
    return Said(ended.returncode, ended.stdout, ended.stderr)
