"""`--on-complete CMD`: a command of the shell, once for each file that is complete.

It has the facts in its environment, never in its text: no name or URL of a server's becomes a word
of the shell. Nothing on its stdin; what it prints goes to stderr. One runs at a time, beside the
downloads, and a file whose command fails has failed.
"""

from __future__ import annotations

import subprocess
import threading
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Self

from msgspec.structs import replace

from rdl.cli.report import Report
from rdl.cli.shell import ended_well, start, stop
from rdl.cli.signals import Interruptible
from rdl.core.events import Fact, Result, failed
from rdl.engine.turns import awaited
from rdl.errors import Interrupted, ProgramError

WHAT = "--on-complete"
LOOK_SECONDS = 0.1


class Completing:
    """Stands before the report, and interrupts what `session` does, and its own command. A context
    manager: leaving it waits for the commands. `urls`: of paths, as they were given."""

    def __init__(
        self,
        command: str | None,
        session: Interruptible,
        report: Report,
        urls: Mapping[str, str],
    ) -> None:
        self._command, self._session, self._urls = command, session, urls
        self._report, self._lock = report, threading.Lock()
        self._signal: str | None = None
        self._pool = ThreadPoolExecutor(1, "on-complete")
        self._begun = deque[Future[None]]()

    def tell(self, fact: Fact) -> None:
        with self._lock:
            self._report.tell(fact)

    def done(self, result: Result) -> None:
        """The report hears of it when its command has ended."""
        if self._command is None or result.exit_code or result.reason == "dry-run":
            self._told(result)
        else:
            self._begun.append(self._pool.submit(self._run, self._command, result))
            while self._begun and self._begun[0].done():
                self._begun.popleft().result()

    def interrupt(self, signal: str) -> None:
        self._signal = signal
        self._session.interrupt(signal)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        if kind is not None:
            self._signal = self._signal or "SIGINT"
        with self._pool:
            for future in self._begun:
                for one in awaited([future]):
                    one.result()

    def _told(self, result: Result) -> None:
        with self._lock:
            self._report.done(result)

    def _run(self, command: str, result: Result) -> None:
        try:
            self._wait(command, result)
        except Interrupted as error:
            result = failed(result, error, resumable=True)
        except (ProgramError, OSError) as error:
            why = str(error) if isinstance(error, ProgramError) else f"{WHAT}: {error.strerror}"
            hint = "the file is complete; the same command runs it again"
            wrong = failed(result, ProgramError(WHAT, hint=hint))
            result = replace(wrong, error=why, resumable=False, completeness=result.completeness)
        self._told(result)

    def _wait(self, command: str, result: Result) -> None:
        if self._signal is not None:
            raise Interrupted(self._signal)
        told = facts(result, self._urls.get(result.path, result.url))
        process = start(command, told, stdin=subprocess.DEVNULL, stdout=2)
        try:
            while self._signal is None:
                try:
                    return ended_well(WHAT, process.wait(LOOK_SECONDS))
                except subprocess.TimeoutExpired:
                    continue
        finally:
            stop(process)
        raise Interrupted(self._signal)


def facts(result: Result, url: str) -> dict[str, str]:
    """What the command is told."""
    return {
        "RDL_URL": url,
        "RDL_PATH": str(Path(result.path).absolute()),
        "RDL_REASON": result.reason,
        "RDL_BYTES": str(result.bytes_present),
        "RDL_DIGESTS": " ".join(f"{name}:{hex}" for name, hex in sorted(result.digests.items())),
        "RDL_TRUST": result.trust,
    }
