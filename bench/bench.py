"""rdl beside curl and others: the same file from nginx on loopback, by http and by https.

Rounds are interleaved and begin with another client each time, so that a noisy minute, and
what the one before left, hits every client; the figures are medians.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

from bench import plot
from bench.memory import kept
from bench.place import SCHEMES, Bench
from bench.rows import ROWS, Row
from tests.support.content import MiB
from tests.support.servers import program_path

MEMORY = Path("/dev/shm")
SPARE = 1 << 30
"""Bytes of the machine's memory that are left to the programs."""


def measured(bench: Bench, rows: Sequence[Row], chosen: argparse.Namespace) -> dict[str, Any]:
    """The rows that were asked for, each told as soon as it is measured. One that fails does not
    end the others: its entry says why."""
    found: dict[str, Any] = {}
    for row in rows:
        print(f"bench: {row.name}: {row.about}", file=sys.stderr, flush=True)
        try:
            data = row.measure(bench, chosen)
        except (RuntimeError, OSError, subprocess.SubprocessError, TimeoutError) as error:
            print(f"bench: {row.name}: {error}", file=sys.stderr, flush=True)
            found.setdefault("failed", {})[row.name] = str(error)
            continue
        found |= row.entries(data)
        if not chosen.json:
            print(f"\n{row.told(data)}", flush=True)
    return found


def options() -> argparse.Namespace:
    """The command line."""
    about = "\n".join(f"  {row.name:<20} {row.about}" for row in ROWS.values())
    parser = argparse.ArgumentParser(
        prog="bench",
        description=__doc__,
        epilog=f"rows:\n{about}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--size", type=int, default=1024, help="MiB to fetch (1024)")
    add("--large", type=int, default=4096, help="MiB of the larger file (4096)")
    add("--rounds", type=int, default=5, help="rounds of every client (5)")
    add("--scheme", choices=SCHEMES, action="append", help="http, https (both)")
    add("--row", choices=ROWS, action="append", metavar="ROW", help="only these rows (all)")
    add("--rate", type=int, default=10, help="MiB/s a connection where `cat` meets a slow one (10)")
    add("--seconds", type=int, default=10, help="how long the slow reader is slow (10)")
    add("--tail-seconds", type=float, default=30, help="least length of `tail` and `links` (30)")
    add("--files", type=int, default=500, help="files of `small` (500)")
    add("--list", type=int, default=10_000, help="files of `batch` (10000)")
    add("--starts", type=int, default=20, help="runs of each program in `start` (20)")
    add("--scale", type=float, default=1024, help="GiB of the file that is made up (1024)")
    add("--plot", type=Path, metavar="FILE.svg", help="also draw the CPU ratios")
    add("--json", action="store_true", help="print one JSON object instead")
    chosen = parser.parse_args()
    if chosen.large <= chosen.size and "further" in (chosen.row or ROWS):
        parser.error("--large must be more than --size")
    if (
        min(chosen.size, chosen.rounds, chosen.starts, chosen.list, chosen.files - 1) < 1
        or chosen.scale < 1
    ):
        parser.error("sizes and counts are 1 or more, and --files 2")
    return chosen


def room(rows: Sequence[Row], chosen: argparse.Namespace) -> int:
    """Bytes of memory that these rows take: each content once, the largest output, programs."""
    sizes = {size for row in rows for size in row.sizes(chosen)}
    return sum(sizes) + max(sizes, default=0) + 512 * MiB


def available() -> int:
    """Bytes of memory that may be used without harm to others (proc(5), meminfo). MEMORY may be
    as large as all there is, and what is full there cannot be taken back."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.M)
    return int(found[1]) << 10 if found else 0


def obstacle(needed: int) -> str:
    """Why the bench cannot run here; empty when it can."""
    missing = [name for name in ("nginx", "openssl") if program_path(name) is None]
    if missing:
        return f"{' and '.join(missing)} must be installed (Debian: apt-get install nginx openssl)"
    if not MEMORY.is_dir():
        return f"{MEMORY} is not there"
    free = min(shutil.disk_usage(MEMORY).free, available() - SPARE)
    if free < needed:
        short = f"{needed // MiB} MiB are needed and {free // MiB} are free"
        return f"{MEMORY} has no room: {short}; use --size, --large or --row"
    return ""


def _ended(number: int, _frame: FrameType | None) -> None:
    """A signal ends us as Ctrl-C does: every child process with its row."""
    raise SystemExit(128 + number)


def main() -> int:
    """Exit code 0 when everything was measured, 1 when a row failed, 2 when it cannot be
    measured here, 130 after Ctrl-C."""
    chosen = options()
    rows = [row for row in ROWS.values() if not chosen.row or row.name in chosen.row]
    if problem := obstacle(room(rows, chosen)):
        print(f"bench: {problem}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, _ended)
    about = {"size": chosen.size * MiB, "rounds": chosen.rounds}
    if not chosen.json:
        print(f"{chosen.size} MiB, medians of {chosen.rounds} rounds", flush=True)
    try:
        with (
            kept(room(rows, chosen)),
            tempfile.TemporaryDirectory(prefix="rdl-bench-", dir=MEMORY) as folder,
        ):
            found = measured(Bench(Path(folder), chosen.size * MiB), rows, chosen)
    except KeyboardInterrupt:
        return 130
    if chosen.json:
        print(json.dumps(about | found, default=asdict))
    if chosen.plot:
        plot.write(chosen.plot, found)
    return 1 if "failed" in found else 0


if __name__ == "__main__":
    sys.exit(main())
