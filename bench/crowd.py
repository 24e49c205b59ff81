"""Many readers of one file in one thread: what each gets is hashed and compared with the file."""

from __future__ import annotations

import mmap
import re
import selectors
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from xxhash import xxh3_128

from tests.support.content import MiB

AT_ONCE = 1 << 18
_HEAD = re.compile(rb"HTTP/1\.1 (200|206) .*?\r\n\r\n", re.DOTALL)

Span = tuple[int, int]


@dataclass(eq=False)
class Reader:
    """Asks for `spans` one after the other. `ended`: when it had the last byte."""

    spans: list[Span]
    sock: socket.socket = field(default_factory=socket.socket, repr=False)
    at: int = 0
    ended: float = 0.0
    head: bytes = b""
    found: xxh3_128 = field(default_factory=xxh3_128)

    def ask(self, url: str) -> None:
        """For the next span."""
        start, stop = self.spans[0]
        there = urlsplit(url)
        lines = f"GET {there.path} HTTP/1.1\r\nHost: {there.netloc}\r\n"
        self.sock.setblocking(True)
        self.sock.sendall(f"{lines}Range: bytes={start}-{stop - 1}\r\n\r\n".encode())
        self.sock.setblocking(False)
        self.at, self.head, self.found = start, b"", xxh3_128()

    def take(self, data: memoryview) -> None:
        """What came of the answer."""
        if self.head is not None and self.at == self.spans[0][0] and b"\r\n\r\n" not in self.head:
            self.head += bytes(data)
            if b"\r\n\r\n" not in self.head:
                return
            if not (found := _HEAD.match(self.head)):
                raise RuntimeError(f"a reader got {self.head[:200]!r}")
            data = memoryview(self.head)[found.end() :]
        self.found.update(data)
        self.at += len(data)


def places(size: int, count: int) -> list[list[Span]]:
    """For each of `count` readers all of the file, begun somewhere in it; the same each time."""
    starts = [number * 7_919_777_777 % size for number in range(count)]
    return [[(start, size), *([(0, start)] if start else [])] for start in starts]


@contextmanager
def connected(url: str, every: Sequence[list[Span]], buffer: int = 0) -> Iterator[list[Reader]]:
    """Readers that have asked for their first spans."""
    there = urlsplit(url)
    with ExitStack() as stack:
        readers = []
        for spans in every:
            reader = Reader(list(spans))
            stack.callback(reader.sock.close)
            if buffer:
                reader.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            reader.sock.connect((there.hostname or "", there.port or 80))
            reader.ask(url)
            readers.append(reader)
        yield readers


def read(
    url: str,
    right: Path,
    readers: Sequence[Reader],
    told: Callable[[Reader], Sequence[Reader]] = lambda _: (),
    patience: float = 60.0,
) -> None:
    """Until all have all. RuntimeError when one has wrong bytes, gets an error, or nothing comes
    to anybody for so long. `told` hears of every step; readers that it returns join."""
    buffer = memoryview(bytearray(AT_ONCE))
    with (
        right.open("rb") as file,
        mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as whole,
        memoryview(whole) as view,
        selectors.DefaultSelector() as selector,
    ):
        for one in readers:
            selector.register(one.sock, selectors.EVENT_READ, one)
        while selector.get_map():
            events = selector.select(patience)
            if not events:
                raise RuntimeError(f"nothing came to {len(selector.get_map())} readers")
            for key, _ in events:
                one = key.data
                count = one.sock.recv_into(buffer)
                if not count:
                    raise RuntimeError(f"a reader was cut off at {one.at // MiB} MiB")
                one.take(buffer[:count])
                if one.at >= one.spans[0][1] and _next(one, url, view):
                    selector.unregister(one.sock)
                for new in told(one):
                    selector.register(new.sock, selectors.EVENT_READ, new)


def _next(one: Reader, url: str, view: memoryview) -> bool:
    """A span is over; whether it was the last. RuntimeError when it was not right."""
    start, stop = one.spans.pop(0)
    with view[start:stop] as right:
        if one.at != stop or one.found.digest() != xxh3_128(right).digest():
            raise RuntimeError(f"a reader got wrong bytes of {start} to {stop}")
    if one.spans:
        one.ask(url)
        return False
    one.ended = time.monotonic()
    return True
