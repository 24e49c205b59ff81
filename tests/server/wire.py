"""A client without manners: bytes out, bytes in, bounded in time."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE = 20.0


@contextmanager
def connected(port: int, buffer: int | None = None) -> Iterator[socket.socket]:
    """A connection, with a receive buffer of about so many bytes."""
    with socket.socket() as sock:
        if buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        sock.settimeout(PATIENCE)
        sock.connect(("127.0.0.1", port))
        yield sock


def request(port: int, target: str = "/data.bin", *fields: str, method: str = "GET") -> bytes:
    """The bytes of a request; the connection stays."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: 127.0.0.1:{port}", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def rest(sock: socket.socket) -> bytes:
    """All that comes until the end. ConnectionError when that is a reset, TimeoutError."""
    found, deadline = bytearray(), time.monotonic() + PATIENCE
    while data := sock.recv(1 << 16):
        found += data
        if time.monotonic() > deadline:
            raise TimeoutError("no end")
    return bytes(found)


def response(sock: socket.socket, *, body: bool = True) -> tuple[int, bytes]:
    """Status and body of one response, by its Content-Length."""
    head = bytearray()
    while not head.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        if not byte:
            raise ConnectionError("it ended within a head")
        head += byte
    lines = head.decode("latin-1").split("\r\n")
    sizes = [line.split(": ")[1] for line in lines if line.startswith("Content-Length")]
    size, found = int(sizes[0]) if sizes and body else 0, bytearray()
    while len(found) < size:
        data = sock.recv(size - len(found))
        if not data:
            raise ConnectionError("a clean end that is too short")
        found += data
    return int(lines[0].split(" ")[1]), bytes(found)


def ask(port: int, data: bytes) -> bytes:
    """All that comes for these bytes, until the end."""
    with connected(port) as sock:
        sock.sendall(data)
        return rest(sock)
