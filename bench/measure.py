"""One process, measured by the kernel: CPU seconds, wall seconds, peak memory."""

from __future__ import annotations

import contextlib
import math
import os
import re
import select
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if name != "PYTHONDONTWRITEBYTECODE" and not name.lower().endswith("_proxy")
}
"""An installed program has its byte code; ours has it after the first run. No proxies."""
PATIENCE = 1200.0
"""Seconds after which a process that does not end is a failure."""
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
    """Wait for it; it is ended when we are, or when it takes too long."""
    try:
        rss = _watch(process.pid)
        wall = time.monotonic() - begun
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        process.kill()
        process.wait()
        raise
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
    peak, deadline = 0.0, time.monotonic() + PATIENCE
    ending = os.pidfd_open(pid)
    try:
        watched = select.poll()
        watched.register(ending, select.POLLIN)
        while not watched.poll(LOOK_EVERY * 1000):
            peak = max(peak, high_water(pid))
            if time.monotonic() > deadline:
                raise RuntimeError(f"process {pid} has not ended in {PATIENCE:.0f} s")
    finally:
        os.close(ending)
    return peak


def high_water(pid: int) -> float:
    """VmHWM of proc(5) in MiB; 0 when the process has just ended."""
    with contextlib.suppress(OSError):
        found = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.M)
        return int(found[1]) / 1024 if found else 0.0
    return 0.0


def median(costs: Sequence[Cost]) -> Cost:
    """The median of each figure by itself."""
    rows = [asdict(cost) for cost in costs]
    return Cost(**{name: statistics.median(row[name] for row in rows) for name in rows[0]})


def interleaved(
    trials: Mapping[str, Callable[[int], Cost]], rounds: int, step: int = 1
) -> dict[str, Cost]:
    """Medians of every trial over `rounds`, each of which begins `step` trials later: who
    follows whom matters, for memory that was freed long ago costs more again. A trial is told
    the round's number."""
    costs: dict[str, list[Cost]] = {name: [] for name in trials}
    names = list(trials)
    for number in range(rounds):
        first = step * number % len(names)
        for name in names[first:] + names[:first]:
            costs[name].append(trials[name](number))
    return {name: median(found) for name, found in costs.items()}


def best(figures: Mapping[str, float]) -> float:
    """The least of what others than rdl cost; not a number where there is none."""
    return min((found for name, found in figures.items() if name != "rdl"), default=math.nan)


def ratio(figure: float, base: float | None) -> float | None:
    """`figure` divided by `base`; None where there is no such base, or the clock did not see it."""
    return figure / base if base is not None and base > 0 else None


def told(found: float | None) -> str:
    """A ratio for people."""
    return "-" if found is None else f"{found:.2f}"
