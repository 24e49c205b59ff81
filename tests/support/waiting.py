"""A condition is waited for, not a time."""

import time
from collections.abc import Callable


def until(true: Callable[[], object], seconds: float = 20) -> bool:
    """Whether it comes true in that time."""
    deadline = time.monotonic() + seconds
    while not (has := true()) and time.monotonic() < deadline:
        time.sleep(0.005)
    return bool(has)
