"""What every chunker does: say where chunks end, from the bytes and nothing else."""

from __future__ import annotations

from typing import Protocol


class Chunker(Protocol):
    """Cuts content; keeps no state between calls."""

    @property
    def most(self) -> int:
        """No chunk is longer than this many bytes."""
        ...

    def cuts(self, data: memoryview, *, final: bool) -> list[int]:
        """The ends of the chunks of `data`, which begins where a chunk begins, ascending. Where
        more data follows (not `final`) only those that it cannot move; at least one where `data`
        has `most` bytes or more. Where nothing follows the last one is len(data), if that is not
        0."""
        ...
