"""One download as a process does it, in simulated time over a disk in memory: deterministic, so
that the n-th call of the disk is the same call in every run.

The heart, the driver, the store and the index are the real ones; the server is honest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, cast

from pyroaring import BitMap

from rdl.core.byterange import ByteRange, Extent
from rdl.core.events import Result
from rdl.errors import RdlError, exit_code_of
from rdl.options import Digest, FileOptions, Options, TransferOptions
from rdl.storage.base import Finish, Header, Saved
from rdl.storage.disk import Disk
from rdl.storage.memory import MemoryDisk
from rdl.storage.part_file import PartStore
from rdl.storage.small import SmallStore
from tests.engine.simulated import Process
from tests.engine.staging import content_of
from tests.engine.world import TARGET, Version, World

FOLDER = TARGET.parent
PART, INDEX = TARGET.with_name("file.part"), TARGET.with_name("file.part.index")
SIZE = 9_000
VERSIONS = [content_of(SIZE, seed=number) for number in (1, 2)]
OLD = b"what stood there before"
STATE = b"\x80\x40" + bytes(BitMap(range(SIZE // 2 // 4096)).serialize())
"""smartremote's: blocks of 4 KiB, the first half of them claimed."""
HALF = VERSIONS[0][: SIZE // 2] + bytes(SIZE - SIZE // 2)


class Quiet(World):
    """A server of `versions` with strong validators, that does nothing wrong."""

    def __init__(self, disk: Disk, contents: Iterable[bytes]) -> None:
        super().__init__(1)
        self.validator, self.framing, self.most, self.calm = "strong", "length", 100, True
        self.ranges = self.offers = self.conditions = True
        self.publishes = self.parts = False
        self.trouble = self.changes = 0.0
        self.versions = [Version(n, data, n) for n, data in enumerate(contents, 1)]
        self.disk.fault = None
        self.disk = cast(MemoryDisk, disk)


@dataclass
class Promises:
    """What a store has said is safe: after a kill, and after a power cut."""

    soft: set[Extent] = field(default_factory=set)
    durable: set[Extent] = field(default_factory=set)

    def void(self) -> None:
        """Nothing is promised any more."""
        self.soft, self.durable = set(), set()


class Watched(PartStore):
    """A store of which is known what it promised; `look` sees what it believes when it opens."""

    def __init__(self, promises: Promises, look: Callable[[Saved], None], **more: Any) -> None:
        super().__init__(TARGET, **more)
        self._promises, self._look = promises, look

    def open(self) -> Saved | None:
        saved = super().open()
        self._promises.void()
        if saved is not None:
            self._look(saved)
            self._promises.soft |= set(saved.extents)
            self._promises.durable |= set(saved.extents)
        return saved

    def begin(self, header: Header) -> None:
        self._promises.void()
        super().begin(header)

    def record(self, extents: Any) -> None:
        for extent in extents:
            self._drop(extent)
        super().record(extents)
        self._promises.soft |= set(extents)

    def forget(self, ranges: Any) -> None:
        for one in ranges:
            self._drop(one)
        super().forget(ranges)

    def checkpoint(self) -> None:
        recorded = set(self._promises.soft)
        super().checkpoint()
        self._promises.durable |= recorded & self._promises.soft

    def publish(self, finish: Finish) -> None:
        self._promises.void()
        super().publish(finish)

    def quarantine(self) -> None:
        self._promises.void()
        super().quarantine()

    def close(self, *, discard: bool = False) -> None:
        if discard:
            self._promises.void()
        super().close(discard=discard)

    def _drop(self, gone: Extent | ByteRange) -> None:
        """A later record replaces what it touches, from the moment it is begun."""
        for kept in (self._promises.soft, self._promises.durable):
            kept -= {one for one in kept if one.start < gone.stop and gone.start < one.stop}


@dataclass
class Run:
    """How a download is run. `digest`: of which version (0: none, -1: a wrong one)."""

    contents: list[bytes] = field(default_factory=lambda: VERSIONS[:1])
    digest: int = 0
    adopt: bool = False
    stop_at: float | None = None
    connections: int = 2
    on_change: Any = "restart"
    small: bool = False
    """What is small stays in memory until it is complete."""

    def digests(self) -> tuple[Digest, ...]:
        if not self.digest:
            return ()
        data = self.contents[self.digest - 1] if self.digest > 0 else b"others"
        return (Digest("sha256", hashlib.sha256(data).hexdigest()),)


@dataclass
class Ended:
    """The exit code, and what was raised or returned as error; the result, where there is one."""

    code: int
    error: RdlError | None
    result: Result | None
    promises: Promises
    requests: int


def download(
    disk: Disk,
    run: Run,
    look: Callable[[Saved], None] = lambda saved: None,
    promises: Promises | None = None,
) -> Ended:
    """One process. What is no RdlError comes out as it is: a bug."""
    promises = promises or Promises()
    world = Quiet(disk, run.contents)
    options = TransferOptions(
        connections=run.connections,
        min_split=2000,
        block_size=4096,
        retry=3,
        digests=run.digests(),
        on_change=run.on_change,
    )
    made = Options(transfer=options, file=FileOptions(adopt=run.adopt))
    watched = Watched(promises, look, adopt=run.adopt, disk=disk)
    error = result = None
    try:
        store = SmallStore(watched, disk) if run.small else watched
        process = Process(world, store, made, lambda: 7)
        if process.driver is not None:
            if run.stop_at is not None:
                process.driver.later(run.stop_at, process.stop)
            result, error = process.run()
    except RdlError as raised:
        error = raised
    code = 0 if error is None else int(exit_code_of(error))
    return Ended(code, error, result, promises, len(world.transport.requests))
