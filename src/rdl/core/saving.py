"""When to make a checkpoint: after a second with new bytes, or 32 MiB of them; one at a time."""

from __future__ import annotations

from msgspec import Struct

CHECKPOINT_BYTES, CHECKPOINT_SECONDS = 32 << 20, 1.0


class Saving(Struct):
    """What was written since the last checkpoint began. `syncing`: one is being made."""

    syncing: bool = False
    broken: bool = False
    unsynced: int = 0
    since: float = 0.0

    def written(self, size: int, now: float) -> None:
        if not self.unsynced:
            self.since = now
        self.unsynced += size

    def due(self, now: float) -> bool:
        """Whether a checkpoint should begin."""
        late = now >= self.since + CHECKPOINT_SECONDS
        return self.useful and not self.syncing and (late or self.unsynced >= CHECKPOINT_BYTES)

    @property
    def useful(self) -> bool:
        """Whether a checkpoint would save anything; after a failed sync none is trusted."""
        return self.unsynced > 0 and not self.broken

    def wake(self) -> float | None:
        """When the next one is due."""
        return self.since + CHECKPOINT_SECONDS if self.useful and not self.syncing else None

    def begin(self) -> None:
        self.syncing, self.unsynced = True, 0

    def done(self) -> None:
        self.syncing = False

    def failed(self) -> None:
        self.syncing, self.broken = False, True

    def restart(self) -> None:
        """The row is begun anew: nothing of it is written yet."""
        self.unsynced = 0
