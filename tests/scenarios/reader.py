"""A running `rdl cat` whose bytes are compared as they come, and what waits in its sockets."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from tests.scenarios.coded import Asked, Origin, coded

RDL = (sys.executable, "-m", "rdl")
QUIET_NETWORK = ("--no-netrc", "--proxy", "")
PORTION = 64 << 10
PATIENCE = 20.0


def cat(url: str, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    """`rdl cat` to its end."""
    return subprocess.run(
        [*RDL, "cat", url, *QUIET_NETWORK, *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
        cwd=cwd,
    )


def resting(figure: Callable[[], int], seconds: float = 0.4) -> int:
    """The figure when it has not changed for so long."""
    known, since = figure(), time.monotonic()
    deadline = since + 10
    while time.monotonic() - since < seconds:
        assert time.monotonic() < deadline, "it does not come to rest"
        time.sleep(0.02)
        if (now := figure()) != known:
            known, since = now, time.monotonic()
    return known


def in_sockets(peer: int) -> int:
    """Bytes that wait in the kernel on a loopback connection whose client has this port: sent and
    not received yet, or received and not read (proc(5), net/tcp)."""
    number, waiting = f":{peer:04X}", 0
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, _, queues = line.split()[:5]
        to_send, to_read = (int(text, 16) for text in queues.split(":"))
        if remote.endswith(number):
            waiting += to_send
        elif local.endswith(number):
            waiting += to_read
    return waiting


def fetched(origin: Origin) -> int:
    """Where the furthest byte that the client has read ends."""
    return max(_reached(asked) for asked in origin.log)


def _reached(asked: Asked) -> int:
    first, _, last = asked.fields["range"].removeprefix("bytes=").partition("-")
    if asked.gone and not last:
        return 0  # what was on its way when it was closed cannot be told from what was read
    return int(first) + asked.sent - in_sockets(asked.peer)


class Reader:
    """`rdl cat` of an Origin's file from byte `at` on; a context manager that leaves no process.

    `script`: Python to run in the child before rdl, such as a limit that it is to keep.
    """

    def __init__(self, origin: Origin, words: Sequence[str], script: str = "", **more: Any) -> None:
        start = (*RDL[:1], "-c", f"{script}; {_RUN}") if script else RDL
        command = [*start, "cat", origin.url, *QUIET_NETWORK, *words]
        self._salt, self.at, self.peak = origin.salt, 0, 0
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **more,
        )
        assert self.process.stdout is not None
        self._pipe = self.process.stdout.fileno()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.communicate()

    def take(self, count: int) -> int:
        """Read up to `count` bytes, fewer only at the end; each must be the right one."""
        left = count
        while left and (data := os.read(self._pipe, min(left, PORTION))):
            assert data == coded(self.at, self.at + len(data), self._salt), f"wrong at {self.at}"
            self.at, left = self.at + len(data), left - len(data)
        return count - left

    def rest(self, step: int = 1 << 20) -> int:
        """Read to the end, and look at the memory now and then; the exit code."""
        while True:
            self.peak = max(self.peak, self.high_water())
            if self.take(step) < step:
                return self.process.wait(PATIENCE)

    def high_water(self) -> int:
        """The largest resident set so far, in bytes; 0 once it has ended."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"^VmHWM:\s+(\d+) kB", text, re.MULTILINE)
        return int(found[1]) << 10 if found else 0

    def said(self) -> str:
        """What is on stderr, once it has ended."""
        _, data = self.process.communicate()
        return bytes(data).decode()


_RUN = "import sys; from rdl.cli.main import main; sys.exit(main())"
