"""One client's connection: a head is read, answered, and the next one read. Nothing here waits.

What cannot be sent whole is cut off by a reset before its Content-Length is reached.
"""

from __future__ import annotations

import errno
import fcntl
import os
import selectors
import socket
import struct
import sys
import termios
import time
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto
from typing import Protocol

from msgspec import Struct

from rdl.core.text import redact_url, safe_text
from rdl.errors import ChangedError, RdlError
from rdl.server.answers import Answer, answer, short
from rdl.server.requests import Asked, Reply, RequestReader, Rules, refused
from rdl.server.resource import Metered, Over, Reading
from rdl.server.tally import Tally

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
SLICE = 1 << 20
"""Bytes that one connection is sent before it is another's turn."""
COPIED = 256 << 10
"""What is not sent by sendfile(2) is read by so many bytes."""
UNSENT = 512 << 10
"""Bytes that the kernel takes for one reader beyond what is on its way, where they are copied: one
that takes nothing costs no more than this, instead of megabytes. Pages of a file cost nothing."""
UNHEARD = 64 << 10
"""Bytes of a refused client that are thrown away, so that it can read why."""
GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"
_SIOCOUTQ = termios.TIOCOUTQ if sys.platform == "linux" else None  # tcp(7): the same number
_NEVER = float("inf")
_MORE = getattr(socket, "MSG_MORE", 0)
_NOTSENT = getattr(socket, "TCP_NOTSENT_LOWAT", None)
_NO_SENDFILE = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSOCK)


def _unsent(sock: socket.socket) -> int:
    """Bytes that the other side has not confirmed; 0 where the system does not tell."""
    if _SIOCOUTQ is None:
        return 0
    return int.from_bytes(fcntl.ioctl(sock, _SIOCOUTQ, bytes(4)), sys.byteorder)


class Limits(Struct, frozen=True):
    """`connections` at a time, and `per_address` (loopback counts only for all); seconds for a
    `head`, for the `body` of a wishlist, without a byte taken (`stall`), between requests (`idle`),
    for bytes to come (`wait`), for what is being sent when the server ends (`grace`), and until a
    client that had its last answer is let go (`linger`). Where there are as many as may be, one
    that did nothing for `quiet` seconds gives way. `watchers` of the page's news at a time."""

    connections: int = 64
    per_address: int = 16
    head: float = 10.0
    body: float = 30.0
    stall: float = 60.0
    idle: float = 30.0
    wait: float = 60.0
    grace: float = 10.0
    linger: float = 1.0
    quiet: float = 1.0
    watchers: int = 16


class State(Enum):
    HEAD = auto()
    WAIT = auto()
    SEND = auto()
    LINGER = auto()
    CLOSED = auto()


class Around(Protocol):
    """What a connection knows of its server."""

    limits: Limits
    tally: Tally
    buffer: memoryview
    """COPIED bytes, for whose turn it is."""

    def find(self, asked: Asked, rules: Rules) -> Reading:
        """Raises Reply."""

    def wake(self, connection: Connection) -> None:
        """In any thread: call `on_wake` soon."""

    def log(self, line: str) -> None: ...


