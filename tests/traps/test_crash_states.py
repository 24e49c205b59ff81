"""A power cut or a kill after any operation of a download, and the run that follows.

NIGHTLY_STATES sets how many states are tried (the nightly run does).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

import pytest

from rdl.core import saving
from rdl.storage import index_file
from rdl.storage.base import Saved
from rdl.storage.memory import MemoryDisk
from tests.traps.crash_states import Moment, Recorder, load, samples, settled, states
from tests.traps.stage import (
    HALF,
    OLD,
    PART,
    STATE,
    TARGET,
    VERSIONS,
    Promises,
    Run,
    download,
)

STATES = int(os.environ.get("NIGHTLY_STATES", "1000"))


@dataclass(frozen=True)
class Scene:
    """A download that is recorded. `before`: a run that ends half-way precedes it."""

    run: Run
    before: Run | None = None
    target: bytes | None = None
    part: bytes | None = None
    code: int = 0
    then: Run = field(default_factory=Run)
    """How the run after the crash is run."""


BOTH = Run(VERSIONS)
SCENES = {
    "fresh": Scene(Run()),
    "small": Scene(Run(small=True), then=Run(small=True)),
    "small, interrupted": Scene(Run(stop_at=0.5, small=True), code=143, then=Run(small=True)),
    "replacing": Scene(Run(), target=OLD),
    "resumed": Scene(Run(), before=Run(stop_at=0.3)),
    "changed": Scene(BOTH, before=Run(stop_at=0.3), then=BOTH),
    "interrupted": Scene(Run(stop_at=0.5), code=143),
    "proved": Scene(Run(digest=1), then=Run(digest=1)),
    "put aside": Scene(Run(digest=-1), code=10),
    "adopted": Scene(Run(digest=1, adopt=True), part=HALF, then=Run(digest=1, adopt=True)),
    "adopted target": Scene(Run(digest=1, adopt=True), target=HALF, then=Run(digest=1, adopt=True)),
    "another's state": Scene(
        Run(digest=1, adopt=True), target=HALF, part=STATE, then=Run(digest=1, adopt=True)
    ),
    "another's state, unproved": Scene(
        Run(adopt=True), target=HALF, part=STATE, then=Run(adopt=True)
    ),
}


def recorded(scene: Scene) -> list[Moment]:
    """The moments of the scene; the first is before it."""
    promises = Promises()
    disk = Recorder(promises)
    if scene.before is not None:
        assert download(disk, scene.before, promises=promises).code == 143
        disk.kill()
        start = disk.moments[-1]
        assert start.durable, "the run before it left nothing"
        disk = Recorder(promises)
        disk.start_from(start)
    for path, data in ((TARGET, scene.target), (PART, scene.part)):
        if data is not None:
            disk.put(path, data)
    assert download(disk, scene.run, promises=promises).code == scene.code
    return disk.moments


def allowed(scene: Scene) -> list[bytes | None]:
    """What may stand under the final name."""
    return [scene.target, *scene.run.contents]


def recover(scene: Scene, moment: Moment, disk: MemoryDisk, promised: frozenset[object]) -> None:
    """What is there, what is believed of it, and that the next run ends right."""
    found = disk.read(TARGET)
    assert found in allowed(scene), "a wrong file under the final name"
    if scene.part == STATE and found == scene.target:
        kept = (PART, PART.with_name("file.part.foreign"))
        assert STATE in map(disk.read, kept), "another's state is lost before its time"

    def look(saved: Saved) -> None:
        part, number = disk.read(PART) or b"", int((saved.header.representation.etag or "")[2:-1])
        version = scene.run.contents[number - 1]
        for one in saved.extents:
            assert part[one.start : one.stop] == version[one.start : one.stop], f"a lie: {one}"
        assert promised <= set(saved.extents), "what was promised is lost"
        looked.append(saved)

    looked: list[Saved] = []
    after = download(disk, scene.then, look)
    assert after.code == 0, f"{after.error!r} ({getattr(after.error, 'why', '')})"
    assert looked or not promised, "what was promised is lost"
    assert disk.read(TARGET) == scene.then.contents[-1]
    left = {name for name in disk.names(TARGET.parent) if not name.startswith(".rdl-")}
    assert left <= {"file", "file.part.bad"}


@pytest.fixture(scope="module")
def recordings() -> Iterator[dict[str, list[Moment]]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saving, "CHECKPOINT_SECONDS", 0.1)  # many in a short download
        patch.setattr(index_file, "MANY_LOOSE", 3)
        yield {name: recorded(scene) for name, scene in SCENES.items()}


@pytest.mark.parametrize("name", SCENES)
def test_a_power_cut_at_any_moment(name: str, recordings: dict[str, list[Moment]]) -> None:
    """In every tenth state the run that follows has a power cut as well."""
    scene, seen, enough = SCENES[name], set[object](), STATES // len(SCENES)
    for moment, fates in samples(recordings[name], 4 * enough, seed=1):
        disk, number = MemoryDisk(), len(seen)
        state = (load(disk, moment.shelf, fates, Random(number)), moment.durable)
        if state in seen:
            continue
        seen.add(state)
        disk.crash(Random(0))  # all is durable: this only boots
        try:
            if number % 10 == 0:
                cut_again(scene, moment, fates, Random(number))
            recover(scene, moment, disk, moment.durable)
        except BaseException as error:
            error.add_note(f"{name}: power cut after {moment.after}, fates {fates} ({number})")
            raise
        if len(seen) >= enough:
            break
    assert len(seen) >= min(enough, 12 if scene.run.small else 60)


def cut_again(scene: Scene, moment: Moment, fates: tuple[int, ...], random: Random) -> None:
    """The power goes again while the next run is at work."""
    promises = Promises()
    first = Recorder(promises)
    first.start_from(Moment("", settled(moment.shelf, fates, random), frozenset(), frozenset()))
    first.crash(Random(0))
    download(first, scene.then, promises=promises)
    if not first.moments:  # nothing had to be done
        return
    again = random.choice(first.moments)
    more = next(states(again.shelf, random))
    disk = MemoryDisk()
    load(disk, again.shelf, more, random)
    disk.crash(Random(0))
    try:
        recover(scene, again, disk, again.durable)
    except BaseException as error:
        error.add_note(f"again after {again.after}, fates {more}")
        raise


@pytest.mark.parametrize("name", SCENES)
def test_a_kill_at_any_moment(name: str, recordings: dict[str, list[Moment]]) -> None:
    assert len(recordings[name]) > 10
    for moment in recordings[name]:
        disk = MemoryDisk()
        load(disk, moment.shelf, None)
        try:
            recover(SCENES[name], moment, disk, moment.soft)
        except BaseException as error:
            error.add_note(f"{name}: killed after {moment.after}")
            raise


def test_the_states_are_those_that_may_be() -> None:
    """Of a file of two writes and its name: 2 x 6 x 2 fates; what was synced is always there."""
    disk = Recorder(Promises())
    folder = disk.open_folder(TARGET.parent)
    file = disk.open(folder, "f", create=True)
    disk.pwrite(file, memoryview(b"a" * 1024), 0)
    disk.sync(file)
    disk.sync_folder(folder)
    disk.pwrite(file, memoryview(b"b" * 512), 512)
    disk.pwrite(file, memoryview(b"c" * 1024), 1024)
    disk.rename(folder, "f", "g", replace=False)
    shelf, found = disk.moments[-1].shelf, set()
    for fates in states(shelf, Random(1)):
        again = MemoryDisk()
        found.add(load(again, shelf, fates, Random(1)))
    assert len(list(states(shelf, Random(1)))) == 2 * 6 * 3
    names = {tuple(name for name, _, _ in state) for state in found}
    assert names == {("f",), ("g",), ("f", "g")}
    contents = {state[0][2] for state in found}
    assert all(data[:512] == b"a" * 512 for data in contents)
    assert {data[512:1024] for data in contents} == {b"a" * 512, b"b" * 512}
    b, c, zero = b"b" * 512, b"c" * 512, bytes(512)
    assert {data[1024:] for data in contents} >= {b"", c + c, c + zero, zero + c, zero + zero}
    assert b not in {data[1024:] for data in contents}
