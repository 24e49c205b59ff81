"""A list over an Executor: any one; what is lost comes again, what cannot be sent is refused."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest

import rdl
from rdl.batch import running, working
from rdl.batch.flag import _flag, _watching, hoist, lower
from rdl.batch.running import Batch, Far
from rdl.batch.shards import Shard, packed
from rdl.batch.working import Report, Reports, decoded, encoded, fetch, interrupt
from rdl.core.events import Fact, Progress, Result, Warned
from rdl.errors import NetworkError, UsageError
from rdl.options import FileOptions, NetworkOptions, Options, SessionOptions
from tests.support.folders import Folder
from tests.support.waiting import until

COUNT = 20


def content(number: int) -> bytes:
    return f"file {number} ".encode() * 50


@pytest.fixture
def folder(folder: Folder) -> Folder:
    for number in range(COUNT):
        (folder.root / str(number)).write_bytes(content(number))
    return folder


@pytest.fixture
def targets(folder: Folder, tmp_path: Path) -> list[rdl.Target]:
    return [rdl.Target(f"{folder.url}/{n}", tmp_path / str(n)) for n in range(COUNT)]


@pytest.fixture(autouse=True)
def short_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "LOOK_SECONDS", 0.01)


class Inline(Executor):
    """Calls at once, in the same thread; but the first calls are `lost`."""

    def __init__(self, lost: int = 0) -> None:
        self.lost = lost
        self.shards: list[Shard] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.shards += args
        future = Future[Any]()
        try:
            if len(self.shards) <= self.lost:
                raise RuntimeError("killed")
            future.set_result(fn(*args))
        except Exception as error:
            future.set_exception(error)
        return future


class Within(Inline, Far):
    """As Inline, with workers that can be reached; they are `ready` at the second look. One that
    `breaks` does so then, until it is looked at again."""

    num_workers = 1

    def __init__(self, breaks: bool = False) -> None:
        super().__init__()
        self.looks, self.breaks = 0, breaks
        self.interrupted: list[str] = []
        self.forgotten: list[str] = []

    def call(self, shard: Shard) -> list[Report]:
        return fetch(shard, self.channel)

    def hear(self, batch: str, channel: Callable[[list[Report]], None]) -> None:
        self.channel = channel

    def ready(self) -> bool:
        self.looks += 1
        self.breaks = self.breaks and self.looks <= 2
        return self.looks > 1

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if self.breaks:
            raise ConnectionError("lost")
        return super().submit(fn, *args, **kwargs)

    def interrupt(self, batch: str, signal: str) -> None:
        self.interrupted.append(signal)
        interrupt(batch, signal)

    def forget(self, batch: str) -> None:
        self.forgotten.append(batch)


def in_place(folder: Path) -> None:
    for number in range(COUNT):
        assert (folder / str(number)).read_bytes() == content(number)


@pytest.mark.parametrize("pool", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_any_executor(
    pool: Callable[[int], Executor], targets: list[rdl.Target], tmp_path: Path, folder: Folder
) -> None:
    done: list[str] = []
    with pool(2) as executor:
        results = rdl.get_all(targets, executor, done=lambda one: done.append(one.path))
    assert [one.path for one in results] == [str(one.path) for one in targets]
    assert {one.reason for one in results} == {"complete"}
    assert sorted(done) == sorted(one.path for one in results)
    in_place(tmp_path)
    assert len(folder.log) == COUNT
    assert {one.reason for one in rdl.get_all(targets, Inline())} == {"unchanged"}


def test_without_an_executor_threads(targets: list[rdl.Target], tmp_path: Path) -> None:
    assert {one.exit_code for one in rdl.get_all(targets)} == {0}
    in_place(tmp_path)
    assert rdl.get_all([], Inline()) == []


def test_paths_are_of_the_folder_of_the_caller(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cookies").write_text("# Netscape HTTP Cookie File\n")
    network = NetworkOptions(cookies=Path("cookies"))
    target = rdl.Target(f"{folder.url}/1", Path("one"), Options(network=network))
    executor, told = Inline(), list[Fact]()
    (result,) = rdl.get_all([target], executor, workers=1, tell=told.append)
    assert (result.path, result.exit_code) == ("one", 0)
    (sent,), _ = executor.shards[0].unpacked()
    assert sent.path == tmp_path / "one"
    assert sent.options.network.cookies == tmp_path / "cookies"
    assert sent.options.file.join


def test_a_link_leads_where_the_system_says(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "far" / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to("far/inner")
    target = rdl.Target(f"{folder.url}/1", tmp_path / "link" / ".." / "one")
    (result,) = rdl.get_all([target], Inline(), workers=1)
    assert (result.path, result.exit_code) == (str(target.path), 0)
    assert (tmp_path / "far" / "one").read_bytes() == content(1)
    same = rdl.Target(f"{folder.url}/2", tmp_path / "far" / "one")
    with pytest.raises(UsageError, match="the same target twice"):
        rdl.get_all([target, same], Inline())


def test_what_is_lost_comes_again(targets: list[rdl.Target], tmp_path: Path) -> None:
    results = rdl.get_all(targets, Inline(3), workers=1)
    assert {one.exit_code for one in results} == {0}
    in_place(tmp_path)


def test_what_is_lost_again_and_again_has_failed(targets: list[rdl.Target]) -> None:
    executor = Inline(1000)
    results = rdl.get_all(targets, executor, workers=1)
    assert {(one.exit_code, one.reason) for one in results} == {(4, "network")}
    assert results[0].error == "worker: lost 4 times: RuntimeError: killed"
    assert len(executor.shards) == 4 * 4, "each shard so often"


def test_an_executor_that_is_over(targets: list[rdl.Target]) -> None:
    executor, done = ThreadPoolExecutor(1), list[Result]()
    executor.shutdown()
    with pytest.raises(NetworkError, match=r"^executor: cannot schedule"):
        rdl.get_all(targets, executor, done=done.append)
    assert [(one.path, one.exit_code) for one in done] == [(str(one.path), 4) for one in targets]


def test_workers_that_are_given_up_and_what_came_until_then(targets: list[rdl.Target]) -> None:
    class Gone(Within):
        def ready(self) -> bool:
            if self.shards:
                raise NetworkError("scheduler", "lost")
            return True

        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            self.shards += args
            self.channel(fetch(*args))
            return Future[Any]()

    done = list[Result]()
    with pytest.raises(NetworkError, match="lost"):
        rdl.get_all(targets, Gone(), done=done.append)
    assert sorted(one.path for one in done) == sorted(str(one.path) for one in targets)
    assert {(one.exit_code, one.reason) for one in done} == {(0, "complete"), (4, "network")}


@pytest.mark.parametrize("count", [1, 2])
def test_workers_of_a_pool_that_would_all_wait_for_it(
    count: int, targets: list[rdl.Target], tmp_path: Path
) -> None:
    """The last of them is refused, so that the others' shards are fetched."""
    if count > 1:
        (tmp_path / "more").mkdir()
    begun = threading.Barrier(count)
    with ThreadPoolExecutor(count) as pool:

        def call(folder: Path) -> list[Result]:
            begun.wait(20)
            own = [rdl.Target(one.url, folder / one.path.name) for one in targets]
            return rdl.get_all(own, pool)

        futures = [pool.submit(call, tmp_path / name) for name in ("", "more")[:count]]
        refused = [one.exception(20) for one in futures]
        assert [str(one).startswith("executor: its own workers") for one in refused].count(True)
        assert refused.count(None) == count - 1
        assert {one.exit_code for one in rdl.get_all(targets[:1], pool)} == {0}, "and after that"


