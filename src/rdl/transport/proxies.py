"""Which proxy a request takes, and the handshakes that open a tunnel through one.

Variables as curl reads them; RFC 9110 section 9.3.6 (CONNECT), RFC 1928 and 1929 (SOCKS 5).
A proxy's credentials go to the proxy and nowhere else.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import time
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

import h11
from msgspec import Struct

from rdl.errors import AuthError, NetworkError, PolicyError, ProtocolError, UsageError
from rdl.options import NetworkOptions
from rdl.transport.credentials import basic
from rdl.transport.heads import Stale, read_head, send

_HOST_PORT = re.compile(r"(\[.*\]|[^:]+):([0-9]{1,5})")
_DEFAULT_PORTS = {"http": 8080, "socks5": 1080, "socks5h": 1080}


class Proxy(Struct, frozen=True):
    """`scheme`: http, socks5 (names are looked up here) or socks5h (by the proxy)."""

    scheme: str
    host: str
    port: int
    user: str | None = None
    password: str = ""

    @property
    def label(self) -> str:
        return f"proxy {self.host}:{self.port}"

    @property
    def authorization(self) -> tuple[tuple[bytes, bytes], ...]:
        """The Proxy-Authorization field, or nothing. Raises UsageError."""
        if self.user is None:
            return ()
        return ((b"Proxy-Authorization", basic(self.user, self.password)),)

    def __repr__(self) -> str:
        return f"Proxy({self.scheme}://{self.host}:{self.port})"


def parse_proxy(text: str) -> Proxy:
    """`[scheme://][user[:password]@]host[:port]`. Raises UsageError."""
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        port = parts.port
    except ValueError as error:
        raise UsageError("proxy", "is not a URL") from error
    if parts.scheme not in _DEFAULT_PORTS:
        raise UsageError("proxy", "its URL must begin with http://, socks5:// or socks5h://")
    if not parts.hostname or port == 0:
        raise UsageError("proxy", "its URL names no host")
    return Proxy(
        parts.scheme,
        parts.hostname,
        port or _DEFAULT_PORTS[parts.scheme],
        None if parts.username is None else unquote(parts.username),
        unquote(parts.password or ""),
    )


class ProxyChoice:
    """Chooses by target; `environment` is read once, when this is made."""

    def __init__(self, options: NetworkOptions, environment: Mapping[str, str]) -> None:
        self._by_scheme = {s: _configured(options, environment, s) for s in ("http", "https")}
        variable = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
        words = options.noproxy or tuple(variable.replace(",", " ").split())
        self._direct = tuple(word.strip().lower() for word in words if word.strip())

    def choose(self, scheme: str, host: str, port: int) -> Proxy | None:
        """The proxy for a target, None for none."""
        proxy = self._by_scheme[scheme]
        if proxy is None or any(_exempt(word, host, port) for word in self._direct):
            return None
        return proxy


def _configured(
    options: NetworkOptions, environment: Mapping[str, str], scheme: str
) -> Proxy | None:
    if options.proxy is not None:
        return parse_proxy(options.proxy) if options.proxy else None
    names = [f"{scheme}_proxy", f"{scheme}_proxy".upper(), "all_proxy", "ALL_PROXY"]
    if "REQUEST_METHOD" in environment:  # a CGI program: HTTP_PROXY is a client's header
        names.remove("HTTP_PROXY") if scheme == "http" else None
    found = next((environment[name] for name in names if environment.get(name)), None)
    return parse_proxy(found) if found else None


def _exempt(word: str, host: str, port: int) -> bool:
    """Whether a no_proxy word covers a host: *, a name and its sub-names, an address, a net."""
    with_port = _HOST_PORT.fullmatch(word)
    if with_port is not None:
        word, digits = with_port.groups()
        if int(digits) != port:
            return False
    word = word.strip("[]").lstrip(".")
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(word, strict=False)
    except ValueError:
        host = host.lower()
        return word in ("*", host) or host.endswith(f".{word}")


def open_tunnel(proxy: Proxy, sock: socket.socket, host: str, port: int, deadline: float) -> None:
    """Make `sock`, connected to `proxy`, lead to host:port. Raises rdl.errors."""
    left = max(deadline - time.monotonic(), 0.001)
    try:
        if proxy.scheme == "http":
            _connect(proxy, sock, host, port, left)
        else:
            sock.settimeout(left)
            _socks(proxy, sock, host, port)
    except Stale as error:
        raise NetworkError(proxy.label, "closed the connection") from error
    except OSError as error:
        raise NetworkError(proxy.label, "does not answer") from error


def _connect(proxy: Proxy, sock: socket.socket, host: str, port: int, timeout: float) -> None:
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    wire = h11.Connection(h11.CLIENT)
    fields = [(b"Host", where.encode("ascii")), *proxy.authorization]
    request = wire.send(h11.Request(method=b"CONNECT", target=where, headers=fields))
    send(sock, (request or b"") + (wire.send(h11.EndOfMessage()) or b""), timeout, proxy.label)
    status = read_head(sock, wire, timeout, proxy.label).status_code
    if status == 407:
        raise AuthError(proxy.label, "asks for a user and password (407)")
    if status >= 500:
        raise NetworkError(proxy.label, f"cannot reach {where} ({status})")
    if status >= 300:
        raise PolicyError(proxy.label, f"refuses to reach {where} ({status})")
    if wire.trailing_data[0]:
        raise ProtocolError(proxy.label, "sent bytes before the tunnel was used")


def _socks(proxy: Proxy, sock: socket.socket, host: str, port: int) -> None:
    user, password = (proxy.user or "").encode(), proxy.password.encode()
    if max(len(user), len(password)) > 255:
        raise UsageError("proxy", "user or password is longer than SOCKS allows")
    sock.sendall(b"\x05\x01\x00" if proxy.user is None else b"\x05\x02\x00\x02")
    version, method = _take(proxy, sock, 2)
    if version != 5:
        raise ProtocolError(proxy.label, "is not a SOCKS 5 proxy")
    if method == 2 and proxy.user is not None:
        sock.sendall(b"\x01" + bytes([len(user)]) + user + bytes([len(password)]) + password)
        if _take(proxy, sock, 2)[1] != 0:
            raise AuthError(proxy.label, "refused the user and password")
    elif method != 0:
        raise AuthError(proxy.label, "asks for a user and password")
    sock.sendall(b"\x05\x01\x00" + _socks_address(host) + port.to_bytes(2, "big"))
    _, reply, _, kind = _take(proxy, sock, 4)
    if reply != 0:
        raise NetworkError(proxy.label, f"cannot reach {host}:{port} (SOCKS reply {reply})")
    size = {1: 4, 4: 16}.get(kind) or _take(proxy, sock, 1)[0]
    _take(proxy, sock, size + 2)


def _socks_address(host: str) -> bytes:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.encode("ascii")
        return bytes([3, len(name)]) + name
    return bytes([1 if address.version == 4 else 4]) + address.packed


def _take(proxy: Proxy, sock: socket.socket, count: int) -> bytes:
    """Exactly `count` bytes of a proxy's answer."""
    data = b""
    while len(data) < count:
        more = sock.recv(count - len(data))
        if not more:
            raise NetworkError(proxy.label, "closed the connection")
        data += more
    return data
