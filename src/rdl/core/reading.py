"""What readers of a row tell the heart: those here and there, and the one in order."""

from __future__ import annotations

from msgspec import Struct

from rdl.core.byterange import ByteRange


class Want(Struct, frozen=True):
    """A reader of a lazy row waits for `range` (None: to know the length), and will probably go on
    to `ahead`; in place of what it wanted before."""

    reader: int
    range: ByteRange | None
    ahead: int = 0


class WantAll(Struct, frozen=True):
    """Somebody waits until a lazy row is complete."""


class Left(Struct, frozen=True):
    """This reader wants nothing any more."""

    reader: int


class Invalidate(Struct, frozen=True):
    """A reader found these bytes of a lazy row wrong: they are to come again when they are
    wanted."""

    range: ByteRange


class Save(Struct, frozen=True):
    """Make durable what is here; answer Saved."""


class Consumed(Struct, frozen=True):
    """The reader in order has taken the bytes before `upto`."""

    upto: int


ReaderEvent = Want | WantAll | Left | Invalidate | Save | Consumed
"""What comes from readers."""
