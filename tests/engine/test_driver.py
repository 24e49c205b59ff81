"""The driver with its real threads, over a scripted transport and a real part file."""

import hashlib
import random
import threading
import time
from queue import SimpleQueue

import pytest

from rdl.core import messages as m
from rdl.core.events import Progress
from rdl.core.fields import ResponseHead
from rdl.core.row import OVERLAP
from rdl.engine.backroom import Backroom
from rdl.engine.driver import Driver
from rdl.engine.reception import Edges
from rdl.engine.throttle import Throttle
from rdl.errors import (
    DigestMismatch,
    Interrupted,
    LocalFileError,
    NetworkError,
    NoSpaceError,
    OutOfTime,
)
from rdl.options import Digest
from rdl.transport.scripted import Answer, ScriptedTransport
from tests.core.playing import rng
from tests.engine.staging import Server, Wrapped, content_of, download
from tests.support import threads

MiB = 1 << 20


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = threads.running()
    yield
    assert not threads.left(before)


def sha256(data):
    return (Digest("sha256", hashlib.sha256(data).hexdigest()),)


@pytest.mark.parametrize("size", [0, 1, 4095, 65536, 65537, 3 * MiB + 7])
@pytest.mark.parametrize("connections", [1, 4])
@pytest.mark.parametrize("ranges", [True, False])
def test_a_file_arrives_whole_and_nothing_else_is_left(tmp_path, size, connections, ranges):
    server = Server(content_of(size), ranges=ranges)
    if size == 0:
        server.ranges = False
    path = tmp_path / "file"
    result, error = download(server, path, connections=connections, min_split=65536)
    assert error is None
    assert path.read_bytes() == server.content
    assert [one.name for one in tmp_path.iterdir()] == ["file"]
    assert result.bytes_present == size


def test_bodies_cut_after_ten_thousand_bytes_are_continued(tmp_path):
    server = Server(content_of(500_000), cut=10_000)
    result, error = download(server, tmp_path / "f", connections=1, retry=1)
    assert error is None
    assert (tmp_path / "f").read_bytes() == server.content
    assert server.sent <= 1.1 * len(server.content)
    assert result.retries == len(server.transport.requests) - 1


def test_three_runs_against_a_failing_server_each_bring_more(tmp_path):
    server, chance, present = Server(content_of(4 * MiB)), random.Random(5), []
    for ratio in (0.9, 0.4, 0.0):
        asked = len(server.transport.requests)

        def trouble(request, ratio=ratio, asked=asked):
            first = len(server.transport.requests) == asked + 1
            if not first and chance.random() < ratio:
                raise NetworkError("server", "refused")
            server.cut = 200_000 if ratio else None

        server.trouble = trouble
        result, error = download(server, tmp_path / "f", connections=1, retry=0)
        present.append(result.bytes_present)
        assert error is None or result.resumable
    assert error is None
    assert (tmp_path / "f").read_bytes() == server.content
    assert present == sorted(present)
    assert 0 < present[0] < present[2]
    assert server.sent <= 1.1 * len(server.content)


def test_a_permanent_failure_ends_and_says_that_it_may_be_continued(tmp_path):
    server = Server(b"x")

    def trouble(request):
        raise NetworkError("server", "refused")

    server.trouble = trouble
    result, error = download(server, tmp_path / "f", retry=1)
    assert isinstance(error, NetworkError)
    assert result.resumable
    assert len(server.transport.requests) == 2


def test_a_signal_saves_the_state_and_the_next_run_continues(tmp_path):
    server, path = Server(content_of(2 * MiB)), tmp_path / "f"
    drivers, body = [], server.body

    def slowly(data):
        for number, step in enumerate(body(data)):
            if number == 50:
                drivers[0].signal("SIGINT")
            if number > 50:
                time.sleep(0.01)
            yield step

    server.body = slowly
    result, error = download(server, path, connections=1, started=drivers.append)
    assert isinstance(error, Interrupted)
    assert not path.exists()
    assert result.bytes_present >= 400_000
    server.body, server.sent = body, 0
    again, error = download(server, path, connections=1)
    assert error is None
    assert path.read_bytes() == server.content
    assert again.bytes_reused == result.bytes_present
    assert server.sent == len(server.content) - again.bytes_reused + OVERLAP


