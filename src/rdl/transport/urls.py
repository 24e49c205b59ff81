"""URLs that may be asked for: http and https, with a host and a port that cannot be misread.

RFC 3986 and RFC 9110 section 4.2. Escapes are kept as they are, the rest is encoded once, the
fragment is dropped; userinfo never gets into a request.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote

import httpx

from rdl.core.text import redact_url, safe_text
from rdl.errors import UsageError

_PATHLESS = re.compile(r"^([a-z]+://[^/?]*)(?=\?|$)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PARTS = re.compile(r"(?P<scheme>https?)://(?P<authority>[^/?#]*)(?P<rest>[^#]*)", re.IGNORECASE)
_HOST_PORT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:@\\%\s]+)(?::(?P<port>[0-9]{0,5}))?")
_ENCODED_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")
_DEFAULT_PORTS = {"http": 80, "https": 443}


@lru_cache(maxsize=64)
def parse_url(text: str) -> httpx.URL:
    """The URL without userinfo and fragment, encoded (host by IDNA). Raises UsageError."""
    parts = None if _CONTROL.search(text) else _PARTS.fullmatch(text.partition("#")[0])
    if parts is None:
        raise _refused(text, "is not an http or https URL")
    place = parts["authority"].rpartition("@")[2]
    found = None if "\\" in parts["authority"] else _HOST_PORT.fullmatch(place)
    if found is None:
        raise _refused(text, "has no usable host")
    if found["port"] and not 1 <= int(found["port"]) <= 65535:
        raise _refused(text, "has an impossible port")
    try:
        url = httpx.URL(f"{parts['scheme']}://{place}{_rooted(parts['rest'])}")
        if _PATHLESS.match(str(url)):  # httpx makes nothing of `/.`
            url = httpx.URL(_PATHLESS.sub(r"\1/", str(url)))
        readable = url.host
    except (httpx.InvalidURL, ValueError) as error:  # IDNA's errors are ValueErrors
        raise _refused(text, "is not a usable URL") from error
    if not _ENCODED_HOST.fullmatch(host_of(url)) or max(len(readable), len(host_of(url))) > 253:
        raise _refused(text, "has no usable host")
    return url


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


def host_of(url: httpx.URL) -> str:
    """The host as it goes on the wire: ASCII, an IPv6 address without brackets."""
    return url.raw_host.decode("ascii")


def port_of(url: httpx.URL) -> int:
    """The port, the scheme's own when the URL names none."""
    return url.port or _DEFAULT_PORTS[url.scheme]


def origin(url: httpx.URL) -> str:
    """Scheme, host and port (always there), as one text (RFC 6454)."""
    host = host_of(url)
    host = f"[{host}]" if ":" in host else host
    return f"{url.scheme}://{host}:{port_of(url)}"


def _rooted(rest: str) -> str:
    """Path and query from the root, with each `%` that begins no escape encoded."""
    rest = re.sub("%(?![0-9A-Fa-f]{2})", "%25", rest)
    return rest if rest.startswith("/") else f"/{rest}"


def _refused(text: str, why: str) -> UsageError:
    return UsageError(safe_text(redact_url(text)), why)
