"""From the bytes of a request to what is asked, strictly: sans-IO.

h11 reads the head; what it lets pass and proxies read otherwise is refused before and after.
Whoever breaks the rules gets one answer, and the end of the connection.
"""

from __future__ import annotations

import re
from base64 import b64decode
from hmac import compare_digest

import h11
from msgspec import Struct, structs

from rdl.core.manifest import SUFFIX
from rdl.core.representation import WISHES_TYPE
from rdl.core.wishlist import MOST_WISHES

MAX_HEAD = 16 << 10
MAX_FIELDS = 100
METHODS = ("GET", "HEAD")
ALLOW = ("Allow", ", ".join(METHODS))
ACCEPT_POST = ("Accept-Post", WISHES_TYPE)
CHALLENGES = (
    ("WWW-Authenticate", 'Basic realm="rdl", charset="UTF-8"'),
    ("WWW-Authenticate", 'Bearer realm="rdl"'),
)
_END = b"\r\n\r\n"
_BARE = re.compile(rb"(?<!\r)\n|\r[^\n]|\0")
_FOLDED = re.compile(rb"\r\n[ \t]")
_TARGET = re.compile(r"[\x21\x22\x24-\x7e]+")
_ABSOLUTE = re.compile(r"http://([^/?]*)(.*)", re.IGNORECASE)
_WAIT = re.compile(r'(?:^|,)[ \t]*wait[ \t]*=[ \t]*"?([0-9]{1,6})"?[ \t]*(?=[;,]|$)', re.I | re.A)
_AUTHORITY = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9._-]{1,253})(?::([0-9]{1,5}))?", re.I | re.A)


class Reply(Exception):
    """What is answered instead of a resource: a refusal, or where it has moved. `close`: the
    connection ends with it."""

    def __init__(
        self,
        status: int,
        why: str,
        fields: tuple[tuple[str, str], ...] = (),
        *,
        close: bool = False,
    ) -> None:
        super().__init__(why)
        self.status, self.why, self.fields, self.close = status, why, fields, close


def refused(status: int, why: str, *fields: tuple[str, str]) -> Reply:
    """A Reply after which nothing more is read from this client."""
    return Reply(status, why, fields, close=True)


def nowhere() -> Reply:
    """What a path leads to that is not served."""
    return Reply(404, "nothing is here")


def later(why: str, seconds: int = 1, *, status: int = 503) -> Reply:
    """What may pass, and when to come again."""
    return Reply(status, why, (("Retry-After", str(seconds)),))


class Asked(Struct, frozen=True):
    """A request: `target` in origin-form, `fields` by lower-case names, several of a name joined
    by commas; `close`: nothing follows on this connection; `body`: of POST."""

    method: str
    target: str
    fields: dict[str, str]
    close: bool
    body: bytes = b""

    @property
    def path(self) -> str:
        """Still percent-encoded; without the query."""
        return self.target.partition("?")[0]

    @property
    def wait(self) -> float:
        """Seconds that the client would wait (RFC 7240 section 4.3)."""
        found = _WAIT.search(self.fields.get("prefer", ""))
        return float(found[1]) if found else 0.0


class Rules(Struct, frozen=True):
    """Who may ask. `hosts`: what a Host field may say, `name:port` in lower case; `token`: None
    lets everybody; `wishes`: manifests take wishlists, by POST."""

    hosts: frozenset[str]
    token: str | None = None
    wishes: bool = False

    def check(self, asked: Asked, authority: str | None) -> None:
        """Raises Reply. `authority`: that of a target in absolute-form."""
        host = authority_of(asked.fields.get("host", ""))
        if host not in self.hosts:
            raise refused(421, "this host is not served here")
        if authority is not None and authority_of(authority) != host:
            raise refused(421, "the target names another host")
        if "origin" in asked.fields:
            raise refused(403, "pages of other origins may not read this")

    def admit(self, asked: Asked) -> None:
        """Raises Reply unless the token came with the request."""
        if self.token is None:
            return
        given = _token_in(asked.fields.get("authorization", ""))
        if not compare_digest(given, self.token.encode()):
            raise refused(401, "a token is needed", *CHALLENGES)


def authority_of(text: str) -> str | None:
    """`host:port` in lower case, with the port; None where it is nothing of the kind."""
    found = _AUTHORITY.fullmatch(text)
    return f"{found[1].lower()}:{int(found[2] or 80)}" if found else None


def _token_in(text: str) -> bytes:
    """The token of Bearer, or the password of Basic (RFC 6750, RFC 7617); b"" where none is."""
    scheme, _, rest = text.partition(" ")
    given = rest.strip(" ").encode("latin-1", "replace")
    if scheme.lower() == "bearer":
        return given
    if scheme.lower() != "basic":
        return b""
    try:
        return b64decode(given, validate=True).partition(b":")[2]
    except ValueError:
        return b""


