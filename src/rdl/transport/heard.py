"""A transport somebody listens to: each final head, before a byte of its body is taken.

What the listener raises ends the exchange, and whoever asked has it.
"""

from __future__ import annotations

from collections.abc import Callable

from rdl.options import Head
from rdl.transport.base import Exchange, Request, Sent, Transport

Listener = Callable[[Head], None]


class HeardTransport:
    """As `transport`; closed with it."""

    def __init__(self, transport: Transport, listener: Listener) -> None:
        self._transport, self._listener = transport, listener
        self.close = transport.close

    def ask(self, request: Request) -> Sent | None:
        asked = self._transport.ask(request)
        return None if asked is None else HeardAsked(asked, self._listener)

    def open(self, request: Request) -> Exchange:
        return _heard(self._transport.open(request), self._listener)


class HeardAsked:
    """A request on its way."""

    def __init__(self, asked: Sent, listener: Listener) -> None:
        self._asked, self._listener = asked, listener
        self.answered, self.close = asked.answered, asked.close

    def open(self) -> Exchange:
        return _heard(self._asked.open(), self._listener)


def _heard(exchange: Exchange, listener: Listener) -> Exchange:
    try:
        listener(exchange.head)
    except BaseException:
        exchange.close()
        raise
    return exchange
