"""Where content is cut. A chunker is found by its name, and what it needs is imported then."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rdl.chunkers.base import Chunker
from rdl.core.text import safe_text
from rdl.errors import ProtocolError, UsageError

NAMES = ("fastcdc", "cafs-adler32", "buzhash")

LONGEST = 16 << 20
"""No chunk is longer, in bytes, so that a window of content fits in memory."""


class CannotCut(ProtocolError):
    """A chunker that is unknown, or sizes that it is not cut to: what was cut so may be right, and
    is only not found in other content."""


def chunker_of(name: str, least: int, average: int, most: int) -> Chunker:
    """The one of this name; sizes in bytes. Raises CannotCut, and UsageError where
    the extra `sync` is not installed."""
    what = f"chunker {safe_text(name)}"
    if name not in NAMES:
        raise CannotCut(what, "is unknown")
    try:
        if not 0 < least <= average <= most <= LONGEST:
            raise ValueError("sizes out of order")
        with needed(what):
            return _made(name, least, average, most)
    except ValueError as error:
        sizes = f"{least} to {most}, {average} on average"
        raise CannotCut(what, f"cannot cut to chunks of {sizes}") from error


@contextmanager
def needed(what: str) -> Iterator[None]:
    """What `what` needs is imported inside. Raises UsageError where it is not installed."""
    try:
        yield
    except ImportError as error:
        hint = "pip install 'rdl-get[sync]'"
        raise UsageError(what, f"{error.name} is not installed", hint=hint) from error


def _made(name: str, least: int, average: int, most: int) -> Chunker:
    if name == "fastcdc":
        from rdl.chunkers.fastcdc import FastCdc

        return FastCdc(least, average, most)
    if name == "buzhash":
        from rdl.chunkers.buzhash import Buzhash

        return Buzhash(least, average, most)
    from rdl.chunkers.adler import CafsAdler32

    return CafsAdler32(least, average, most)
