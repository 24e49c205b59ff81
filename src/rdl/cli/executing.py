"""`--exec CMD`: the bytes go to a program's stdin, in order, and its failing fails the command.

It runs in the shell, with RDL_URL in its environment; its stdout and stderr are ours. It sees the
end of its input only when all has come and has its digest: before that it is ended, so that no
program takes a part for the whole.
"""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from typing import Self

from rdl.errors import ProgramError

WHAT = "--exec"
PATIENCE = 5.0
"""Seconds between asking it to end and ending it."""


class Enough(Exception):
    """The program has ended well before it had read all."""


class Program:
    """A command, which is started when there is something for it; a context manager. Leaving it
    by an error ends it and all that it has started; else waits for it, and raises ProgramError
    where it failed."""

    def __init__(self, command: str, url: str) -> None:
        self._command, self._url = command, url
        self._process: subprocess.Popen[bytes] | None = None
        self._written = 0

    def write(self, chunk: memoryview) -> None:
        """All of it. Where it does not read on: Enough, or ProgramError when it failed."""
        stdin = self._started().stdin
        assert stdin is not None
        try:
            while chunk:
                count = stdin.write(chunk) or 0
                chunk, self._written = chunk[count:], self._written + count
        except BrokenPipeError:
            self._wait()
            raise Enough from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        try:
            if kind is None:
                _shut(self._started())
                self._wait()
        finally:
            if self._process is not None:
                stop(self._process)

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._process = subprocess.Popen(
                self._command,
                shell=True,
                stdin=subprocess.PIPE,
                env={**os.environ, "RDL_URL": self._url},
                start_new_session=True,
                bufsize=0,
            )
        return self._process

    def _wait(self) -> None:
        """Until it has ended. ProgramError where it did not end well."""
        ended_well(WHAT, self._started().wait())


def ended_well(what: str, code: int) -> None:
    """Raises ProgramError where the command of the option `what` did not."""
    if code:
        raise ProgramError(what, f"ended by signal {-code}" if code < 0 else f"exit code {code}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """With all that it has started, unless it has ended by itself."""
    if process.poll() is None:
        _signal(process, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
    if process.poll() is None:
        _signal(process, signal.SIGKILL)
        process.wait()
    _shut(process)


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _shut(process: subprocess.Popen[bytes]) -> None:
    """The end of its input."""
    if process.stdin is not None:
        with suppress(BrokenPipeError):
            process.stdin.close()
