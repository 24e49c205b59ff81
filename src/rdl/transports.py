"""The transports of a session: one for each way to reach servers, shared by its downloads.

Of many different logins and headers only a few keep idle connections.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable

from rdl.options import NetworkOptions
from rdl.transport.base import Transport
from rdl.transport.client import HttpTransport

IDLE_TRANSPORTS = 8


class Transports:
    """Safe to use from several threads."""

    def __init__(self) -> None:
        self._transports: dict[NetworkOptions, Transport] = {}
        self._users: Counter[NetworkOptions] = Counter()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._transports)

    def take(self, network: NetworkOptions) -> Transport:
        """The transport of these options; done() is to follow."""
        with self._lock:
            if network not in self._transports:
                self._transports[network] = HttpTransport(network)
            self._users[network] += 1
            return self._transports[network]

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

    def close(self) -> None:
        """Close every connection."""
        for transport in self._transports.values():
            transport.close()
        self._transports.clear()
