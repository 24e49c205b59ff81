"""rdl as a child process whose events are stamped as they come, and which may be ended early."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from bench.measure import ENVIRONMENT, LOOK_EVERY, PATIENCE, high_water
from tests.support import json_schema

GRACE = 30.0
"""Seconds in which an interrupted run has to end."""
Stamped = tuple[float, dict[str, Any]]


class Telling:
    """A running `rdl get` with `--progress json`. `begun`: time.monotonic() of its start."""

    def __init__(self, process: subprocess.Popen[str], begun: float) -> None:
        self.process, self.begun, self.peak = process, begun, 0.0
        self.said: list[str] = []
        """Lines that are no events."""
        self.deadline = begun + PATIENCE
        """When it is killed."""

    def events(self) -> Iterator[Stamped]:
        """Seconds since the start, and the event; up to the end of the process."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            seconds = time.monotonic() - self.begun
            if line.startswith("{"):
                yield seconds, json_schema.parse(line)
            else:
                self.said.append(line)

    def first(self, kind: str) -> Stamped:
        """The next event of this kind. RuntimeError when none comes."""
        others: list[dict[str, Any]] = []
        for stamped in self.events():
            if stamped[1]["event"] == kind:
                return stamped
            if stamped[1]["event"] in ("changed", "retry"):
                raise RuntimeError(f"rdl met another server than it should: {stamped[1]}")
            others.append(stamped[1])
        raise RuntimeError(f"rdl ended too early: {others[-1:]} {''.join(self.said)}")

    def interrupted(self) -> float:
        """SIGTERM, and seconds from that to the end in order. RuntimeError for another end."""
        asked = time.monotonic()
        self.deadline = asked + GRACE
        self.process.send_signal(signal.SIGTERM)
        last = [event for _, event in self.events()]
        if self.process.wait() != 143:
            raise RuntimeError(f"rdl did not stop in order: {last[-1:]} {''.join(self.said)}")
        return time.monotonic() - asked

    def watch(self, over: threading.Event) -> None:
        """Keep the peak memory, in MiB; a process that does not end is killed."""
        while not over.wait(LOOK_EVERY):
            self.peak = max(self.peak, high_water(self.process.pid))
            if time.monotonic() > self.deadline:
                self.process.kill()


@contextmanager
def telling(command: Sequence[str]) -> Iterator[Telling]:
    """Start it; what still runs at the end is killed."""
    begun = time.monotonic()
    process = subprocess.Popen(
        [*command, "--progress", "json"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    over = threading.Event()
    run = Telling(process, begun)
    watcher = threading.Thread(target=run.watch, args=(over,))
    try:
        watcher.start()
        yield run
    finally:
        over.set()
        with contextlib.suppress(RuntimeError):  # it may not have been started
            watcher.join()
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()
