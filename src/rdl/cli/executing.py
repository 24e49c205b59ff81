"""`--exec CMD`: the bytes go to a program's stdin, in order, and its failing fails the command.

It runs in the shell, with RDL_URL in its environment; its stdout and stderr are ours. It sees the
end of its input only when all has come and has its digest: before that it is ended, so that no
program takes a part for the whole.
"""

from __future__ import annotations

import subprocess
from contextlib import suppress
from typing import Self

from rdl.cli.shell import ended_well, start, stop
from rdl.errors import Interrupted

WHAT = "--exec"


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
        self._starting = False
        self._signal: str | None = None

    def interrupt(self, signal: str) -> None:
        """Called by a handler in the thread that writes, where it raises Interrupted: once, so
        that nothing gets between the program and its end; and not in the midst of starting it."""
        if self._signal is None:
            self._signal = signal
            if not self._starting:
                raise Interrupted(signal)

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
                _shut(self._process)

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._starting = True
            facts = {"RDL_URL": self._url}
            self._process = start(self._command, facts, stdin=subprocess.PIPE)
            self._starting = False
            if self._signal is not None:
                raise Interrupted(self._signal)
        return self._process

    def _wait(self) -> None:
        """Until it has ended. ProgramError where it did not end well."""
        ended_well(WHAT, self._started().wait())


def _shut(process: subprocess.Popen[bytes]) -> None:
    """The end of its input."""
    if process.stdin is not None:
        with suppress(BrokenPipeError):
            process.stdin.close()
