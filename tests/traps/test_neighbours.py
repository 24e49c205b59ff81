"""Rows of several programs at one file, and of what a reader in order may be given (L21 to L25,
X1, X2, X12)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rdl
from rdl.api import Session, Target
from rdl.core.events import Fact, Progress
from rdl.errors import ExitCode, ProtocolError, RdlError, UsageError
from rdl.options import NetworkOptions, Options, RangeSpec, TransferOptions
from rdl.storage.platform import PosixDisk
from tests.engine.staging import content_of
from tests.support.origin import Answer, Origin, Seen
from tests.traps.changing import Changing

KiB = 1 << 10
SIZE = 600 * KiB
DATA = content_of(SIZE, seed=8)
NETWORK = NetworkOptions(netrc=False, proxy="", timeout=10.0)


class Site:
    """A server of one file; how fast may be changed."""

    def __init__(self) -> None:
        self.served = Changing(DATA)
        self.origin = Origin(self.answer)

    def answer(self, connection: int, number: int, seen: Seen) -> Answer:
        return self.served.answer(connection, number, seen)

    @property
    def url(self) -> str:
        return self.origin.url("/f.bin")


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    with made.origin:
        yield made


def get(url: str, path: Path, tell: Any = None, **options: Any) -> int:
    """One download, as a process of its own would do it; its exit code."""
    options = {"connections": 2, "min_split": 64 * KiB, **options}
    made = Options(NETWORK, TransferOptions(**options))
    with Session() as session:
        [result] = session.get_all([Target(url, path, made)], tell)
    assert result.exit_code != ExitCode.INTERNAL, result.error
    return result.exit_code


def together(count: int, url: str, path: Path) -> list[int]:
    """So many at the same moment; their exit codes."""
    gate, codes = threading.Barrier(count), list[int]()

    def start() -> None:
        gate.wait(10)
        codes.append(get(url, path))

    threads = [threading.Thread(target=start) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(codes) == count
    return codes


def test_l21_of_twenty_that_start_together_one_fetches(site: Site, tmp_path: Path) -> None:
    site.served = Changing(DATA, 0.03)
    codes = together(20, site.url, tmp_path / "f")
    assert codes.count(0) == 1
    assert codes.count(ExitCode.BUSY) == 19
    assert (tmp_path / "f").read_bytes() == DATA
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


@pytest.mark.parametrize("turn", range(6))
def test_l22_locks_that_lie(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, turn: int
) -> None:
    """Everybody believes to be alone: what is published is right, and the next run as well. That
    may find data whose index went: it cannot be told from a foreign file, and needs a hand."""
    monkeypatch.setattr(PosixDisk, "lock", lambda self, file: True)
    path = tmp_path / "f"
    if turn % 2:
        path.write_bytes(b"old")
    site.served = Changing(DATA, 0.002 * (turn % 3))
    codes = together(8, site.url, path)
    assert set(codes) <= {0, ExitCode.LOCAL_FILE, ExitCode.EXISTS, ExitCode.BUSY}
    assert not path.exists() or path.read_bytes() in (DATA, b"old")
    assert 0 not in codes or path.read_bytes() == DATA
    site.served = Changing(DATA)
    code = get(site.url, path)
    if code == ExitCode.LOCAL_FILE:
        (tmp_path / "f.part").unlink()
        code = get(site.url, path)
    assert code == 0
    assert path.read_bytes() == DATA
    assert [one.name for one in tmp_path.iterdir()] == ["f"]


def test_x12_a_download_is_read_looked_at_and_asked_for_again(site: Site, tmp_path: Path) -> None:
    """One writes; the others see what is there, or are turned away, and disturb nobody."""
    path, seen = tmp_path / "f", list[object]()

    def tell(fact: Fact) -> None:
        if seen or not isinstance(fact, Progress) or fact.bytes_present < 100 * KiB:
            return
        status = rdl.status(path)
        part = path.with_name("f.part").read_bytes()
        assert status.present
        assert all(part[a : b + 1] == DATA[a : b + 1] for a, b in status.present)
        with pytest.raises(RdlError, match="another rdl"):
            rdl.get(site.url, path, options=Options(NETWORK))
        with rdl.stream(site.url, options=Options(NETWORK)) as stream:
            assert stream.read() == DATA
        seen.append(status)

    site.served = Changing(DATA, 0.01)
    assert get(site.url, path, tell, connections=1) == 0
    assert seen
    assert path.read_bytes() == DATA


@pytest.mark.parametrize("at", [0, 1, 100 * KiB, SIZE - 1])
def test_x1_what_was_read_before_a_change_is_of_one_version(site: Site, at: int) -> None:
    """An exact prefix, then an error; after the first byte no byte of another version."""
    site.served = Changing(DATA, 0.001)
    taken, other = bytearray(), content_of(SIZE, seed=9)
    options = Options(NETWORK, TransferOptions(connections=3, min_split=64 * KiB))
    code = 0
    with rdl.stream(site.url, options=options) as stream:
        try:
            taken += stream.read(at)
            site.served.change(other)
            taken += stream.read()
        except RdlError as error:
            code = error.exit_code
    assert code in (0, ExitCode.CHANGED)
    if code == 0:
        assert bytes(taken) in (DATA, other)
    else:
        assert bytes(taken) == DATA[: len(taken)]


INSIDE = [(0, 1), (0, SIZE), (SIZE - 1, SIZE), (500, 501), (100, SIZE + 9), (SIZE - 1, 1 << 62)]
OUTSIDE = [(SIZE, SIZE + 1), (SIZE, None), (SIZE + 1, SIZE + 2), (1 << 61, 1 << 62)]
SENSELESS = [RangeSpec(5, 5), RangeSpec(9, 3), RangeSpec(-1, 4), RangeSpec(suffix=0)]


def read(url: str, part: RangeSpec) -> bytes:
    with rdl.stream(url, part, options=Options(NETWORK)) as stream:
        return stream.read()


def test_x2_a_range_is_what_a_slice_is(site: Site) -> None:
    for start, stop in [*INSIDE, (0, None), (7, None), (SIZE - 1, None)]:
        assert read(site.url, RangeSpec(start, stop)) == DATA[start:stop]
    for count in (1, 1000, SIZE, SIZE + 1, 1 << 61):
        assert read(site.url, RangeSpec(suffix=count)) == DATA[-count:]


def test_x2_what_begins_behind_the_end_is_an_error_and_no_byte(site: Site) -> None:
    for start, stop in OUTSIDE:
        with pytest.raises(ProtocolError, match="outside"):
            read(site.url, RangeSpec(start, stop))


def test_x2_what_makes_no_sense_is_not_asked_for(site: Site) -> None:
    for part in SENSELESS:
        with pytest.raises(UsageError):
            read(site.url, part)
    assert site.origin.seen == []


def test_l22_one_that_lags_behind_writes_to_no_published_file(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lock is not seen, the file is replaced, and another is done long before it."""
    monkeypatch.setattr(PosixDisk, "lock", lambda self, file: True)
    path, newer, codes = tmp_path / "f", content_of(SIZE, seed=9), list[int]()
    site.served = Changing(DATA, 0.06)

    def tell(fact: Fact) -> None:
        if not codes and isinstance(fact, Progress) and fact.bytes_present > 100 * KiB:
            site.served = Changing(newer)
            site.served.change(newer)
            codes.append(get(site.url, path))

    codes.append(get(site.url, path, tell, connections=1))
    assert codes[0] == 0
    assert path.read_bytes() == newer
    assert codes[1] in (ExitCode.LOCAL_FILE, ExitCode.EXISTS)
