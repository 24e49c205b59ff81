"""A scripted origin: what each connection says to each of its requests is a list of steps.

A thread per connection, loopback only. Every request's raw head is recorded.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

END = "end"
"""Close the sending side properly (with close_notify when it is TLS)."""
RAGGED = "ragged"
"""Close the TCP connection without close_notify."""
RESET = "reset"
HANG = "hang"
"""Say nothing more until the peer or the test ends."""
START_TLS = "start-tls"
"""Go on in TLS (for a proxy that has opened a tunnel to itself)."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing for `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Expect:
    """Receive exactly `count` bytes that are no HTTP request, and record them."""

    count: int


Step = bytes | str | Wait | Expect
Answer = Sequence[Step]


def response(
    body: bytes = b"", status: str = "200 OK", *fields: str, version: str = "HTTP/1.1"
) -> bytes:
    """A response with Content-Length."""
    lines = [f"{version} {status}", f"Content-Length: {len(body)}", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


@dataclass
class Seen:
    """One request: on which connection, and its head as it came."""

    connection: int
    head: bytes

    @property
    def line(self) -> str:
        return self.head.split(b"\r\n", 1)[0].decode("latin-1")

    @property
    def fields(self) -> dict[str, str]:
        pairs = (line.partition(": ") for line in self.head.decode("latin-1").split("\r\n")[1:])
        return {name.lower(): value for name, _, value in pairs if name}


@dataclass
class Origin:
    """`answer(connection, number, seen)` gives the steps; numbers count from 0.

    `greeting`: steps before the first request. `inner_tls` is what START_TLS uses.
    """

    answer: Callable[[int, int, Seen], Iterable[Step]]
    tls: ssl.SSLContext | None = None
    family: Literal[4, 6] = 4
    greeting: Answer = ()
    inner_tls: ssl.SSLContext | None = None
    seen: list[Seen] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        family = socket.AF_INET if self.family == 4 else socket.AF_INET6
        host = "127.0.0.1" if self.family == 4 else "::1"
        self._listener = socket.create_server((host, 0), family=family)
        self.port = self._listener.getsockname()[1]
        self._open: list[Any] = []
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def host(self) -> str:
        if self.tls is not None:
            return "localhost"
        return "127.0.0.1" if self.family == 4 else "[::1]"

    def url(self, path: str = "/file") -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}{path}"

    @property
    def connections(self) -> int:
        return len(self._open)

    @property
    def alive(self) -> int:
        """Connections that are open now."""
        return sum(sock.fileno() >= 0 for sock in list(self._open))

    def __enter__(self) -> Origin:
        return self

    def __exit__(self, *error: object) -> None:
        self._ending.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for sock in list(self._open):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
        for thread in list(self._threads):
            thread.join(5)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            number = len(self._open)
            self._open.append(sock)
            thread = threading.Thread(target=self._serve, args=(sock, number))
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        try:
            with contextlib.suppress(OSError, EOFError):
                if self.tls is not None:
                    sock = self._secure(sock, number, self.tls)
                self._talk(sock, number)
        finally:
            sock.close()
            self._open[number].close()

    def _secure(self, sock: socket.socket, number: int, tls: ssl.SSLContext) -> socket.socket:
        self._open[number] = tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        self._open[number].do_handshake()
        return self._open[number]

    def _talk(self, sock: socket.socket, number: int) -> None:
        for step in self.greeting:
            sock, ended = self._do(sock, number, step)
            if ended:
                return
        turn, buffer = 0, b""
        while True:
            while b"\r\n\r\n" not in buffer:
                data = sock.recv(65536)
                if not data:
                    return
                buffer += data
            head, _, buffer = buffer.partition(b"\r\n\r\n")
            seen = Seen(number, head)
            self.seen.append(seen)
            for step in self.answer(number, turn, seen):
                sock, ended = self._do(sock, number, step)
                if ended:
                    return
            turn += 1

    def _do(self, sock: socket.socket, number: int, step: Step) -> tuple[socket.socket, bool]:
        """Perform a step; the socket may be another one, and the connection over."""
        if isinstance(step, bytes):
            sock.sendall(step)
        elif isinstance(step, Wait):
            self._ending.wait(step.seconds)
        elif isinstance(step, Expect):
            self.raw.append(_exactly(sock, step.count))
        elif step == HANG:
            self._ending.wait(30)
        elif step == RESET:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return sock, True
        elif step == RAGGED:
            return sock, True
        elif step == END:
            return (sock.unwrap() if isinstance(sock, ssl.SSLSocket) else sock), True
        elif step == START_TLS:
            assert self.inner_tls is not None
            sock = self._secure(sock, number, self.inner_tls)
        return sock, False


def _exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = sock.recv(count - len(data))
        if not more:
            raise EOFError
        data += more
    return data
