"""`--join`: another rdl is writing the file (row 47); one waits, and goes on where that ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import rdl
from rdl import waiting
from rdl.core.events import Fact, Progress
from rdl.errors import BusyError, Interrupted, OutOfTime
from rdl.options import FileOptions, Options, SessionOptions, TransferOptions
from tests.scenarios.coded import KiB, MiB, Origin, coded
from tests.support.program import Download

JOIN = FileOptions(join=True)


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin(size=4 * MiB) as server:
        yield server


def test_row_47_one_waits_and_finds_it_finished(origin: Origin, tmp_path: Path) -> None:
    path, seen = tmp_path / "f", list[Fact]()
    origin.hold_after = 2 * MiB

    def tell(fact: Fact) -> None:
        seen.append(fact)
        if isinstance(fact, Progress) and fact.bytes_present:
            origin.go.set()

    with Download(origin.url, path, "--limit-rate", "4M") as first:
        assert first.wait_for("progress")
        with pytest.raises(BusyError):
            rdl.get(origin.url, path)
        result = rdl.get(origin.url, path, options=Options(file=JOIN), tell=tell)
        assert first.finish() == 0
    assert (result.reason, result.bytes_downloaded) == ("unchanged", 0)
    assert path.read_bytes() == coded(0, origin.size)
    shown = [fact.bytes_present for fact in seen if isinstance(fact, Progress)]
    assert shown == sorted(shown)
    assert shown[-1] > 0


def test_row_47_one_takes_over_from_a_killed_one(origin: Origin, tmp_path: Path) -> None:
    path, waited = tmp_path / "f", list[int]()
    origin.hold_after = 2 * MiB

    def tell(fact: Fact) -> None:
        if isinstance(fact, Progress) and not origin.go.is_set():
            waited.append(fact.bytes_present)
            first.kill()
            origin.go.set()

    with Download(origin.url, path, "--limit-rate", "4M") as first:
        assert first.wait_for("progress", bytes_present=512 * KiB)
        result = rdl.get(origin.url, path, options=Options(file=JOIN), tell=tell)
    assert waited
    assert result.reason == "complete"
    assert result.bytes_reused > 0
    assert path.read_bytes() == coded(0, origin.size)


def test_waiting_ends_in_time_and_when_it_is_interrupted(origin: Origin, tmp_path: Path) -> None:
    path, short = tmp_path / "f", TransferOptions(max_time=0.5)
    with Download(origin.url, path, "--limit-rate", "200K") as first:
        assert first.wait_for("progress")
        with pytest.raises(OutOfTime):
            rdl.get(origin.url, path, options=Options(transfer=short, file=JOIN))
        with rdl.Session(SessionOptions()) as session:
            threading.Timer(0.3, session.interrupt, ["SIGINT"]).start()
            with pytest.raises(Interrupted):
                session.get(rdl.Target(origin.url, path, Options(file=JOIN)))
        assert first.process.poll() is None


def test_an_index_that_says_nothing_is_looked_at_now_and_then(
    origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, looks = tmp_path / "f", list[Path]()
    monkeypatch.setattr(waiting, "_partial", lambda _disk, path: looks.append(path))
    with Download(origin.url, path, "--limit-rate", "200K") as first:
        assert first.wait_for("progress")
        short = TransferOptions(max_time=1.0)
        with pytest.raises(OutOfTime):
            rdl.get(origin.url, path, options=Options(transfer=short, file=JOIN))
    assert 0 < len(looks) <= 1.0 / waiting.PERIOD
