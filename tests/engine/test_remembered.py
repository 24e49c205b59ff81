"""Small files that a session reads once: what is kept, for whom, how much and how long."""

from __future__ import annotations

import threading

import pytest

from rdl import remembered
from rdl.errors import HTTPStatusError, Interrupted, OutOfTime, RdlError
from rdl.options import HostLimits, NetworkOptions, Options, TransferOptions
from rdl.remembered import KEPT, Remembered

URL = "http://h/SHA256SUMS"


class Source:
    """Says what it was told to; counts."""

    def __init__(self) -> None:
        self.now = 0.0
        self.says: bytes | RdlError = b"sums"
        self.asked: list[str] = []
        self.small = Remembered(self.read, lambda: self.now)

    def read(self, url: str, options: Options) -> bytes:
        self.asked.append(url)
        if isinstance(self.says, RdlError):
            raise self.says
        return self.says

    def get(self, url: str = URL, options: Options | None = None) -> bytes:
        return self.small.read(url, options or Options())


def lasting(seconds: float | None) -> Options:
    return Options(transfer=TransferOptions(max_time=seconds))


def test_a_file_is_read_once_a_minute() -> None:
    source = Source()
    assert [source.get(), source.get()] == [b"sums", b"sums"]
    assert source.asked == [URL]
    source.now = KEPT + 1
    source.says = b"new"
    assert source.get() == b"new"


def test_who_asks_otherwise_gets_another_answer() -> None:
    source = Source()
    source.get()
    source.get(options=Options(network=NetworkOptions(user="me")))
    source.get(options=Options(limits=HostLimits("h", 1)))
    source.get("http://h/other")
    assert len(source.asked) == 4
    source.get(options=Options(transfer=TransferOptions(retry=3)))
    assert len(source.asked) == 4


def test_an_error_is_kept_as_it_is() -> None:
    source = Source()
    source.says = HTTPStatusError(URL, "404", status=404, hint="why")
    for _ in range(2):
        with pytest.raises(HTTPStatusError) as caught:
            source.get()
        assert (str(caught.value), caught.value.hint) == (f"{URL}: 404", "why")
        assert caught.value.status == 404
    assert source.asked == [URL]


def test_who_was_stopped_says_nothing_of_the_file() -> None:
    source = Source()
    source.says = Interrupted("SIGINT")
    for _ in range(2):
        with pytest.raises(Interrupted):
            source.get()
    assert len(source.asked) == 2


def test_who_has_more_time_tries_again() -> None:
    source = Source()
    source.says = OutOfTime("x", "over")
    for seconds, times in ((5, 1), (5, 1), (3, 1), (9, 2), (None, 3), (None, 4), (9, 4)):
        with pytest.raises(OutOfTime):
            source.get(options=lasting(seconds))
        assert len(source.asked) == times, seconds


def test_others_wait_for_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    source, begun, go = Source(), threading.Event(), threading.Event()

    def slow(url: str, options: Options) -> bytes:
        begun.set()
        assert go.wait(10)
        return Source.read(source, url, options)

    small, found = Remembered(slow), list[bytes]()
    threads = [
        threading.Thread(target=lambda: found.append(small.read(URL, Options()))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    assert begun.wait(10)
    with pytest.raises(OutOfTime, match=r"0\.01 s are over"):
        small.read(URL, lasting(0.01))
    go.set()
    for thread in threads:
        thread.join(10)
    assert (found, source.asked) == ([b"sums"] * 4, [URL])


def test_no_more_than_so_many_files_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "MOST_FILES", 3)
    monkeypatch.setattr(remembered, "MOST_BYTES", 10)
    source = Source()

    def asked(*names: str) -> int:
        before = len(source.asked)
        for name in names:
            source.get(f"http://h/{name}")
        return len(source.asked) - before

    assert asked("a", "b", "c", "b", "d", "b", "d") == 4, "8 bytes of two, 12 of three"
    assert asked("a", "d", "b") == 2, "what was used last stays"
    source.says = b"x" * 11
    assert asked("large", "large") == 2
    source.says = b""
    assert asked(*"123123451") == 6
