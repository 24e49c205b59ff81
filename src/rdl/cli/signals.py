"""Ctrl-C and its relatives: the session saves its state and ends; a second Ctrl-C ends at once.

A signal that was ignored when rdl began (nohup, background of a script) stays ignored.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, Protocol

from rdl.errors import ExitCode, Interrupted

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
at_once: list[Callable[[], None]] = []
"""What is to be done, in the handler, before rdl ends at once."""


class Interruptible(Protocol):
    def interrupt(self, signal: str) -> None: ...


class Signals:
    """Handlers for the time of a `with`. Before `watch` a signal raises Interrupted."""

    def __init__(self) -> None:
        self._session: Interruptible | None = None
        self._restore: Callable[[], None] = lambda: None
        self._before: dict[int, Any] = {}
        self._count = 0

    def watch(
        self, session: Interruptible | None, restore: Callable[[], None] | None = None
    ) -> None:
        """From now on signals interrupt `session`; `restore`, or the one before, puts the terminal
        right before an end at once."""
        self._session, self._restore = session, restore or self._restore

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        self._count += name == "SIGINT"
        if self._count > 1:
            for one in self._before:
                signal.signal(one, signal.SIG_IGN)
            for end in (*at_once, self._restore):
                end()
            os._exit(ExitCode.INTERRUPTED)
        if self._session is None:
            raise Interrupted(name)
        self._session.interrupt(name)

    def __enter__(self) -> Signals:
        for name in _NAMES:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
