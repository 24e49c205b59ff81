"""A resource that is still being filled, by other threads, at the test's word."""

from __future__ import annotations

import threading
from collections.abc import Callable

from rdl.core.byterange import ByteRange
from rdl.errors import NetworkError
from rdl.server.answers import Facts
from rdl.server.requests import Reply
from rdl.server.resource import Reading


class Growing:
    """A Site with one resource, `/data.bin`, of these bytes; of which nothing is here yet, and of
    which nobody knows how many they are, until `begin`."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.lock = threading.Lock()
        self.here = 0
        self.facts: Facts | None = None
        self.failed = False
        self.readers: list[GrowingReading] = []
        self.demands: list[ByteRange] = []

    def find(self, path: str) -> Reading:
        if path != "/data.bin":
            raise Reply(404, "nothing")
        found = GrowingReading(self)
        with self.lock:
            self.readers.append(found)
        return found

    def close(self) -> None:
        """It is the test's."""

    def begin(self) -> None:
        self._change(facts=Facts(len(self.data), '"v"'))

    def grow(self, upto: int) -> None:
        self._change(here=upto)

    def fail(self) -> None:
        self._change(failed=True)

    def _change(self, **state: object) -> None:
        with self.lock:
            for name, value in state.items():
                setattr(self, name, value)
            calls = [reader.changed for reader in self.readers]
        for call in calls:
            call()


class GrowingReading:
    descriptor = None
    moving = 0

    def __init__(self, of: Growing) -> None:
        self._of = of
        self.changed: Callable[[], None] = lambda: None

    @property
    def facts(self) -> Facts | None:
        with self._of.lock:
            if self._of.failed:
                raise NetworkError("upstream", "gone")
            return self._of.facts

    def notify(self, changed: Callable[[], None]) -> None:
        self.changed = changed

    def demand(self, wanted: ByteRange) -> None:
        self._of.demands.append(wanted)

    def available(self, offset: int) -> int:
        with self._of.lock:
            if self._of.failed:
                raise NetworkError("upstream", "gone")
            return max(self._of.here - offset, 0)

    def read_into(self, offset: int, view: memoryview) -> int:
        found = self._of.data[offset : min(offset + len(view), self._of.here)]
        view[: len(found)] = found
        return len(found)

    def close(self) -> None:
        with self._of.lock:
            self._of.readers.remove(self)
