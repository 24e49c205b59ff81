"""URLs that may be asked for: http and https, with a host and a port that cannot be misread.

RFC 3986 and RFC 9110 section 4.2. Escapes are kept as they are, the rest is encoded once, the
fragment is dropped; userinfo never gets into a request.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote

import httpx
from msgspec import Struct
from msgspec.structs import replace

from rdl.core.text import redact_url, safe_text
from rdl.errors import UsageError

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PARTS = re.compile(r"(?P<scheme>https?)://(?P<authority>[^/?#]*)(?P<rest>[^#]*)", re.IGNORECASE)
_HOST_PORT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:@\\%\s]+)(?::(?P<port>[0-9]{0,5}))?")
_ENCODED_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")
_PLAIN = re.compile(r"(?:/(?!\.)(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})*)+")
"""Paths that are encoded, and have no `.` or `..` in them."""
_SHORT = 2048
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Url(Struct, frozen=True):
    """A URL in parts, encoded. `scheme`: http or https; `host`: as it is looked up, an IPv6 address
    without brackets; `port`: the scheme's own when none was named; `netloc`: host and port as they
    are written; `origin`: scheme, host and port, always there (RFC 6454); `target`: path and query.
    """

    scheme: str
    host: str
    port: int
    netloc: str
    origin: str
    target: str = "/"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.netloc}{self.target}"


@lru_cache(maxsize=64)
def parse_url(text: str) -> Url:
    """The URL without userinfo and fragment, encoded (host by IDNA). Raises UsageError."""
    parts = None if _CONTROL.search(text) else _PARTS.fullmatch(text.partition("#")[0])
    if parts is None:
        raise _refused(text, "is not an http or https URL")
    scheme, authority, rest = parts.groups()
    if "\\" in authority:
        raise _refused(text, "has no usable host")
    try:
        root = _root(scheme.lower(), authority.rpartition("@")[2])
    except ValueError as error:
        raise _refused(text, str(error)) from error
    if len(rest) <= _SHORT and _PLAIN.fullmatch(rest):
        return replace(root, target=rest)
    try:
        url = httpx.URL(f"{root.scheme}://{root.netloc}{_rooted(rest)}")
    except httpx.InvalidURL as error:
        raise _refused(text, "is not a usable URL") from error
    return replace(root, target=url.raw_path.decode("ascii"))


@lru_cache(maxsize=64)
def _root(scheme: str, place: str) -> Url:
    """Of the server at `place`. Raises ValueError, which says why there can be none."""
    found = _HOST_PORT.fullmatch(place)
    if found is None:
        raise ValueError("has no usable host")
    if found["port"] and not 1 <= int(found["port"]) <= 65535:
        raise ValueError("has an impossible port")
    try:
        url = httpx.URL(f"{scheme}://{place}/")
        readable, host = url.host, url.raw_host.decode("ascii")
    except (httpx.InvalidURL, ValueError) as error:  # IDNA's errors are ValueErrors
        raise ValueError("is not a usable URL") from error
    if not _ENCODED_HOST.fullmatch(host) or max(len(readable), len(host)) > 253:
        raise ValueError("has no usable host")
    port, shown = url.port or _DEFAULT_PORTS[scheme], f"[{host}]" if ":" in host else host
    return Url(scheme, host, port, url.netloc.decode("ascii"), f"{scheme}://{shown}:{port}")


def split_userinfo(text: str) -> tuple[str, str | None, str | None]:
    """A URL without its userinfo, and the user and password (decoded) that were in it."""
    parts = _PARTS.match(text)
    if parts is None or "@" not in parts["authority"]:
        return text, None, None
    userinfo, _, place = parts["authority"].rpartition("@")
    user, colon, password = userinfo.partition(":")
    start, stop = parts.span("authority")
    plain = text[:start] + place + text[stop:]
    return plain, unquote(user), unquote(password) if colon else None


def _rooted(rest: str) -> str:
    """Path and query from the root, with each `%` that begins no escape encoded."""
    rest = re.sub("%(?![0-9A-Fa-f]{2})", "%25", rest)
    return rest if rest.startswith("/") else f"/{rest}"


def _refused(text: str, why: str) -> UsageError:
    return UsageError(safe_text(redact_url(text)), why)
