"""What a response head says of a file, as one value: `rdl info`. Its body is of no concern.

A field that breaks its grammar says nothing. RFC 6266 and RFC 8187 (Content-Disposition).
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from msgspec import Struct, field

from rdl.core.classify import Partial, Verdict, Whole
from rdl.core.fields import ResponseHead
from rdl.core.names import name_fault, name_from_url
from rdl.core.published import informing
from rdl.core.representation import Representation
from rdl.core.text import redact_url
from rdl.errors import UsageError

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = re.compile(rf';\s*({_TOKEN})\s*=\s*({_TOKEN}|"(?:[^"\\]|\\.)*")\s*')
_EXTENDED = re.compile(r"utf-8'[^']*'((?:%[0-9a-f]{2}|[!#$&+.^_`|~0-9a-z-])+)", re.IGNORECASE)


class Info(Struct, frozen=True):
    """What a server says of the file at `url` (redacted, as is `final_url`: after redirects).

    `length` in bytes; `ranges`: whether it serves ranges; None is "not known". `etag` and
    `last_modified` as sent; `trust`: T0 to T2, how well parts of it can be joined.
    `digests`: algorithm to hex, those that can verify first. `filename`: what the URL suggests;
    `offered_filename`: what Content-Disposition does. A name that is not clean is None.
    """

    url: str
    final_url: str
    length: int | None = None
    ranges: bool | None = None
    etag: str | None = None
    last_modified: str | None = None
    modified_strong: bool = False
    media_type: str | None = None
    digests: dict[str, str] = field(default_factory=dict)
    filename: str | None = None
    offered_filename: str | None = None
    trust: str = "T0"


def described(url: str, head: ResponseHead, about: Representation, ranges: bool | None) -> Info:
    """The description of the file at `url` that a head of a response from there gives."""
    return Info(
        url=redact_url(url),
        final_url=redact_url(head.url or url),
        length=about.total,
        ranges=ranges,
        etag=about.etag,
        last_modified=about.last_modified,
        modified_strong=about.modified_strong,
        media_type=about.media_type,
        digests={
            one.algorithm: one.hex
            for one in (*about.digests, *informing(head, whole=head.status == 200))
        },
        filename=_clean_name(url),
        offered_filename=offered_name(head),
        trust=about.trust.value,
    )


def serves_ranges(head: ResponseHead, first: Verdict, *, asked_again: bool) -> bool | None:
    """What the answers to a request for the first byte show. `first`: how it was judged;
    `asked_again`: `head` answered a plain request that was made after it."""
    units = {unit.strip().lower() for text in head.all("accept-ranges") for unit in text.split(",")}
    offered = "bytes" in units
    if not asked_again and isinstance(first, Partial | Whole):
        return True if head.status == 206 else None if offered else False
    return False if "none" in units and not offered else None


def offered_name(head: ResponseHead) -> str | None:
    """The name in Content-Disposition when it is a clean file name; `filename*` goes first."""
    fields = head.all("content-disposition")
    if len(fields) != 1:
        return None
    text, names = fields[0], dict[str, str]()
    at = text.find(";") if ";" in text else len(text)
    while at < len(text):
        found = _PARAMETER.match(text, at)
        if found is None or found[1].lower() in names:
            return None
        names[found[1].lower()], at = found[2], found.end()
    name = _extended(names["filename*"]) if "filename*" in names else None
    if name is None:
        name = _plain(names.get("filename", ""))
    return None if name_fault(name) else name


def _extended(text: str) -> str | None:
    found = _EXTENDED.fullmatch(text)
    try:
        return unquote_to_bytes(found[1]).decode() if found else None
    except UnicodeDecodeError:
        return None


def _plain(text: str) -> str:
    """A token, or a quoted string, whose bytes are UTF-8 where they can be."""
    if text.startswith('"'):
        text = re.sub(r"\\(.)", r"\1", text[1:-1])
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return text


def _clean_name(url: str) -> str | None:
    try:
        return name_from_url(url)
    except UsageError:
        return None
