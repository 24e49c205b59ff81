"""HTTP/1.1: our own sockets, heads by h11, bodies straight from the socket.

Retries nothing, except once where a reused connection had died unseen.
"""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Mapping
from functools import lru_cache
from threading import Lock

import h11
from msgspec import Struct
from msgspec.structs import replace

from rdl.errors import HTTPStatusError, NetworkError, UsageError
from rdl.options import NetworkOptions
from rdl.transport.base import ResponseHead
from rdl.transport.bodies import Body, make_body
from rdl.transport.dial import Goal, addresses, dial, is_public, public_by_name
from rdl.transport.heads import MAX_HEAD, SPEAKS_TLS, HeadReader, Stale, make_head, send, wants_tls
from rdl.transport.policy import Field
from rdl.transport.pool import Connection, Key, Pool
from rdl.transport.proxies import Proxy, ProxyChoice, open_tunnel
from rdl.transport.tls import explain, handshake, make_context
from rdl.transport.urls import Url


class Sending(Struct, frozen=True):
    """A request as it goes out. `public_only`: to no private address."""

    method: str
    url: Url
    fields: tuple[Field, ...]
    body: bytes = b""
    public_only: bool = False


class Answer(Struct, frozen=True):
    """What came. `public`: the connection led to a public address."""

    head: ResponseHead
    body: Body
    public: bool


class Http1Transport:
    """Safe to use from several threads. Raises rdl.errors."""

    def __init__(
        self, options: NetworkOptions, environment: Mapping[str, str] | None = None
    ) -> None:
        self._options = options
        self._choice = ProxyChoice(options, os.environ if environment is None else environment)
        self._pool = Pool()
        self._tls: ssl.SSLContext | None = None
        self._lock = Lock()

    def answer(self, sending: Sending) -> Answer:
        """Send it, and wait for the head of the response."""
        proxy, _ = self._way(sending.url)
        if (asking := self.ask(sending)) is not None:
            try:
                return asking.answer()
            except Stale:
                pass  # it died while idle: no byte of an answer came, a fresh one may serve
        connection = self._connect(sending.url, proxy, public_only=sending.public_only)
        try:
            return Asking(self._pool, connection, sending, proxy).answer()
        except Stale as error:
            why = explain(error.__cause__ or EOFError())
            raise NetworkError(connection.label, f"no response ({why})") from error

    def ask(self, sending: Sending) -> Asking | None:
        """Send it on a connection that is idle; None where there is none, or it proves dead."""
        proxy, key = self._way(sending.url)
        connection = self._pool.take(key, public_only=sending.public_only)
        if connection is None:
            return None
        try:
            return Asking(self._pool, connection, sending, proxy)
        except Stale:
            return None

    def close(self) -> None:
        """Close idle connections; end those in use, so that their readers get errors."""
        self._pool.close()

    def sweep(self) -> bool:
        """Close connections that were idle for too long; whether there are others."""
        return self._pool.sweep()

    def _way(self, url: Url) -> tuple[Proxy | None, Key]:
        proxy = self._choice.choose(url.scheme, url.host, url.port)
        return proxy, (url.origin, repr(proxy) if proxy else "")

    def _connect(self, url: Url, proxy: Proxy | None, *, public_only: bool) -> Connection:
        options = self._options
        context = self._context() if url.scheme == "https" else None
        goal = Goal(
            host=url.host,
            port=url.port,
            deadline=time.monotonic() + options.connect_timeout,
            family=options.family,
            public_only=public_only,
            cancelled=lambda: self._pool.closed,
        )
        if proxy is None:
            sock, peer = dial(goal)
            public = is_public(peer)
        else:
            public = public_by_name(goal)
            sock = _through(proxy, goal, tunnel=url.scheme == "https")
        if context is not None:
            left = max(goal.deadline - time.monotonic(), 0.001)
            sock = handshake(context, sock, goal.host, left)
        _, key = self._way(url)
        connection = Connection(sock, key, public=public, timeout=options.timeout)
        self._pool.add(connection)
        return connection

    def _context(self) -> ssl.SSLContext:
        with self._lock:
            if self._tls is None:
                self._tls = make_context(self._options)
            return self._tls


class Asking:
    """A request that goes out on its connection, until its response has begun. What goes wrong
    ends the connection."""

    def __init__(
        self, pool: Pool, connection: Connection, sending: Sending, proxy: Proxy | None
    ) -> None:
        self._sending, self._pool, self._connection = sending, pool, connection
        self._wire = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        sock, timeout, label = connection.sock, connection.timeout, connection.label
        try:
            send(sock, request_bytes(self._wire, sending, proxy), timeout, label)
        except BaseException:
            self.close()
            raise
        self._head = HeadReader(sock, self._wire, timeout, label)

    def status(self, seconds: float) -> int | None:
        """The status code, where answer() waits for nothing; within so many seconds at most.
        Raises as that."""
        try:
            return self._head.status(seconds)
        except BaseException:
            self.close()
            raise

    def answer(self) -> Answer:
        """Wait for the head. Raises Stale where the connection ended before."""
        connection, sending = self._connection, self._sending
        try:
            event = self._head.read()
            if sending.url.scheme == "http" and wants_tls(event, self._wire):
                why = "the server wants TLS"
                raise HTTPStatusError("HTTP 400", why, status=400, hint=SPEAKS_TLS)
            head = make_head(event, sending.method, str(sending.url), connection.label)
            body = make_body(head, connection, self._pool, self._wire)
        except BaseException:
            self.close()
            raise
        return Answer(head, body, connection.public)

    def close(self) -> None:
        """Nobody waits for a response."""
        self._pool.drop(self._connection)


def _through(proxy: Proxy, goal: Goal, *, tunnel: bool) -> socket.socket:
    """A socket that leads to the goal, or for plain http to a proxy that will ask for us."""
    host = goal.host
    if proxy.scheme == "socks5":
        host = str(addresses(goal)[0][1][0])
    to_proxy = replace(goal, host=proxy.host, port=proxy.port, public_only=False, role="proxy")
    sock, _ = dial(to_proxy)
    try:
        if tunnel or proxy.scheme != "http":
            open_tunnel(proxy, sock, host, goal.port, goal.deadline)
    except BaseException:
        sock.close()
        raise
    return sock


def request_bytes(wire: h11.Connection, sending: Sending, proxy: Proxy | None) -> bytes:
    """The request: origin-form, or absolute-form to an http proxy (RFC 9112 3.2).

    Raises UsageError for a field that HTTP does not allow.
    """
    target, fields = sending.url.target, sending.fields
    if proxy is not None and proxy.scheme == "http" and sending.url.scheme == "http":
        target, fields = str(sending.url), (*fields, *proxy.authorization)
    try:
        headers = _pattern(fields).headers
        head = wire.send(h11.Request(method=sending.method, target=target, headers=headers))
    except h11.LocalProtocolError as error:
        raise UsageError("request", "a header field is not allowed in HTTP") from error
    body = wire.send(h11.Data(data=sending.body)) if sending.body else None
    return (head or b"") + (body or b"") + (wire.send(h11.EndOfMessage()) or b"")


@lru_cache(maxsize=64)
def _pattern(fields: tuple[Field, ...]) -> h11.Request:
    """A request with these fields, which h11 has checked: small files of a list have the same."""
    return h11.Request(method="GET", target="/", headers=list(fields))
