"""What went wrong once where several readers share a remote file, each by itself."""

from functools import partial

import pytest
from msgspec.structs import replace

from rdl import lazy_files
from rdl.core.byterange import ByteRange
from rdl.core.events import Result
from rdl.core.representation import Representation
from rdl.engine.flights import Flight
from rdl.engine.remote_file import Subscription
from rdl.errors import NetworkError, RdlError
from rdl.storage.kept import CELL, KeptStore
from tests.engine.baton import Stage
from tests.engine.lazy_stories import LazyStory
from tests.engine.simulated import URL
from tests.engine.world import TARGET, Version
from tests.support.waiting import until


class Ground:
    """Memory, and nobody who fills it."""

    url, room = "http://server/file", CELL

    def __init__(self):
        self.store = KeptStore()

    def evict(self, size, wanted):
        return self.store.evict(size, wanted)

    def launch(self, flight, known):
        flight.known(Representation(5, '"a"'), 5)
        return Result(self.url, "")

    def landed(self, flight, result, error):
        pass

    def close(self):
        pass


def test_what_is_let_go_is_not_here_from_that_moment_on():
    flight = Flight(Ground())
    flight.known(Representation(3 * CELL - 10, '"a"'), 3 * CELL - 10)
    flight._ground.store.write_at(0, memoryview(b"x" * (3 * CELL - 10)))
    flight.show((ByteRange(0, 3 * CELL - 10),))
    gone = flight.evict(1, (ByteRange(CELL, 2 * CELL),))
    assert gone == [ByteRange(0, CELL)]
    assert flight.present() == (ByteRange(CELL, 3 * CELL - 10),)


def play(*scripts):
    """Readers of a file at a path, of an honest server; `(file or the way to it, stage)`."""
    story = LazyStory(5)
    world, stage = story.world, Stage(story.world)
    world.calm, world.validator, world.ranges, world.framing = True, "strong", True, "length"
    world.mirrors, world.life = [], None
    world.versions = [Version(1, world.random.randbytes(900_000), 1)]
    options = replace(story.options, mirrors=())
    way = lazy_files.Way(URL, TARGET, None, options, story.lazy)
    try:
        with story._instead(stage):
            files = story._files(stage)
            stage.play([stage.begin(partial(one, stage, files, way)) for one in scripts])
    finally:
        world.disk.kill()
        stage.end()
    return world


def test_a_file_that_this_flight_has_published_can_be_found_wrong():
    got = []

    def read(stage, files, way):
        file = files.open(way, None)
        file.complete()
        file.invalidate(0, 1000)
        got.append(file.read_at(0, 1000))
        file.complete()
        file.close()

    world = play(read)
    content = world.versions[-1].content
    assert got == [content[:1000]]
    assert world.disk.read(TARGET) == content


def test_what_another_has_replaced_stays_what_was_read():
    got = []

    def read(stage, files, way):
        file = files.open(way, None)
        file.complete()
        stage.world.disk.write(TARGET, b"another's")
        for _ in range(2):
            with pytest.raises(RdlError):
                file.invalidate(0, 1000)
        got.append(file.read_at(0, 1000))  # of the file that is open, not of the name
        file.close()

    world = play(read)
    assert world.disk.read(TARGET) == b"another's"
    assert got == [world.versions[-1].content[:1000]]


def test_who_opens_what_another_just_leaves_does_not_find_it_busy():
    read = []

    def come_and_go(stage, files, way):
        for number in range(20):
            file = files.open(way, None)
            read.append(len(file.read_at(number * 40_000, 10)))
            file.close()
            stage.sleep(stage.world.random.random() / 20)

    play(come_and_go, come_and_go, come_and_go)
    assert read == [10] * 60


@pytest.mark.parametrize("stop", [0, 900_000])
def test_who_wants_what_has_just_come_takes_no_name_away(stop):
    """It had looked before; by the time that it asks, the run is over and the file published."""
    found = []

    def read(stage, files, way):
        file = files.open(way, None)
        file.complete()
        subscription = file.subscribe(lambda: None)
        subscription.want(0, stop, stop)
        for _ in range(100):
            found.append(stage.world.disk.read(TARGET))
            stage.sleep(0.01)
        subscription.close()
        file.close()

    world = play(read)
    assert set(found) == {world.versions[-1].content}


def test_what_is_taken_back_before_it_was_looked_at_comes_again():
    """Who never waits does not ask twice."""
    came = bytearray(1000)

    def read(stage, files, way):
        file = files.open(way, None)
        subscription = file.subscribe(lambda: None)
        subscription.want(0, 1000)
        file.complete()
        file.invalidate(0, 1000)
        stage.current.until = stage.world.now + 100
        while subscription.ready(0) < 1000:
            stage.sleep(0.1)
        assert subscription.read_into(0, memoryview(came)) == 1000
        subscription.close()
        file.close()

    assert play(read).versions[-1].content.startswith(bytes(came))


def test_who_asks_while_a_run_fails_does_not_hear_of_it():
    """What he asks the next run will bring."""
    flight = Flight(Ground())
    subscription = Subscription(flight, lambda: None)
    lock = flight._lock

    class Fails:
        """The lock, for which it was the first to stand in line."""

        def __enter__(self):
            flight._lock = lock
            flight._land(Result("", ""), NetworkError("server", "it is gone"))
            lock.acquire()

        def __exit__(self, *error):
            lock.release()

    flight._lock = Fails()
    subscription.want(0, 0)
    assert until(lambda: subscription.size == 5)
    assert subscription.error is None
    flight.close()