def test_a_signal_ends_a_run_whose_server_never_answers(tmp_path):
    server, release, drivers = Server(b"x"), threading.Event(), []

    def hang(request):
        drivers[0].signal("SIGTERM")
        release.wait(40)
        raise NetworkError("server", "gone")

    server.trouble = hang
    before = time.monotonic()
    _, error = download(server, tmp_path / "f", started=drivers.append)
    release.set()
    assert isinstance(error, Interrupted)
    assert time.monotonic() - before < 20
    assert list(tmp_path.iterdir()) == []


def test_a_signal_ends_a_wait_at_once(tmp_path):
    server, drivers = Server(b"x"), []

    def busy(request):
        threading.Timer(0.05, drivers[0].signal, ["SIGINT"]).start()
        return Answer(ResponseHead(503, (("retry-after", "60"),), content_length=0))

    server.trouble = busy
    before = time.monotonic()
    _, error = download(server, tmp_path / "f", started=drivers.append)
    assert isinstance(error, Interrupted)
    assert time.monotonic() - before < 20


def test_max_time_ends_a_body_that_drips(tmp_path):
    server = Server(b"x" * 1000)

    def drip(data):
        for byte in data:
            yield bytes([byte])
            time.sleep(0.04)

    server.body = drip
    before = time.monotonic()
    result, error = download(server, tmp_path / "f", max_time=2)
    assert isinstance(error, OutOfTime)
    assert time.monotonic() - before < 20
    assert 0 < result.bytes_present < 1000


def test_a_right_digest_is_proved_and_a_wrong_one_is_put_aside(tmp_path):
    server, path = Server(content_of(3 * MiB + 1)), tmp_path / "f"
    result, error = download(server, path, digests=sha256(server.content), min_split=65536)
    assert error is None
    assert result.trust == "T4"
    path.unlink()
    _, error = download(server, path, digests=sha256(b"other"))
    assert isinstance(error, DigestMismatch)
    assert [one.name for one in tmp_path.iterdir()] == ["f.part.bad"]
    _, error = download(server, path, digests=sha256(server.content))
    assert error is None
    assert path.read_bytes() == server.content


def failing(error, at=1):
    """A function that raises the n-th time, and else does what it wraps."""

    def make(original):
        count = iter(range(1, 10**9))

        def call(*given):
            if next(count) == at:
                raise error
            return original(*given)

        return call

    return make


@pytest.mark.parametrize("method", ["begin", "reserve", "write_at", "record", "publish"])
@pytest.mark.parametrize("error", [NoSpaceError("f", "full"), LocalFileError("f", "I/O error")])
def test_a_disk_that_refuses_ends_the_run_with_its_error(tmp_path, method, error):
    server, make = Server(content_of(MiB)), failing(error)
    _, ended = download(
        server,
        tmp_path / "f",
        store=lambda own: Wrapped(own, **{method: make(getattr(own, method))}),
    )
    assert ended is error
    assert not (tmp_path / "f").exists()


def test_a_checkpoint_that_was_skipped_after_a_failure_is_not_waited_for(tmp_path):
    """The heart asks for a record and a checkpoint at once, and the record fails."""
    server, path = Server(content_of(34 * MiB)), tmp_path / "f"

    def body(data):
        yield data[: 32 * MiB - 1]
        time.sleep(0.05)
        yield data[32 * MiB - 1 :]

    server.body = body

    def store(own):
        total = 0

        def record(extents):
            nonlocal total
            total += sum(extent.stop - extent.start for extent in extents)
            if total >= 32 * MiB:
                raise LocalFileError("f", "I/O error")
            own.record(extents)

        return Wrapped(own, record=record)

    ended = []
    run = threading.Thread(target=lambda: ended.append(download(server, path, store=store)))
    run.daemon = True
    run.start()
    run.join(8)
    assert ended, "it waits for ever"
    assert isinstance(ended[0][1], LocalFileError)


