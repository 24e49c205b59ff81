"""Seeded disasters: the real heart, driver, reception, store and index over a simulated
server, disk and clock. One seed is one story; `python -m tests.engine.simulator SEED` tells it.

Every story must end with the right file, and at every moment before that the final name is
absent, or holds the old file, or exactly one version that the server had.
"""

from __future__ import annotations

import heapq
import itertools
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

from msgspec.structs import replace

from rdl.core import messages as m
from rdl.core.events import Result
from rdl.core.fields import ResponseHead
from rdl.core.transfer import Spec, Transfer
from rdl.engine.driver import Driver
from rdl.engine.reception import Edges, Reception
from rdl.engine.throttle import Throttle
from rdl.errors import BusyError, NetworkError, RdlError
from rdl.landing import Landing
from rdl.options import Digest, FileOptions, Options, TransferOptions
from rdl.storage.base import Store
from rdl.storage.copying import PRIVATE
from rdl.storage.memory import MemoryDisk
from rdl.storage.part_file import PartStore
from rdl.transport.base import Request
from rdl.transport.scripted import Answer, ScriptedTransport

TARGET = Path("/disk/file")
TROUBLES = ["refuse", "503", "start", "gzip", "total", "200"]
TROUBLES += ["416", "bare", "short", "204", "mute"]
MOST_RUNS, MOST_STEPS = 40, 60_000
STALL_SECONDS = 30.0


class Killed(BaseException):
    """The process is gone at this very operation."""


@dataclass(frozen=True)
class Version:
    """What the server had at one time."""

    number: int
    content: bytes = field(repr=False)
    tag: int
    """What its validators are made of: the number, or that of the one before it."""


