"""The transports of a session: one for each way to reach servers, shared by its downloads.

Of many different logins and headers only a few keep idle connections. Which one answers, a
URL's scheme says; file:// is for URLs that the user gave, and no redirect comes here again.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rdl.core.file_url import is_file_url
from rdl.options import NetworkOptions, Source
from rdl.transport.base import Exchange, Request, Sent, Transport
from rdl.transport.client import HttpTransport
from rdl.transport.files import FileTransport
from rdl.transport.own import OwnTransport

IDLE_TRANSPORTS = 8


class Reaching:
    """Servers, asked as `network` says, and local files."""

    def __init__(self, network: NetworkOptions) -> None:
        self._servers, self._files = HttpTransport(network), FileTransport()

    def ask(self, request: Request) -> Sent | None:
        """Of a server."""
        return None if is_file_url(request.url) else self._servers.ask(request)

    def open(self, request: Request) -> Exchange:
        """Of a server or a file."""
        chosen = self._files if is_file_url(request.url) else self._servers
        return chosen.open(request)

    def close(self) -> None:
        """Close every connection."""
        self._servers.close()

    def sweep(self) -> bool:
        """Close connections that were idle for too long; whether there are others."""
        return self._servers.sweep()


class Transports:
    """Safe to use from several threads."""

    def __init__(self) -> None:
        self._transports: dict[NetworkOptions, Reaching] = {}
        self._users: Counter[NetworkOptions] = Counter()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._transports)

    def take(self, network: NetworkOptions, source: Source | None = None) -> Transport:
        """The transport of these options, and of the caller's own `source`; done() is to follow."""
        with self._lock:
            if network not in self._transports:
                self._transports[network] = Reaching(network)
            self._users[network] += 1
            shared = self._transports[network]
        return OwnTransport(source, shared) if source is not None else shared

    @contextmanager
    def using(self, network: NetworkOptions) -> Iterator[Transport]:
        """As take(), and done() at the end."""
        try:
            yield self.take(network)
        finally:
            self.done((network,))

    def done(self, networks: Iterable[NetworkOptions]) -> None:
        """One user of each of them is gone."""
        with self._lock:
            self._users.subtract(networks)
            idle = [one for one in self._transports if not self._users[one]]
            old = [self._transports.pop(one) for one in idle[:-IDLE_TRANSPORTS]]
            for one in idle[:-IDLE_TRANSPORTS]:
                del self._users[one]
        for transport in old:
            transport.close()

    def sweep(self) -> bool:
        """Close connections that were idle for too long; whether there are others."""
        with self._lock:
            transports = tuple(self._transports.values())
        return sum(one.sweep() for one in transports) > 0

    def close(self) -> None:
        """Close every connection."""
        for transport in self._transports.values():
            transport.close()
        self._transports.clear()
