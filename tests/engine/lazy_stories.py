"""Seeded disasters of remote files that are read here and there: the real readers, flights, heart
and stores over a simulated server, disk and clock. One seed is one story;
`python -m tests.engine.lazy_stories SEED` tells it.

What readers get is of one version as long as they share a flight, and each read ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest import mock

from msgspec.structs import replace

from rdl import landing, lazy_files, opening
from rdl.core import demand
from rdl.core.transfer import Transfer
from rdl.engine import flights, remote_file
from rdl.engine.driver import Driver
from rdl.engine.edges import Edges, Place
from rdl.engine.permits import Permits
from rdl.engine.remote_file import RemoteFile, Subscription
from rdl.engine.throttle import Throttle
from rdl.errors import ChangedError, NetworkError, PolicyError, RdlError
from rdl.options import LazyOptions, Options, TransferOptions
from rdl.storage import kept, local_file, part_file, reopening
from rdl.storage.inspecting import read_partial
from rdl.storage.names import Names
from rdl.transport.scripted import ScriptedTransport
from tests.engine.baton import Instead, Stage
from tests.engine.lazy_simulated import LazyDriver, LazyWorld, Watching
from tests.engine.simulated import URL, mirrors_of
from tests.engine.simulator import noted, replay
from tests.engine.world import TARGET, Killed, World

MOST_RUNS, DISASTERS = 5, 3
MOST_SECONDS, MOST_CALM_SECONDS = 3600.0, 1000.0


class Seen:
    """What readers of one flight had: of which versions it may be."""

    def __init__(self, world: World, flight: Any) -> None:
        self._world, self.flight = world, flight
        self._reads: list[tuple[int, int, bytes]] = []
        self._size: int | None = None

    def read(self, offset: int, wanted: int, data: bytes) -> None:
        """So much was wanted, and that is what came."""
        self._reads.append((offset, wanted, data))
        self._check(f"{len(data)} of {wanted} bytes at {offset}")

    def begin(self) -> None:
        """A reader said that all of it was wrong."""
        self._reads, self._size = [], None

    def size(self, size: int) -> None:
        """So long it is."""
        assert self._size in (None, size)
        self._size = size
        self._check(f"size {size}")

    def _check(self, last: str) -> None:
        for version in self._world.versions:
            content = version.content
            said = len(content), len(content) + 7  # some servers lie, while nothing shows it
            if (self._size is None or self._size in said) and all(
                content[at : at + size] == data for at, size, data in self._reads
            ):
                return
        at, size, data = self._reads[-1] if self._reads else (0, 0, b"")
        alike = [one.number for one in self._world.versions if one.content[at : at + size] == data]
        raise AssertionError(f"of no version: {last}; the last alone is of {alike}")


class LazyStory:
    """Processes after processes over one world."""

    def __init__(self, seed: int) -> None:
        self.world = world = LazyWorld(seed)
        random = world.random
        self.path = TARGET if random.random() < 0.5 else None
        self.lazy = LazyOptions(
            block=random.choice([1, 4096, 65536]),
            least=random.choice([1, 20_000, 131_072]),
            max_jump=random.choice([0, 10_000, 524_288]),
            read_ahead=random.choice([0, 50_000, 8 << 20]),
            fill=random.random() < 0.4,
            keep=random.choice([50_000, 150_000, 400_000, 256 << 20]),
        )
        self.options = Options(
            transfer=TransferOptions(
                connections=random.choice([None, 1, 2, 4]),
                retry=random.choice([0, 3, 10]),
                min_split=random.choice([1, 4096, 65536]),
            ),
            mirrors=mirrors_of(world),
        )
        self.seen: list[Seen] = []
        self.served = self.failed = 0
        self._deadline = 0.0

    def tell(self) -> None:
        """Run it. AssertionError when a promise was broken."""
        world, random = self.world, self.world.random
        for number in range(MOST_RUNS):
            world.calm = number >= DISASTERS
            fates = ["run", "run", "kill", "power", "full"] if self.path else ["run"]
            fate = "calm" if world.calm else random.choice(fates)
            world.say(f"process {number}: {fate}")
            self._process(fate)
        if self.path is not None:
            content = world.disk.read(TARGET)
            assert content == world.versions[-1].content or "stale" in world.mirrors or self._alone

    def _process(self, fate: str) -> None:
        world, random = self.world, self.world.random
        world.kill_in = random.randrange(1, 300) if fate in ("kill", "power") else None
        if fate == "full":
            world.fail_in = (random.randrange(1, 200), OSError(28, "no space"))
        self._stage, self.seen = Stage(world), []
        stage = self._stage
        try:
            with self._instead(stage):
                files = self._files(stage)
                readers = [
                    stage.begin(partial(self._read_on, stage, files), random.random() * 2)
                    for _ in range(random.choice([1, 2, 4]))
                ]
                stage.play(readers)
        except Killed:
            pass
        finally:
            world.kill_in = world.fail_in = None
            world.disk.kill()
            stage.end()
        world.open_bodies = set()
        if fate == "power":
            world.disk.crash(random)
        self._look(fate)

    @contextmanager
    def _instead(self, stage: Stage) -> Iterator[None]:
        """Smaller sizes, and the stage in place of threads and disk."""
        disk, random = self.world.disk, self.world.random
        with ExitStack() as stack:

            def patch(module: Any, name: str, value: Any) -> None:
                stack.enter_context(mock.patch.object(module, name, value))

            Instead(stage).take_the_place(patch)
            for module in (landing, part_file, local_file, reopening):
                patch(module, "PosixDisk", lambda: disk)
            patch(local_file, "os", SimpleNamespace(path=SimpleNamespace(realpath=str)))
            patch(opening.secrets, "randbits", random.getrandbits)
            patch(demand, "LEAST_PART", random.choice([1, 30_000]))
            patch(demand, "MOST_PART", random.choice([100_000, 8 << 20]))
            patch(demand, "FILL_BYTES", random.choice([1000, 200_000]))
            patch(flights, "STEP", random.choice([20_000, 70_000, 16 << 20]))
            patch(remote_file, "STEP", random.choice([5000, 4 << 20]))
            patch(kept, "CELL", random.choice([1000, 4096, 65536]))
            yield

    def _files(self, stage: Stage) -> lazy_files.LazyFiles:
        world = self.world
        transport = ScriptedTransport(world.answer)

        def edges(url: str, options: Options, store: Any) -> tuple[Edges, list[Any]]:
            places = tuple(map(Place, mirrors_of(world)))
            made = Edges(url, transport, store, Throttle(None), Throttle(None), lambda: world.now)
            return replace(made, mirrors=places), []

        def begin(transfer: Transfer, edges: Edges, options: Options, _tell: Any) -> Driver:
            watcher: Any = Watching(stage, edges.watcher)
            return LazyDriver(stage, transfer, replace(edges, watcher=watcher))

        return lazy_files.LazyFiles(
            opening.Means(
                lambda url, options: options,
                edges,
                begin,
                lambda driver, networks: None,
                lambda: lambda: None,
                Permits(4),
            )
        )

    # A reader

    def _read_on(self, stage: Stage, files: lazy_files.LazyFiles) -> None:
        world, random = self.world, self.world.random
        way = lazy_files.Way(URL, self.path, None, self.options, self.lazy)
        file = files.open(way, None)
        for _ in range(random.randrange(1, 12)):
            stage.sleep(random.choice([0.0, 0.01, 0.3, 2.0]))
            act, actor = random.choice(self._acts), stage.current
            world.say(f"{act.__name__} of {stage.actors.index(actor)}")
            actor.until = world.now + (MOST_CALM_SECONDS if world.calm else MOST_SECONDS)
            try:
                act(self, file)
                self.served += 1
            except RdlError as error:
                world.say(f"failed: {error!r}")
                self.failed += 1
                self._judge(error)
                if random.random() < 0.4:
                    file.close()
                    file = files.open(way, None)
        if world.calm and self.path is not None:
            try:
                file.complete()
            except RdlError as error:
                self._judge(error)
        file.close()

    def _judge(self, error: RdlError) -> None:
        """Whether it may be the last word when the disasters are over."""
        doubtful = self._alone or "stale" in self.world.mirrors
        final = isinstance(error, PolicyError) or (doubtful and isinstance(error, ChangedError))
        if isinstance(error, NetworkError):  # a link died, as it does after a minute
            final = not self.options.transfer.retry and self.world.life is not None
        assert final or not self.world.calm, repr(error)

    @property
    def _alone(self) -> bool:
        """Whether nothing may tell that two responses are of one version."""
        return self.world.validator in ("weak", "none") or self.world.framing == "chunked"

    def _had(self, file: RemoteFile) -> Seen:
        flight = file._flight
        for seen in self.seen:
            if seen.flight is flight:
                return seen
        self.seen.append(Seen(self.world, flight))
        return self.seen[-1]

    def _about(self, file: RemoteFile) -> int:
        """Some offset in the file, near an end of it, or beyond."""
        random, size = self.world.random, len(self.world.versions[-1].content)
        places = [0, random.randrange(size + 1), random.randrange(size + 1), size - 1, size + 5000]
        return max(0, random.choice(places))

    def _in_order(self, file: RemoteFile) -> None:
        size = self.world.random.choice([1, 100, 5000, 70_000])
        for _ in range(self.world.random.randrange(1, 8)):
            at, data = file.tell(), file.read(size)
            self._had(file).read(at, size, data)
            if not data:
                file.seek(0)

    def _here_and_there(self, file: RemoteFile) -> None:
        at, size = self._about(file), self.world.random.choice([1, 5000, 200_000])
        self._had(file).read(at, size, file.read_at(at, size))

    def _far(self, file: RemoteFile) -> None:
        file.seek(self._about(file))
        self._in_order(file)

    def _huge(self, file: RemoteFile) -> None:
        self._had(file).read(0, 1 << 62, file.read_at(0, 30 << 20))

    def _size(self, file: RemoteFile) -> None:
        self._had(file).size(file.size())

    def _complete(self, file: RemoteFile) -> None:
        if self.world.random.random() < 0.4:
            self._had(file).size(file.complete().bytes_total or 0)

    def _save(self, file: RemoteFile) -> None:
        file.save()

    def _invalidate(self, file: RemoteFile) -> None:
        if self.world.random.random() < 0.3:
            start = self._about(file)
            file.invalidate(start, start + self.world.random.choice([1, 5000, 300_000]))
            if self._alone and not file.present():
                self._had(file).begin()

    def _follow(self, file: RemoteFile) -> None:
        file.follow().wait(self.world.random.choice([0.0, 1.0]))

    def _subscribe(self, file: RemoteFile) -> None:
        """One who never waits for bytes: it looks when it is rung, and only then."""
        stage, actor, random = self._stage, self._stage.current, self.world.random
        assert actor is not None
        subscription = file.subscribe(lambda: stage.wake(actor, random.choice([0.0, 0.0, 0.3])))
        try:
            for _ in range(random.randrange(1, 4)):
                at, size = self._about(file), random.choice([0, 1, 5000, 200_000])
                subscription.want(at, at + size, at + size + random.choice([0, 50_000]))
                while _lacks(subscription, at, at + size):
                    if subscription.error is not None:
                        raise subscription.error
                    stage.sleep()
        finally:
            subscription.close()

    _acts = [_in_order] * 4 + [_here_and_there] * 6 + [_far] * 3
    _acts += [_huge, _size, _complete, _save, _invalidate, _follow, _subscribe, _subscribe]

    # What stands on the disk

    def _look(self, fate: str) -> None:
        """The promises, after whatever happened."""
        world = self.world
        content = world.disk.read(TARGET)
        wholes = [version.content for version in world.versions]
        assert content is None or content in wholes, "a wrong file under the final name"
        names = Names.of(TARGET)
        if names.index not in world.disk.names(TARGET.parent):
            return
        folder = world.disk.open_folder(TARGET.parent)
        try:
            found = read_partial(world.disk, folder, names)
        except RdlError:
            return
        finally:
            world.disk.close(folder)
        part = world.disk.read(TARGET.with_name(names.part))
        if found is None or part is None:
            return
        total = found.header.representation.total
        alike = [one for one in wholes if total in (None, len(one), len(one) + 7)]
        for run in found.present:
            alike = [
                one for one in alike if one[run.start : run.stop] == part[run.start : run.stop]
            ]
        torn = fate == "power" and not found.settled  # it is looked at again before it is believed
        assert alike or torn, f"the index claims {found.present}, and is wrong"


def _lacks(subscription: Subscription, start: int, stop: int) -> bool:
    """Whether something of what it wants is not here, or not known."""
    size = subscription.size
    if size is None:
        return start == stop or subscription.ready(start) < stop
    return subscription.ready(start) < min(stop, size)


def run(seed: int) -> LazyStory:
    """Tell the story of one seed; what went wrong carries the whole story."""
    story = LazyStory(seed)
    with noted(seed, story.world):
        story.tell()
    return story


if __name__ == "__main__":
    replay(run)
