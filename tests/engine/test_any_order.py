"""A downloader, its disk and its server in whatever order hypothesis finds: after each step the
promises hold, and once all is well again the file arrives.

The examples are the same in every run; NIGHTLY_ORDERS sets another number, of new ones.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from random import Random
from typing import Any

from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from rdl.core.representation import Trust
from rdl.core.row import OVERLAP
from rdl.errors import BusyError, DigestMismatch, LocalFileError, RdlError
from rdl.options import Digest, Options, TransferOptions
from rdl.storage.inspecting import Partial, read_partial
from rdl.storage.names import PRIVATE, Names
from rdl.storage.part_file import PartStore
from rdl.storage.small import SmallStore
from tests.engine.simulated import URL, Process
from tests.engine.world import TARGET, Version, World

PART, INDEX = TARGET.with_name("file.part"), TARGET.with_name("file.part.index")
BAD, NEW = "file.part.bad", "file.part.index.new"
OURS = {TARGET.name, PART.name, INDEX.name, BAD, NEW}
SIZES = [700_000, 700_000, 300_000, 70_000, 4096, 1, 0]
RUNS_TO_THE_END, TO_THE_END = 6, 1 << 40
seeds = st.integers(0, 99)
sizes = st.sampled_from(SIZES)
turns = st.sampled_from([1, 4, 10, 20, 40])
happenings = st.one_of(
    st.tuples(st.just("second_process")),
    st.tuples(st.just("put"), seeds, sizes),
    st.tuples(st.just("remove"), st.sampled_from([TARGET.name, PART.name, INDEX.name])),
    st.tuples(st.just("fill"), st.sampled_from([None, None, 0, 5000, 100_000])),
    st.tuples(
        st.just("damage"),
        st.sampled_from([PART.name, INDEX.name]),
        st.floats(0, 1, exclude_max=True),
        st.sampled_from(["flip", "zero", "cut", "more"]),
    ),
    st.tuples(st.just("change"), seeds, st.none() | sizes),
    st.tuples(
        st.just("serve"),
        st.sampled_from(["strong", "strong", "strong", "date", "weak", "none"]),
        st.sampled_from([True, True, True, False]),
        st.sampled_from(["length", "length", "length", "chunked"]),
        st.sampled_from([0.0, 0.0, 0.1, 0.5]),
    ),
)


class AnyOrder(RuleBasedStateMachine):
    """One target of one user; at most one process writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.process: Process | None = None
        self.before: bytes | None = None
        """What stood under the final name when the process began."""
        self.others: list[bytes] = []
        """What the user has put there."""
        self.digest, self.spoiled = False, False
        self.idle = False
        """Whether the last process had nothing to do: then it leaves a partial alone."""
        self.kept: int | None = None
        """Bytes that the next run must find."""
        self.steady = False
        """Whether nothing went wrong since that process began."""

    @initialize(
        seed=seeds,
        size=sizes,
        connections=st.sampled_from([1, 2, 4]),
        block_size=st.sampled_from([None, 4096, 65536]),
        digest=st.booleans(),
    )
    def begin(
        self, seed: int, size: int, connections: int, block_size: int | None, digest: bool
    ) -> None:
        self.world = World(seed)
        self.serve("strong", True, "length", 0.0)
        self.world.changes, self.world.most, self.world.publishes = 0.0, 100, False
        self.world.versions = [Version(1, Random(seed).randbytes(size), 1)]
        self.digest = digest
        self.options = TransferOptions(
            connections=connections, min_split=4096, block_size=block_size, retry=2
        )

    # What the user does

    @precondition(lambda self: self.process is None)
    @rule(url=st.sampled_from([URL, URL, URL, "http://server/other"]), events=turns)
    def get(self, url: str, events: int) -> None:
        """`rdl get`, for a while."""
        unknown = self._unknown()
        self.before = self.world.disk.read(TARGET)
        self.kept = self.kept if url == URL else None
        calm = self.world.ranges and not self.world.trouble and self.world.disk.capacity is None
        self.steady = calm and url == URL
        with self._failing(unknown):
            self.part = PartStore(TARGET, disk=self.world.disk)
            store = SmallStore(self.part, self.world.disk)
            options = Options(transfer=self._transfer())
            self.process = Process(self.world, store, options, lambda: 7, url)
            self.spoiled = self.spoiled and self.process.driver is None
        self.idle = self.process is not None and self.process.driver is None
        if self.idle:
            self.process = None
            assert self.before in self._versions()
        self.advance(events)

    @precondition(lambda self: self.process is not None)
    @rule(events=turns)
    def advance(self, events: int) -> None:
        """Time goes by."""
        with self._failing():
            if self.process is not None and not self.process.advance(events):
                self._ended()

    @precondition(lambda self: self.process is not None)
    @rule()
    def stop(self) -> None:
        """Ctrl-C, and what is done about it."""
        assert self.process is not None
        self.process.stop()
        self.advance(TO_THE_END)

    @precondition(lambda self: self.process is not None)
    @rule(power=st.none() | seeds)
    def die(self, power: int | None) -> None:
        """SIGKILL; or the power is cut, and `power` says what is lost."""
        if power is None:
            self.world.disk.kill()
        else:
            self.world.disk.crash(Random(power))
        self._gone()

    @rule(what=happenings)
    def meet(self, what: tuple[Any, ...]) -> None:
        """Something happens to the disk, or at the server."""
        name, *how = what
        getattr(self, name)(*how)

    def second_process(self) -> None:
        """It is turned away, changing nothing."""
        there = self._files()
        if self.process is None or PART.name not in there or self.part._gone:
            return
        other = PartStore(TARGET, disk=self.world.disk)
        try:
            other.open()
        except (BusyError, RdlError):
            assert self._files() == there
        else:
            raise AssertionError("two processes write one target")
        finally:
            other.close()

    def put(self, seed: int, size: int) -> None:
        """Another file stands under the name."""
        if self.process is None:
            self.others.append(Random(seed + 1000).randbytes(size))
            self.world.disk.write(TARGET, self.others[-1])

    def remove(self, name: str) -> None:
        """`rm`, also of what a process writes."""
        disk = self.world.disk
        if self.process is not None and name == TARGET.name:
            return  # it may have been published this moment
        self._disturb()
        if name in disk.names(TARGET.parent):
            folder = disk.open_folder(TARGET.parent)
            disk.unlink(folder, name)
            disk.close(folder)

    def fill(self, room: int | None) -> None:
        """So many bytes are left on the disk; None: more than enough."""
        disk = self.world.disk
        disk.capacity = None if room is None else disk._used() + room
        self._disturb()

    def damage(self, name: str, at: float, how: str) -> None:
        """Something else writes into the part file or the index."""
        disk = self.world.disk
        data = disk.read(TARGET.with_name(name))
        if self.process is not None or not data:
            return
        self._disturb()
        self.spoiled, disk.capacity = True, None
        place, folder = int(at * len(data)), disk.open_folder(TARGET.parent)
        file = disk.open(folder, name)
        if how == "cut":
            disk.truncate(file, place)
        elif how == "more":
            disk.pwrite(file, memoryview(b"\xff" * 600), len(data))
        else:
            size = min(512, len(data) - place)
            new = bytes([data[place] ^ 0x10]) if how == "flip" else bytes(size)
            disk.pwrite(file, memoryview(new), place)
        disk.close(file)
        disk.close(folder)

    def change(self, seed: int, size: int | None) -> None:
        """There is a new version; of the same size when `size` is None."""
        self._disturb()
        last = self.world.versions[-1]
        length = len(last.content) if size is None else size
        content = Random(seed * 1000 + last.number).randbytes(length)
        self.world.versions.append(Version(last.number + 1, content, last.number + 1))

    def serve(self, validator: str, ranges: bool, framing: str, trouble: float) -> None:
        """The server speaks differently from now on."""
        world = self.world
        world.validator, world.ranges, world.offers = validator, ranges, ranges
        world.framing, world.trouble = framing, trouble
        self._disturb()

    # What always holds

    @invariant()
    def the_final_name_is_absent_or_right(self) -> None:
        if hasattr(self, "world"):
            assert self.world.disk.read(TARGET) in [None, *self._versions(), *self.others]

    @invariant()
    def nothing_else_is_left(self) -> None:
        if hasattr(self, "world"):
            names = self.world.disk.names(TARGET.parent)
            assert not [one for one in names if one not in OURS and not one.startswith(PRIVATE)]

    @invariant()
    def what_is_recorded_is_there(self) -> None:
        """Unless it was spoiled since, which the next run finds."""
        if hasattr(self, "world") and self.process is None and not self.spoiled:
            partial = self._partial()
            if partial is None or partial.header.representation.trust is Trust.T0:
                return
            data = self.world.disk.read(PART) or b""
            assert any(
                all(
                    data[one.start : one.stop] == whole[one.start : one.stop]
                    for one in partial.present
                )
                for whole in self._versions()
            )

    def teardown(self) -> None:
        """All is well again: the file arrives, and nothing is left beside it."""
        if not hasattr(self, "world"):
            return
        self.world.disk.kill()
        self._gone()
        self.world.disk.capacity = None
        self.serve(self.world.validator, self.world.ranges, self.world.framing, 0.0)
        self.world.life = None  # a link may live too short for a server without parts
        for _ in range(RUNS_TO_THE_END):
            if self._unknown():
                self.remove(PART.name)
            self.get(URL, TO_THE_END)
            if self.world.disk.read(TARGET) == self.world.versions[-1].content:
                break
        else:
            raise AssertionError("it never arrived")
        left = set(self.world.disk.names(TARGET.parent))
        beside = {PART.name, INDEX.name} if self.idle else set()
        assert left <= {TARGET.name, BAD} | beside, left

    # How it is told

    def _transfer(self) -> TransferOptions:
        newest = sha256(self.world.versions[-1].content).hexdigest()
        return replace(self.options, digests=(Digest("sha256", newest),) if self.digest else ())

    def _versions(self) -> list[bytes]:
        return [version.content for version in self.world.versions]

    def _partial(self) -> Partial | None:
        """What `rdl status` would tell of it; None where it cannot."""
        folder = self.world.disk.open_folder(TARGET.parent)
        try:
            return read_partial(self.world.disk, folder, Names.of(TARGET))
        except LocalFileError:
            return None
        finally:
            self.world.disk.close(folder)

    def _unknown(self) -> bool:
        """Whether a part file stands there without an index: that is the user's to remove."""
        names = self.world.disk.names(TARGET.parent)
        return PART.name in names and INDEX.name not in names

    def _files(self) -> dict[str, bytes | None]:
        disk = self.world.disk
        return {name: disk.read(TARGET.with_name(name)) for name in disk.names(TARGET.parent)}

    def _gone(self) -> None:
        self.process = None
        self._disturb()

    def _disturb(self) -> None:
        """What is kept need not be found by the next run."""
        self.kept, self.steady = None, False

    def _ended(self) -> None:
        """A process that ended by itself has told the truth."""
        assert self.process is not None
        assert self.process.driver is not None
        result, error = self.process.driver.ended
        event(f"{result.reason} after {min(result.bytes_reused, 1)}")
        self.process = None
        there = self.world.disk.read(TARGET)
        if error is None:
            assert there in self._versions()
            if self.kept is not None and result.reason == "complete":
                assert result.bytes_reused >= self.kept - OVERLAP
        else:
            assert there == self.before or isinstance(error, DigestMismatch)
        if result.reason == "interrupted" and result.resumable and self.steady:
            self.kept = result.bytes_present

    @contextmanager
    def _failing(self, unknown: bool = False) -> Iterator[None]:
        """An RdlError is an end like others."""
        refused = False
        try:
            yield
        except RdlError as error:
            refused = "no index says" in str(error)
            self._gone()
            assert self.world.disk.read(TARGET) == self.before
        assert unknown or not refused


AnyOrder.TestCase.settings = settings(
    max_examples=int(os.environ.get("NIGHTLY_ORDERS", "90")),
    derandomize="NIGHTLY_ORDERS" not in os.environ,
    stateful_step_count=30,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
TestAnyOrder = AnyOrder.TestCase
