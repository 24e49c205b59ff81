"""Seeded disasters: the real heart, driver, reception, store and index over a simulated
server, disk and clock. One seed is one story; `python -m tests.engine.simulator SEED` tells it.

Every story must end with the right file, and at every moment before that the final name is
absent, or holds the old file, or exactly one version that the server had.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from hashlib import sha256
from random import Random
from unittest import mock

from msgspec.structs import replace

from rdl.core import proving, taking
from rdl.core.delta import fewer
from rdl.core.events import Result
from rdl.core.representation import Trust
from rdl.errors import BusyError, ChangedError, DigestMismatch, RdlError
from rdl.landing import Sow
from rdl.options import BlockDigests, Digest, FileOptions, Options, TransferOptions
from rdl.storage import index_file
from rdl.storage.names import PRIVATE, Names
from rdl.storage.part_file import PartStore
from rdl.storage.small import SmallStore
from rdl.storage.sown_part import SownPart
from tests.engine.delta_world import DeltaWorld, Sower
from tests.engine.simulated import Process, mirrors_of
from tests.engine.world import TARGET, Killed, Version, World

MOST_RUNS = 40
DELTAS = (0, 1, 8)
"""Seeds that end with these digits tell of deltas."""


def _holed(content: bytes, random: Random) -> bytes:
    """With pages of zeros where another program had reserved, and not written."""
    data = bytearray(content)
    for _ in range(3):
        start = random.randrange(0, len(data) + 4096, 4096)
        stop = min(len(data), start + random.choice([4096, 70_000, 300_000]))
        data[start:stop] = bytes(max(0, stop - start))
    return bytes(data) + random.choice([b"", b"\0" * 5000, b"more"])


class Story:
    """Runs after runs over one world, until the file is there."""

    def __init__(self, seed: int, world: World | None = None) -> None:
        self.world = world or World(seed)
        random = self.world.random
        self.old = random.randbytes(1000) if random.random() < 0.2 else None
        if self.old is not None:
            self.world.disk.write(TARGET, self.old)
        self.store: PartStore | None = None
        self.idle = False
        self.digest = random.random() < 0.3
        if self.digest and self.world.luck.random() < 0.2 and not isinstance(self, DeltaStory):
            self.world.mirrors.append("wrong")
        self.block = self.world.luck.choice([0, 0, 1000, 65536]) if self.digest else 0
        """Bytes of the blocks whose digests are known."""
        self.bare = bool(self.block) and self.world.luck.random() < 0.4
        """There is no digest of the whole beside them."""
        self.options = TransferOptions(
            connections=random.choice([None, 1, 3, 8]),
            min_split=random.choice([1, 4096, 65536]),
            block_size=random.choice([None, 4096, 65536]),
            retry=random.choice([0, 3, 10]),
        )
        self.adopt = self.digest and random.random() < 0.3 and not self.bare
        if self.adopt:
            self._leave_partial()

    def _leave_partial(self) -> None:
        """Another program has begun the file."""
        random, content = self.world.random, self.world.versions[0].content
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
        checked = self.digest or world.publishes or world.parts or isinstance(self, DeltaStory)
        allowed = {"file.part.bad"} if checked else set()
        if self.idle:  # the right file stood there: a partial beside it is nobody's to remove
            allowed |= {"file.part", "file.part.index", "file.part.index.new"}
        assert left <= allowed, left

    @property
    def complete(self) -> bool:
        """Whether the file stands there, and is the newest as far as its tag can say."""
        last = self.world.versions[-1].tag
        wanted = [version.content for version in self.world.versions if version.tag == last]
        if "stale" in self.world.mirrors and not self.digest:
            wanted.append(self.world.versions[0].content)
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
        options = Options(
            transfer=replace(
                self.options, digests=self._digests(current), blocks=self._blocks(current)
            ),
            file=FileOptions(adopt=self.adopt),
            mirrors=() if "liar" in world.mirrors else mirrors_of(world),
        )
        part = PartStore(TARGET, adopt=self.adopt, disk=world.disk)
        store = SmallStore(part, world.disk)
        process = Process(world, store, options, lambda: random.getrandbits(32))
        self.idle = process.driver is None
        if process.driver is None:
            return world.disk.read(TARGET) == current.content
        self.store = part
        before = len(world.versions)
        return self._play(process, fate) is None and before == len(world.versions)

    def _play(self, process: Process, fate: str) -> RdlError | None:
        """To its end, meanwhile a second one tries as well."""
        world, random = self.world, self.world.random
        assert process.driver is not None
        if fate == "stop":
            process.driver.later(random.random() * 3, process.stop)
        process.driver.later(random.random() * 2, self._second_process)
        result, error = process.run()
        world.say(f"{result.reason}: {error!r}")
        self._check(result, error)
        return error

    def _digests(self, version: Version) -> tuple[Digest, ...]:
        if not self.digest or self.bare:
            return ()
        return (Digest("sha256", sha256(version.content).hexdigest()),)

    def _blocks(self, version: Version) -> BlockDigests | None:
        if not self.block:
            return None
        content, size = version.content, self.block
        parts = (content[at : at + size] for at in range(0, len(content), size))
        return BlockDigests(size, "sha256", tuple(sha256(part).hexdigest() for part in parts))

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


class DeltaStory(Story):
    """Each run first takes what local files hold; some go on without a manifest."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, DeltaWorld(seed))
        self.adopt, self.block = False, 0

    def _leave_partial(self) -> None:
        """Nobody has."""

    def _process(self, fate: str) -> bool:
        world = self.world
        assert isinstance(world, DeltaWorld)
        self.digest = world.fate.random() < 0.3
        if not world.vouched and world.fate.random() < 0.3:
            return super()._process(fate)
        manifest, current = world.manifest(), world.versions[-1]
        transfer = replace(
            self.options,
            digests=manifest.digests,
            expected_size=len(manifest.version.content),
        )
        options = Options(transfer=transfer, mirrors=mirrors_of(world))
        part, sower = SownPart(TARGET, disk=world.disk), Sower(world, manifest)
        world.say(f"manifest of {manifest.version.number}: {manifest}")
        bits = world.random.getrandbits
        process = Process(world, part, options, lambda: bits(32), sow=Sow(sower))
        self.idle = process.driver is None
        if process.driver is None:
            return manifest.version is current
        self.store = part
        before = len(world.versions)
        error = self._play(process, fate)
        if error is None and manifest.decides:
            assert world.disk.read(TARGET) == manifest.version.content
        steady = before == len(world.versions)
        if isinstance(error, ChangedError | DigestMismatch):
            if world.calm and manifest.version is current:
                wrong = world.framing == "chunked" or "liar" in world.mirrors
                assert wrong, f"nothing was wrong: {error}"
            if not manifest.decides:
                self.digest = False
                try:
                    self._let_go()
                except OSError as error:
                    world.say(f"not let go: {error}")
                    return False
                return super()._process(fate)
        return error is None and steady and manifest.version is current

    def _let_go(self) -> None:
        """As rdl.syncing does of a manifest that proved to be of another version."""
        disk = self.world.disk
        folder, names = disk.open_folder(TARGET.parent), Names.of(TARGET)
        if disk.stat(folder, names.bad) is not None:
            disk.unlink(folder, names.bad)
        disk.close(folder)
        store = PartStore(TARGET, disk=disk)
        saved = store.open()
        store.close(discard=saved is None or saved.header.representation.trust is Trust.T0)


