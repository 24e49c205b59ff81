"""What can be read at an offset; and reads that bring less than they were asked for, as those of
files and stores may.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

Read: TypeAlias = Callable[[int, memoryview], int]
"""Reads at an offset: says how many bytes it has read, 0 at the end."""


class Carrier(Protocol):
    """What can be read at an offset: a remote file, or a local one."""

    def size(self) -> int:
        """Bytes in all."""
        ...

    def read_at(self, offset: int, size: int) -> bytes:
        """The bytes from `offset`, fewer than `size` only at the end. Raises RdlError."""
        ...


def filled(read: Read, offset: int, view: memoryview) -> int:
    """Read len(view) bytes from `offset`, less at the end; how many."""
    done = 0
    while done < len(view) and (count := read(offset + done, view[done:])):
        done += count
    return done


def watched(read: Read, check: Callable[[int], object]) -> Read:
    """The same; `check` hears how much each brought, and may raise."""

    def checked(offset: int, view: memoryview) -> int:
        count = read(offset, view)
        check(count)
        return count

    return checked
