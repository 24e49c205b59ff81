"""What a server would answer for bytes that are here already: pure, a request in, a head out.

So Gate, classify and resume know of no other way than that of HTTP.
"""

from __future__ import annotations

from msgspec import Struct

from rdl.core.byterange import ByteRange
from rdl.core.conditions import Validators, range_applies, unmet
from rdl.core.fields import (
    ResponseHead,
    format_content_range,
    format_http_date,
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
    validators = Validators(has.etag, has.modified)
    status = unmet(asked, validators)
    spec = parse_range(asked.get("range"))
    body, fields = ByteRange(0, has.size), list[tuple[str, str]]()
    if status:
        body = ByteRange(0, 0)
    elif spec is None or not range_applies(asked, validators, now):
        status = 200
    else:
        part = span_of(spec, has.size)
        status, body = (206, part) if part else (416, ByteRange(0, 0))
        fields = [("content-range", format_content_range(part, has.size))]
    said = (
        ("date", format_http_date(now)),
        ("etag", has.etag),
        ("last-modified", validators.date),
        ("accept-ranges", "bytes"),
        ("content-length", str(len(body))),
        ("repr-digest", has.digest if status in (200, 206) else None),
    )
    fields += [(name, value) for name, value in said if value is not None]
    return ResponseHead(status, tuple(fields), content_length=len(body), url=request.url), body
