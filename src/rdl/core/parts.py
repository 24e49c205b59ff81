"""What servers say the parts hash to that they send (Content-Digest, RFC 9530). Pure.

A part is checked when all of it was taken as it came. Where one digest is said of two parts it
is of something else, and none is believed any more.
"""

from __future__ import annotations

from collections import Counter

from rdl.core.byterange import ByteRange
from rdl.options import Digest


class Parts:
    """The promises of a row that are not checked yet."""

    def __init__(self) -> None:
        self._open: dict[ByteRange, tuple[Digest, int]] = {}
        self._said: dict[str, ByteRange] = {}
        self._under_way: Counter[ByteRange] = Counter()
        self.believed = True

    def __len__(self) -> int:
        return len(self._open)

    def expect(self, part: ByteRange, digest: Digest, source: int) -> bool:
        """All of this part is here. Whether it is to be looked at."""
        self.believed = self.believed and self._said.setdefault(digest.hex, part) == part
        if self.believed:
            self._open[part] = digest, source
            self._under_way[part] += 1
        else:
            self._open.clear()
        return self.believed

    def judge(self, part: ByteRange, found: str) -> int | None:
        """Which source sent this part wrong; None when none did, or nobody knows, or it was asked
        for again since: what was read then may have come again."""
        if not self._under_way[part]:  # of a row before this one
            return None
        self._under_way[part] -= 1
        if part not in self._open or self._under_way[part] > 0:
            return None
        digest, source = self._open.pop(part)
        return source if digest.hex != found else None

    def forget(self, part: ByteRange) -> None:
        """These bytes are to come again."""
        self._open = {one: said for one, said in self._open.items() if not one.clip(part)}
