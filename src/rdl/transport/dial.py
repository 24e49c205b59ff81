"""Opens a TCP connection: every address of a name gets its chance, a dead one costs 0.25 s.

RFC 8305 (Happy Eyeballs) in its simple form. Nothing here knows HTTP, TLS or proxies.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from itertools import chain, zip_longest
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Literal

from msgspec import Struct

from rdl.errors import NetworkError, PolicyError

STAGGER = 0.25
"""Seconds after which the next address is tried beside one that has not connected."""

Address = tuple[int, tuple[Any, ...]]
"""An address family and what connect(2) takes for it."""
Lookup = SimpleQueue[list[Address] | OSError | UnicodeError]


def never() -> bool:
    """The default of `cancelled`."""
    return False


class Goal(Struct, frozen=True):
    """Whom to call. `deadline` is on time.monotonic(); `public_only`: no address that is
    loopback, link-local, private or otherwise not of the public internet is called; `role`:
    what errors call it, where it is not the server itself."""

    host: str
    port: int
    deadline: float
    family: Literal[4, 6] | None = None
    public_only: bool = False
    cancelled: Callable[[], bool] = never
    role: str = ""

    @property
    def label(self) -> str:
        return f"{self.role} {self.host}:{self.port}".lstrip()

    def remaining(self) -> float:
        """Seconds left. Raises NetworkError when there are none, or when cancelled."""
        left = self.deadline - time.monotonic()
        if self.cancelled():
            raise NetworkError(self.label, "the transport was closed")
        if left <= 0:
            raise NetworkError(self.label, "connecting took too long")
        return left


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_COMPATIBLE = ipaddress.IPv6Network("::/96")


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet (an IPv4-mapped one is unwrapped)."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        return _is_public_6(parsed)
    return parsed.is_global and not parsed.is_multicast


def _is_public_6(address: ipaddress.IPv6Address) -> bool:
    inside = address.ipv4_mapped or address.sixtofour
    if inside is None and (address in _NAT64 or address in _COMPATIBLE):
        inside = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if inside is not None:
        return inside.is_global and not inside.is_multicast
    return address.is_global and not (address.is_multicast or address.is_site_local)


def dial(goal: Goal) -> tuple[socket.socket, str]:
    """A connected socket with TCP_NODELAY, and its peer's address.

    Raises NetworkError; PolicyError when `public_only` leaves no address.
    """
    found = alternate(addresses(goal))
    try:
        with selectors.DefaultSelector() as selector:
            sock = _Race(goal, found, selector).run()
    except OSError as error:  # no more descriptors
        raise NetworkError(goal.label, f"cannot connect ({error.strerror})") from error
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock, str(sock.getpeername()[0])
    except OSError as error:
        sock.close()
        raise NetworkError(goal.label, "the connection was reset at once") from error


def addresses(goal: Goal) -> list[Address]:
    """The addresses that may be called. Raises as `dial` does."""
    found = resolve(goal)
    if goal.public_only:
        found = [one for one in found if is_public(str(one[1][0]))]
        if not found:
            raise _private(goal)
    return found


def public_by_name(goal: Goal) -> bool:
    """What can be told of a goal that a proxy will call: only a literal address or localhost
    is known not to be public. Raises PolicyError for those with `public_only`."""
    try:
        public = is_public(goal.host)
    except ValueError:
        public = not f".{goal.host}".rstrip(".").lower().endswith(".localhost")
    if goal.public_only and not public:
        raise _private(goal)
    return public


def _private(goal: Goal) -> PolicyError:
    return PolicyError(
        goal.label,
        "a redirect leads from a public to a private address",
        hint="--allow-private-redirect follows it",
    )


def resolve(goal: Goal) -> list[Address]:
    """The addresses of a name, in the system's order. The look-up may outlive the deadline
    (getaddrinfo cannot be stopped); nobody waits for it then."""
    answer: Lookup = SimpleQueue()
    Thread(target=_look_up, args=(goal, answer), daemon=True, name="rdl-resolve").start()
    while True:
        try:
            found = answer.get(timeout=min(goal.remaining(), STAGGER))
        except Empty:
            continue
        if isinstance(found, list):
            return found
        why = found.strerror if isinstance(found, OSError) else "not a usable name"
        host = f"{goal.role} {goal.host}".lstrip()
        raise NetworkError(host, f"name look-up failed ({why})") from found


def _look_up(goal: Goal, answer: Lookup) -> None:
    family = {4: socket.AF_INET, 6: socket.AF_INET6, None: socket.AF_UNSPEC}[goal.family]
    try:
        infos = socket.getaddrinfo(goal.host, goal.port, family, socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        answer.put(error)
    else:
        answer.put([(info[0], info[4]) for info in infos])


def alternate(found: list[Address]) -> list[Address]:
    """The addresses with their families taking turns, the first one's family first."""
    first = [one for one in found if one[0] == found[0][0]]
    other = [one for one in found if one[0] != found[0][0]]
    pairs = chain.from_iterable(zip_longest(first, other))
    return [one for one in pairs if one is not None]


class _Race:
    """Connects to one address after the other, without waiting for the slow ones."""

    def __init__(
        self, goal: Goal, waiting: list[Address], selector: selectors.BaseSelector
    ) -> None:
        self._goal, self._waiting, self._selector = goal, deque(waiting), selector
        self._running: list[socket.socket] = []
        self._error: OSError | None = None

    def run(self) -> socket.socket:
        winner: socket.socket | None = None
        try:
            while winner is None:
                winner = self._step()
            self._running.remove(winner)
            return winner
        finally:
            for sock in self._running:
                sock.close()

    def _step(self) -> socket.socket | None:
        left = self._goal.remaining()
        if self._waiting:
            done = self._start(*self._waiting.popleft())
            if done is not None:
                return done
        if not self._running:
            if self._waiting:
                return None
            why = self._error.strerror if self._error else "no address"
            raise NetworkError(self._goal.label, f"cannot connect ({why})") from self._error
        for key, _ in self._selector.select(min(left, STAGGER)):
            sock = key.fileobj
            assert isinstance(sock, socket.socket)
            if self._finished(sock, sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
                return sock
        return None

    def _start(self, family: int, address: tuple[Any, ...]) -> socket.socket | None:
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:
            self._error = error
            return None
        self._running.append(sock)
        sock.setblocking(False)
        self._selector.register(sock, selectors.EVENT_WRITE)
        try:
            code = sock.connect_ex(address)
        except OSError as error:
            code = error.errno or errno.EINVAL
        if code in (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY):
            return None
        return sock if self._finished(sock, code) else None

    def _finished(self, sock: socket.socket, code: int) -> bool:
        """Take a decided attempt out of the race; True when it connected."""
        self._selector.unregister(sock)
        if code:
            self._error = OSError(code, os.strerror(code))
            self._running.remove(sock)
            sock.close()
        return not code
