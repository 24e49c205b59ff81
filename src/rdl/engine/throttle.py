"""Limits that several downloads share: bytes a second in all, requests a second per origin.

The arithmetic is core.pace.Grants; here it only gets a lock and a clock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from rdl.core.pace import Grants
from rdl.options import HostLimits, SessionOptions

SMALLEST_GRANT, LARGEST_GRANT = 1 << 10, 1 << 20


class Throttle:
    """`rate` units a second, None for no limit. Safe to use from several threads."""

    def __init__(
        self, rate: float | None, burst: float = 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._grants = Grants(rate, burst, burst) if rate else None
        self._clock, self._lock = clock, threading.Lock()
        self.grant = LARGEST_GRANT
        """At most so many bytes should be taken at once, for a smooth flow."""
        if rate:
            self.grant = max(SMALLEST_GRANT, min(LARGEST_GRANT, int(rate / 16)))

    @property
    def limited(self) -> bool:
        """Whether anybody ever waits."""
        return self._grants is not None

    def take(self, amount: float) -> float:
        """Take `amount`; returns the seconds to wait afterwards."""
        if self._grants is None:
            return 0.0
        with self._lock:
            return self._grants.take(amount, self._clock())


class RequestLimit:
    """One throttle of requests for each origin."""

    def __init__(self, rate: float | None) -> None:
        self._rate, self._lock = rate, threading.Lock()
        self._origins: dict[str, Throttle] = {}
        self._unlimited = Throttle(None)

    def of(self, url: str) -> Throttle:
        """The throttle of this URL's origin."""
        if self._rate is None:
            return self._unlimited
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.hostname}:{parts.port}"
        with self._lock:
            return self._origins.setdefault(origin, Throttle(self._rate, burst=1.0))


class Limits:
    """Those of a session, and those that some of its downloads have in their place."""

    def __init__(self, options: SessionOptions) -> None:
        self._rate = _of_bytes(options.limit_rate)
        self._requests = RequestLimit(options.limit_requests)
        self._own: dict[HostLimits, tuple[Throttle, RequestLimit]] = {}
        self._lock = threading.Lock()

    def of(self, url: str, own: HostLimits | None) -> tuple[Throttle, Throttle]:
        """What a download of `url` takes bytes from, and requests."""
        rate, requests = self._rate, self._requests
        if own is not None:
            with self._lock:
                if own not in self._own:
                    made = RequestLimit(own.limit_requests) if own.limit_requests else requests
                    self._own[own] = _of_bytes(own.limit_rate) if own.limit_rate else rate, made
                rate, requests = self._own[own]
        return rate, requests.of(url)


def _of_bytes(rate: int | None) -> Throttle:
    return Throttle(rate, burst=rate / 16 if rate else 0.0)
