"""The digests that were asked for: what is hashed so far, and whether it is what was wanted."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from rdl.core.byterange import ByteRange
from rdl.core.events import Result
from rdl.core.representation import Trust
from rdl.core.row import Row
from rdl.errors import RdlError
from rdl.options import Digest

HASH_STEP = 1 << 20


class Digests:
    """`wanted`: algorithm to hex; empty when nobody asked."""

    def __init__(self, wanted: Iterable[Digest]) -> None:
        self.wanted = {digest.algorithm: digest.hex for digest in wanted}
        self._hashed, self._found = 0, dict[str, str]()

    def restart(self) -> None:
        """Nothing of the row is hashed."""
        self._hashed = 0

    def follow(self, row: Row) -> ByteRange | None:
        """What to hash now: the fresh part of the contiguous head, when it is worth it."""
        start, head = max(self._hashed, row.span.start), row.head()
        if not self.wanted or head - start < HASH_STEP:
            return None
        self._hashed = head
        return ByteRange(start, head)

    def rest(self, row: Row) -> ByteRange:
        """What is left to hash of a complete row."""
        return ByteRange(max(self._hashed, row.span.start), row.span.stop)

    def objection(self, found: dict[str, str]) -> str:
        """Why the bytes are not the wanted ones, or nothing."""
        self._found = dict(found)
        for name, want in self.wanted.items():
            if found.get(name) != want:
                return f"{name} is {found.get(name)}, expected {want}"
        return ""

    def about(self, result: Result, error: RdlError | None) -> Result:
        """The result with what was proved."""
        if not self._found:
            return result
        if error is not None:
            return replace(result, digests=self._found)
        proof = tuple(self.wanted)
        return replace(result, digests=self._found, verified_by=proof, trust=Trust.T4.value)
