"""What something costs, whatever else the machine does meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable


def seconds(act: Callable[..., object], *given: object) -> float:
    """CPU seconds of one call, the best of three: other processes are not its fault."""

    def once() -> float:
        begun = time.thread_time()
        act(*given)
        return time.thread_time() - begun

    return min(once() for _ in range(3))