_pools: list[Executor] = []


def over_the_copy() -> None:
    rdl.get_all([], _pools[0])


def test_a_copy_of_a_pool_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        monkeypatch.setattr(f"{__name__}._pools", [pool])
        with pytest.raises(UsageError, match="it is a copy"):
            pool.submit(over_the_copy).result(20)
        calls: Any = vars(pool)["_call_queue"]
        with monkeypatch.context() as other:
            other.setattr(calls, "_opid", 0)
            with pytest.raises(UsageError, match="it is a copy"):
                over_the_copy()


def test_an_interrupt_reaches_processes_of_this_machine(
    targets: list[rdl.Target], folder: Folder
) -> None:
    with ProcessPoolExecutor(2) as pool, ThreadPoolExecutor(1) as beside:
        batch = Batch(pool, SessionOptions(limit_rate=400))
        beside.submit(lambda: until(lambda: folder.log) and batch.interrupt("SIGTERM"))
        assert {one.exit_code for one in batch.get_all(targets)} == {143}
        assert not pool._pending_work_items, "none goes on"
    assert not os.path.lexists(_flag(batch.name))


def test_a_flag_is_seen_while_a_shard_runs() -> None:
    with _watching("rdl-flagged"):
        assert not os.path.lexists(_flag("rdl-flagged"))
        hoist("rdl-flagged", "SIGHUP")
        try:
            assert until(lambda: working._interrupted.pop("rdl-flagged", "") == "SIGHUP")
        finally:
            lower("rdl-flagged")


