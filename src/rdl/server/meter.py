"""What each client cost the upstream beyond what it was sent: a budget that time gives back.

Small reads cost whole blocks, and who leaves early costs what nobody reads. In an hour the upstream
sends for one client no more than `FACTOR` times what that was sent, and the budget; besides what
its last requests have under way.
"""

from __future__ import annotations

import math

from rdl.server.latest import Latest

FACTOR = 4
HOUR = 3600.0
MOST_CLIENTS = 10_000


class Meter:
    """`budget`: bytes; None: as many as they like, as one without a name. `now` in seconds, of any
    clock."""

    def __init__(self, budget: int | None) -> None:
        self._budget = budget
        self._owed = Latest[str, tuple[float, float]](MOST_CLIENTS)
        """Bytes, and when that was."""

    def owes(self, client: str, now: float) -> float:
        """Bytes that it cost in vain, less what was given back."""
        owed, at = self._owed.get(client, (0.0, now))
        return max(0.0, owed - (now - at) * (self._budget or 0) / HOUR)

    def note(self, client: str, cost: int, sent: int, now: float) -> None:
        """The upstream sent `cost` bytes for it, and it was sent so many."""
        if self._budget is not None:
            waste = max(0, cost - sent) - (FACTOR - 1) * sent
            self._owed[client] = max(0.0, self.owes(client, now) + waste), now

    def wait(self, client: str, now: float) -> int:
        """Seconds until it may cost more; 0: it may now."""
        if self._budget is None or not client:
            return 0
        over = self.owes(client, now) - self._budget
        return math.ceil(over * HOUR / self._budget) if over > 0 else 0
