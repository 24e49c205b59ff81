"""Plays events to a Transfer and looks at its commands, under a told clock."""

from __future__ import annotations

from typing import Any, TypeVar

from rdl.core import messages as m
from rdl.core.blocks import Repeats
from rdl.core.byterange import ByteRange
from rdl.core.fields import ResponseHead
from rdl.core.representation import Representation
from rdl.core.row import OVERLAP, Remembered
from rdl.core.transfer import Phase, Spec, Transfer
from rdl.errors import NetworkError, RdlError
from rdl.options import Digest, TransferOptions

MiB = 1 << 20
JOIN = MiB - OVERLAP
"""Where a run asks that continues at MiB."""
TOTAL = 64 * MiB
T = TypeVar("T")


def repeats_of(*pairs: tuple[int, int]) -> Repeats:
    """These pairs."""
    repeats = Repeats()
    for pair in pairs:
        repeats.append(*pair)
    return repeats


def whole(total: int | None = TOTAL, etag: str | None = '"a"', **more: str) -> ResponseHead:
    """A 200; without a total it is chunked."""
    fields = [(name.replace("_", "-"), text) for name, text in more.items()]
    fields += [("etag", etag)] if etag else []
    framing = "chunked" if total is None else "length"
    return ResponseHead(200, tuple(fields), framing=framing, content_length=total)


def part(
    start: int = 0, stop: int = TOTAL, total: int = TOTAL, etag: str | None = '"a"'
) -> ResponseHead:
    """A 206 of `[start, stop)`."""
    fields = [("content-range", f"bytes {start}-{stop - 1}/{total}")]
    fields += [("etag", etag)] if etag else []
    return ResponseHead(206, tuple(fields), content_length=stop - start)


def status(code: int, **fields: str) -> ResponseHead:
    """A head without data."""
    named = tuple((name.replace("_", "-"), text) for name, text in fields.items())
    return ResponseHead(code, named, content_length=0)


def remembered(*runs: tuple[int, int], etag: str | None = '"a"') -> Remembered:
    """What an earlier run left of TOTAL bytes."""
    present = tuple(ByteRange(start, stop) for start, stop in runs)
    return Remembered(Representation(TOTAL, etag), None, present)


class Play:
    """One transfer; `out` are the commands of the last event, `all` those of every event."""

    def __init__(self, spec: Spec | None = None, **options: Any) -> None:
        made = TransferOptions(**options) if options else TransferOptions()
        self.transfer = Transfer(spec or Spec("http://h/file", "file", made, seed=1))
        self.now = 0.0
        self.out: list[m.Command] = []
        self.all: list[m.Command] = []
        self.on(m.Demand())

    def on(self, event: m.Event, after: float = 0.0) -> list[m.Command]:
        """Report an event `after` seconds later."""
        self.now += after
        self.out = self.transfer.on(event, self.now)
        self.all += self.out
        return self.out

    def of(self, kind: type[T]) -> list[T]:
        """The last event's commands of this kind."""
        return [one for one in self.out if isinstance(one, kind)]

    def ever(self, kind: type[T]) -> list[T]:
        """All commands of this kind so far."""
        return [one for one in self.all if isinstance(one, kind)]

    def facts(self, kind: type[T]) -> list[T]:
        """All facts of this kind that were told."""
        return [tell.fact for tell in self.ever(m.Tell) if isinstance(tell.fact, kind)]

    @property
    def fetch(self) -> m.Fetch:
        """The newest request."""
        return self.ever(m.Fetch)[-1]

    @property
    def finish(self) -> m.Finish:
        """The end."""
        (finish,) = self.ever(m.Finish)
        return finish

    @property
    def error(self) -> RdlError:
        """What it ended with."""
        assert self.finish.error is not None
        return self.finish.error

    @property
    def phase(self) -> Phase:
        return self.transfer.phase

    def head(self, head: ResponseHead, segment: int | None = None) -> list[m.Command]:
        """The answer to the newest request, or to `segment`."""
        return self.on(m.Head(self.fetch.segment if segment is None else segment, head), 0.01)

    def same(self, segment: int) -> list[m.Command]:
        """What was to be compared is the same."""
        return self.on(m.Compared(segment), 0.01)

    def arrive(self, segment: int, start: int, stop: int, after: float = 0.01) -> list[m.Command]:
        """Bytes are written."""
        return self.on(m.Arrived(segment, ByteRange(start, stop)), after)

    def end(self, segment: int, error: RdlError | None = None) -> list[m.Command]:
        """The exchange is over."""
        return self.on(m.Ended(segment, error), 0.01)

    def reset(self, segment: int) -> list[m.Command]:
        """The exchange ended with a reset."""
        return self.end(segment, NetworkError("server", "reset"))

    def sync(self) -> list[m.Command]:
        """The checkpoint under way holds."""
        return self.on(m.Synced(), 0.01)

    def wake(self) -> list[m.Command]:
        """Wait until it wants to be woken."""
        (wake,) = self.of(m.WakeAt)[-1:]
        self.now = max(self.now, wake.time)
        return self.on(m.Tick())

    def next_fetch(self, most: int = 50) -> m.Fetch:
        """Wake it until it asks again."""
        before = len(self.ever(m.Fetch))
        for _ in range(most):
            if len(self.ever(m.Fetch)) > before:
                return self.fetch
            self.wake()
        raise AssertionError(f"it never asks again: {self.transfer!r}")

    def fill(self, segment: int, start: int, stop: int) -> None:
        """All of a body arrives and ends; checkpoints hold."""
        self.arrive(segment, start, stop)
        if self.of(m.Checkpoint):
            self.sync()
        self.end(segment)


def rng(start: int, stop: int) -> ByteRange:
    """A short name for a range."""
    return ByteRange(start, stop)


SUM = (Digest("sha256", "aa"),)


def spec(
    saved: Remembered | None = None, existing: Representation | None = None, **options: Any
) -> Spec:
    """A download; `saved`: what an earlier run left."""
    made = TransferOptions(**options)
    return Spec("http://h/f", "f", made, remembered=saved, existing=existing)


def one_stream(**options: Any) -> Play:
    """A single stream of 200 that flows."""
    play = Play(**options)
    play.head(whole())
    return play


def hashing() -> Play:
    """All bytes are here and the digest is awaited."""
    play = one_stream(digests=SUM)
    play.fill(1, 0, TOTAL)
    assert play.phase is Phase.HASHING
    return play
