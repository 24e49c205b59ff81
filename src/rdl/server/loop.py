"""The loop: one thread that accepts, reads, sends and looks at the clock; it waits for nobody.

Other threads only wake it. A connection that fails is closed, and concerns no other.
"""

from __future__ import annotations

import ipaddress
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from msgspec import Struct, structs

from rdl.core.text import safe_text
from rdl.errors import NetworkError, why_of
from rdl.server import page
from rdl.server.board import Board
from rdl.server.connection import COPIED, Connection, Limits, State
from rdl.server.picture import Counts
from rdl.server.requests import Asked, Rules, authority_of
from rdl.server.resource import Reading, Site, Text, Wishable
from rdl.server.tally import Tally

BACKLOG = 1024
STALLED = 1.0
"""Seconds without a byte taken after which a reader is counted as stalled."""
RECHECK = 0.25
"""Seconds until it is looked again whether a connection gives way to a newcomer."""
_NEVER = float("inf")
METRICS = "text/plain; version=0.0.4; charset=utf-8"


class Address(Struct, frozen=True):
    """Where to listen; port 0: any free one."""

    host: str = "127.0.0.1"
    port: int = 8080

    @property
    def shown(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Server:
    """Serves a Site; a context manager that listens from its beginning to its end. Where it is
    Wishable, manifests take wishlists.

    `names`: under which hosts, besides the address and localhost, it may be asked; `told`: hears a
    line for each answer. Raises NetworkError.
    """

    def __init__(
        self,
        site: Site,
        address: Address,
        *,
        token: str | None = None,
        names: Iterable[str] = (),
        limits: Limits | None = None,
        told: Callable[[str], None] | None = None,
    ) -> None:
        self.limits, self.tally, self.log = (
            limits or Limits(),
            Tally(),
            told or (lambda _line: None),
        )
        self.buffer = memoryview(bytearray(COPIED))
        self._site, self._listener = site, _listen(address)
        self.address = Address(address.host, self._listener.getsockname()[1])
        hosts = [f"{name}:{self.address.port}" for name in ("localhost", *names)]
        allowed = [authority_of(host) for host in (self.address.shown, *hosts)]
        self._rules = Rules(frozenset(one for one in allowed if one), token)
        if isinstance(site, Wishable):
            self._rules = structs.replace(self._rules, wishes=True)
        self._selector = selectors.DefaultSelector()
        self._connections: dict[Connection, int] = {}
        """And what the selector watches of each."""
        self._due = _NEVER
        """No deadline of a connection is sooner: most move on before they come."""
        self._accepting, self._accept_from = False, 0.0
        self._quietest: Connection | None = None
        self._look_at = 0.0
        """Who gives way to the next newcomer; where that is nobody, when to look again."""
        self._lock, self._woken = threading.Lock(), set[Connection]()
        self._inbox, self._bell = os.pipe()
        for end in (self._inbox, self._bell):
            os.set_blocking(end, False)
        self._selector.register(self._inbox, selectors.EVENT_READ)
        self._stop_at: float | None = None
        self._board = Board(site, self._counts, self.limits.watchers)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *error: object) -> None:
        for connection in list(self._connections):
            connection.reset()
        self._selector.close()
        self._listener.close()
        os.close(self._inbox)
        bell, self._bell = self._bell, -1
        os.close(bell)

    # From other threads, and signals

    def stop(self, grace: float | None = None) -> None:
        """Soon: no further request; what is being sent has so many seconds, by default those of
        the limits. Said again it can only be sooner."""
        at = time.monotonic() + (self.limits.grace if grace is None else grace)
        self._stop_at = at if self._stop_at is None else min(at, self._stop_at)
        self._ring()

    def wake(self, connection: Connection) -> None:
        with self._lock:
            first = not self._woken
            self._woken.add(connection)
        if first:
            self._ring()

    def _ring(self) -> None:
        with suppress(OSError):  # full: it rings already; or the server has ended
            os.write(self._bell, b"\0")

    # For connections

    def find(self, asked: Asked, rules: Rules) -> Reading:
        """Its own pages, and those of the site. Raises Reply."""
        if asked.path == "/healthz":
            return Text(b"ok\n")
        rules.admit(asked)
        if asked.path == "/metrics":
            return Text(self.tally.text(len(self._connections), self._stalled()).encode(), METRICS)
        if asked.method == "POST":
            assert isinstance(self._site, Wishable), "the rules let nobody else in"
            return self._site.grant(asked.path, asked.body, asked.wait)
        if asked.path == "/":
            return self._board.front()
        if asked.path == page.EVENTS:
            return self._board.watch()
        return self._site.find(asked.path)

    def _counts(self) -> Counts:
        return Counts(len(self._connections), self.tally.sent)

    def _stalled(self) -> int:
        late = time.monotonic() - STALLED
        return sum(one.state is State.SEND and one.since < late for one in self._connections)

    # The loop

    def run(self) -> None:
        """Until `stop`, and what then is still sent has ended, or its grace time."""
        self._listen()
        while not self._ended():
            for key, events in self._selector.select(self._patience()):
                if key.fileobj is self._listener:
                    self._accept()
                elif key.data is None:
                    self._hear()
                else:
                    self._serve(key.data, events)
            self._look_at_the_clock()
            self._listen()
        for connection in list(self._connections):
            self._step(connection, connection.reset)

    def _ended(self) -> bool:
        if self._stop_at is None:
            return False
        for connection in [one for one in self._connections if one.silent or one.endless]:
            self._drop(connection)
        return not self._connections or time.monotonic() >= self._stop_at

    def _patience(self) -> float | None:
        """Seconds until something is due; None: nothing is."""
        due = min(self._board.due, self._due)
        if self._stop_at is not None:
            due = min(due, self._stop_at)
        elif not self._accepting:
            due = min(due, time.monotonic() + RECHECK)
        return None if due == _NEVER else max(due - time.monotonic(), 0)

    def _look_at_the_clock(self) -> None:
        now = time.monotonic()
        if self._due <= now:
            for connection in [one for one in self._connections if one.deadline <= now]:
                self._step(connection, connection.on_time)
            self._due = min((one.deadline for one in self._connections), default=_NEVER)
        if self._board.due <= now:
            self._tick(now)

    def _tick(self, now: float) -> None:
        """What goes wrong with the page concerns no reader."""
        try:
            self._board.tick(now)
        except Exception as error:
            self._tell_of(error)
            self._board.due = now + RECHECK

    def _hear(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._inbox, 4096)
        with self._lock:
            woken, self._woken = self._woken, set()
        for connection in woken:
            self._step(connection, connection.on_wake)

    def _serve(self, connection: Connection, events: int) -> None:
        readable = bool(events & selectors.EVENT_READ)
        self._step(connection, connection.on_readable if readable else connection.on_writable)

    def _step(self, connection: Connection, step: Callable[[], None]) -> None:
        """One connection's turn; it may fail, and nothing else does."""
        if connection.state is State.CLOSED:
            return
        try:
            step()
        except OSError:
            connection.reset()
        except Exception as error:
            self._tell_of(error)
            connection.reset()
        self._watch(connection)

    def _tell_of(self, error: Exception) -> None:
        self.log(f"internal error: {type(error).__name__}: {safe_text(str(error))}")

    def _watch(self, connection: Connection) -> None:
        """Let the selector watch for what the connection is interested in now."""
        before, now = self._connections[connection], connection.interest
        if connection.state is State.CLOSED:
            del self._connections[connection]
        else:
            self._connections[connection] = now
            self._due = min(self._due, connection.deadline)
            self._look_at = 0.0 if connection.idle else self._look_at
        if before == now:
            return
        if not now:
            self._selector.unregister(connection.sock)
        elif before:
            self._selector.modify(connection.sock, now, connection)
        else:
            self._selector.register(connection.sock, now, connection)

    def _drop(self, connection: Connection) -> None:
        self._step(connection, connection.close)

    # New connections

    def _listen(self) -> None:
        """Accept, while there is room and nobody has said stop."""
        late = time.monotonic() >= self._accept_from
        wanted = self._stop_at is None and late and self._has_room()
        if wanted != self._accepting:
            self._accepting = wanted
            if wanted:
                self._selector.register(self._listener, selectors.EVENT_READ)
            else:
                self._selector.unregister(self._listener)
        if self._stop_at is not None:
            self._listener.close()  # who comes now is to know at once

    def _has_room(self) -> bool:
        """Looking through all takes its time, so it is not done in each turn."""
        if len(self._connections) < self.limits.connections:
            return True
        now, found = time.monotonic(), self._quietest
        if found not in self._connections or not self._is_quiet(found):
            looks = now >= self._look_at
            self._quietest = self._quiet() if looks else None
            self._look_at = now + RECHECK if looks else self._look_at
        return self._quietest is not None

    def _quiet(self, address: str | None = None) -> Connection | None:
        """Who gives way to a newcomer (from this address): idle, or quiet for the longest time."""
        found = [
            one
            for one in self._connections
            if address in (None, one.address) and self._is_quiet(one)
        ]
        return min(found, key=lambda one: (not one.idle, one.since), default=None)

    def _is_quiet(self, one: Connection) -> bool:
        """Who waits for bytes of ours is not."""
        if one.state is State.WAIT:
            return False
        late = time.monotonic() - self.limits.quiet
        return one.idle or (one.since < late and not one.takes_more())

    def _accept(self) -> None:
        try:
            sock, peer = self._listener.accept()
        except (BlockingIOError, ConnectionError):  # it has gone already
            return
        except OSError:  # there is no descriptor for it
            self._accept_from = time.monotonic() + RECHECK
            return
        sock.setblocking(False)
        self.tally.accepted += 1
        if not self._make_room(peer[0]):
            self._turn_away(sock)
            return
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            local = authority_of(_shown(*sock.getsockname()[:2]))
        except OSError:
            sock.close()
            return
        hosts = self._rules.hosts | ({local} if local else set())
        connection = Connection(sock, peer[0], structs.replace(self._rules, hosts=hosts), self)
        self._connections[connection] = 0
        self._watch(connection)

    def _make_room(self, address: str) -> bool:
        """Whether one more from there may stay; another may have to go for it."""
        crowded = not is_loopback(address) and self._has_many(address)
        if not crowded and len(self._connections) < self.limits.connections:
            return True
        quiet = self._quiet(address if crowded else None)
        if quiet is not None:
            self._step(quiet, quiet.close if quiet.idle else quiet.reset)
        return quiet is not None

    def _has_many(self, address: str) -> bool:
        mine = sum(one.address == address for one in self._connections)
        return mine >= self.limits.per_address

    def _turn_away(self, sock: socket.socket) -> None:
        self.tally.turned_away += 1
        with suppress(OSError):
            sock.send(
                b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n"
                b"Content-Length: 0\r\nConnection: close\r\n\r\n"
            )
        sock.close()


def _listen(address: Address) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        listener = socket.create_server(
            (address.host, address.port), family=family, backlog=BACKLOG
        )
    except OSError as error:
        why = why_of(error).partition(" (while ")[0]  # it says where again
        hint = "--bind HOST:0 takes any free port"
        raise NetworkError(f"--bind {address.shown}", why, hint=hint) from error
    listener.setblocking(False)
    return listener


def _shown(host: str, port: int) -> str:
    return Address(host.partition("%")[0], port).shown


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches it. ValueError for what is no address."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback
