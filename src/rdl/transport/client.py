"""The transport over http1: fields, credentials and cookies to the right origin, redirects.

A URL that was reached by a redirect keeps its lineage: opened again with it, it gets neither
the credentials nor the private fields, and still may not lead to a private address.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from threading import Lock

import httpx
from msgspec.structs import replace

from rdl import __version__
from rdl.options import NetworkOptions
from rdl.transport.base import Lineage, Request, ResponseHead
from rdl.transport.bodies import Body
from rdl.transport.credentials import Logins, basic, load_cookies, load_netrc
from rdl.transport.heads import Stale
from rdl.transport.http1 import Answer, Asking, Http1Transport, Sending
from rdl.transport.policy import REDIRECTS, Field, Redirects, crosses, user_fields
from rdl.transport.urls import Url, parse_url

SHORT = 2048
"""Bytes of a request that fits the buffer of any connection: sending it waits for nobody."""
OF_THE_TARGET = ("x-linked-etag", "docker-content-digest", "link")
"""What a redirect says of the file that it leads to."""


class HttpExchange:
    """A response: its head, and its body from the socket."""

    def __init__(self, head: ResponseHead, body: Body, lineage: Lineage, public: bool) -> None:
        self.head, self.lineage, self.public = head, lineage, public
        self.readinto, self.ready = body.readinto, body.ready
        self.close = body.close


class HttpAsked:
    """A request on its way, of `transport`."""

    def __init__(self, transport: HttpTransport, request: Request, asking: Asking) -> None:
        self._transport, self._request, self._asking = transport, request, asking
        self.close = asking.close

    def answered(self, seconds: float) -> bool:
        """As Sent.answered(). Where the connection had died, or the answer is a redirect, open()
        asks once more, and waits for that."""
        try:
            return self._asking.status(seconds) not in (None, *REDIRECTS)
        except Stale:
            return False

    def open(self) -> HttpExchange:
        """Wait for the head, follow redirects."""
        return self._transport.follow(self._request, self._asking)


class HttpTransport:
    """One per NetworkOptions value; safe to use from several threads. Raises rdl.errors."""

    def __init__(
        self, options: NetworkOptions, environment: Mapping[str, str] | None = None
    ) -> None:
        self._options = options
        self._environment = os.environ if environment is None else environment
        self._fields = user_fields(options.headers)
        self._wire = Http1Transport(options, self._environment)
        self._ours = (
            (b"Connection", b"keep-alive"),
            (b"Accept", b"*/*"),
            (b"Accept-Encoding", b"identity"),
            (b"User-Agent", (options.user_agent or f"rdl/{__version__}").encode("ascii")),
        )
        self._jars: dict[str, httpx.Cookies] = {}
        """Cookies of each origin: they do not cross to another port or scheme either."""
        self._logins: Logins | None = None
        self._lock = Lock()

    def open(self, request: Request) -> HttpExchange:
        """Send, follow redirects, return when the final head is here."""
        return self.follow(request)

    def ask(self, request: Request) -> HttpAsked | None:
        """Send it, where a connection is idle. Not by TLS: of a record that is here in part
        nobody can tell beforehand."""
        url = parse_url(request.url)
        if url.scheme == "https":
            return None
        sending = self._sending(request, url, request.lineage or Lineage(url.origin))
        fields = sum(len(name) + len(value) for name, value in sending.fields)
        if len(url.target) + fields + len(request.body) > SHORT:
            return None
        asking = self._wire.ask(sending)
        return HttpAsked(self, request, asking) if asking is not None else None

    def follow(self, request: Request, asking: Asking | None = None) -> HttpExchange:
        """As open(); `asking`: it was sent already."""
        url = parse_url(request.url)
        lineage = request.lineage or Lineage(url.origin)
        redirects = Redirects(url, self._options)
        said: list[tuple[str, str]] = []
        while True:
            answer, asking = self._answer(request, url, lineage, asking), None
            head, body = answer.head, answer.body
            try:
                target = redirects.follow(url, head, request.method)
            except BaseException:
                body.close()
                raise
            public = lineage.public or answer.public
            if target is None:
                if said:
                    head = replace(head, headers=(*head.headers, *said))
                return HttpExchange(head, body, lineage, public)
            said += [field for field in head.headers if field[0] in OF_THE_TARGET]
            body.close()
            lineage, url = Lineage(lineage.origin, public), target

    def close(self) -> None:
        """Close every connection; readers get errors."""
        self._wire.close()

    def sweep(self) -> bool:
        """Close connections that were idle for too long; whether there are others."""
        return self._wire.sweep()

    def _answer(
        self, request: Request, url: Url, lineage: Lineage, asking: Asking | None
    ) -> Answer:
        answer: Answer | None = None
        if asking is not None:
            with suppress(Stale):  # then once more, as where a reused connection had died before
                answer = asking.answer()
        if answer is None:
            answer = self._wire.answer(self._sending(request, url, lineage))
        if answer.head.get("set-cookie") is not None:
            self._keep_cookies(answer.head, url)
        return answer

    def _sending(self, request: Request, url: Url, lineage: Lineage) -> Sending:
        private = not self._options.allow_private_redirect and lineage.public
        fields = self._fields_for(request, url, abroad=url.origin != lineage.origin)
        fields = self._with_cookies(fields, url)
        return Sending(request.method, url, tuple(fields), request.body, private)

    def _with_cookies(self, fields: list[Field], url: Url) -> list[Field]:
        with self._lock:
            jar = self._jars.get(url.origin)
            if jar is None and self._options.cookies is not None:
                jar = self._jars[url.origin] = httpx.Cookies(load_cookies(self._options.cookies))
        if jar is None:
            return fields
        # With a stream, so that httpx adds no fields.
        shown = httpx.Request("GET", str(url), headers=fields, stream=httpx.ByteStream(b""))
        shown.headers.encoding = "latin-1"  # a cookie goes back as the bytes it came in
        jar.set_cookie_header(shown)
        return shown.headers.raw

    def _keep_cookies(self, head: ResponseHead, url: Url) -> None:
        with self._lock:
            jar = self._jars.setdefault(url.origin, httpx.Cookies())
        fields = [(name.encode("ascii"), value.encode("latin-1")) for name, value in head.headers]
        shown = httpx.Response(head.status, headers=fields, request=httpx.Request("GET", str(url)))
        shown.headers.encoding = "latin-1"
        jar.extract_cookies(shown)

    def _fields_for(self, request: Request, url: Url, *, abroad: bool) -> list[Field]:
        """The user's fields replace ours. `abroad`: this is another origin than the one where the
        redirects began."""
        own = [(name.encode("ascii"), value.encode("latin-1")) for name, value in request.headers]
        given = [field for field in self._fields if not abroad or crosses(field)]
        names = {name.lower() for name, _ in given}
        if abroad:
            own = [field for field in own if crosses(field)]
        elif b"authorization" not in names:
            given += self._authorization(url)
        ours = [(b"Host", url.netloc.encode("ascii")), *self._ours]
        if request.method == "POST":
            own.append((b"Content-Length", b"%d" % len(request.body)))
        return [field for field in ours if field[0].lower() not in names] + given + own

    def _authorization(self, url: Url) -> list[Field]:
        user, password = self._options.user, self._options.password
        if user is None:
            with self._lock:
                if self._logins is None:
                    self._logins = load_netrc(self._options, self._environment)
            user, password = self._logins.get(url.host.lower(), (None, None))
        if user is None:
            return []
        return [(b"Authorization", basic(user, password or ""))]
