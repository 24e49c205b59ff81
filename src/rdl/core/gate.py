"""The Gate: may the bytes of this response be written, and where? Nothing else decides that.

A head passes only when every rule holds; the first that fails is named. What is right about
the head but belongs to another version is not a matter of the Gate but of identity.
"""

from __future__ import annotations

from msgspec import Struct

from rdl.core.byterange import ByteRange
from rdl.core.fields import ResponseHead, format_range, format_suffix, parse_content_range
from rdl.core.row import ENDLESS


class Ask(Struct, frozen=True):
    """What a request asked for: `[start, stop)` (stop None: to the end), the last `suffix`
    bytes, or, with `ranged` false, the whole without a Range field."""

    start: int = 0
    stop: int | None = None
    suffix: int | None = None
    ranged: bool = True

    @property
    def range_field(self) -> str | None:
        """The value of the Range field, None when there is to be none."""
        if not self.ranged:
            return None
        if self.suffix is not None:
            return format_suffix(self.suffix)
        return format_range(self.start, self.stop)


class Passed(Struct, frozen=True):
    """The body holds `range` (clipped to what was asked) of `total` bytes (None: unknown)."""

    range: ByteRange
    total: int | None


class Stopped(Struct, frozen=True):
    """Nothing of the body may be written; `why` names the rule."""

    why: str


def examine_whole(head: ResponseHead) -> Passed | Stopped:
    """A 200: one stream from offset 0."""
    if head.all("content-range"):
        return Stopped("a 200 with Content-Range contradicts itself")
    if coded := _coding(head):
        return Stopped(coded)
    total = head.content_length if head.framing == "length" else None
    return Passed(ByteRange(0, ENDLESS if total is None else total), total)


def examine_partial(ask: Ask, head: ResponseHead, known_total: int | None) -> Passed | Stopped:
    """A 206: exactly the bytes that its one Content-Range names, as asked, of a known total."""
    if not ask.ranged:
        return Stopped("206 to a request without Range")
    if coded := _coding(head):
        return Stopped(coded)
    fields = head.all("content-range")
    said = parse_content_range(fields[0]) if len(fields) == 1 else None
    if said is None:
        return Stopped("206 without one valid Content-Range")
    total = said.total if said.total is not None else known_total
    if total is None or said.range.stop > total:
        return Stopped("206 that does not say the complete length")
    if head.framing == "length" and head.content_length != len(said.range):
        return Stopped("Content-Length and Content-Range disagree")
    return _as_asked(ask, said.range, total)


def _as_asked(ask: Ask, said: ByteRange, total: int) -> Passed | Stopped:
    if ask.suffix is not None:
        if said != ByteRange(total - min(ask.suffix, total), total):
            return Stopped("206 is not the suffix that was asked for")
        return Passed(said, total)
    if said.start != ask.start:
        return Stopped(f"206 starts at {said.start}, asked was {ask.start}")
    stop = said.stop if ask.stop is None else min(said.stop, ask.stop)
    return Passed(ByteRange(said.start, stop), total)


def _coding(head: ResponseHead) -> str:
    """Why the body is not the plain bytes, or nothing."""
    for value in head.all("content-encoding"):
        if value.strip().lower() not in ("", "identity"):
            return "the body has a Content-Encoding that was not asked for"
    if (head.get("content-type") or "").strip().lower().startswith("multipart/byteranges"):
        return "multipart/byteranges that was not asked for"
    return ""
