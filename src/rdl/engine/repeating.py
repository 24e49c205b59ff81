"""The same bytes at further places of a part file: copied, not fetched."""

from __future__ import annotations

from collections.abc import Sequence

from xxhash import xxh3_64_intdigest

from rdl.core.byterange import ByteRange, Extent
from rdl.errors import LocalFileError
from rdl.storage.base import Store

STEP = 1 << 20


def repeat(store: Store, source: ByteRange, places: Sequence[ByteRange]) -> None:
    """Copy the bytes of `source` to each of `places`, which are as long, and record them there.
    Raises LocalFileError, NoSpaceError."""
    buffer = memoryview(bytearray(min(STEP, len(source))))
    for at in range(source.start, source.stop, STEP):
        view = buffer[: min(STEP, source.stop - at)]
        _read(store, at, view)
        checksum = xxh3_64_intdigest(view)
        for place in places:
            start = place.start + at - source.start
            store.write_at(start, view)
            store.record((Extent(start, start + len(view), checksum),))


def _read(store: Store, at: int, view: memoryview) -> None:
    done = 0
    while done < len(view):
        count = store.read_into(at + done, view[done:])
        if count == 0:
            raise LocalFileError("part file", "it is shorter than what was written")
        done += count
