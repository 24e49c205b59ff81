"""Turns of the threads that download a list; core.pace.Abreast says how many at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from rdl.core.events import Result
from rdl.core.pace import LOOK_ABREAST, Abreast

LOOK_SECONDS = 1.0
T = TypeVar("T")


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


def awaited(futures: Sequence[Future[T]]) -> Sequence[Future[T]]:
    """Wait until all have ended, or one has failed: those that have ended, in order. Signals are
    noticed, also one that the system gives to another thread."""
    while True:
        ended, running = wait(futures, LOOK_SECONDS, FIRST_EXCEPTION)
        if not running or any(one.exception() for one in ended):
            return [one for one in futures if one in ended]


def run_abreast(
    count: int, most: int, run: Callable[[int], Result], interrupt: Callable[[], None]
) -> list[Result]:
    """The results of `run` for the numbers below `count`, in order, `most` at a time at most.
    `interrupt` is called where run raises, which is a bug, or Ctrl-C: what runs is to end then."""
    turns, results = Turns(count, most), dict[int, Result]()

    def work() -> None:
        while (number := turns.take()) is not None:
            try:
                results[number] = run(number)
            finally:
                turns.end()

    with ThreadPoolExecutor(most, "download") as pool:
        futures: list[Future[None]] = [pool.submit(work) for _ in range(most)]
        try:
            for future in awaited(futures):
                future.result()
        except BaseException:
            interrupt()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [results[number] for number in range(count)]
