"""Response head -> Verdict: one table, closed. What is not named here is refused.

RFC 9110 section 15. The Gate says what may be written; compare() of the representation says
whether it is still the same file; this module only puts the two and the status together.
"""

from __future__ import annotations

from msgspec import Struct

from rdl.core.byterange import ByteRange
from rdl.core.fields import (
    ResponseHead,
    parse_etag,
    parse_http_date,
    parse_retry_after,
    parse_unsatisfied,
)
from rdl.core.gate import Ask, Passed, Stopped, examine_partial, examine_whole
from rdl.core.pace import LONGEST_SERVER_DELAY
from rdl.core.published import published
from rdl.core.representation import WISHES_TYPE, Match, Representation
from rdl.core.text import format_time
from rdl.errors import (
    AuthError,
    HTTPStatusError,
    NetworkError,
    ProtocolError,
    RdlError,
    is_passing,
)


class Partial(Struct, frozen=True):
    """The body is `range` of the representation."""

    range: ByteRange
    representation: Representation


class Whole(Struct, frozen=True):
    """The body is the representation from its first byte to its last."""

    representation: Representation


class Unchanged(Struct, frozen=True):
    """The published file is still what the server has."""


class Changed(Struct, frozen=True):
    """Another version than the known one. `body` is what this response holds of it. A 412
    holds nothing and is not `sure`: some servers do not understand If-Match."""

    body: Partial | Whole | None
    sure: bool = False


class Unsatisfiable(Struct, frozen=True):
    """416; `total` when the server said it."""

    total: int | None


class RetryLater(Struct, frozen=True):
    """A passing failure; `delay` in seconds when the server asked for one."""

    error: RdlError
    delay: float | None


class Refused(Struct, frozen=True):
    """The server will not give it, or we will not take it."""

    error: RdlError
    status: int


class Malformed(Struct, frozen=True):
    """The response breaks a rule; nothing of it may be used."""

    why: str


Verdict = Partial | Whole | Unchanged | Changed | Unsatisfiable | RetryLater | Refused | Malformed


class Context(Struct, frozen=True):
    """What a response is judged against. `known`: the version begun; `existing`: the version
    published earlier; `proved_later`: a digest will decide, so a missing validator is no
    obstacle to joining; `erratic`: and other validators are none either."""

    known: Representation | None = None
    existing: Representation | None = None
    proved_later: bool = False
    erratic: bool = False


def classify(ask: Ask, head: ResponseHead, context: Context) -> Verdict:
    """What a final response head means for the request `ask`."""
    if head.status == 200:
        return _judge(examine_whole(head), head, context)
    if head.status == 206:
        total = context.known.total if context.known else None
        return _judge(examine_partial(ask, head, total), head, context)
    if head.status == 304 and context.existing is not None:
        return Unchanged()
    if head.status == 412 and context.known is not None:
        return Changed(None)
    if head.status == 416 and ask.ranged:
        return Unsatisfiable(parse_unsatisfied(head.get("content-range")))
    return _no_data(head)


def _judge(gate: Passed | Stopped, head: ResponseHead, context: Context) -> Verdict:
    if isinstance(gate, Stopped):
        return Malformed(gate.why)
    whole = head.status == 200 or (gate.range.start == 0 and gate.range.stop == gate.total)
    offered = representation_of(head, gate.total, whole=whole)
    body = Whole(offered) if whole else Partial(gate.range, offered)
    if context.existing is not None and context.existing.compare(offered) is Match.SAME:
        return Unchanged()
    if context.known is None:
        return body
    match = context.known.compare(offered)
    if context.erratic and context.known.total == offered.total:
        match = Match.UNKNOWN
    if match is Match.DIFFERENT:
        return Changed(body)
    if match is Match.UNKNOWN and not context.proved_later:
        return Changed(body) if whole else Malformed("the validator is gone from the response")
    return body


def representation_of(head: ResponseHead, total: int | None, *, whole: bool) -> Representation:
    """The representation that a 200 or 206 head describes; `whole`: its body is all of it.

    Last-Modified is strong when Date is at least a second later (RFC 9110 section 8.8.2.2).
    Validators that are malformed or sent twice with different values count as absent.
    """
    etags, dates = set(head.all("etag")), set(head.all("last-modified"))
    etag = parse_etag(etags.pop()) if len(etags) == 1 else None
    modified = dates.pop() if len(dates) == 1 else None
    at, now = parse_http_date(modified), parse_http_date(head.get("date"))
    strong = at is not None and now is not None and now >= at + 1
    media = (head.get("content-type") or "").split(";")[0].strip().lower()[:200]
    return Representation(
        total,
        etag,
        modified if at is not None else None,
        strong,
        media or None,
        published(head, whole=whole),
        takes_wishes(head),
    )


def takes_wishes(head: ResponseHead) -> bool:
    """Whether Accept-Post says so (W3C Linked Data Platform 1.0, section 7.1)."""
    taken = (one for value in head.all("accept-post") for one in value.lower().split(","))
    return any(one.partition(";")[0].strip(" \t") == WISHES_TYPE for one in taken)


_LOGIN = {
    401: "-u USER asks for a password; netrc may hold one too",
    407: "--proxy http://USER:PASSWORD@HOST:PORT",
}


def _no_data(head: ResponseHead) -> Verdict:
    status = head.status
    if status in (401, 403, 407):
        login = AuthError(f"HTTP {status}", _meaning(status), hint=_LOGIN.get(status, ""))
        return Refused(login, status)
    if status == 511:
        portal = NetworkError("HTTP 511", "the network wants a login")
        portal.permanent = True  # until somebody logs in
        return Refused(portal, status)
    if is_passing(status):
        delay = parse_retry_after(head.get("retry-after"), head.get("date"))
        hint = ""
        if delay is not None and delay > LONGEST_SERVER_DELAY:
            hint = f"the server asks to try again in {format_time(delay)}"
        error = HTTPStatusError(f"HTTP {status}", _meaning(status), status=status, hint=hint)
        return RetryLater(error, delay)
    if 400 <= status <= 599:
        return Refused(HTTPStatusError(f"HTTP {status}", _meaning(status), status=status), status)
    if 300 <= status <= 399:
        return Refused(ProtocolError(f"HTTP {status}", "a redirect that leads nowhere"), status)
    return Malformed(f"HTTP {status} carries no file")


def _meaning(status: int) -> str:
    return {
        202: "the file is not there yet",
        401: "the server wants a login",
        403: "the server refuses access",
        404: "no such file on the server",
        407: "the proxy wants a login",
        410: "the file is gone from the server",
        416: "the server refuses this range",
        429: "too many requests",
        451: "unavailable for legal reasons",
        503: "the server is busy",
    }.get(status, "the server failed" if status >= 500 else "the server refuses the request")
