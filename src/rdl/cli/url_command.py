"""`--url-command`: a command of the user's that prints a new URL when one has had its time.

It runs in the shell, with the URL as it was given in RDL_URL and nothing on stdin; it may
speak on stderr. What it prints may be secret, and is not repeated.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import time
from contextlib import suppress

from rdl.errors import AuthError

SECONDS = 60.0
LOOK_SECONDS = 0.01
LONGEST = 64 << 10
WHAT = "--url-command"


class UrlCommand:
    """Callable: the URL as given to a new one. Raises AuthError."""

    def __init__(self, command: str) -> None:
        self._command = command
        self._running: set[subprocess.Popen[bytes]] = set()
        atexit.register(self._stop)

    def __call__(self, given: str) -> str:
        process = subprocess.Popen(
            self._command,
            shell=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env={**os.environ, "RDL_URL": given},
            start_new_session=True,
            bufsize=0,
        )
        self._running.add(process)
        with process:
            try:
                printed = _printed(process)
            finally:
                _end(process)
                self._running.discard(process)
        if process.returncode:
            raise AuthError(WHAT, _ending(process.returncode))
        return _only_line(printed)

    def _stop(self) -> None:
        for process in tuple(self._running):
            _end(process)


def _printed(process: subprocess.Popen[bytes]) -> bytes:
    """What it prints until it has ended; what it has started may run on with its stdout."""
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    printed, deadline = b"", time.monotonic() + SECONDS
    while True:
        ended = process.poll() is not None
        more = process.stdout.read(LONGEST + 1)
        printed += more or b""
        if len(printed) > LONGEST:
            raise AuthError(WHAT, f"printed more than {LONGEST >> 10} KiB")
        if ended and not more:
            return printed
        if time.monotonic() >= deadline:
            raise AuthError(WHAT, f"no URL after {SECONDS:g} s")
        if not more:
            time.sleep(LOOK_SECONDS)


def _end(process: subprocess.Popen[bytes]) -> None:
    """With all that it has started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, 9)
    process.wait()


def _ending(code: int) -> str:
    return f"ended by signal {-code}" if code < 0 else f"exit code {code}"


def _only_line(printed: bytes) -> str:
    lines = [line for line in printed.decode("utf-8", "replace").split("\n") if line.strip()]
    if len(lines) != 1:
        found = "nothing" if not lines else "more than one line"
        raise AuthError(WHAT, f"printed {found}, not a URL")
    return lines[0].strip()
