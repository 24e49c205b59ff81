"""What may be sent to whom: redirects, and which header fields cross to another origin.

RFC 9110 sections 15.4 and 17. Decisions on values; nothing here connects.
"""

from __future__ import annotations

import re
from urllib.parse import urljoin

from rdl.core.text import redact_url, safe_text
from rdl.errors import PolicyError, ProtocolError, UsageError
from rdl.options import NetworkOptions
from rdl.transport.base import ResponseHead
from rdl.transport.urls import Url, parse_url

MAX_HOPS = 10
REDIRECTS = (301, 302, 303, 307, 308)
AS_IT_IS = (307, 308)
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_FORBIDDEN_IN_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_OURS = ("range", "if-range", "connection", "transfer-encoding", "content-length", "te", "upgrade")
_CROSSING = re.compile(r"range|if-.*|accept|accept-.*|user-agent")

Field = tuple[bytes, bytes]


def user_fields(headers: tuple[tuple[str, str], ...]) -> tuple[Field, ...]:
    """The user's own header fields as bytes. Raises UsageError for one that cannot be sent.

    Accept-Encoding is left out: parts of an encoded body could not be joined.
    """
    fields = []
    for name, value in headers:
        shown = f"header {safe_text(name)}"
        if not _NAME.fullmatch(name):
            raise UsageError(shown, "is not a field name")
        if _FORBIDDEN_IN_VALUE.search(value):
            raise UsageError(shown, "its value has control characters")
        if name.lower() in _OURS:
            raise UsageError(shown, "is set by rdl itself", hint="-r asks for a range")
        if name.lower() != "accept-encoding":
            fields.append((name.encode("ascii"), value.strip().encode()))
    return tuple(fields)


def crosses(field: Field) -> bool:
    """Whether a field may go to another origin than the one it was given for."""
    return _CROSSING.fullmatch(field[0].decode("ascii").lower()) is not None


class Redirects:
    """The way of one request: every hop is checked before it is made."""

    def __init__(self, start: Url, options: NetworkOptions) -> None:
        self._options = options
        self._seen = [str(start)]

    def follow(self, url: Url, head: ResponseHead, method: str = "GET") -> Url | None:
        """Where to go on; None when `head` is an answer to be judged by the caller, as one is that
        leads a POST where it would be none (RFC 9110 section 15.4).

        Raises ProtocolError (bad Location, loop, too many), PolicyError (https to http).
        """
        location = head.get("location")
        if head.status not in REDIRECTS or location is None:
            return None
        if method == "POST" and head.status not in AS_IT_IS:
            return None
        what = redact_url(self._seen[0])
        target = self._target(url, location, what)
        downgrade = url.scheme == "https" and target.scheme == "http"
        if downgrade and not self._options.allow_insecure_redirect:
            raise PolicyError(
                what,
                f"redirects from https to {redact_url(str(target))}",
                hint="--allow-insecure-redirect follows it",
            )
        if str(target) in self._seen:
            raise ProtocolError(what, "redirects in a loop")
        if len(self._seen) > MAX_HOPS:
            raise ProtocolError(what, f"redirects more than {MAX_HOPS} times")
        self._seen.append(str(target))
        return target

    @staticmethod
    def _target(url: Url, location: str, what: str) -> Url:
        """The Location resolved; its raw bytes are escaped, never decoded (RFC 3986 5.2)."""
        escaped = "".join(c if c < "\x7f" else f"%{ord(c):02X}" for c in location)
        try:
            if not escaped or re.search(r"[\x00-\x1f]", escaped):
                raise UsageError("Location", "is empty or has control characters")
            absolute = _SCHEME.match(escaped) is not None
            return parse_url(escaped if absolute else urljoin(str(url), escaped))
        except (UsageError, ValueError) as error:
            shown = safe_text(redact_url(location))
            raise ProtocolError(what, f"redirects to {shown!r}, which is unusable") from error
