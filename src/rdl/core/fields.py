"""Header text <-> values, strictly: what does not match the grammar is None, never repaired.

The one place where a range becomes text and text becomes a range. RFC 9110 sections 5.6.7,
8.8.3, 10.2.3, 14.2 and 14.4.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache

from msgspec import Struct

from rdl.core.byterange import ByteRange
from rdl.options import RangeSpec

MAX_TOTAL = 2**63 - 2
"""Bytes of the largest file: what follows its end is an offset still."""
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)", re.I | re.A)
_RANGE = re.compile(r"bytes=([0-9]{0,30})-([0-9]{0,30})", re.I | re.A)
_UNSATISFIED = re.compile(r"bytes \*/([0-9]{1,19})", re.I | re.A)
_ETAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]{0,1024}"')
_SECONDS = re.compile(r"[0-9]+", re.A)
_LONGEST_DELAY = 1e9
_DAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_DAY, _FULL_DAY = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)", "(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"
_DATES = (
    re.compile(_DAY + r", (?P<d>\d\d) (?P<m>\w{3}) (?P<y>\d{4}) (?P<t>\d\d:\d\d:\d\d) GMT", re.A),
    re.compile(
        _FULL_DAY + r", (?P<d>\d\d)-(?P<m>\w{3})-(?P<y>\d\d) (?P<t>\d\d:\d\d:\d\d) GMT", re.A
    ),
    re.compile(_DAY + r" (?P<m>\w{3}) (?P<d>[ \d]\d) (?P<t>\d\d:\d\d:\d\d) (?P<y>\d{4})", re.A),
)


class ResponseHead(Struct, frozen=True):
    """A final response's head. Names are lower-case; text is latin-1, unchecked otherwise.

    `framing` says how the end of the body is known: "length" (content_length says), "chunked",
    "close" (the end of the connection), or "none" (no body). `url`: after redirects.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    framing: str = "length"
    content_length: int | None = None
    url: str = ""

    def all(self, name: str) -> list[str]:
        """Every value of the field `name` (lower-case), in order."""
        return [value for key, value in self.headers if key == name]

    def get(self, name: str) -> str | None:
        """The only or first value of the field `name`."""
        for key, value in self.headers:
            if key == name:
                return value
        return None


class ContentRange(Struct, frozen=True):
    """`range` of a representation whose complete-length is `total` (None: not said)."""

    range: ByteRange
    total: int | None


def format_range(start: int, stop: int | None) -> str:
    """`[start, stop)` as a Range value; stop None asks for all that follows."""
    if stop is not None and stop <= start:
        raise ValueError("an empty range has no text form")
    return f"bytes={start}-" if stop is None else f"bytes={start}-{stop - 1}"


def format_suffix(length: int) -> str:
    """The last `length` bytes as a Range value."""
    return f"bytes=-{length}"


def format_content_range(range: ByteRange | None, total: int) -> str:
    """A Content-Range value; range None: what was asked for lies outside."""
    return f"bytes {range.start}-{range.stop - 1}/{total}" if range else f"bytes */{total}"


def parse_range(text: str | None) -> RangeSpec | None:
    """A Range value that asks for one range; None when it is anything else."""
    found = _RANGE.fullmatch(text or "")
    if not found or not (found[1] or found[2]):
        return None
    if not found[1]:
        return RangeSpec(suffix=int(found[2]))
    start, stop = int(found[1]), int(found[2]) + 1 if found[2] else None
    return RangeSpec(start, stop) if stop is None or stop > start else None


def parse_content_range(text: str) -> ContentRange | None:
    """A satisfied Content-Range; None when it is anything else or impossible."""
    found = _CONTENT_RANGE.fullmatch(text)
    if not found:
        return None
    first, last = int(found[1]), int(found[2])
    total = None if found[3] == "*" else int(found[3])
    if first > last or last >= MAX_TOTAL or (total is not None and last >= total):
        return None
    if total is not None and total > MAX_TOTAL:
        return None
    return ContentRange(ByteRange(first, last + 1), total)


def parse_unsatisfied(text: str | None) -> int | None:
    """The complete-length in the Content-Range of a 416."""
    found = _UNSATISFIED.fullmatch(text or "")
    return int(found[1]) if found and int(found[1]) <= MAX_TOTAL else None


def parse_etag(text: str | None) -> str | None:
    """An entity-tag exactly as sent, or None when it is not one."""
    return text if text and _ETAG.fullmatch(text) else None


def format_http_date(at: float) -> str | None:
    """Seconds since the epoch as an HTTP-date, cut to the second; None where it has no such."""
    try:
        day = datetime.fromtimestamp(at // 1, UTC)
    except (OverflowError, OSError, ValueError):
        return None
    name, month = _DAYS[day.weekday()], _MONTHS[day.month - 1]
    return f"{name}, {day.day:02} {month} {day.year:04} {day:%H:%M:%S} GMT"


@lru_cache(maxsize=64)
def parse_http_date(text: str | None) -> float | None:
    """Seconds since the epoch of an HTTP-date in any of its three forms."""
    for form in _DATES:
        found = form.fullmatch(text or "")
        if found:
            return _epoch(found)
    return None


def _epoch(found: re.Match[str]) -> float | None:
    year = int(found["y"])
    if len(found["y"]) == 2:
        year += 1900 if year >= 70 else 2000
    try:
        month = _MONTHS.index(found["m"]) + 1
        hour, minute, second = (int(part) for part in found["t"].split(":"))
        second = 59 if second == 60 else second  # datetime knows no leap seconds
        moment = datetime(year, month, int(found["d"]), hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    return moment.timestamp()


def parse_retry_after(text: str | None, date: str | None) -> float | None:
    """Seconds to wait, at most 1e9: delay-seconds, or an HTTP-date counted from the response's
    own Date."""
    if text is None:
        return None
    if _SECONDS.fullmatch(text):
        return min(float(text), _LONGEST_DELAY)
    at, base = parse_http_date(text), parse_http_date(date)
    return max(0.0, at - base) if at is not None and base is not None else None
