"""`--engine dask` where the workers cannot be had, or no more: each URL has one result."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from rdl.api import Target
from rdl.batch import dask, running
from rdl.batch.running import Far
from rdl.batch.working import Report, fetch
from rdl.cli.main import main
from rdl.errors import NetworkError, UsageError
from tests.support.folders import Folder

COUNT = 6


class Leaving(Far):
    """Its one worker does one shard; then the scheduler is lost, or what it has is too old."""

    num_workers = 1
    call = staticmethod(fetch)
    why: type[NetworkError] | type[UsageError] = NetworkError

    def __init__(self, address: str, timeout: float) -> None:
        self._calls = 0

    def hear(self, batch: str, channel: Callable[[list[Report]], None]) -> None:
        """It tells nothing."""

    def interrupt(self, batch: str, signal: str) -> None:
        """Nothing runs."""

    def forget(self, batch: str) -> None:
        """It was told nothing."""

    def ready(self) -> bool:
        if self._calls:
            raise self.why("scheduler", "lost")
        return True

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self._calls += 1
        future = Future[Any]()
        future.set_result(fn(*args))
        return future


def results(lines: Iterable[str], urls: Iterable[str]) -> Counter[int]:
    """How many ended with which code; each URL once."""
    found = [json.loads(line) for line in lines]
    assert sorted(one["url"] for one in found) == sorted(urls)
    return Counter(one["exit_code"] for one in found)


@pytest.fixture
def served(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """URLs of files, for a scheduler that leaves."""
    monkeypatch.setattr(dask, "Cluster", Leaving)
    for number in range(COUNT):
        (folder.root / str(number)).write_bytes(b"x")
    return [f"{folder.url}/{number}" for number in range(COUNT)]


@pytest.mark.parametrize(
    ("why", "code", "words"),
    [(NetworkError, 4, ()), (NetworkError, 4, ("--on-complete", "true")), (UsageError, 2, ())],
)
def test_a_scheduler_that_is_given_up(
    why: type[NetworkError],
    code: int,
    words: tuple[str, ...],
    served: list[str],
    request: pytest.FixtureRequest,
) -> None:
    request.getfixturevalue("monkeypatch").setattr(Leaving, "why", why)
    folder, capture = request.getfixturevalue("tmp_path"), request.getfixturevalue("capfd")
    always = "get", *served, "--engine", "dask", "--scheduler", "x", "-d", str(folder), "--json"
    assert main([*always, "-j", "2", *words]) == code
    out, err = capture.readouterr()
    assert results(out.splitlines(), served) == {0: 2, code: COUNT - 2}
    assert "rdl: 5: scheduler: lost" in err
    assert f"rdl: 2 of {COUNT} files complete" in err


def test_what_is_refused_is_no_result(
    served: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def refuse(targets: Sequence[Target]) -> None:
        raise UsageError("this", "cannot be sent")

    monkeypatch.setattr(running, "_check", refuse)
    always = "get", *served, "--engine", "dask", "--scheduler", "x"
    assert main([*always, "-d", str(tmp_path), "--json"]) == 2
    (only,) = capfd.readouterr().out.splitlines()
    assert json.loads(only)["error"] == "this: cannot be sent"


@pytest.mark.parametrize("words", [("--json",), ("--progress", "json")], ids=" ".join)
def test_a_scheduler_that_cannot_be_reached(
    words: tuple[str, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    urls = [f"http://127.0.0.1:1/{number}" for number in range(2)]
    always = "get", *urls, "--engine", "dask", "--scheduler", "tcp://127.0.0.1:1"
    assert main([*always, "-d", str(tmp_path), "--connect-timeout", "0.1", *words]) == 4
    out, err = capfd.readouterr()
    assert results((out or err).splitlines(), urls) == {4: 2}
