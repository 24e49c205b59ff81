"""Over dask: a worker is killed, the scheduler restarted, Ctrl-C, and what nobody should see."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from hashlib import sha256
from pathlib import Path
from typing import cast

import pytest
from distributed import Client, LocalCluster
from distributed.comm import CommClosedError

import rdl
from rdl.batch import dask, working
from rdl.batch.dask import Cluster
from rdl.batch.shards import packed
from rdl.core.events import Result
from rdl.errors import NetworkError, UsageError
from rdl.options import Options, SessionOptions
from tests.batch.clusters import running
from tests.support.folders import Folder
from tests.support.origin import Answer, Origin, Seen, response
from tests.support.program import Download
from tests.support.program import rdl as program
from tests.support.waiting import until

COUNT = 160


def content(number: int) -> bytes:
    return sha256(str(number).encode()).digest() * 512


class Slow:
    """Files of 16 KiB; how often the whole of each was asked for. Half of them come at once, the
    others when they may `go`."""

    def __init__(self) -> None:
        self.asked: Counter[int] = Counter()
        self.go = threading.Event()

    def answer(self, connection: int, turn: int, seen: Seen) -> Answer:
        number = int(seen.line.split()[1].removeprefix("/"))
        tag = f'"{number}"'
        if seen.fields.get("if-none-match") == tag:
            return [f"HTTP/1.1 304 Not Modified\r\nETag: {tag}\r\n\r\n".encode()]
        self.asked[number] += 1
        if sum(self.asked.values()) > COUNT // 2:
            self.go.wait(60)
        return [response(content(number), "200 OK", f"ETag: {tag}")]


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Two worker processes."""
    with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        dashboard_address="127.0.0.1:0",
        host="127.0.0.1",
        local_directory=str(tmp_path_factory.mktemp("dask")),
    ) as local:
        yield local


def in_place(folder: Path) -> dict[str, int]:
    """The names there, and which file each is."""
    return {one.name: one.inode() for one in os.scandir(folder) if one.name.isdecimal()}


def targets(origin: Origin, folder: Path, options: Options) -> list[rdl.Target]:
    return [
        rdl.Target(origin.url(f"/{number}"), folder / str(number), options)
        for number in range(COUNT)
    ]


def check(folder: Path, results: list[Result], done: list[Result]) -> None:
    """Each file once, with its digest, and nothing beside them."""
    assert {one.exit_code for one in results} == {0}
    assert [one.path for one in results] == [str(folder / str(number)) for number in range(COUNT)]
    assert Counter(one.path for one in done) == Counter(one.path for one in results)
    assert sorted(os.listdir(folder)) == sorted(map(str, range(COUNT)))
    for number in range(COUNT):
        assert (
            sha256((folder / str(number)).read_bytes()).digest() == sha256(content(number)).digest()
        )


