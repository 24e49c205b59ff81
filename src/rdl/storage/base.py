"""What the engine knows of a disk: a part file and the index that says what of it is here.

Order is the caller's: write, record, checkpoint, publish. A store raises rdl.errors only
(LocalFileError, NoSpaceError, TargetExists, BusyError).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from rdl.core.byterange import ByteRange, Extent
from rdl.core.extents import Extents
from rdl.core.index_json import Header
from rdl.core.representation import Representation

__all__ = ["Finish", "Header", "Saved", "Store"]


class Saved(Struct, frozen=True):
    """What an earlier run left: its header and the extents to believe, checked against the
    data (offsets are those of the representation). `damaged` counts extents dropped because
    the bytes on disk no longer agree."""

    header: Header
    extents: Extents
    damaged: int = 0


class Finish(Struct, frozen=True):
    """How to publish: mode bits come from the umask; `mtime` in seconds since the epoch."""

    no_clobber: bool = False
    mtime: float | None = None
    representation: Representation | None = None
    size: int | None = None
    """Bytes of the file; None: as the header says."""
    mode: int | None = None
    """None: as the umask says."""
    url: str = ""
    """Redacted: for which one `representation` speaks."""


class Store(Protocol):
    """One target's part file and index. All offsets are those of the representation.

    write_at, read_into and record may be called from several threads at once; the others
    by one thread at a time.
    """

    def open(self) -> Saved | None:
        """Lock the part file and read the index; None when nothing usable is there."""
        ...

    def begin(self, header: Header) -> None:
        """Start the index anew for this representation; nothing is present after it."""
        ...

    def reserve(self, size: int) -> None:
        """Make `size` bytes of room for sure, or raise NoSpaceError before any is used."""
        ...

    def write_at(self, offset: int, data: memoryview) -> None:
        """Write all of `data`."""
        ...

    def read_into(self, offset: int, view: memoryview) -> int:
        """Read at most len(view) bytes; 0 at the end of the file."""
        ...

    def record(self, extents: Sequence[Extent]) -> None:
        """Append soft records: believed after a kill, not after a power cut."""
        ...

    def mix(self) -> None:
        """From here on bytes are recorded for which the header's validators do not speak: only a
        run that ends with a digest may continue what is here."""
        ...

    def checkpoint(self) -> None:
        """Sync the data, then make every extent recorded before this call durable."""
        ...

    def forget(self, ranges: Sequence[ByteRange]) -> None:
        """Append that these bytes are not present."""
        ...

    def publish(self, finish: Finish) -> None:
        """Give the synced part file its final name; the index goes."""
        ...

    def quarantine(self) -> None:
        """Rename the part file to FILE.part.bad (one is kept) and remove the index."""
        ...

    def close(self, *, discard: bool = False) -> None:
        """Let go; with `discard` remove part file and index."""
        ...
