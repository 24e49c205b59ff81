"""Turns of the threads that download a list; core.pace.Abreast says how many at a time."""

from __future__ import annotations

import threading
import time

from rdl.core.pace import LOOK_ABREAST, Abreast


class Turns:
    """Hands out the numbers of `count` targets, `most` at a time at most."""

    def __init__(self, count: int, most: int) -> None:
        self._abreast, self._count = Abreast(most), count
        self._begun = self._ended = 0
        self._free = threading.Condition()

    def take(self) -> int | None:
        """Wait for a turn; None when there is no target left."""
        with self._free:
            while self._begun < self._count and self._inside >= self._abreast.limit:
                ended = self._ended
                if not self._free.wait(LOOK_ABREAST) and ended == self._ended:
                    self._abreast.stalled()
            if self._begun == self._count:
                self._free.notify_all()
                return None
            self._begun += 1
            return self._begun - 1

    def end(self) -> None:
        """One that was taken has ended. Who calls takes the next one: a change of threads costs."""
        with self._free:
            self._ended += 1
            self._abreast.finished(time.monotonic(), time.process_time())
            self._free.notify(max(0, self._abreast.limit - self._inside - 1))

    @property
    def _inside(self) -> int:
        return self._begun - self._ended
