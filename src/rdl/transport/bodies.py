"""Bodies: bytes go from the socket into the caller's buffer, and the framing's end is proved.

RFC 9112 sections 6.3, 7.1 and 8. close() may come from another thread: it only wakes the
reader, which then gives the connection up, so that no file descriptor is used after closing.
"""

from __future__ import annotations

from threading import Lock

import h11

from rdl.errors import NetworkError
from rdl.transport.base import ResponseHead
from rdl.transport.pool import Connection, Pool
from rdl.transport.tls import explain

_READ = 64 * 1024


class Body:
    """What every framing shares. Alone it is the body of a response that has none."""

    def __init__(self, connection: Connection, pool: Pool, wire: h11.Connection) -> None:
        self._connection, self._pool, self._wire = connection, pool, wire
        self._recv_into = connection.reader()
        self._lead = memoryview(wire.trailing_data[0])
        self._keep_alive = wire.our_state is h11.DONE
        self._ended = True
        self._settled = False
        self._turn, self._closing = Lock(), Lock()

    def readinto(self, view: memoryview) -> int:
        """Fill the start of `view` (not empty); 0 means the body ended as it should.

        Raises NetworkError for a reset, a stall, an early end, or a close() meanwhile.
        """
        if not view:
            raise ValueError("an empty buffer cannot be filled")
        try:
            with self._turn:
                count = 0
                if not self._ended and not self._closing.locked():
                    count = self._fill(view)
        except (OSError, ValueError) as error:
            raise self._lost(error) from error
        finally:
            if self._closing.locked():
                self._settle_if_unread(reuse=False)
        if self._closing.locked():
            raise self._error("was closed")
        return count

    def ready(self) -> bool:
        """Whether readinto() would find something at once."""
        try:
            return self._ended or len(self._lead) > 0 or self._connection.ready()
        except (OSError, ValueError):  # the connection was closed: readinto() says so
            return True

    def close(self) -> None:
        """Give the connection back if the body was read to its end, else close it."""
        if self._closing.acquire(blocking=False) and not self._settle_if_unread(reuse=True):
            self._connection.wake()

    def _settle_if_unread(self, *, reuse: bool) -> bool:
        """Part with the connection, unless a thread is reading it: that one will come here."""
        if not self._turn.acquire(blocking=False):
            return False
        try:
            if not self._settled:
                self._settled = True
                whole = self._ended and self._keep_alive and not self._surplus()
                (self._pool.keep if reuse and whole else self._pool.drop)(self._connection)
        finally:
            self._turn.release()
        return True

    def _fill(self, view: memoryview) -> int:
        return 0

    def _surplus(self) -> bool:
        """Whether bytes beyond the end are here already."""
        return len(self._lead) > 0

    def _from_lead(self, view: memoryview) -> int:
        """Take what came together with the head."""
        count = min(len(view), len(self._lead))
        view[:count] = self._lead[:count]
        self._lead = self._lead[count:]
        return count

    def _error(self, why: str) -> NetworkError:
        if self._closing.locked() or self._connection.woken:
            why = "was closed while it was read"
        return NetworkError(self._connection.label, f"the body {why}")

    def _lost(self, error: Exception) -> NetworkError:
        if isinstance(error, TimeoutError):
            return self._error("stalled: no byte for too long")
        return self._error(f"was cut: {explain(error)}")


class LengthBody(Body):
    """Content-Length says where it ends; nothing is read beyond that."""

    def __init__(
        self, connection: Connection, pool: Pool, wire: h11.Connection, length: int
    ) -> None:
        super().__init__(connection, pool, wire)
        self._left = length
        self._ended = length == 0

    def _fill(self, view: memoryview) -> int:
        if len(view) > self._left:
            view = view[: self._left]
        count = self._from_lead(view) if self._lead else self._recv_into(view)
        if count == 0:
            raise self._error(f"ended {self._left} bytes early")
        self._left -= count
        self._ended = self._left == 0
        return count


class CloseBody(Body):
    """The end of the connection is the end of the body; it is never reused."""

    def __init__(self, connection: Connection, pool: Pool, wire: h11.Connection) -> None:
        super().__init__(connection, pool, wire)
        self._ended = self._keep_alive = False

    def _fill(self, view: memoryview) -> int:
        count = self._from_lead(view) if self._lead else self._recv_into(view)
        if count == 0 and self._connection.woken:
            raise self._error("was closed")
        self._ended = count == 0
        return count


class ChunkedBody(Body):
    """h11 takes the chunks apart; complete only at the last chunk. Trailers are ignored."""

    def __init__(
        self, connection: Connection, pool: Pool, wire: h11.Connection, *, reusable: bool
    ) -> None:
        super().__init__(connection, pool, wire)
        self._ended = False
        self._keep_alive = self._keep_alive and reusable
        self._buffer = bytearray(_READ)
        self._lead = memoryview(b"")

    def _fill(self, view: memoryview) -> int:
        while not self._lead and not self._ended:
            self._advance()
        return self._from_lead(view)

    def _advance(self) -> None:
        try:
            event = self._wire.next_event()
        except h11.RemoteProtocolError as error:
            raise self._error("has damaged chunks") from error
        if isinstance(event, h11.Data):
            self._lead = memoryview(event.data)
        elif isinstance(event, h11.EndOfMessage):
            self._ended = True
        else:
            self._receive()

    def _receive(self) -> None:
        count = self._recv_into(memoryview(self._buffer))
        if count == 0:
            raise self._error("ended before its last chunk")
        self._wire.receive_data(bytes(self._buffer[:count]))

    def _surplus(self) -> bool:
        return len(self._lead) > 0 or len(self._wire.trailing_data[0]) > 0


def make_body(head: ResponseHead, connection: Connection, pool: Pool, wire: h11.Connection) -> Body:
    """The body that `head` announces."""
    if head.framing == "length":
        return LengthBody(connection, pool, wire, head.content_length or 0)
    if head.framing == "close":
        return CloseBody(connection, pool, wire)
    if head.framing == "chunked":
        # With a Content-Length beside it the message may be an attack (RFC 9112 6.1).
        return ChunkedBody(connection, pool, wire, reusable=head.get("content-length") is None)
    return Body(connection, pool, wire)
