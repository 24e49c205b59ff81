"""From a request and what is known of a resource to the answer: pure.

A client that asks for a part never gets the whole by surprise: what is not one range, or longer
than any one range is, gets 416. Other units are ignored, as RFC 9110 section 14.2 says.
"""

from __future__ import annotations

import re
from base64 import b64encode
from http import HTTPStatus
from typing import NamedTuple

from msgspec import Struct

from rdl.core.byterange import ByteRange
from rdl.core.conditions import Validators, range_applies, unmet
from rdl.core.fields import format_content_range, format_http_date, parse_etag, parse_range
from rdl.core.row import span_of
from rdl.server.requests import Asked, Reply

MAX_RANGE = 256
"""Characters of a Range field; one range needs no more than 46."""
BYTES = "application/octet-stream"
PLAIN = "text/plain; charset=utf-8"
_MEDIA = re.compile(r"[!#$&^_.+\w-]{1,60}/[!#$&^_.+\w-]{1,60}(?:; charset=[\w-]{1,20})?", re.A)
_ACTIVE = re.compile(r"text/html|.*[/+]xml|text/xsl", re.IGNORECASE)
"""What a browser may run scripts of: it must not read what else is shared."""
_CONTROL = re.compile(r"[\0-\x08\x0a-\x1f\x7f]")

Fields = list[tuple[str, str]]


class Facts(Struct, frozen=True):
    """What is known of a resource. `size` in bytes; `modified`: seconds since the epoch; `sha256`:
    of the whole; `ranges`: whether parts can be asked for;
    `said`: further fields of an answer that has it, or a part; `policy`: what a browser may do with
    it (else what is active is put in a sandbox); `endless`: it goes on until one side ends the
    connection, for `size` bytes at most; `ends`: and that is its own end; `control` and `age`: of
    the Cache-Control and Age fields, where there is more to say."""

    size: int
    etag: str | None = None
    modified: float | None = None
    sha256: bytes | None = None
    media_type: str = BYTES
    ranges: bool = True
    said: tuple[tuple[str, str], ...] = ()
    policy: str | None = None
    endless: bool = False
    ends: bool = False
    control: str | None = None
    age: int | None = None


class Answer(NamedTuple):
    """A head, and which bytes of the resource, or which `text`, follow it."""

    head: bytes
    status: int
    body: ByteRange = ByteRange(0, 0)
    text: bytes = b""
    close: bool = False
    endless: bool = False


def answer(asked: Asked, facts: Facts, now: float, *, private: bool = False) -> Answer:
    """The head for a GET, HEAD or POST of what `facts` are of; its preconditions decide.
    `private`: no shared cache is to keep it, where the facts say nothing of that."""
    if facts.endless:
        return _endless(asked, facts, now)
    has = Validators(parse_etag(facts.etag), facts.modified)
    if status := unmet(asked.fields, has):
        fields = _validators(facts, has, private=private)
        if status == 304:
            return Answer(head(304, fields, now, close=asked.close), 304, close=asked.close)
        return short(Reply(412, "the file is another one", tuple(fields)), asked, now)
    body, status, fields = ByteRange(0, facts.size), 200, []
    given = _wanted(asked) if facts.ranges and range_applies(asked.fields, has, now) else None
    if given is not None:
        part = _part(given, facts.size)
        said = ("Content-Range", format_content_range(part, facts.size))
        if part is None:
            return short(Reply(416, "one range that the file has, please", (said,)), asked, now)
        body, status, fields = part, 206, [said]
    fields += [("Content-Length", str(len(body))), *_about(facts)]
    fields += [*_validators(facts, has, private=private), *facts.said]
    sent = ByteRange(0, 0) if asked.method == "HEAD" else body
    return Answer(
        head(status, fields, now, close=asked.close), status, body=sent, close=asked.close
    )


def _endless(asked: Asked, facts: Facts, now: float) -> Answer:
    """It ends with the connection: nothing is known of it that a condition could be about."""
    fields = [("Content-Type", facts.media_type), ("Cache-Control", "no-store")]
    body = ByteRange(0, 0 if asked.method == "HEAD" else facts.size)
    said = head(200, fields, now, close=True)
    return Answer(said, 200, body, close=True, endless=not facts.ends)


def _wanted(asked: Asked) -> str | None:
    """A Range in bytes; of HEAD it means nothing (RFC 9110 section 14.2)."""
    given = asked.fields.get("range")
    if given is None or asked.method != "GET":
        return None
    return given if given.partition("=")[0].strip(" \t").lower() == "bytes" else None


def _part(given: str, size: int) -> ByteRange | None:
    """The one range asked for, as far as it exists; None: there is no such."""
    spec = parse_range(given) if len(given) <= MAX_RANGE else None
    return span_of(spec, size) if spec else None


def _about(facts: Facts) -> Fields:
    """What the fields say of the bytes; text that is not ours is checked."""
    media = facts.media_type if _MEDIA.fullmatch(facts.media_type) else BYTES
    fields = [("Content-Type", media), ("Accept-Ranges", "bytes" if facts.ranges else "none")]
    if facts.sha256:
        fields.append(("Repr-Digest", f"sha-256=:{b64encode(facts.sha256).decode()}:"))
    policy = facts.policy or ("sandbox allow-downloads" if _ACTIVE.match(media) else None)
    if policy:
        fields.append(("Content-Security-Policy", policy))
    return fields


def _validators(facts: Facts, has: Validators, *, private: bool) -> Fields:
    said = (
        ("ETag", has.etag),
        ("Last-Modified", has.date),
        ("Cache-Control", facts.control or ("private" if private else None)),
        ("Age", None if facts.age is None else str(facts.age)),
    )
    return [(name, value) for name, value in said if value is not None]


def short(reply: Reply, asked: Asked | None, now: float) -> Answer:
    """A Reply as an answer, with its reason as text; `asked` None: nobody knows what was."""
    text = f"{reply.why}\n".encode()
    close = reply.close or asked is None or asked.close
    fields = [("Content-Type", PLAIN), ("Content-Length", str(len(text))), *reply.fields]
    said = b"" if asked and asked.method == "HEAD" else text
    return Answer(
        head(reply.status, fields, now, close=close), reply.status, text=said, close=close
    )


def head(status: int, fields: Fields, now: float, *, close: bool) -> bytes:
    """A response head. ValueError for a value that would break it."""
    every = [
        ("Date", format_http_date(now) or ""),
        *fields,
        ("X-Content-Type-Options", "nosniff"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
        *([("Connection", "close")] if close else []),
    ]
    for name, value in every:
        if _CONTROL.search(value):
            raise ValueError(f"a control character in {name}")
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{n}: {v}" for n, v in every)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
