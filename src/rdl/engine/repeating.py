"""The same bytes at further places of a part file: copied, not fetched."""

from __future__ import annotations

from collections.abc import Sequence

from rdl.core.byterange import ByteRange
from rdl.core.reads import filled
from rdl.errors import LocalFileError
from rdl.storage.base import Store

STEP = 1 << 20


def repeat(store: Store, source: ByteRange, places: Sequence[ByteRange]) -> None:
    """Copy the bytes of `source` to each of `places`, which are as long. They are not recorded: a
    run that knows nothing of them would take them for what the server has there.
    Raises LocalFileError, NoSpaceError."""
    buffer = memoryview(bytearray(min(STEP, len(source))))
    for at in range(source.start, source.stop, STEP):
        view = buffer[: min(STEP, source.stop - at)]
        if filled(store.read_into, at, view) < len(view):
            raise LocalFileError("part file", "it is shorter than what was written")
        for place in places:
            store.write_at(place.start + at - source.start, view)
