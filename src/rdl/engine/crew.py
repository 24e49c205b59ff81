"""Worker threads of a session: one runs a reception to its end and is kept for the next, of
whichever transfer. A thread and its buffer cost as much as a request."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue

from rdl.core import messages as m
from rdl.engine.reception import BUFFER, SMALL, Reception
from rdl.errors import LocalFileError, as_error

IDLE_SECONDS = 5.0
"""A worker without work ends after so long."""

Post = Callable[[m.Event], None]
Inbox = SimpleQueue[tuple[Reception, Post] | None]


class Crew:
    """Safe to use from several threads. `rest` is called by the last worker that is idle, every
    few seconds; it ends when that says no."""

    def __init__(self, rest: Callable[[], bool] = lambda: False) -> None:
        self._lock, self._goes_on = threading.Lock(), rest
        self._idle: list[Inbox] = []
        self._views: list[memoryview] = []
        self._process = os.getpid()
        self._closed = False

    def start(self, reception: Reception, post: Post) -> None:
        """Run it on an idle worker or a new one; its events go to `post`, the last is Ended."""
        try:
            inbox = self._free() or self._hire()
        except (RuntimeError, MemoryError) as error:  # as many as there is room for must do
            short = LocalFileError("worker", f"no room for another: {error or 'out of memory'}")
            short.permanent = False
            reception.abandon()  # it may have begun in another thread
            post(m.Ended(reception.segment, short))
            return
        inbox.put((reception, post))

    @contextmanager
    def view(self) -> Iterator[memoryview]:
        """A buffer for somebody who is none of the crew, and receives what is small."""
        view = self._views.pop() if self._views else memoryview(bytearray(SMALL))
        try:
            yield view
        finally:
            self._views.append(view)

    def close(self) -> None:
        """End those that are idle; the others end when they would be."""
        with self._lock:
            self._closed = True
            while self._idle:
                self._idle.pop().put(None)

    def _free(self) -> Inbox | None:
        with self._lock:
            if self._process != os.getpid():  # threads stay behind at a fork
                self._process = os.getpid()
                self._idle.clear()
            return self._idle.pop() if self._idle else None  # the newest: so others end

    def _hire(self) -> Inbox:
        inbox, view = Inbox(), memoryview(bytearray(BUFFER))
        threading.Thread(target=self._run, args=(inbox, view), name="worker", daemon=True).start()
        return inbox

    def _run(self, inbox: Inbox, view: memoryview) -> None:
        while (work := self._next(inbox)) is not None:
            reception, post = work
            for event in guarded(reception, reception.run(view, post)):
                if isinstance(event, m.Ended):
                    self._rest(inbox)
                post(event)

    def _next(self, inbox: Inbox) -> tuple[Reception, Post] | None:
        while True:
            try:
                return inbox.get(timeout=IDLE_SECONDS)
            except Empty:
                if self._is_last(inbox) and self._goes_on():
                    continue
                with self._lock:
                    if inbox in self._idle:
                        self._idle.remove(inbox)
                        return None  # else it was taken at this moment

    def _is_last(self, inbox: Inbox) -> bool:
        with self._lock:
            return self._idle == [inbox]

    def _rest(self, inbox: Inbox) -> None:
        with self._lock:
            if self._closed:
                inbox.put(None)
            else:
                self._idle.append(inbox)


def guarded(reception: Reception, events: Iterator[m.Event]) -> Iterator[m.Event]:
    """A bug in a worker ends the transfer with exit code 1 instead of hanging it."""
    try:
        yield from events
    except Exception as error:
        yield m.LocalFailed(as_error(error))
        yield m.Ended(reception.segment)
