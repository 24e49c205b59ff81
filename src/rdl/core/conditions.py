"""Whether a request's preconditions hold, as who answers it decides: RFC 9110, sections 13.1, 13.2.

The order is that of section 13.2.2. What makes no sense never lets anything pass: a date that
is none is ignored, a list of tags that is none has no tag in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct

from rdl.core.fields import format_http_date, parse_etag, parse_http_date

_MEMBER = re.compile(r'[ \t]*(?:(?P<tag>(?:W/)?"[\x21\x23-\x7e\x80-\xff]*")[ \t]*)?(?:,|\Z)')


class Validators(Struct, frozen=True):
    """What the selected bytes are told apart by. `modified`: seconds since the epoch."""

    etag: str | None = None
    modified: float | None = None

    @property
    def date(self) -> str | None:
        """The Last-Modified value; whole seconds."""
        return None if self.modified is None else format_http_date(self.modified)


def unmet(asked: Mapping[str, str], has: Validators) -> int:
    """412 or 304 for a GET or HEAD, 0 where the request is to be served. `asked`: fields by their
    lower-case names, those that came several times joined by commas."""
    match, none = asked.get("if-match"), asked.get("if-none-match")
    if match is not None:
        if not _is_named(match, has.etag, weakly=False):
            return 412
    elif _is_later(has.date, asked.get("if-unmodified-since")):
        return 412
    if none is not None:
        return 304 if _is_named(none, has.etag, weakly=True) else 0
    since = asked.get("if-modified-since")
    known = parse_http_date(since) is not None and has.date is not None
    return 304 if known and not _is_later(has.date, since) else 0


def range_applies(asked: Mapping[str, str], has: Validators, now: float) -> bool:
    """If-Range (section 13.1.5): none, the very same strong ETag, or the very date, when that is
    a second old at `now`."""
    given = asked.get("if-range")
    if given is None:
        return True
    if parse_etag(given):
        return given == has.etag and not given.startswith("W/")
    at, date = parse_http_date(given), parse_http_date(has.date)
    return at is not None and at == date and now >= at + 1


def _is_named(tags: str, etag: str | None, *, weakly: bool) -> bool:
    """Whether a list has the tag in it; `*` has whatever there is (section 8.8.3.2)."""
    if tags.strip(" \t") == "*":
        return True
    if etag is None or (etag.startswith("W/") and not weakly):
        return False
    listed = _listed(tags)
    if not weakly:
        return etag in listed
    return etag.removeprefix("W/") in [tag.removeprefix("W/") for tag in listed]


def _listed(tags: str) -> list[str]:
    """The tags of a list; none where it is not one. In linear time."""
    found: list[str] = []
    at = 0
    while at < len(tags):
        member = _MEMBER.match(tags, at)
        if member is None:
            return []
        found += [member["tag"]] if member["tag"] else []
        at = member.end()
    return found


def _is_later(date: str | None, than: str | None) -> bool:
    at, other = parse_http_date(date), parse_http_date(than)
    return at is not None and other is not None and at > other
