"""So many connections for all lazy files of a session together. A read comes before what nobody
waits for, which makes way for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rdl.core import messages as m

LOOK_SECONDS = 0.1


class Holder(Protocol):
    """A request that has a permit, or waits for one."""

    segment: int
    idle: bool

    @property
    def dropped(self) -> bool: ...


class Permits:
    """`count` of them. Safe to use from several threads."""

    def __init__(self, count: int) -> None:
        self._count = max(1, count)
        self._changed = threading.Condition()
        self._holders: dict[Holder, Callable[[m.Event], None]] = {}
        self._waiting: list[Holder] = []

    @contextmanager
    def one(self, holder: Holder, post: Callable[[m.Event], None]) -> Iterator[None]:
        """Wait for one, or until the holder is dropped. `post` hears when it is to make way."""
        self._take(holder, post)
        try:
            yield
        finally:
            with self._changed:
                del self._holders[holder]
                self._changed.notify_all()

    def _take(self, holder: Holder, post: Callable[[m.Event], None]) -> None:
        with self._changed:
            self._waiting.append(holder)
            self._waiting.sort(key=lambda one: one.idle)
            while not (self._free() and self._waiting[0] is holder) and not holder.dropped:
                self._ask_for_room()
                self._changed.wait(LOOK_SECONDS)
            self._waiting.remove(holder)
            self._holders[holder] = post
            self._changed.notify_all()

    def _free(self) -> bool:
        return len(self._holders) < self._count

    def _ask_for_room(self) -> None:
        if self._free() or self._waiting[0].idle:
            return
        for holder, post in self._holders.items():
            if holder.idle:
                post(m.MakeWay(holder.segment))
                return
