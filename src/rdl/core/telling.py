"""How fast it goes, for displays: at most ten facts a second, a speed that does not jump."""

from __future__ import annotations

from rdl.core.events import Progress
from rdl.core.row import Row

INTERVAL = 0.1
SPEED_WINDOW = 0.5


class Telling:
    """Makes Progress facts of one transfer."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._told_at: float | None = None
        self._untold = False
        self._from: tuple[float, int] | None = None
        self._speed = 0.0

    def progress(
        self, row: Row, arrived: int, flowing: int, now: float, last: bool
    ) -> Progress | None:
        """The fact of this moment (`arrived`: bytes of this run), or None when it is too early;
        the `last` one is always told."""
        self._measure(arrived, now, last)
        if self._told_at is not None and now < self._told_at + INTERVAL and not last:
            self._untold = True
            return None
        self._told_at, self._untold = now, False
        present, size = row.present_bytes, row.size
        eta = (size - present) / self._speed if size is not None and self._speed else None
        return Progress(
            self._path, size, present, arrived, self._speed, eta, flowing, row.coverage()
        )

    def wake(self) -> float | None:
        """When a fact that came too early should be told, if there is one."""
        return self._told_at + INTERVAL if self._untold and self._told_at is not None else None

    def _measure(self, arrived: int, now: float, last: bool) -> None:
        if self._from is None:
            self._from = (now, arrived)
        since, before = self._from
        if now - since >= SPEED_WINDOW or (last and not self._speed and now > since):
            rate = (arrived - before) / (now - since)
            self._speed = 0.6 * self._speed + 0.4 * rate if self._speed else rate
            self._from = (now, arrived)
