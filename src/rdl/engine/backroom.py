"""What is done beside the heart, in its order: syncing, hashing, renewing a link."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

from rdl.core import messages as m
from rdl.errors import as_error


class Backroom:
    """One thread that does one thing after another; it starts with the first. It knows of its
    driver only where to `post`: so that one goes with its last name, without the collector."""

    def __init__(self, name: str, post: Callable[[m.Event], None]) -> None:
        self._name, self._post = name, post
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def do(self, work: Callable[[], None]) -> None:
        """Do this after what was asked for before."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        self._queue.put(work)

    def leave(self) -> None:
        """End after what is being done, without anybody who waits for it."""
        if self._thread is not None:
            self._queue.put(None)

    def close(self) -> None:
        """Finish what was asked for and end."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while (work := self._queue.get()) is not None:
            try:
                work()
            except BaseException as bug:  # it ends the transfer instead of hanging it
                self._post(m.LocalFailed(as_error(bug), during_sync=True))
