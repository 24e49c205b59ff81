"""Schedulers and workers of dask on loopback, as processes of their own; none is left behind."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.waiting import until


class Cluster:
    """A scheduler at `address`, and its workers, with what they log in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._logs = folder, 0
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self._port}"
        self.scheduler: subprocess.Popen[bytes]
        self.workers: list[subprocess.Popen[bytes]] = []

    def start_scheduler(self) -> None:
        """At the same address each time."""
        words = "--port", str(self._port)
        self.scheduler = self._start("dask_scheduler", *words)

    def start_worker(self) -> None:
        words = (
            self.address,
            "--no-nanny",
            "--nthreads",
            "1",
            "--local-directory",
            str(self._folder),
        )
        self.workers.append(self._start("dask_worker", *words))

    def logs(self) -> str:
        """What all of them have said."""
        return "".join(path.read_text() for path in sorted(self._folder.glob("*.log")))

    def _start(self, program: str, *words: str) -> subprocess.Popen[bytes]:
        self._logs += 1
        log = self._folder / f"{self._logs}.log"
        rest = "--host", "127.0.0.1", "--no-dashboard", "--dashboard-address", "127.0.0.1:0"
        with log.open("wb") as out:
            return subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{program}", *words, *rest],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, "DASK_LOGGING__DISTRIBUTED": "info"},
            )

    def end(self) -> None:
        """All of them."""
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait(20)

    def kill_scheduler(self) -> None:
        """As where its machine is lost. Its workers end by themselves."""
        self.scheduler.kill()
        self.scheduler.wait(20)


@contextmanager
def running(folder: Path) -> Iterator[Cluster]:
    """A scheduler without workers."""
    cluster = Cluster(folder)
    cluster.start_scheduler()
    try:
        assert until(lambda: "Scheduler at:" in cluster.logs(), 60)
        yield cluster
    finally:
        cluster.end()
