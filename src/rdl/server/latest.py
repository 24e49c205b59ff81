"""A memory of what was found out, of bounded size: what was noted first is forgotten first."""

from __future__ import annotations

from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Latest(dict[Key, Value], Generic[Key, Value]):
    """At most so many entries."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def __setitem__(self, key: Key, value: Value) -> None:
        while len(self) >= self._most and key not in self:
            del self[next(iter(self))]
        super().__setitem__(key, value)