class World:
    """Clock, server and disk of one story."""

    def __init__(self, seed: int) -> None:
        self.random = random = Random(seed)
        self.now = 0.0
        self.log: list[str] = []
        self.versions = [self._version()]
        self.validator = random.choice(["strong", "strong", "strong", "weak", "date", "none"])
        self.ranges = random.random() < 0.8
        self.offers = random.random() < 0.5
        self.conditions = random.random() < 0.8
        self.publishes = random.random() < 0.15
        self.framing = random.choice(["length"] * 6 + ["chunked"])
        self.most = random.choice([1, 2, 4, 100])
        self.trouble = random.choice([0.0, 0.05, 0.2, 0.5])
        self.changes = random.choice([0.0, 0.0, 0.02, 0.1])
        self.open_bodies: set[object] = set()
        self.calm = False
        self.disk = MemoryDisk()
        self.kill_in: int | None = None
        self.fail_in: tuple[int, OSError] | None = None
        self.disk.fault = self._fault
        self.transport = ScriptedTransport(self.answer)

    def say(self, text: str) -> None:
        """One line of the story."""
        self.log.append(f"{self.now:9.3f} {text}")

    def _version(self) -> Version:
        random = self.random
        sizes = [0, 1, 4095, 4096, 4097, 65536, random.randrange(1, 300_000)]
        size = random.choice([*sizes, *[random.randrange(1, 900_000)] * 5])
        if hasattr(self, "versions") and random.random() < 0.6:
            size = len(self.versions[-1].content)
        number = len(getattr(self, "versions", ())) + 1
        return Version(number, random.randbytes(size), number)

    def change(self) -> None:
        """The file is replaced on the server."""
        self.versions.append(self._version())
        self.say(f"server: version {self.versions[-1].number}")

    def change_unseen(self) -> None:
        """It is replaced by one of the same size, under the validators of the old one."""
        old = self.versions[-1]
        content = self.random.randbytes(len(old.content))
        self.versions.append(Version(old.number + 1, content, old.tag))
        self.say(f"server: version {old.number + 1} with the tag of {old.tag}")

    def _fault(self, operation: str, name: str) -> OSError | None:
        if self.kill_in is not None:
            self.kill_in -= 1
            if self.kill_in <= 0:
                self.say(f"killed at {operation} {name}")
                raise Killed
        if self.fail_in is not None:
            left, error = self.fail_in
            self.fail_in = (left - 1, error) if left > 1 else None
            if left <= 1:
                self.say(f"disk: {error.strerror} at {operation} {name}")
                return error
        return None

    # The server

    def answer(self, request: Request) -> Answer:
        """One response, honest unless trouble strikes."""
        random, version = self.random, self.versions[-1]
        if not self.calm and random.random() < self.changes:
            self.change()
            version = self.versions[-1]
        fields = dict(request.headers)
        trouble = None
        if not self.calm and random.random() < self.trouble:
            trouble = random.choice(TROUBLES)
        if len(self.open_bodies) >= self.most and random.random() < 0.9:
            trouble = "503"
        self.say(f"request {fields} -> version {version.number} {trouble or ''}")
        if trouble == "refuse":
            raise NetworkError("server", "connection reset")
        if trouble == "503":
            return Answer(ResponseHead(503, (("retry-after", "1"),), content_length=0))
        if trouble == "416":
            return Answer(ResponseHead(416, (), content_length=0))
        if trouble == "204":
            return Answer(ResponseHead(204, (), framing="none"))
        return self._data(version, fields, trouble)

    def _data(self, version: Version, fields: dict[str, str], trouble: str | None) -> Answer:
        total = len(version.content)
        etag, date = f'"v{version.tag}"', _date(version.tag)
        headers = [("date", _date(5000)), *self._validators(etag, date)]
        if not self.conditions:
            fields = {"Range": fields["Range"]} if "Range" in fields else {}
        if self.publishes:
            headers.append(("repr-digest", _digest(version.content)))
        if trouble == "mute":
            headers = headers[:1]
        if self.offers:
            headers.append(("accept-ranges", "bytes"))
        if "If-Match" in fields and fields["If-Match"] != etag:
            return Answer(ResponseHead(412, tuple(headers), content_length=0))
        if fields.get("If-Unmodified-Since", date) != date:
            return Answer(ResponseHead(412, tuple(headers), content_length=0))
        if self._current(fields, etag, date):
            return Answer(ResponseHead(304, tuple(headers), framing="none"))
        wanted = fields.get("Range")
        if fields.get("If-Range") not in (None, etag, date) or trouble == "200":
            wanted = None
        if trouble == "gzip":
            headers.append(("content-encoding", "gzip"))
        if not self.ranges or wanted is None:
            return self._body(200, headers, version.content, trouble)
        first, last = wanted.removeprefix("bytes=").split("-")
        start = int(first) if first else max(0, total - int(last))
        stop = min(total, int(last) + 1 if first and last else total)
        if start >= total:
            headers.append(("content-range", f"bytes */{total}"))
            return Answer(ResponseHead(416, tuple(headers), content_length=0))
        if trouble == "short" and stop - start > 1:
            stop = self.random.randrange(start + 1, stop)
        if trouble == "start":
            start = max(0, min(stop - 1, start + self.random.choice([-1000, -1, 1])))
        said = total + (7 if trouble == "total" else 0)
        if trouble != "bare":
            text = f"bytes {start}-{stop - 1}/{said}"
            headers.append(("content-range", text))
        return self._body(206, headers, version.content[start:stop], trouble)

    def _validators(self, etag: str, date: str) -> list[tuple[str, str]]:
        return {
            "strong": [("etag", etag), ("last-modified", date)],
            "weak": [("etag", f"W/{etag}")],
            "date": [("last-modified", date)],
            "none": [],
        }[self.validator]

    def _current(self, fields: dict[str, str], etag: str, date: str) -> bool:
        said = fields.get("If-None-Match", "").removeprefix("W/")
        return said == etag or fields.get("If-Modified-Since") == date

    def _body(
        self, status: int, headers: list[tuple[str, str]], data: bytes, trouble: str | None
    ) -> Answer:
        if trouble == "gzip":
            data = data[::-1]
        framing = "length" if status == 206 else self.framing
        length = len(data) if framing == "length" else None
        head = ResponseHead(status, tuple(headers), framing=framing, content_length=length)
        return Answer(head, self._pieces(data))

    def _pieces(self, data: bytes) -> Iterator[bytes | RdlError]:
        here, token = self.open_bodies, object()
        here.add(token)
        try:
            at = 0
            while at < len(data):
                if not self.calm and self.random.random() < self.trouble / 8:
                    fault = self.random.choice(["reset", "ended early", "stalled"])
                    self.say(f"body: {fault}")
                    if fault == "stalled":
                        self.now += STALL_SECONDS
                    yield NetworkError("server", f"the body {fault}")
                    return
                step = self.random.choice([1, 1000, 16384, 65536, 65536])
                yield data[at : at + step]
                at += step
        finally:
            here.discard(token)