def run(seed: int) -> Story:
    """Tell the story of one seed; what went wrong carries the whole story."""
    story = DeltaStory(seed) if seed % 10 in DELTAS else Story(seed)
    with odd(seed), noted(seed, story.world):
        story.tell()
    return story


@contextmanager
def odd(seed: int) -> Iterator[None]:
    """What is seldom with small files is not here: the index is begun anew, blocks are looked at
    and copied in several steps, many runs are told as fewer, and the head is hashed meanwhile."""
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(index_file, "MANY_LOOSE", 1 + seed % 6))
        if seed % 10 in DELTAS:
            runs = partial(fewer, most=1 + seed % 4)
            stack.enter_context(mock.patch.object(taking, "fewer", runs))
            stack.enter_context(mock.patch.object(taking, "MOST_CHECKED", 1 + seed % 5))
            stack.enter_context(mock.patch.object(proving, "HASH_STEP", 1 << 10 + seed % 11))
        yield


@contextmanager
def noted(seed: int, world: World) -> Iterator[None]:
    """What goes wrong meanwhile carries the story of this seed."""
    try:
        yield
    except BaseException as error:
        error.add_note("\n".join([f"seed {seed}", *world.log[-60:]]))
        raise


def replay(run: Callable[[int], object]) -> None:
    """Seeds given as arguments, or a range `FROM-TO`."""
    for word in sys.argv[1:]:
        first, _, last = word.partition("-")
        for seed in range(int(first), int(last or first) + 1):
            run(seed)
            print(f"seed {seed}: right", flush=True)


if __name__ == "__main__":
    replay(run)
