"""The threads that rdl began, by their names, without those another session left to rest."""

import threading
import time

_NAMES = {"worker", "sync", "hash", "stream"}


def running() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name in _NAMES}


def left(before: set[threading.Thread], seconds: float = 5) -> set[threading.Thread]:
    """Which threads not of `before` still run when `seconds` have passed; waits no longer."""
    deadline = time.monotonic() + seconds
    while running() - before and time.monotonic() < deadline:
        time.sleep(0.005)
    return running() - before
