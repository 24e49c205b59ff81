"""A part file into which bytes of other files are copied before anything is fetched.

They are noted as adopted bytes, before they are there: claims, which the digests of their chunks
prove or clear where they were put.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from rdl.core.byterange import ByteRange
from rdl.core.extents import Extents
from rdl.core.index_json import Header
from rdl.storage.base import Finish
from rdl.storage.local_file import LocalFile
from rdl.storage.part_file import PartStore

PAGE, STEP = 4096, 32 << 20


class SownPart(PartStore):
    """The Store of a file that is made of old ones and of what is fetched."""

    def sow(self, header: Header) -> None:
        """Start the index anew, while the data stays: what the header says is adopted is here, or
        is put there by copy(). A begin() whose header says so too keeps it."""
        self._need_file()
        self._start_index(header, Extents())

    def begin(self, header: Header) -> None:
        """As PartStore.begin(), but for what was sown."""
        sown = self._header.adopted if self._index is not None and self._header else ()
        if sown and header.adopted:
            self._start_index(header, Extents())
        else:
            super().begin(header)

    def publish(self, finish: Finish) -> None:
        """As PartStore.publish(), but without the server's validators beside the file: they say
        nothing of bytes that it did not send, and a later run would take it for current."""
        super().publish(replace(finish, representation=None))

    def copy(
        self,
        seed: LocalFile,
        offset: int,
        range: ByteRange,
        check: Callable[[int], None] = lambda count: None,
    ) -> None:
        """Put bytes that stand at `offset` of a seed at `range`. Nobody has looked at them. `check`
        hears how many were copied, now and then, and may raise. What is wrong with the seed is
        raised as its reading does, and as OSError what is wrong here."""
        place, done, size = self._place_of(range.start), 0, len(range)
        while done < size:
            step, over = min(STEP, size - done), (place + done) % PAGE
            if over and (offset - place) % PAGE == 0:  # whole pages can be shared
                step = min(step, PAGE - over)
            count = seed.copy_to(self._file, offset + done, step, place + done)
            check(count)
            done += count
