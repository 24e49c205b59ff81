"""Connections, and those that wait for their next request.

A connection is reused only when it is quiet: nothing unread, not closed. So a forged or
surplus response behind a body is never taken for the answer to the next request.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Callable
from threading import Lock

from rdl.transport.tls import RecordReader, is_readable

IDLE_SECONDS = 30.0
MAX_IDLE = 32

Key = tuple[str, str]
"""The origin, and the proxy's URL or an empty string."""


class Connection:
    """A connected socket. `public`: it leads to a public address (or may, behind a proxy);
    `timeout`: so many seconds may pass without a byte of a body."""

    def __init__(self, sock: socket.socket, key: Key, *, public: bool, timeout: float) -> None:
        self.sock, self.key, self.public, self.timeout = sock, key, public, timeout
        self.since = time.monotonic()
        self._lock = Lock()
        self._open = True
        self.woken = False

    @property
    def label(self) -> str:
        return self.key[0]

    def reader(self) -> Callable[[memoryview], int]:
        """A recv_into() for a body."""
        if isinstance(self.sock, ssl.SSLSocket):
            return RecordReader(self.sock, self.timeout).recv_into
        self.sock.settimeout(self.timeout)
        return self.sock.recv_into

    def ready(self) -> bool:
        """Whether bytes, or the end, are here."""
        if isinstance(self.sock, ssl.SSLSocket) and self.sock.pending():
            return True
        return is_readable(self.sock, 0)

    def is_quiet(self) -> bool:
        """Whether nothing is unread and the peer has not closed (TLS tickets are let pass)."""
        try:
            self.sock.settimeout(0)
            self.sock.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except (OSError, ValueError):
            return False
        return False

    def wake(self) -> None:
        """End the connection under a thread that reads it; that thread closes the socket."""
        with self._lock:
            self.woken = True
            if self._open:
                # Not SSLSocket.shutdown: it would make the reader see ciphertext.
                with contextlib.suppress(OSError):  # already disconnected
                    socket.socket.shutdown(self.sock, socket.SHUT_RDWR)

    def close(self) -> None:
        with self._lock:
            self._open = False
            self.sock.close()


class Pool:
    """Idle connections by key, newest first, and the set of those in use."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._idle: list[Connection] = []
        self._used: set[Connection] = set()
        self.closed = False

    def take(self, key: Key, *, public_only: bool = False) -> Connection | None:
        """A quiet connection for `key`, now in use; None when there is none."""
        while True:
            with self._lock:
                old = self._drop_expired()
                fits = [c for c in self._idle if c.key == key and (c.public or not public_only)]
                chosen = fits[-1] if fits else None
                if chosen is not None:
                    self._idle.remove(chosen)
                    self._used.add(chosen)
            for connection in old:
                connection.close()
            if chosen is None or chosen.is_quiet():
                return chosen
            self.drop(chosen)

    def add(self, connection: Connection) -> None:
        """A new connection is in use."""
        with self._lock:
            self._used.add(connection)
            closed = self.closed
        if closed:
            connection.wake()

    def keep(self, connection: Connection) -> None:
        """A body was read to its end: keep the connection. take() looks whether it is quiet."""
        with self._lock:
            self._used.discard(connection)
            connection.since = self._clock()
            old = self._drop_expired()
            (old if self.closed else self._idle).append(connection)
            while len(self._idle) > MAX_IDLE:
                old.append(self._idle.pop(0))
        for each in old:
            each.close()

    def sweep(self) -> bool:
        """Close those that were idle for too long; whether others wait for that, or will."""
        with self._lock:
            old = self._drop_expired()
            left = bool(self._idle or self._used)
        for connection in old:
            connection.close()
        return left

    def drop(self, connection: Connection) -> None:
        """The connection is of no use any more."""
        with self._lock:
            self._used.discard(connection)
        connection.close()

    def close(self) -> None:
        """Close idle connections and end those in use; their users get errors."""
        with self._lock:
            self.closed = True
            idle, self._idle = self._idle, []
            used = list(self._used)
        for connection in idle:
            connection.close()
        for connection in used:
            connection.wake()

    def _drop_expired(self) -> list[Connection]:
        limit = self._clock() - IDLE_SECONDS
        old = [c for c in self._idle if c.since < limit]
        self._idle = [c for c in self._idle if c.since >= limit]
        return old