def test_workers_that_come_and_go(targets: list[rdl.Target], tmp_path: Path) -> None:
    executor = Within(breaks=True)
    results = rdl.get_all(targets, executor)
    assert executor.forgotten == [executor.shards[0].batch]
    assert {one.exit_code for one in results} == {0}
    in_place(tmp_path)


def test_reports_say_the_latest_and_every_result() -> None:
    now, sent = [0.0], list[list[Report]]()
    reports = Reports(sent.append, lambda: now[0])
    progress = [Progress("a", 9, size, size, 1.0, None, 1) for size in (1, 2, 3)]
    reports.tell(progress[0])
    reports.tell(Warned("a", "careful"))
    assert sent == []
    now[0] = 0.5
    reports.tell(progress[1])
    assert [[decoded(one) for one in some] for some in sent] == [
        [progress[1], Warned("a", "careful")]
    ]
    reports.tell(progress[2])
    reports.tell(Warned("a", "again"))
    result = Result("u", "a", digests={"sha256": "0"}, range=(0, 8))
    reports.done(result)
    assert [decoded(one) for one in reports.all()] == [Warned("a", "again"), result]
    assert encoded(result)["kind"] == "Result"


def test_another_version_is_refused_in_one_line(targets: list[rdl.Target]) -> None:
    with pytest.raises(UsageError, match=r"^worker on .*: it has rdl .*, and 0\.0 is asked for"):
        fetch(Shard("b", 1, b"", "0.0"))

    class Old(Inline):
        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            return super().submit(fn, Shard("b", 1, b"", "0.0"))

    with pytest.raises(UsageError, match="is asked for"):
        rdl.get_all(targets, Old())


def test_a_bug_of_a_worker_is_a_bug(targets: list[rdl.Target]) -> None:
    with pytest.raises(rdl.RdlError, match="internal error"):
        fetch(Shard("b", 1, b"no pickle"))


@pytest.mark.parametrize("executor", [Inline, Within])
def test_an_interrupt_ends_all(
    executor: type[Inline], targets: list[rdl.Target], tmp_path: Path
) -> None:
    used = executor()
    batch = Batch(used, workers=1)
    seen: list[Result] = []

    def done(result: Result) -> None:
        seen.append(result)
        batch.interrupt("SIGTERM")

    results = batch.get_all(targets, None, done)
    codes = [one.exit_code for one in results]
    assert set(codes) == {0, 143}
    assert len(seen) == len(results) == COUNT
    assert len(used.shards) == 1


