"""What a server would answer for bytes that are here already: pure, a request in, a head out.

Preconditions in the order of RFC 9110 section 13.2.2. So Gate, classify and resume know of
no other way than that of HTTP.
"""

from __future__ import annotations

from msgspec import Struct

from rdl.core.byterange import ByteRange
from rdl.core.fields import (
    ResponseHead,
    format_content_range,
    format_http_date,
    parse_http_date,
    parse_range,
)
from rdl.core.row import span_of
from rdl.transport.base import Request


class Selected(Struct, frozen=True):
    """The bytes as they are now: how many, and what fields say of them. `modified`: seconds since
    the epoch; `digest`: a Repr-Digest value."""

    size: int
    etag: str | None = None
    modified: float | None = None
    digest: str | None = None
    block: int | None = None
    """Only whole ones of so many bytes can be read."""


def answer(request: Request, has: Selected, now: float) -> tuple[ResponseHead, ByteRange]:
    """The head, and the range of bytes that its body is."""
    asked = {name.lower(): value for name, value in request.headers}
    modified = format_http_date(has.modified) if has.modified is not None else None
    status = _failed_precondition(asked, has.etag, modified)
    spec = parse_range(asked.get("range"))
    body, fields = ByteRange(0, has.size), list[tuple[str, str]]()
    if status:
        body = ByteRange(0, 0)
    elif spec is None or not _is_current(asked.get("if-range"), has.etag, modified, now):
        status = 200
    else:
        part = span_of(spec, has.size)
        status, body = (206, part) if part else (416, ByteRange(0, 0))
        fields = [("content-range", format_content_range(part, has.size))]
    said = (
        ("date", format_http_date(now)),
        ("etag", has.etag),
        ("last-modified", modified),
        ("accept-ranges", "bytes"),
        ("content-length", str(len(body))),
        ("repr-digest", has.digest if status in (200, 206) else None),
    )
    fields += [(name, value) for name, value in said if value is not None]
    return ResponseHead(status, tuple(fields), content_length=len(body), url=request.url), body


def _failed_precondition(asked: dict[str, str], etag: str | None, modified: str | None) -> int:
    """412 or 304, or 0 where the request is to be served."""
    match, none = asked.get("if-match"), asked.get("if-none-match")
    if match is not None:
        if etag is None or not _names(match, etag):
            return 412
    elif _is_later(modified, asked.get("if-unmodified-since")):
        return 412
    if none is not None:
        return 304 if etag is not None and _names(none, etag) else 0
    since = asked.get("if-modified-since")
    known = parse_http_date(since) is not None and parse_http_date(modified) is not None
    return 304 if known and not _is_later(modified, since) else 0


def _names(tags: str, etag: str) -> bool:
    return tags == "*" or etag in (tag.strip() for tag in tags.split(","))


def _is_later(modified: str | None, than: str | None) -> bool:
    at, other = parse_http_date(modified), parse_http_date(than)
    return at is not None and other is not None and at > other


def _is_current(validator: str | None, etag: str | None, modified: str | None, now: float) -> bool:
    """If-Range (section 13.1.5): a strong ETag that is the same, or the very date, a second old."""
    if validator is None or (validator == etag and not validator.startswith("W/")):
        return True
    at = parse_http_date(modified)
    return at is not None and validator == modified and now >= at + 1