class Connection:
    """`interest`: what the loop is to watch for; `deadline`: when to call `on_time`; `since`:
    when it last did anything (time.monotonic)."""

    def __init__(self, sock: socket.socket, address: str, rules: Rules, around: Around) -> None:
        self.sock, self.address, self._rules, self._around = sock, address, rules, around
        self.state, self.interest = State.HEAD, READ
        now = time.monotonic()
        self.since, self.deadline = now, now + around.limits.head
        self._head = RequestReader()
        self._asked: Asked | None = None
        self._reading: Reading | None = None
        self._answer: Answer | None = None
        self._out = memoryview(b"")
        self._at = self._stop = self._lingered = self._queued = self._moving = 0
        self._begun, self._served, self._copies = now, False, False

    # What the loop tells

    def on_readable(self) -> None:
        if self.state is State.WAIT:
            self._look_for_the_end()
            return
        try:
            data = self.sock.recv(64 << 10)
        except BlockingIOError:
            return
        self._lingered += len(data) if self.state is State.LINGER else 0
        if not data or self._lingered > UNHEARD:
            self.close()
        elif self.state is State.HEAD:
            self._gather(data)

    def on_writable(self) -> None:
        if self.state is State.SEND:
            self._guarded(self._send)

    def on_wake(self) -> None:
        """Something is new about what it waits for."""
        if self.state is State.WAIT:
            self._guarded(self._begin if self._answer is None else self._send)

    def on_time(self) -> None:
        """The deadline is over."""
        if self.state is State.HEAD and self._head.begun:
            self._reply(refused(408, "the request took too long"))
        elif self.state is State.WAIT and self._moved():
            self.deadline = time.monotonic() + self._around.limits.wait
        elif self.state is State.WAIT and self._answer is None:
            self._reply(Reply(504, "nothing has come in time", close=True))
        elif self.state is State.WAIT or (self.state is State.SEND and not self.takes_more()):
            self.reset()
        elif self.state is not State.SEND:
            self.close()

    # From a head to an answer

    def _gather(self, data: bytes) -> None:
        now = time.monotonic()
        if not self._head.begun:
            self._begun, self.deadline = now, now + self._around.limits.head
        self.since, in_head = now, not self._head.in_body
        try:
            self._asked = self._head.receive(data, self._rules)
        except Reply as reply:
            self._reply(reply)
            return
        if self._asked is not None:
            self._guarded(self._open)
        elif in_head and self._head.in_body:
            self.deadline = now + self._around.limits.body
            if self._head.held_back:
                self.sock.send(GO_ON)

    def _open(self) -> None:
        assert self._asked is not None
        self._reading = self._around.find(self._asked, self._rules)
        if isinstance(self._reading, Metered):
            self._reading.on_behalf(self.address)
        self._reading.notify(lambda: self._around.wake(self))
        self._begin()

    def _begin(self) -> None:
        """The head, when it is known what it says."""
        asked, reading = self._asked, self._reading
        assert asked is not None
        assert reading is not None
        facts = reading.facts
        if facts is None:
            self._wait()
            return
        found = answer(asked, facts, time.time(), private=self._rules.token is not None)
        if found.body:
            reading.demand(found.body)
        self._put(found)

    def _reply(self, reply: Reply) -> None:
        self._put(short(reply, self._asked, time.time()))

    def _put(self, found: Answer) -> None:
        self._answer = found
        self._out = memoryview(found.head + found.text)
        self._at, self._stop = found.body.start, found.body.stop
        self._around.tally.requests[found.status] += 1
        self._progress()
        self._guarded(self._send)

    # Sending

    def _send(self) -> None:
        """A slice of what can be sent now."""
        self.state, self.interest = State.SEND, WRITE
        room = self._reading.available(self._at) if self._left and self._reading else 0
        with suppress(BlockingIOError):
            if self._out:
                self._out = self._out[self._count(self.sock.send(self._out, _MORE * (room > 0))) :]
            if not self._out and room:
                self._at += self._count(self._send_body(min(room, self._left, SLICE)))
        if not self._out and not self._left:
            self._end()
        elif not self._out and not room:
            self._wait()
        else:
            self._queued = _unsent(self.sock)

    def _moved(self) -> bool:
        """Whether something has come since it was last looked, though it is not for us."""
        before, self._moving = self._moving, self._reading.moving if self._reading else 0
        return self._moving != before

    @property
    def _left(self) -> int:
        return self._stop - self._at

    def _send_body(self, size: int) -> int:
        assert self._reading is not None
        file = self._reading.descriptor
        if file is not None:
            self._hold_back(copies=False)
            try:
                sent = os.sendfile(self.sock.fileno(), file, self._at, size)
            except OSError as error:
                if error.errno not in _NO_SENDFILE:
                    raise
            else:
                if not sent:
                    raise ChangedError("a file", "it ended while it was sent")
                return sent
        self._hold_back(copies=True)
        view = self._around.buffer[: min(size, COPIED)]
        return self.sock.send(view[: self._reading.read_into(self._at, view)])

    def _hold_back(self, *, copies: bool) -> None:
        """Let the kernel keep few copies, and as many pages of a file as it likes."""
        if self._copies != copies and _NOTSENT is not None:
            self.sock.setsockopt(socket.IPPROTO_TCP, _NOTSENT, UNSENT if copies else 0)
        self._copies = copies

    def _count(self, sent: int) -> int:
        self._around.tally.sent += sent
        self._progress()
        return sent

    def _progress(self) -> None:
        self.since = time.monotonic()
        self.deadline = self.since + self._around.limits.stall

    def takes_more(self) -> bool:
        """Whether the reader took bytes since this was asked last, though the kernel, which has
        megabytes for it, wants no more yet."""
        before, self._queued = self._queued, _unsent(self.sock)
        if self.state is not State.SEND or self._queued >= before:
            return False
        self._progress()
        return True

    def _wait(self) -> None:
        if self.state is not State.WAIT:
            self.deadline = time.monotonic() + self._around.limits.wait
        self.state, self.interest = State.WAIT, READ

    def _look_for_the_end(self) -> None:
        """A client that has gone needs nothing more; one that speaks is not heard yet."""
        with suppress(BlockingIOError):
            if self.sock.recv(1, socket.MSG_PEEK):
                self.interest = 0
            else:
                self.reset()

    def _guarded(self, step: Callable[[], None]) -> None:
        """Of what fails after the head was begun, the client sees no clean end."""
        try:
            step()
        except Over:
            self._end()
        except Reply as reply:
            self._reply(reply)
        except RdlError as error:
            self._around.log(safe_text(str(error)))
            if self._answer is None:
                self._reply(Reply(502, "this cannot be read now"))
            else:
                self.reset()

    # Ends

    def _end(self) -> None:
        """The answer is sent."""
        found = self._answer
        assert found is not None
        self._log("")
        self._forget()
        self._served = True
        now = time.monotonic()
        if not found.close:
            self._head, self.state, self.interest = RequestReader(), State.HEAD, READ
            self.deadline, self._begun = now + self._around.limits.idle, now
            return
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)
        self.state, self.interest, self.deadline = (
            State.LINGER,
            READ,
            now + self._around.limits.linger,
        )

    def _log(self, how: str) -> None:
        asked, found = self._asked, self._answer
        what = f"{asked.method} {redact_url(asked.target)}" if asked else "-"
        size = self._at - found.body.start + len(found.text) if found else 0
        status = found.status if found else "-"
        seconds = time.monotonic() - self._begun
        line = f"{self.address} {what} {status} {size} {seconds:.3f} s{how}"
        self._around.log(safe_text(line, 500))

    def _forget(self) -> None:
        if isinstance(self._reading, Metered):
            found = self._answer
            self._reading.settle(self._at - found.body.start if found else 0)
        if self._reading is not None:
            self._reading.close()
        self._asked = self._reading = self._answer = None
        self._out, self._at, self._stop = memoryview(b""), 0, 0

    @property
    def silent(self) -> bool:
        """Nothing of a request has come, or nothing will."""
        return self.state is State.LINGER or (self.state is State.HEAD and not self._head.begun)

    @property
    def idle(self) -> bool:
        """The same, behind a request that had its answer."""
        return self.silent and self._served

    @property
    def endless(self) -> bool:
        """Its answer has no end of its own."""
        return self._answer is not None and self._answer.endless

    def reset(self) -> None:
        """The end, and the client sees that it is none."""
        if self.state in (State.WAIT, State.SEND):
            self._around.tally.cut += not self.endless
            self._log("" if self.endless else ", cut off")
        with suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        """Once."""
        if self.state is State.CLOSED:
            return
        self.state, self.interest, self.deadline = State.CLOSED, 0, _NEVER
        self._forget()
        self.sock.close()
