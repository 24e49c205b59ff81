"""One process, measured by the kernel: CPU seconds, wall seconds, peak memory."""

from __future__ import annotations

import contextlib
import os
import re
import select
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
"""An installed program has its byte code; ours has it after the first run."""
LOOK_EVERY = 0.01
"""Seconds between two looks at the memory."""


@dataclass(frozen=True, slots=True)
class Cost:
    """`cpu`: user and system seconds of the whole process; `rss`: peak, in MiB."""

    cpu: float
    wall: float
    rss: float


def run(command: Sequence[str]) -> Cost:
    """Run to the end; a client that fails ends the measurement with RuntimeError."""
    begun = time.monotonic()
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=ENVIRONMENT
    )
    return _cost(process, begun)


def _cost(process: subprocess.Popen[Any], begun: float) -> Cost:
    rss = _watch(process.pid)
    wall = time.monotonic() - begun
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"exit code {process.returncode}: {process.args!r}")
    return Cost(usage.ru_utime + usage.ru_stime, wall, rss)


def piped(command: Sequence[str], sink: Sequence[str]) -> tuple[Cost, str]:
    """Run to the end with stdout into `sink`: the cost of the first alone, and what the sink
    said. RuntimeError when one of them fails."""
    begun = time.monotonic()
    source = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=ENVIRONMENT
    )
    assert source.stdout is not None
    taker = subprocess.Popen(sink, stdin=source.stdout, stdout=subprocess.PIPE, text=True)
    source.stdout.close()
    cost = _cost(source, begun)
    said, _ = taker.communicate()
    if taker.returncode != 0:
        raise RuntimeError(f"exit code {taker.returncode}: {' '.join(sink)}")
    return cost, said


def _watch(pid: int) -> float:
    """Wait for the end; the last high-water mark seen, in MiB.

    rusage would give a child the mark of the process that forked it.
    """
    peak = 0.0
    ending = os.pidfd_open(pid)
    try:
        watched = select.poll()
        watched.register(ending, select.POLLIN)
        while not watched.poll(LOOK_EVERY * 1000):
            peak = max(peak, _high_water(pid))
    finally:
        os.close(ending)
    return peak


def _high_water(pid: int) -> float:
    """VmHWM of proc(5) in MiB; 0 when the process has just ended."""
    with contextlib.suppress(OSError):
        found = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.M)
        return int(found[1]) / 1024 if found else 0.0
    return 0.0


def median(costs: Sequence[Cost]) -> Cost:
    """The median of each figure by itself."""
    rows = [asdict(cost) for cost in costs]
    return Cost(**{name: statistics.median(row[name] for row in rows) for name in rows[0]})
