"""The same bytes at further places of a part file: copied, not fetched."""

from __future__ import annotations

from collections.abc import Sequence

from rdl.core.byterange import ByteRange
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
        _read(store, at, view)
        for place in places:
            store.write_at(place.start + at - source.start, view)


def _read(store: Store, at: int, view: memoryview) -> None:
    done = 0
    while done < len(view):
        count = store.read_into(at + done, view[done:])
        if count == 0:
            raise LocalFileError("part file", "it is shorter than what was written")
        done += count
