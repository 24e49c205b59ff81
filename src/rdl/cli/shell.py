"""Commands of the user's: the shell runs each, with all that it starts, in a session of its own.

A terminal's Ctrl-C does not reach them; rdl ends them, and none outlives it, also where a second
Ctrl-C ends it at once.
"""

from __future__ import annotations

import atexit
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress

from rdl.cli.signals import at_once
from rdl.errors import ProgramError

PATIENCE = 5.0
"""Seconds between asking one to end and ending it."""
_running: dict[subprocess.Popen[bytes], int] = {}
"""With the end of a pipe that hangs up when none of what it has started has the other end."""
_lock = threading.RLock()


def start(
    command: str, facts: Mapping[str, str], *, stdin: int, stdout: int | None = None
) -> subprocess.Popen[bytes]:
    """With the facts in its environment. Whoever starts it stops it."""
    with _lock:
        ours, theirs = os.pipe()
        try:
            process = subprocess.Popen(
                command,
                shell=True,
                stdin=stdin,
                stdout=stdout,
                env={**os.environ, **facts},
                start_new_session=True,
                pass_fds=(theirs,),
                bufsize=0,
            )
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        _running[process] = ours
    return process


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask it, and all that it has started, to end, and end them; unless it has ended by itself."""
    asked = process.poll() is None
    try:
        if asked:
            deadline = time.monotonic() + PATIENCE
            _signal(process, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
            others = select.poll()  # a shell ends before the programs of its pipeline
            others.register(_running[process], 0)
            others.poll(max(0.0, deadline - time.monotonic()) * 1000)
    finally:
        if asked:
            end(process)
        _forget(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """At once, and all that it has started, also where it has ended by itself."""
    _signal(process, signal.SIGKILL)
    process.wait()
    _forget(process)


def ended_well(what: str, code: int) -> None:
    """Raises ProgramError where the command of the option `what` did not."""
    if code:
        raise ProgramError(what, ending(code))


def ending(code: int) -> str:
    """In words."""
    return f"ended by signal {-code}" if code < 0 else f"exit code {code}"


def _forget(process: subprocess.Popen[bytes]) -> None:
    if (ours := _running.pop(process, None)) is not None:
        os.close(ours)


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _end_all() -> None:
    """At once. One that is being started is waited for, though not by its own thread."""
    held = _lock.acquire(timeout=1)
    for process in tuple(_running):
        _signal(process, signal.SIGKILL)
    if held:
        _lock.release()


atexit.register(_end_all)
at_once.append(_end_all)