def _holed(content: bytes, random: Random) -> bytes:
    """With pages of zeros where another program had reserved, and not written."""
    data = bytearray(content)
    for _ in range(3):
        start = random.randrange(0, len(data) + 4096, 4096)
        stop = min(len(data), start + random.choice([4096, 70_000, 300_000]))
        data[start:stop] = bytes(max(0, stop - start))
    return bytes(data) + random.choice([b"", b"\0" * 5000, b"more"])


def _digest(content: bytes) -> str:
    return f"sha-256=:{b64encode(sha256(content).digest()).decode()}:"


def _date(number: int) -> str:
    return f"Mon, 02 Jan 2023 {number // 3600:02d}:{number // 60 % 60:02d}:{number % 60:02d} GMT"


class Agenda:
    """What happens when, in simulated time."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def add(self, delay: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (self.world.now + delay, next(self._order), action))

    def next_time(self) -> float | None:
        return self._heap[0][0] if self._heap else None

    def act(self) -> None:
        time, _, action = heapq.heappop(self._heap)
        self.world.now = max(self.world.now, time)
        action()


class SimulatedRoom:
    """Stands for a thread that does one thing after another."""

    def __init__(self, agenda: Agenda) -> None:
        self._agenda, self._free_at = agenda, 0.0

    def do(self, work: Callable[[], None]) -> None:
        random, now = self._agenda.world.random, self._agenda.world.now
        self._free_at = max(self._free_at, now) + random.choice([0.0, 0.01, 0.5])
        self._agenda.add(self._free_at - now, work)

    def close(self) -> None:
        """Its thread ends with the process."""


class SimulatedCrew:
    """Steps receptions in seeded order."""

    def __init__(self, agenda: Agenda, post: Callable[[m.Event], None]) -> None:
        self._agenda, self._post = agenda, post
        self._waiting: list[Reception] = []
        self._view = memoryview(bytearray(agenda.world.random.choice([1000, 4096, 65536])))

    def start(self, reception: Reception) -> None:
        self._agenda.add(self._delay(), lambda: self._open(reception))

    def poll(self) -> None:
        """Receptions that the heart has decided about go on."""
        for reception in [one for one in self._waiting if one.decided]:
            self._waiting.remove(reception)
            self._agenda.add(self._delay(), lambda one=reception: self._step(one))

    def close(self) -> None:
        """Its threads end with the process."""

    def _open(self, reception: Reception) -> None:
        event = reception.open()
        self._post(event)
        if isinstance(event, m.Head):
            self._waiting.append(reception)

    def _step(self, reception: Reception) -> None:
        if reception.held:
            self._agenda.add(0.05, lambda: self._step(reception))
            return
        events = reception.step(self._view)
        for event in events:
            self._post(event)
        if not any(isinstance(event, m.Ended) for event in events):
            self._agenda.add(self._delay(), lambda: self._step(reception))

    def _delay(self) -> float:
        return self._agenda.world.random.choice([0.0, 0.001, 0.01, 0.05, 0.2])


class SimulatedDriver(Driver):
    """The real driver with its threads replaced."""

    def __init__(
        self,
        world: World,
        transfer: Transfer,
        store: Store,
        deliver: Callable[[int], None] = lambda upto: None,
        awaited: Callable[[], int | None] | None = None,
    ) -> None:
        edges = Edges(
            "http://server/file",
            world.transport,
            store,
            Throttle(None),
            Throttle(None),
            lambda: world.now,
            deliver,
            awaited=awaited,
        )
        super().__init__(transfer, edges)
        self._world, self._agenda = world, Agenda(world)
        self._simulated = SimulatedCrew(self._agenda, self._events.put)
        rooms: Any = [SimulatedRoom(self._agenda), SimulatedRoom(self._agenda)]
        crew: Any = self._simulated
        self._crew, (self._sync, self._hash) = crew, rooms
        self._steps = 0

    def later(self, delay: float, action: Callable[[], None]) -> None:
        self._agenda.add(delay, action)

    def _next_event(self) -> m.Event:
        while self._events.empty():
            self._steps += 1
            if self._steps > MOST_STEPS:
                raise AssertionError(f"no end in sight: {self._transfer!r}")
            self._simulated.poll()
            at, wake = self._agenda.next_time(), self._wake_at
            if at is None and wake is None:
                raise AssertionError(f"everybody waits for ever: {self._transfer!r}")
            if wake is not None and (at is None or wake <= at):
                self._world.now = max(self._world.now, wake)
                return m.Tick()
            self._agenda.act()
        return self._events.get()


class Story:
    """Runs after runs over one world, until the file is there."""

    def __init__(self, seed: int) -> None:
        self.world = World(seed)
        random = self.world.random
        self.old = random.randbytes(1000) if random.random() < 0.2 else None
        if self.old is not None:
            self.world.disk.write(TARGET, self.old)
        self.store: PartStore | None = None
        self.digest = random.random() < 0.3
        self.options = TransferOptions(
            connections=random.choice([None, 1, 3, 8]),
            min_split=random.choice([1, 4096, 65536]),
            block_size=random.choice([None, 4096, 65536]),
            retry=random.choice([0, 3, 10]),
        )
        self.adopt = self.digest and random.random() < 0.3
        if self.adopt:
            content = self.world.versions[0].content
            start = random.choice([b"", content, _holed(content, random), random.randbytes(9000)])
            length = random.choice([random.randrange(9999), len(start)])
            self.world.disk.write(TARGET.with_name("file.part"), start[:length])

    def tell(self) -> None:
        """Run it. AssertionError when a promise was broken."""
        world, random = self.world, self.world.random
        unseen = random.random() < 0.2
        for number in range(MOST_RUNS):
            world.calm = number >= MOST_RUNS // 2
            fate = "calm" if world.calm else random.choice(["run", "kill", "power", "full", "stop"])
            if unseen and number == 1 and world.disk.read(TARGET) == self.old:
                world.change_unseen()
            world.say(f"run {number}: {fate}")
            if self._run(fate) and fate in ("calm", "run"):
                break
        else:
            raise AssertionError("it never became complete")
        assert self.complete
        left = set(world.disk.names(TARGET.parent)) - {TARGET.name}
        if self.adopt:  # a kill may leave a private copy, which `rdl clean` removes
            left = {name for name in left if not name.startswith(PRIVATE)}
        assert left <= ({"file.part.bad"} if self.digest else set()), left

    @property
    def complete(self) -> bool:
        """Whether the file stands there, and is the newest as far as its tag can say."""
        last = self.world.versions[-1].tag
        wanted = [version.content for version in self.world.versions if version.tag == last]
        return self.world.disk.read(TARGET) in wanted

    def _run(self, fate: str) -> bool:
        """One process; whether the current version stands there and it said so."""
        world, random = self.world, self.world.random
        world.kill_in = random.randrange(1, 400) if fate in ("kill", "power") else None
        if fate == "full":
            number = random.choice([28, 28, 5, 122])
            error = OSError(number, {28: "no space", 5: "I/O error", 122: "quota"}[number])
            world.fail_in = (random.randrange(1, 200), error)
        try:
            done = self._process(fate)
        except Killed:
            done = False
        except RdlError as error:
            world.say(f"failed: {error!r}")
            done = False
        world.kill_in = world.fail_in = None
        world.open_bodies = set()
        world.disk.kill()
        if fate == "power":
            world.disk.crash(random)
        self._look()
        return done

    def _process(self, fate: str) -> bool:
        world, random = self.world, self.world.random
        current = world.versions[-1]
        options = replace(self.options, digests=self._digests(current))
        landing = Landing(
            TARGET,
            "http://server/file",
            Options(transfer=options, file=FileOptions(adopt=self.adopt)),
            disk=world.disk,
        )
        if landing.already_there() is not None:
            landing.sweep()
            return world.disk.read(TARGET) == current.content
        store = self.store = PartStore(TARGET, adopt=self.adopt, disk=world.disk)
        try:
            remembered = landing.open(store, None)
            spec = Spec(
                "http://server/file",
                str(TARGET),
                options,
                random.getrandbits(32),
                True,
                remembered,
                landing.existing,
                adopted=landing.adopted,
            )
            driver = SimulatedDriver(world, Transfer(spec), store)
            if fate == "stop":
                driver.later(random.random() * 3, lambda: driver.signal("SIGTERM"))
            driver.later(random.random() * 2, self._second_process)
            before = len(world.versions)
            result, error = driver.run()
        except Killed:
            raise
        except BaseException:
            store.close()
            raise
        nothing = remembered is None and result.bytes_present == 0
        store.close(discard=nothing or result.reason == "unchanged")
        world.say(f"{result.reason}: {error!r}")
        self._check(result, error)
        return error is None and before == len(world.versions)

    def _digests(self, version: Version) -> tuple[Digest, ...]:
        import hashlib

        if not self.digest:
            return ()
        return (Digest("sha256", hashlib.sha256(version.content).hexdigest()),)

    def _second_process(self) -> None:
        """While one writes, another rdl on the same target is turned away, changing nothing."""
        if TARGET.name + ".part" not in self.world.disk.names(TARGET.parent):
            return
        if self.store is not None and self.store._gone:  # it lost its place, and is ending
            return
        other = PartStore(TARGET, disk=self.world.disk)
        try:
            other.open()
        except (BusyError, RdlError):
            return
        finally:
            other.close()
        raise AssertionError("two processes write one target")

    def _check(self, result: Result, error: RdlError | None) -> None:
        content = self.world.disk.read(TARGET)
        if error is None:
            assert content is not None
            assert any(content == version.content for version in self.world.versions)
            assert result.bytes_present == len(content) or result.reason == "unchanged"

    def _look(self) -> None:
        """The promise, after whatever happened."""
        content = self.world.disk.read(TARGET)
        if content is None:
            return
        allowed = [version.content for version in self.world.versions]
        allowed += [self.old] if self.old is not None else []
        assert content in allowed, f"a wrong file of {len(content)} bytes under the final name"


def run(seed: int) -> Story:
    """Tell the story of one seed; what went wrong carries the whole story."""
    story = Story(seed)
    try:
        story.tell()
    except BaseException as error:
        error.add_note("\n".join([f"seed {seed}", *story.world.log[-60:]]))
        raise
    return story


def main() -> None:
    """Replay seeds given as arguments, or a range `FROM-TO`."""
    for word in sys.argv[1:]:
        first, _, last = word.partition("-")
        for seed in range(int(first), int(last or first) + 1):
            run(seed)
            print(f"seed {seed}: right", flush=True)


if __name__ == "__main__":
    main()