def test_what_was_heard_of_a_lost_shard_counts(
    targets: list[rdl.Target],
    tmp_path: Path,
    folder: Folder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Late(Within):
        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            self.channel(fetch(*args, self.channel))
            future = Future[Any]()
            future.set_exception(RuntimeError("killed"))
            return future

    monkeypatch.setattr(working, "PERIOD", 0.0)
    monkeypatch.setattr(working, "SOON", 0.0)
    done, told = list[Result](), list[Fact]()
    results = rdl.get_all(targets, Late(), done=done.append, tell=told.append)
    assert {one.reason for one in results} == {"complete"}
    assert len(done) == len(folder.log) == COUNT, "each once, and from the first worker"
    assert {one.path for one in told} == {str(one.path) for one in targets}
    assert {type(one).__name__ for one in told} <= {"Planned", "Started", "Progress"}
    in_place(tmp_path)


def test_an_interrupt_reaches_what_runs(
    targets: list[rdl.Target], monkeypatch: pytest.MonkeyPatch
) -> None:
    def channel(reports: list[Report]) -> None:
        interrupt("rdl-now", "SIGTERM")

    monkeypatch.setattr(working, "PERIOD", 0.0)
    monkeypatch.setattr(working, "SOON", 0.0)
    reports = fetch(packed("rdl-now", targets, SessionOptions()), channel)
    codes = {one.exit_code for one in map(decoded, reports) if isinstance(one, Result)}
    assert 143 in codes
    working._interrupted.clear()


def test_what_is_lost_or_has_not_begun_when_all_is_to_end(targets: list[rdl.Target]) -> None:
    class Ending(Within):
        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            batch.interrupt("SIGINT")
            self.future = Future[Any]()
            return self.future

        def interrupt(self, batch: str, signal: str) -> None:
            self.future.set_exception(RuntimeError("killed"))

    class Full(Inline):
        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            batch.interrupt("SIGINT")
            return Future[Any]()  # it can be cancelled

    for executor in (Ending(), Full()):
        batch = Batch(executor, workers=1)
        assert {one.exit_code for one in batch.get_all(targets)} == {130}


def test_what_begins_after_an_interrupt_ends_at_once(targets: list[rdl.Target]) -> None:
    interrupt("rdl-over", "SIGINT")
    reports = fetch(packed("rdl-over", targets, SessionOptions()))
    assert {cast(Result, decoded(one)).exit_code for one in reports} == {130}
    working._interrupted.clear()


def test_a_worker_that_does_not_end_is_not_waited_for(
    targets: list[rdl.Target], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "PATIENCE", 0.0)

    class Stuck(Executor):
        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            batch.interrupt("SIGINT")
            future = Future[Any]()
            future.set_running_or_notify_cancel()
            return future

    batch = Batch(Stuck(), workers=1)
    assert {one.exit_code for one in batch.get_all(targets)} == {130}


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_caller_that_raises_ends_all(
    error: type[BaseException], targets: list[rdl.Target]
) -> None:
    executor = Within()

    def done(result: Result) -> None:
        raise error

    with pytest.raises(error):
        rdl.get_all(targets, executor, done=done)
    assert executor.interrupted == ["SIGINT"]
    assert len(executor.shards) == 1, "and no worker was lost"


def refused() -> Iterator[tuple[str, Callable[[rdl.Target], object]]]:
    def over(**words: Any) -> Callable[[rdl.Target], object]:
        return lambda one: rdl.get_all([one], **words)

    def with_options(options: Options) -> Callable[[rdl.Target], object]:
        return lambda one: rdl.get_all([rdl.Target(one.url, one.path, options)], Inline())

    yield "executor: it is to be", over(executor=cast(Executor, os))
    yield "workers: at least one", over(executor=Inline(), workers=0)
    yield "workers: useless", over(workers=2)
    yield "the same target twice", lambda one: rdl.get_all([one, one], Inline())
    yield "neither restart nor", with_options(Options(file=FileOptions(restart=True)))
    yield "neither restart nor", with_options(Options(file=FileOptions(no_clobber=True)))
    yield "cannot be sent to a worker", with_options(Options(renew=lambda url: url))


@pytest.mark.parametrize(("why", "call"), [*refused()])
def test_misuse_is_refused_before_anything_is_fetched(
    why: str, call: Callable[[rdl.Target], object], targets: list[rdl.Target], folder: Folder
) -> None:
    with pytest.raises(UsageError, match=why):
        call(targets[0])
    assert folder.log == []
