"""What the stores in memory have in common: nothing outlives the process, and there is no name."""

from __future__ import annotations

from collections.abc import Sequence

from rdl.core.byterange import ByteRange, Extent
from rdl.storage.base import Finish, Saved


class Volatile:
    """Those methods of a Store that have nothing to do in memory."""

    def open(self) -> Saved | None:
        return None

    def record(self, extents: Sequence[Extent]) -> None:
        """Nothing outlives the process."""

    def mix(self) -> None:
        """Nothing outlives the process."""

    def checkpoint(self) -> None:
        """Nothing outlives the process."""

    def forget(self, ranges: Sequence[ByteRange]) -> None:
        """What is written there again takes the place of what was."""

    def publish(self, finish: Finish) -> None:
        """There is no name."""

    def quarantine(self) -> None:
        """There is no name."""
