"""A proxy that hands on every byte after a fixed delay: `python -m bench.delaying PORT SECONDS`.

A connection costs a round trip more, for a handshake cannot be held back from here. It prints
the port it listens on, and ends when its stdin does.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

HELD = 64 << 20
"""Bytes of one direction of a connection that may be on their way."""


class Direction(asyncio.Protocol):
    """What one end receives, and the other end is sent `delay` seconds later."""

    def __init__(self, delay: float, earliest: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._delay, self._earliest = delay, earliest
        self._way: deque[tuple[float, bytes | None]] = deque()
        self._held = 0
        self._transport: asyncio.Transport | None = None
        self._other: Direction | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._waits = False
        """Whether the other end cannot take more at the moment."""

    def join(self, other: Direction) -> None:
        """Both ends are there: what came meanwhile is handed on in time."""
        self._other, other._other = other, self
        self._set_timer()
        other._set_timer()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._put(data)
        self._held += len(data)
        if self._held >= HELD and self._transport:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        self._put(None)
        return True

    def connection_lost(self, _error: Exception | None) -> None:
        self._put(None)

    def pause_writing(self) -> None:
        if self._other:
            self._other._waits = True

    def resume_writing(self) -> None:
        if self._other:
            self._other._waits = False
            self._other._set_timer()

    def _put(self, data: bytes | None) -> None:
        self._way.append((max(self._earliest, self._loop.time()) + self._delay, data))
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is None and self._way and self._other and not self._waits:
            self._timer = self._loop.call_at(self._way[0][0], self._hand_on)

    def _hand_on(self) -> None:
        self._timer = None
        to = self._other._transport if self._other else None
        while self._way and self._way[0][0] <= self._loop.time() and not self._waits:
            _, data = self._way.popleft()
            if to is None or to.is_closing():
                continue
            if data is None:
                self._close(to)
            else:
                to.write(data)
                self._held -= len(data)
        if self._held < HELD and self._transport and not self._transport.is_closing():
            self._transport.resume_reading()
        self._set_timer()

    def _close(self, to: asyncio.Transport) -> None:
        """This end sends no more: the other is told so, or is let go when this one is gone."""
        if self._transport is None or self._transport.is_closing():
            to.close()
        elif to.can_write_eof():
            with suppress(OSError):  # it went at the same moment
                to.write_eof()


class Client(Direction):
    """The end that a client opened: its first bytes are late by the handshake too."""

    def __init__(self, port: int, delay: float) -> None:
        super().__init__(delay, asyncio.get_running_loop().time() + 2 * delay)
        self._port = port

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._opening = self._loop.create_task(self._open())

    async def _open(self) -> None:
        server = Direction(self._delay, 0.0)
        try:
            await self._loop.create_connection(lambda: server, "127.0.0.1", self._port)
        except OSError:
            if self._transport:
                self._transport.abort()
            return
        self.join(server)


async def serve(port: int, delay: float) -> None:
    """Until stdin ends."""
    loop = asyncio.get_running_loop()
    over = loop.create_future()
    loop.add_reader(sys.stdin.fileno(), over.set_result, None)
    server = await loop.create_server(lambda: Client(port, delay), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await over
    loop.remove_reader(sys.stdin.fileno())
    server.close()


@contextmanager
def delayed(port: int, seconds: float) -> Iterator[int]:
    """The port of a proxy to `port` that delays each direction by so many seconds."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.delaying", str(port), str(seconds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    assert process.stdin
    assert process.stdout
    try:
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait()
        process.stdin.close()
        process.stdout.close()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2])))