def test_a_change_while_the_digest_lags_behind_is_no_disk_error(tmp_path):
    """The hash of the old version may still be reading when the new one is begun."""
    old, new = content_of(4 * MiB), content_of(4 * MiB, 2)
    server, begun = Server(old, cut=3 * MiB), threading.Event()
    asked = []

    def trouble(request):
        asked.append(request)
        if len(asked) == 2:
            server.content, server.etag, server.cut = new, '"2"', None

    server.trouble = trouble

    def store(own):
        def begin(header):
            own.begin(header)
            if asked[1:]:
                begun.set()

        def read_into(offset, view):
            begun.wait(5)
            return own.read_into(offset, view)

        return Wrapped(own, begin=begin, read_into=read_into)

    _, error = download(server, tmp_path / "f", store=store, connections=1, digests=sha256(new))
    assert error is None
    assert (tmp_path / "f").read_bytes() == new


def test_a_file_that_changes_under_many_workers_is_all_new_or_absent(tmp_path):
    for turn in range(10):
        server, path = Server(content_of(2 * MiB)), tmp_path / f"f{turn}"
        new, asked = content_of(2 * MiB, 2), []

        def trouble(request, server=server, asked=asked, turn=turn, new=new):
            asked.append(request)
            if len(asked) == 2 + turn % 4:
                server.content, server.etag = new, '"2"'

        server.trouble = trouble
        _, error = download(server, path, connections=4, min_split=65536)
        assert error is None
        assert path.read_bytes() in (content_of(2 * MiB), new)


def test_progress_never_goes_back_and_ends_at_the_size(tmp_path):
    server, facts = Server(content_of(3 * MiB)), []
    _, error = download(server, tmp_path / "f", connections=4, min_split=65536, tell=facts.append)
    assert error is None
    seen = [fact.bytes_present for fact in facts if isinstance(fact, Progress)]
    assert seen == sorted(seen)
    assert seen[-1] == len(server.content)


def test_a_bug_beside_the_heart_is_reported():
    events = SimpleQueue()
    room = Backroom("sync", events.put)
    room.do(lambda: 1 // 0)
    room.close()
    event = events.get_nowait()
    assert isinstance(event, m.LocalFailed)
    assert event.during_sync
    assert event.error.reason == "internal"


def test_a_bug_in_a_worker_ends_the_run_as_internal(tmp_path):
    server = Server(b"x" * 100)

    def broken(data):
        yield data[:10]
        raise ZeroDivisionError

    server.body = broken
    _, error = download(server, tmp_path / "f")
    assert error is not None
    assert error.reason == "internal"


def test_an_exception_of_the_teller_leaves_no_worker_that_writes(tmp_path):
    server, written = Server(content_of(MiB)), []
    body = server.body

    def slowly(data):
        for step in body(data):
            time.sleep(0.002)
            yield step

    server.body = slowly

    def store(own):
        def write_at(offset, data):
            written.append(offset)
            own.write_at(offset, data)

        return Wrapped(own, write_at=write_at)

    def tell(fact):
        if isinstance(fact, Progress) and fact.bytes_present:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(server, tmp_path / "f", store=store, tell=tell)
    count = len(written)
    time.sleep(0.05)
    assert len(written) == count


class Scripted:
    """A heart whose commands are known beforehand."""

    def __init__(self, *commands):
        self.left, self.heard = list(commands), []

    def on(self, event, now):
        self.heard.append(event)
        return self.left.pop(0) if self.left else []


def test_a_copy_that_a_failure_leaves_out_is_answered():
    lost, place = rng(0, 5), rng(10, 15)
    heart = Scripted([m.Forget((lost,)), m.Repeat(lost, (place,))], [], [m.Finish(None)])
    Driver(heart, refusing()).run()
    assert isinstance(heart.heard[1], m.LocalFailed)
    assert heart.heard[2] == m.Repeated((place,), copied=False)


def test_a_copy_that_fails_is_answered_too():
    place = rng(10, 15)
    heart = Scripted([m.Repeat(rng(0, 5), (place,))], [], [m.Finish(None)])
    Driver(heart, refusing()).run()
    assert isinstance(heart.heard[1], m.LocalFailed)
    assert heart.heard[2] == m.Repeated((place,), copied=False)


def refusing():
    """Edges over a store that does nothing."""
    return Edges(
        "http://h/f", ScriptedTransport(Answer), Refusing(), Throttle(None), Throttle(None)
    )


class Refusing:
    """It does nothing."""

    def forget(self, ranges):
        raise LocalFileError("index", "no")

    def read_into(self, offset, view):
        raise LocalFileError("part file", "no")
