"""The program under test as a child process: started, watched by its events, signalled, ended.

stderr goes to a file that is read again and again, so no pipe can fill and block the child.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from tests.support import json_schema

Event = dict[str, Any]
RDL = (sys.executable, "-m", "rdl")
PATIENCE = 60.0
"""Seconds after which a download that does not end is a failure."""


def rdl(
    folder: Path, *words: str, stdin: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    """One `rdl WORDS` in this folder, with these variables besides, when it has ended."""
    return subprocess.run(
        [*RDL, *words],
        cwd=folder,
        env=os.environ | variables,
        input=stdin,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=2 * PATIENCE,
        check=False,
    )


class Download:
    """One `rdl get URL -o OUTPUT`, with its events. A context manager that leaves no process."""

    def __init__(self, url: str, output: Path, *options: str) -> None:
        self._out = output.with_name(output.name + ".stdout")
        self._err = output.with_name(output.name + ".stderr")
        command = [*RDL, "get", url, "-o", str(output), "--json", "--progress", "json", *options]
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._out.unlink()
        self._err.unlink()

    @property
    def said(self) -> str:
        """Everything on stderr so far."""
        return self._err.read_text(errors="replace")

    def events(self, kind: str) -> list[Event]:
        """The events of one kind so far; a line that is still being written is left out."""
        lines = self.said.splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n") and line.startswith("{")]
        return [event for event in map(json_schema.parse, whole) if event["event"] == kind]

    def wait_for(self, kind: str, *, bytes_present: int = 0) -> bool:
        """Wait for an event (with at least so many bytes present); False: it ended before."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            over = self.process.poll() is not None
            if any(event.get("bytes_present", 0) >= bytes_present for event in self.events(kind)):
                return True
            if over:
                return False
            time.sleep(0.01)
        raise TimeoutError(f"no {kind} in {PATIENCE} s: {self.said}")

    def kill(self) -> None:
        """SIGKILL, if it is still there."""
        self.process.kill()
        self.process.wait(PATIENCE)

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> int:
        """Send a signal and wait for the end; returns the exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def finish(self) -> int:
        """Wait for the end; returns the exit code."""
        return self.process.wait(PATIENCE)

    def result(self) -> Event:
        """The result object on stdout."""
        text = self._out.read_text()
        assert text.count("\n") == 1, f"one result expected: {text!r}; stderr: {self.said}"
        return json_schema.parse(text)


def interrupted(folder: Path, *words: str) -> tuple[int, str]:
    """`rdl WORDS --progress json` in this folder, that gets SIGINT once it has told that it
    verifies: its exit code, and what it said then on stderr."""
    with subprocess.Popen(
        [*RDL, *words, "--progress", "json"],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            assert '"verify"' in process.stderr.readline()
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=PATIENCE / 2)
        finally:
            process.kill()
    return process.returncode, said


@contextmanager
def download(url: str, output: Path, *options: str) -> Iterator[Download]:
    """A Download that has ended well, for tests that only need its result."""
    with Download(url, output, *options) as run:
        code = run.finish()
        assert code == 0, f"exit {code}: {run.said}"
        yield run


def leftovers(output: Path) -> list[str]:
    """Names beside a published file that should not be there."""
    return sorted(p.name for p in output.parent.iterdir() if p.name.startswith(f"{output.name}."))
