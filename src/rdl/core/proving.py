"""The digests to check: what is hashed so far, and whether it is what it should be.

Those that the user gave; without any, one that the server publishes for the whole (T3).
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from rdl.core.byterange import ByteRange
from rdl.core.digest import disagreement
from rdl.core.events import Result
from rdl.core.published import Published
from rdl.core.representation import Trust
from rdl.core.row import Row
from rdl.errors import RdlError
from rdl.options import Digest

HASH_STEP = 1 << 20


class Digests:
    """`wanted`: of the user, algorithm to hex; `checked`: those that decide about this row."""

    def __init__(self, wanted: Sequence[Digest]) -> None:
        self.wanted = {digest.algorithm: digest.hex for digest in wanted}
        self.checked = dict(self.wanted)
        self.disbelieved = False
        """What the server publishes contradicts itself."""
        self._hashed, self._found = 0, dict[str, str]()
        self._believed: tuple[Digest, ...] = tuple(wanted)

    def restart(self) -> None:
        """Another version: nothing of it is hashed, and nothing is published of it yet."""
        self._hashed, self.checked, self.disbelieved = 0, dict(self.wanted), False

    def rewind(self, range: ByteRange) -> None:
        """These bytes come again; where they were hashed, all is."""
        if range.start < self._hashed:
            self._hashed = 0

    def disbelieve(self) -> None:
        """Check nothing that the server published."""
        self.disbelieved, self.checked = True, dict(self.wanted)

    def publish(self, digests: Sequence[Published]) -> None:
        """The server says what the whole row hashes to; one algorithm is enough."""
        if not self.checked and digests:
            self.checked = {digests[0].algorithm: digests[0].hex}
            self._believed = (digests[0],)

    @property
    def algorithms(self) -> tuple[str, ...]:
        """What must be computed."""
        return tuple(self.checked)

    def follow(self, row: Row) -> ByteRange | None:
        """What to hash now: the fresh part of the contiguous head, when it is worth it."""
        if not self.checked:
            return None
        start, head = max(self._hashed, row.span.start), row.head()
        if head - start < HASH_STEP:
            return None
        self._hashed = head
        return ByteRange(start, head)

    def rest(self, row: Row) -> ByteRange:
        """What is left to hash of a complete row."""
        return ByteRange(max(self._hashed, row.span.start), row.span.stop)

    def objection(self, found: dict[str, str]) -> str:
        """Why the bytes are not the right ones, or nothing."""
        self._found = dict(found)
        return disagreement(found, self.checked, "expected" if self.wanted else "the server says")

    def about(
        self,
        result: Result,
        error: RdlError | None,
        blocks: str | None = None,
        trust: Trust = Trust.T4,
    ) -> Result:
        """The result with what was proved. `blocks`: the algorithm by which each of them was, and
        how far its digests can be trusted."""
        if not self._found and blocks is not None and error is None:
            return replace(result, verified_by=(f"blocks:{blocks}",), trust=trust.value)
        if not self._found:
            return result
        if error is not None:
            return replace(result, digests=self._found)
        proof, trust = proof_of(self._believed)
        return replace(result, digests=self._found, verified_by=proof, trust=trust.value)


def proof_of(digests: Sequence[Digest]) -> tuple[tuple[str, ...], Trust]:
    """How these are told, with where those were found that the user did not give, and how far
    that can be trusted."""
    found = [digest for digest in digests if isinstance(digest, Published)]
    names = (
        f"{one.source}:{one.algorithm}" if isinstance(one, Published) else one.algorithm
        for one in digests
    )
    return tuple(dict.fromkeys(names)), Trust.T3 if len(found) == len(digests) else Trust.T4