def test_a_killed_worker_costs_no_file_and_none_is_placed_twice(
    local: LocalCluster, tmp_path: Path
) -> None:
    slow, done = Slow(), list[Result]()
    with Origin(slow.answer) as origin, Cluster(local.scheduler_address) as cluster:
        assert cluster.num_workers == 2
        wanted = targets(origin, tmp_path, Options())
        with ThreadPoolExecutor(1) as pool, Client(local, set_as_default=False) as client:
            victim = next(iter(client.run(os.getpid).values()))
            future = pool.submit(rdl.get_all, wanted, cluster, done=done.append)
            assert until(lambda: len(in_place(tmp_path)) >= COUNT // 4, 60)
            before = in_place(tmp_path)
            os.kill(victim, signal.SIGKILL)
            slow.go.set()
            results = future.result(120)
        assert len(before) < COUNT, "it was not over"
        check(tmp_path, results, done)
        assert before.items() <= in_place(tmp_path).items(), "what stood there stands there"
        assert {slow.asked[int(name)] for name in before} == {1}, "and did not come again"
        again = sum(slow.asked.values()) - COUNT
        assert again <= 4, "only what was on its way"


def test_a_scheduler_without_workers_one_that_is_restarted_and_one_that_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, done, logs = Slow(), list[Result](), tmp_path / "logs"
    out = tmp_path / os.fsdecode(b"no UTF-8 \xff")
    out.mkdir()
    logs.mkdir()
    with Origin(slow.answer) as origin, running(logs) as processes:
        with monkeypatch.context() as short:
            wait = Client._wait_for_workers
            short.setattr(
                Client, "_wait_for_workers", lambda self, least, timeout: wait(self, least, 0.1)
            )
            with pytest.raises(NetworkError, match="it has no workers"):
                Cluster(processes.address, timeout=60)
        processes.start_worker()
        wanted = targets(origin, out, Options())
        with Cluster(processes.address, timeout=60) as cluster, ThreadPoolExecutor(1) as pool:
            future = pool.submit(rdl.get_all, wanted, cluster, done=done.append)
            assert until(lambda: len(in_place(out)) >= COUNT // 4, 60)
            before = in_place(out)
            processes.kill_scheduler()
            slow.go.set()
            assert len(before) < COUNT, "it was not over"
            processes.start_scheduler()
            processes.start_worker()
            results = future.result(120)
        check(out, results, done)
        assert before.items() <= in_place(out).items()
        with Cluster(processes.address, timeout=60, patience=0.1) as cluster:
            monkeypatch.setattr(dask, "LOOK_SECONDS", 0.1)
            processes.scheduler.send_signal(signal.SIGSTOP)
            with pytest.raises(NetworkError, match=r"was lost and is not back after 0\.1 s$"):
                rdl.get_all(wanted, cluster)


def test_the_command_with_secrets_that_nobody_sees(local: LocalCluster, tmp_path: Path) -> None:
    slow, address = Slow(), local.scheduler_address
    with Origin(slow.answer) as origin, Client(local, set_as_default=False) as client:
        urls = [f"{origin.url(f'/{number}')}" for number in range(40)]
        listed = [f"{url}\n\theader=X-Key: s3cret-{n}" for n, url in enumerate(urls)]
        (tmp_path / "list").write_text("\n".join(listed))
        words = ["get", "-i", "list", "-d", "out", "--engine", "dask", "--scheduler", address]
        ended = program(tmp_path, *words, "--json", "--limit-requests", "1000")
        assert ended.returncode == 0, ended.stderr
        results = [json.loads(line) for line in ended.stdout.splitlines()]
        assert sorted(one["path"] for one in results) == sorted(f"out/{n}" for n in range(40))
        assert ended.stderr.splitlines()[-1].startswith("rdl: 40 of 40 files complete, 640 KiB")
        assert "distributed" not in ended.stderr
        for number in range(40):
            assert (tmp_path / "out" / str(number)).read_bytes() == content(number)
        assert {seen.fields["x-key"] for seen in origin.seen} == {f"s3cret-{n}" for n in range(40)}
        seen = [client.get_events(), client.get_scheduler_logs(), client.get_worker_logs()]
        seen.append(
            client.run_on_scheduler(lambda dask_scheduler: [*dask_scheduler.transition_log])
        )
        assert "fetch_and_report" in repr(seen)
        assert "s3cret" not in repr(seen)


def test_a_client_that_has_given_up_is_replaced(
    local: LocalCluster, folder: Folder, tmp_path: Path
) -> None:
    (folder.root / "f").write_bytes(b"x" * 10)
    target = rdl.Target(f"{folder.url}/f", tmp_path / "f")
    with Cluster(local.scheduler_address) as cluster:
        cluster._client.close(2)
        cluster._looked = 0.0  # long ago
        (result,) = rdl.get_all([target], cluster)
    assert (result.exit_code, result.reason) == (0, "complete")


def test_a_result_that_is_lost_on_its_way_is_a_lost_shard(
    local: LocalCluster, folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder.root / "f").write_bytes(b"x" * 10)
    gather, lost = Client._gather, list[object]()

    async def once(self: Client, futures: object, **words: object) -> object:
        if not lost:
            lost.append(futures)
            raise CommClosedError("gone")
        return await gather(self, futures, **words)

    with Cluster(local.scheduler_address) as cluster:
        monkeypatch.setattr(Client, "_gather", once)
        assert wait([cluster.submit(int)], 60).done, "not waited for without an end"
        assert lost.pop()
        (result,) = rdl.get_all([rdl.Target(f"{folder.url}/f", tmp_path / "f")], cluster)
    assert (result.exit_code, len(lost)) == (0, 1)


def test_what_was_reported_of_a_batch_leaves_the_scheduler(local: LocalCluster) -> None:
    with Client(local, set_as_default=False) as client, Cluster(local.scheduler_address) as cluster:
        client.log_event("rdl-8", "[]")
        assert "rdl-8" in client.get_events()
        cluster.forget("rdl-8")
        assert "rdl-8" not in client.get_events()
        cluster._client.close(2)
        cluster.forget("rdl-8")


def on_a_worker(address: str, number: int) -> int:
    with Cluster(address) as cluster:
        (result,) = rdl.get_all([rdl.Target("file:///nonexistent/f", Path(f"/{number}"))], cluster)
    return result.exit_code


def test_workers_that_call_wait_for_others(local: LocalCluster) -> None:
    """As many as there are, so that none would be left."""
    with Client(local, set_as_default=False) as client:
        calls = [client.submit(on_a_worker, local.scheduler_address, one) for one in range(2)]
        assert [one.result(60) for one in calls] == [3, 3]


def test_what_is_no_scheduler() -> None:
    with pytest.raises(NetworkError, match=r"^scheduler tcp://127\.0\.0\.1:1: cannot be reached"):
        Cluster("tcp://127.0.0.1:1", timeout=0.2)
    with pytest.raises(UsageError, match="unknown address scheme"):
        Cluster("smoke://x")


def test_who_accepts_and_says_nothing_is_no_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask, "LOOK_SECONDS", 0.1)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(NetworkError, match=r"cannot be reached: no answer within 0\.1 s$"):
            Cluster(f"tcp://127.0.0.1:{silent.getsockname()[1]}", timeout=0.1)


class Silent:
    status = "running"

    def close(self, timeout: float) -> None:
        self.status = "closing"
        raise TimeoutError


def test_who_was_left_is_not_closed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """distributed does so in any thread, as the memory is given back."""
    silent, leave, left = Silent(), dask.leave, list[Client]()
    leave(cast(Client, silent))
    assert silent.status == "closed"
    monkeypatch.setattr(dask, "leave", lambda client: (left.append(client), leave(client)))
    with pytest.raises(NetworkError):
        Cluster("tcp://127.0.0.1:1", timeout=0.1)
    assert [one.status for one in left] == ["closed"]


def test_a_scheduler_that_is_lost_as_its_workers_are_counted(
    local: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(client: Client, callback_timeout: float) -> None:
        raise CommClosedError("lost")

    monkeypatch.setattr(Client, "nthreads", lose)
    with pytest.raises(NetworkError, match="cannot be reached: lost"):
        Cluster(local.scheduler_address)


def test_a_worker_reports_under_the_name_of_the_batch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Worker:
        def log_event(self, topic: str, reports: str) -> None:
            told.append(topic)

    told: list[str] = []
    monkeypatch.setattr(dask, "get_worker", Worker)
    monkeypatch.setattr(working, "SOON", 0.0)
    missing = rdl.Target("file:///nonexistent/f", tmp_path / "f")
    reports = dask.fetch_and_report(packed("rdl-7", [missing], SessionOptions()))
    assert [one["exit_code"] for one in reports] == [3]
    assert set(told) == {"rdl-7"}


def test_ctrl_c_ends_the_workers_and_the_next_run_goes_on(
    local: LocalCluster, folder: Folder, tmp_path: Path
) -> None:
    data = os.urandom(1 << 20)
    (folder.root / "f").write_bytes(data)
    words = "--engine", "dask", "--scheduler", local.scheduler_address
    output = tmp_path / "f"
    with Download(f"{folder.url}/f", output, *words, "--limit-rate", "200K") as run:
        assert run.wait_for("progress", bytes_present=1)
        assert run.interrupt() == 130
        result = run.result()
        assert (result["reason"], result["resumable"]) == ("interrupted", True)
        assert 0 < result["bytes_present"] < len(data)
    with Client(local, set_as_default=False) as client:
        assert until(lambda: not any(client.processing().values()))
    with Download(f"{folder.url}/f", output, *words) as run:
        assert run.finish() == 0
        assert run.result()["bytes_reused"] > 0
    assert output.read_bytes() == data


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (
            ("--scheduler", "tcp://127.0.0.1:1"),
            4,
            "scheduler tcp://127.0.0.1:1: cannot be reached:",
        ),
        ((), 2, "--engine dask: useless without --scheduler"),
        (("--scheduler", "x", "--engine", "threads"), 2, "--scheduler: useless without --engine"),
        (("--scheduler", "x", "--exec", "cat"), 2, "--scheduler with --exec:"),
        (("--scheduler", "x", "-o", "-"), 2, "-o -: takes one URL"),
        (("--scheduler", "x", "--restart"), 2, "--scheduler with --restart:"),
        (("--scheduler", "x", "--no-clobber"), 2, "--scheduler with --no-clobber:"),
        (("--scheduler", "x", "--member", "a"), 2, "--scheduler with --member:"),
    ],
)
def test_what_cannot_be_is_one_line(
    tmp_path: Path, words: tuple[str, ...], code: int, line: str
) -> None:
    always = "get", "http://127.0.0.1:1/a", "--engine", "dask", "--connect-timeout", "0.1"
    ended = program(tmp_path, *always, *words)
    assert ended.returncode == code
    first, *rest = ended.stderr.splitlines()
    assert first.startswith(f"rdl: {line}")
    assert len(rest) <= 1, "a hint"


def test_without_the_package_there_is_a_hint(tmp_path: Path) -> None:
    (tmp_path / "distributed.py").write_text("raise ImportError('gone')")
    words = "get", "http://127.0.0.1:1/a", "--engine", "dask", "--scheduler", "tcp://127.0.0.1:1"
    ended = program(tmp_path, *words, PYTHONPATH=str(tmp_path))
    assert ended.returncode == 2
    assert "rdl: hint: pip install 'rdl-get[dask]'" in ended.stderr


def test_a_plan_needs_no_scheduler(folder: Folder, tmp_path: Path) -> None:
    (folder.root / "f").write_bytes(b"x" * 10)
    words = "get", f"{folder.url}/f", "--engine", "dask", "--scheduler", "tcp://127.0.0.1:1"
    ended = program(tmp_path, *words, "--dry-run")
    assert ended.returncode == 0
    assert "size    10 bytes" in ended.stdout