class RequestReader:
    """Gathers one request: its head, and behind that of a wishlist the body."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._asked: Asked | None = None
        """Of which the body is still to come, so many bytes:"""
        self._size = 0

    @property
    def begun(self) -> bool:
        """Whether anything has come."""
        return bool(self._data) or self._asked is not None

    @property
    def in_body(self) -> bool:
        """Whether the head was read, and the body is to come."""
        return self._asked is not None

    @property
    def held_back(self) -> bool:
        """Whether the client waits for a word before it sends the body (RFC 9110 10.1.1)."""
        asked = self._asked
        waits = asked is not None and asked.fields.get("expect", "").lower() == "100-continue"
        return waits and not self._data

    def receive(self, data: bytes, rules: Rules) -> Asked | None:
        """The request when it is complete. Raises Reply."""
        if self._asked is not None:
            self._data += data
        elif (asked := self._gather(data, rules)) is not None:
            self._asked, self._size = asked, _size_of_body(asked, rules)
        if self._asked is None or len(self._data) < self._size:
            return None
        if len(self._data) > self._size:
            raise refused(400, "a request ends here, and the next one waits for its answer")
        return structs.replace(self._asked, body=bytes(self._data))

    def _gather(self, data: bytes, rules: Rules) -> Asked | None:
        """What its head says, when that is complete; what is left is behind it."""
        seen = max(len(self._data) - len(_END) + 1, 0)
        self._data += data
        if not self._data[:1].isalpha():
            raise refused(400, "this is not HTTP")
        end = self._data.find(_END, seen)
        stop = end + len(_END) if end >= 0 else len(self._data)
        if stop > MAX_HEAD:
            raise refused(431, "the request head is too large")
        if _BARE.search(self._data, max(seen - 1, 0), stop):
            raise refused(400, "lines end with CR LF, and hold neither alone")
        if end < 0:
            return None
        head = bytes(self._data[:stop])
        del self._data[:stop]
        if _FOLDED.search(head):
            raise refused(400, "fields are not folded")
        return _read(head, rules)


def _read(head: bytes, rules: Rules) -> Asked:
    """The request, when `rules` have nothing against it. Raises Reply."""
    wire = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
    wire.receive_data(head)
    try:
        event = wire.next_event()
    except h11.RemoteProtocolError:
        raise refused(400, "the request makes no sense") from None
    assert isinstance(event, h11.Request), "a whole head is a request, or an error"
    if len(event.headers) > MAX_FIELDS:
        raise refused(431, "too many fields")
    fields: dict[str, str] = {}
    for raw, value in event.headers:
        name, text = raw.decode("ascii"), value.decode("latin-1")
        fields[name] = f"{fields[name]}, {text}" if name in fields else text
    version, method = event.http_version, event.method.decode("ascii")
    wishes = rules.wishes and method == "POST"
    _check_framing(fields, version, wishes=wishes)
    if method not in METHODS and not wishes:
        raise refused(405, "only GET and HEAD", ALLOW)
    target, authority = _target(event.target.decode("latin-1"))
    listed = fields.get("connection", "").lower().split(",")
    close = version != b"1.1" or "close" in [one.strip() for one in listed]
    asked = Asked(method, target, fields, close)
    rules.check(asked, authority)
    return asked


def _check_framing(fields: dict[str, str], version: bytes, *, wishes: bool) -> None:
    """No body but that of a wishlist, whose length is said: nothing can be smuggled behind it."""
    if version not in (b"1.0", b"1.1"):
        raise refused(505, "only HTTP/1.0 and HTTP/1.1")
    length = fields.get("content-length")
    if "transfer-encoding" in fields or (wishes and length is None):
        unsaid = wishes and length is None
        raise refused(411 if unsaid else 400, "a body has a Content-Length here, or is none")
    if not wishes and length not in (None, "0"):
        raise refused(400, "a request has no body here")


def _size_of_body(asked: Asked, rules: Rules) -> int:
    """How long it is going to be. Raises Reply."""
    if asked.method != "POST":
        return 0
    if not asked.path.endswith(SUFFIX):
        raise refused(405, "wishes go to a manifest", ALLOW)
    rules.admit(asked)
    if asked.fields.get("content-type", "").lower() != WISHES_TYPE:
        raise refused(415, "this is no wishlist", ACCEPT_POST)
    length = int(asked.fields["content-length"])  # h11 lets nothing but digits pass
    if length > MOST_WISHES:
        raise refused(413, "no wishlist is so long")
    return length


def _target(text: str) -> tuple[str, str | None]:
    """A target in origin-form, and the authority where it was in absolute-form."""
    absolute = _ABSOLUTE.fullmatch(text)
    path = (absolute[2] or "/") if absolute else text
    if not path.startswith("/") or not _TARGET.fullmatch(path):
        raise refused(400, "the target makes no sense")
    return path, absolute[1] if absolute else None
