"""`--url-command`: a command of the user's that prints a new URL when one has had its time.

It runs in the shell, with the URL as it was given in RDL_URL and nothing on stdin; it may
speak on stderr. What it prints may be secret, and is not repeated.
"""

from __future__ import annotations

import os
import subprocess
import time

from rdl.cli.shell import end, ending, start
from rdl.errors import AuthError

SECONDS = 60.0
LOOK_SECONDS = 0.01
LONGEST = 64 << 10
WHAT = "--url-command"


class UrlCommand:
    """Callable: the URL as given to a new one. Raises AuthError."""

    def __init__(self, command: str) -> None:
        self._command = command

    def __call__(self, given: str) -> str:
        facts = {"RDL_URL": given}
        process = start(self._command, facts, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        with process:
            try:
                printed = _printed(process)
            finally:
                end(process)
        if process.returncode:
            raise AuthError(WHAT, ending(process.returncode))
        return _only_line(printed)


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


def _only_line(printed: bytes) -> str:
    lines = [line for line in printed.decode("utf-8", "replace").split("\n") if line.strip()]
    if len(lines) != 1:
        found = "nothing" if not lines else "more than one line"
        raise AuthError(WHAT, f"printed {found}, not a URL")
    return lines[0].strip()
