"""Reads exchanges as the engine does."""

from __future__ import annotations

from rdl.transport.base import Exchange, Request, Transport


def take(exchange: Exchange, size: int = 4096) -> bytes:
    """The body to its end; the exchange is closed whatever happens."""
    view, data = memoryview(bytearray(size)), b""
    try:
        while count := exchange.readinto(view):
            data += bytes(view[:count])
    finally:
        exchange.close()
    return data


def fetch(transport: Transport, url: str, *headers: tuple[str, str]) -> tuple[int, bytes]:
    """Status and body."""
    exchange = transport.open(Request(url, headers))
    return exchange.head.status, take(exchange)
