"""`sync` from a server that grants wishes: one answer brings all, and nothing is believed of it."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from rdl import sowing
from rdl.api import Session, Target
from rdl.core.byterange import ByteRange
from rdl.core.events import Fact, Result
from rdl.core.ways import Line
from rdl.core.wishlist import (
    CHUNKS_MAGIC,
    CHUNKS_TYPE,
    FAILED,
    REFUSED,
    asks_fine,
    ending,
    list_in,
    parse_wishlist,
)
from rdl.errors import AuthError, HTTPStatusError, Interrupted, NetworkError, ProtocolError
from rdl.manifests import make_manifest
from rdl.options import FileOptions, NetworkOptions, Options, TransferOptions
from rdl.server.connection import Limits
from rdl.server.folder import Folder
from rdl.server.granting import Granted, Granting
from rdl.server.listed import Pair
from rdl.server.lists import Lists
from rdl.server.requests import Reply
from rdl.server.resource import Reading, Text
from rdl.server.upstream import Upstream
from rdl.syncing import sync, sync_with
from tests.scenarios.test_sync import changed, left, warnings
from tests.server.conftest import ANY, Running, running
from tests.server.wishes import manifest_of, settle
from tests.support.deltas import mixed
from tests.support.waiting import until

OLD = mixed(1 << 20)
NEW = changed(OLD)
WISHING = """from rdl import sowing
from rdl.cli.main import main
sowing.wished = lambda runs, line: runs
raise SystemExit(main())
"""
Grant = Callable[[Pair, Lists, bytes, ThreadPoolExecutor], Reading]


class Smart(Granting):
    """A folder with one file, NEW; of which wishes are answered by what stands first in `grants`,
    then as ever. `bodies`: the wishlists that came."""

    def __init__(self, root: Path) -> None:
        super().__init__(Folder(root))
        self.root, self.bodies, self.grants = root, list[bytes](), list[Grant]()
        (root / "new").write_bytes(NEW)

    def grant(self, path: str, body: bytes, wait: float) -> Reading:
        if asks_fine(body):
            return super().grant(path, body, wait)
        self.bodies.append(body)
        granted = self.grants.pop(0) if self.grants else Granted
        return granted(self._pair(path), self.lists, body, self._hands)


class Server:
    """The folder at `url`; `asked`: method and path of each answer."""

    def __init__(self, site: Smart, running: Running) -> None:
        self.site, self._running = site, running
        self.url = f"{running.url}/new"

    @property
    def asked(self) -> list[str]:
        return [" ".join(line.split(" ")[1:3]) for line in self._running.told()]

    def sent(self, what: str = "POST ") -> int:
        """Bytes of answers to wishes, or to these requests."""
        return sum(int(line.split(" ")[4]) for line in self._running.told() if f" {what}" in line)

    def wishes(self) -> list[set[int]]:
        """Which bytes were wished for, by each wishlist."""
        manifest, data = manifest_of(self._running.port, "/new.rdlm")
        found = []
        for body in self.site.bodies:
            chunks = list_in(manifest, body, lambda span: data[span.start : span.stop])
            runs = map(chunks.chunk, parse_wishlist(chunks, body))
            found.append({at for run in runs for at in range(run.start, run.stop)})
        return found


def all_of(runs: Sequence[ByteRange], _line: Line) -> Sequence[ByteRange]:
    return runs


@pytest.fixture
def chosen(tmp_path: Path) -> Iterator[Server]:
    """What is wished for is chosen."""
    root = tmp_path / "served"
    root.mkdir()
    site = Smart(root)
    with running(site, Limits(), None, ANY) as found:
        yield Server(site, found)
    site.close()


@pytest.fixture
def server(chosen: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """All that is missing is wished for."""
    monkeypatch.setattr(sowing, "wished", all_of)
    return chosen


def own_folder(here: Path, data: bytes = OLD) -> Path:
    (here / "new").write_bytes(data)
    return here / "new"


def test_row_53_all_comes_in_one_answer(server: Server, here: Path) -> None:
    facts = list[Fact]()
    result = sync(server.url, own_folder(here), tell=facts.append)
    assert (here / "new").read_bytes() == NEW
    assert server.asked == ["GET /new.rdlm", "POST /new.rdlm", "HEAD /new", "POST /new.rdlm"]
    assert server.sent() < len(NEW) // 4
    assert (result.reason, result.trust, result.verified_by) == (
        "complete",
        "T3",
        ("manifest:sha256",),
    )
    assert result.bytes_downloaded + result.bytes_reused == len(NEW)
    assert not warnings(facts)
    assert left(here) == ["new"]
    assert (here / "new").stat().st_mtime == int((server.site.root / "new").stat().st_mtime)


@pytest.mark.parametrize("size", [0, 1, 5000])
def test_small_and_empty_files(server: Server, here: Path, size: int) -> None:
    (server.site.root / "new").write_bytes(NEW[:size])
    sync(server.url, own_folder(here, OLD[: size // 2]))
    assert (here / "new").read_bytes() == NEW[:size]


def test_nothing_is_asked_for_where_nothing_is_missing(server: Server, here: Path) -> None:
    (here / "seed").write_bytes(NEW + OLD)
    sync(server.url, here / "new", seeds=here / "seed")
    assert (here / "new").read_bytes() == NEW
    assert server.asked == ["GET /new.rdlm", "GET /new"]


def test_row_52_what_stands_several_times_comes_once(server: Server, here: Path) -> None:
    part = mixed(300_000, 5)
    (server.site.root / "new").write_bytes(part * 5 + bytes(1_000_000))
    sync(server.url, here / "new")
    assert (here / "new").read_bytes() == part * 5 + bytes(1_000_000)
    assert server.sent() < 3 * len(part)


def test_several_readers_of_one_answer(server: Server, here: Path) -> None:
    options = Options(transfer=TransferOptions(connections=8))
    sync(server.url, own_folder(here), options=options)
    assert len(server.site.bodies) == 1


def test_nothing_here_comes_by_ranges(chosen: Server, here: Path) -> None:
    sync(chosen.url, here / "new")
    assert (here / "new").read_bytes() == NEW
    assert not chosen.site.bodies


def test_a_list_that_is_too_long_to_be_named_comes_by_ranges(
    server: Server, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sowing, "MOST_REFINED", 1)
    sync(server.url, own_folder(here))
    assert (here / "new").read_bytes() == NEW
    assert not server.site.bodies


def test_what_is_wrong_where_nothing_was_wished_for_is_told_once(
    chosen: Server, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, facts = list[Target](), list[Fact]()

    def get(_session: Session, target: Target, *_: object, **_more: object) -> Result:
        asked.append(target)
        raise ProtocolError("an answer", "nonsense")

    monkeypatch.setattr(Session, "get", get)
    with pytest.raises(ProtocolError, match="nonsense"):
        sync(chosen.url, here / "new", tell=facts.append)
    assert len(asked) == 1
    assert not warnings(facts)


def scattered(data: bytes, count: int) -> bytes:
    """With so many small changes, far from each other."""
    found = bytearray(data)
    for at in range(500, len(data), len(data) // count):
        found[at] ^= 1
    return bytes(found)


def test_many_changes_are_wished_for_and_what_is_long_comes_by_ranges(
    chosen: Server, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However late this machine answers."""
    monkeypatch.setattr(sowing, "Line", lambda _round_trip, connections: Line(0.001, connections))
    new = mixed(5 << 20, 7)
    (chosen.site.root / "new").write_bytes(new)
    old = new[: 1 << 20] + scattered(new[4 << 20 :], 25)
    sync(chosen.url, own_folder(here, old))
    assert (here / "new").read_bytes() == new
    (wished,) = chosen.wishes()
    assert min(wished) >= 4 << 20
    assert 25 < len(wished) < 1 << 18
    assert 3 << 20 <= chosen.sent("GET /new ") < 4.5 * (1 << 20)


def test_fine_chunks_that_are_not_said_in_one_answer_are_read(
    server: Server, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> Reading:
        raise Reply(400, "not now")

    grant = Granting.grant
    monkeypatch.setattr(
        Granting, "grant", lambda *given: refuse() if asks_fine(given[2]) else grant(*given)
    )
    facts = list[Fact]()
    sync(server.url, own_folder(here), tell=facts.append)
    assert (here / "new").read_bytes() == NEW
    assert server.asked.count("GET /new.rdlm") > 1
    assert len(server.site.bodies) == 1
    assert not warnings(facts)


def test_a_digest_of_the_users_is_t4(server: Server, here: Path) -> None:
    url = f"{server.url}#sha256={hashlib.sha256(NEW).hexdigest()}"
    assert sync(url, own_folder(here)).trust == "T4"
    assert len(server.site.bodies) == 1


class Cut(Granted):
    """It ends after 150 kB."""

    def available(self, offset: int) -> int:
        if offset >= 100_000:
            raise NetworkError("a file", "cut")
        return min(super().available(offset), 100_000 - offset)


def test_row_53_a_cut_answer_is_gone_on_with(server: Server, here: Path) -> None:
    server.site.grants = [Cut, Cut]
    result = sync(server.url, here / "new")
    assert (here / "new").read_bytes() == NEW
    first, second, third = server.wishes()
    assert len(first) > len(second) > len(third) > 0
    assert second < first
    assert third < second
    assert server.sent() < len(NEW) + 100_000
    assert result.retries == 2


def test_row_53_cut_anywhere(server: Server, here: Path) -> None:
    data = NEW[:60_000]
    (server.site.root / "new").write_bytes(data)
    for end in (7, 9, 30_000, 59_999, 60_020):

        class CutThere(Granted):
            at = end

            def available(self, offset: int) -> int:
                if offset >= self.at:
                    raise NetworkError("a file", "cut")
                return min(super().available(offset), self.at - offset)

        server.site.grants = [CutThere]
        sync(server.url, here / "new", options=Options(file=FileOptions(restart=True)))
        assert (here / "new").read_bytes() == data, end
        (here / "new").unlink()


def busy(*_: object) -> Reading:
    raise Reply(503, "later", (("Retry-After", "0"),))


def test_row_13_a_busy_server_is_asked_again(server: Server, here: Path) -> None:
    server.site.grants = [busy]
    sync(server.url, own_folder(here))
    assert (here / "new").read_bytes() == NEW
    assert server.asked[-2:] == ["POST /new.rdlm", "POST /new.rdlm"]


def test_row_53_another_status_is_said(server: Server, here: Path) -> None:
    server.site.grants = [busy, busy]
    with pytest.raises(HTTPStatusError, match="HTTP 503") as error:
        sync(server.url, own_folder(here), options=Options(transfer=TransferOptions(retry=1)))
    assert error.value.exit_code == 8
    assert (here / "new").read_bytes() == OLD
    sync(server.url, here / "new")
    assert (here / "new").read_bytes() == NEW


@pytest.mark.parametrize("status", [400, 404, 501])
def test_wishes_that_are_refused_leave_ranges(server: Server, here: Path, status: int) -> None:
    def refuse(*_: object) -> Reading:
        raise Reply(status, "why it is refused")

    server.site.grants, facts = [refuse], list[Fact]()
    sync(server.url, own_folder(here), tell=facts.append)
    assert (here / "new").read_bytes() == NEW
    said = "why it is refused" if status == 400 else f"HTTP {status}"
    assert said in warnings(facts)[0]
    assert len(server.site.bodies) == 1
    assert "GET /new" in server.asked


def canned(data: bytes) -> Grant:
    def grant(pair: Pair, *_: object) -> Reading:
        pair.close()
        return Text(data, CHUNKS_TYPE)

    return grant


HOSTILE = [
    (b"nonsense", "does not begin like one"),
    (CHUNKS_MAGIC + b"\0\x09", "unknown kind"),
    (CHUNKS_MAGIC + b"\x01x", "instead of"),
    (CHUNKS_MAGIC + b"\xff\xff\xff\xff\xff", "a number above"),
    (CHUNKS_MAGIC + b"\0\0\0" + bytes(32), "it ends while"),
    (CHUNKS_MAGIC + b"\0\1" * 3, "has not chunk"),
    (CHUNKS_MAGIC + ending(REFUSED, "no\x1b[31m"), "the server refused the wishlist"),
]


@pytest.mark.parametrize(("answer", "why"), HOSTILE, ids=[why for _, why in HOSTILE])
def test_row_53_a_hostile_answer_is_named_and_left(
    server: Server, here: Path, answer: bytes, why: str
) -> None:
    server.site.grants, facts = [canned(answer)], list[Fact]()
    sync(server.url, own_folder(here), tell=facts.append)
    assert (here / "new").read_bytes() == NEW
    assert why in warnings(facts)[0]
    assert "\x1b" not in warnings(facts)[0]


class Wrong(Granted):
    """One byte of a late chunk is another one."""

    def read_into(self, offset: int, view: memoryview) -> int:
        count = super().read_into(offset, view)
        if offset <= 300_000 < offset + count:
            view[300_000 - offset] ^= 1
        return count


def test_row_51_a_wrong_chunk_is_named_and_comes_again(server: Server, here: Path) -> None:
    server.site.grants, facts = [Wrong], list[Fact]()
    sync(server.url, here / "new", tell=facts.append)
    assert (here / "new").read_bytes() == NEW
    assert "has not its digest" in warnings(facts)[0]


@pytest.mark.parametrize("answer", [b"", CHUNKS_MAGIC, CHUNKS_MAGIC + ending(FAILED, "no disk")])
def test_an_answer_that_stops_is_asked_for_again(server: Server, here: Path, answer: bytes) -> None:
    server.site.grants = [canned(answer)]
    sync(server.url, own_folder(here))
    assert (here / "new").read_bytes() == NEW
    assert len(server.site.bodies) == 2


def test_row_5_a_file_that_changed_after_its_manifest(server: Server, here: Path) -> None:
    newer, facts = NEW[:-1000] + b"newer", list[Fact]()

    def change(pair: Pair, *_: object) -> Reading:
        pair.close()
        (server.site.root / "new").write_bytes(newer)
        raise Reply(412, "it is of another list")

    server.site.grants = [change]
    sync(server.url, own_folder(here), tell=facts.append)
    assert (here / "new").read_bytes() == newer
    assert len(server.site.bodies) == 2, "by the new manifest"
    assert server.sent() < len(NEW) // 4


def test_row_58_an_interruption_wakes_who_waits(server: Server, here: Path) -> None:
    stalled, part = threading.Event(), here / "new.part"

    class Stalling(Granted):
        def available(self, offset: int) -> int:
            if offset < 100_000:
                return min(super().available(offset), 100_000 - offset)
            stalled.set()
            return 0

    server.site.grants = [Stalling]
    with Session() as session:

        def stop() -> None:
            assert stalled.wait(20)
            assert until(lambda: part.exists() and any(part.read_bytes()[:1000]), 20)
            session.interrupt("SIGINT")

        thread = threading.Thread(target=stop)
        thread.start()
        with pytest.raises(Interrupted) as error:
            sync_with(session, Target(server.url, here / "new"))
        thread.join(20)
    assert error.value.exit_code in (1, 130)
    assert left(here) == ["new.part", "new.part.index"]
    sync(server.url, here / "new")
    assert (here / "new").read_bytes() == NEW
    first, second = server.wishes()
    assert second < first


def test_a_token_goes_along(tmp_path: Path, here: Path) -> None:
    root = tmp_path / "served"
    root.mkdir()
    site = Smart(root)
    login = NetworkOptions(user="x", password="s3cret", netrc=False)
    with running(site, Limits(), "s3cret", ANY) as found:
        url = f"{found.url}/new"
        with pytest.raises(AuthError):
            sync(url, own_folder(here), options=Options(network=NetworkOptions(netrc=False)))
        sync(url, here / "new", options=Options(network=login))
    site.close()
    assert (here / "new").read_bytes() == NEW
    assert len(site.bodies) == 1


def test_row_2_killed_and_continued(server: Server, here: Path) -> None:
    part = here / "new.part"
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            WISHING,
            "sync",
            server.url,
            "-o",
            "new",
            "-q",
            "--limit-rate",
            "400K",
        ],
        cwd=here,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        assert until(lambda: bool(server.site.bodies), 30)
        assert until(lambda: part.exists() and part.stat().st_blocks * 512 > 200_000, 30)
        assert until(lambda: any(part.read_bytes()[300_000:400_000]), 30)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=20)
    sync(server.url, here / "new")
    assert (here / "new").read_bytes() == NEW
    first, second = server.wishes()
    assert len(second) < len(first)
    assert left(here) == ["new"]


def test_the_command_line(server: Server, here: Path) -> None:
    own_folder(here)
    done = subprocess.run(
        [sys.executable, "-c", WISHING, "sync", server.url, "-o", "new"],
        cwd=here,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"NO_COLOR": "1"},
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert (here / "new").read_bytes() == NEW
    assert len(server.site.bodies) == 1


@pytest.fixture
def relay(server: Server, tmp_path: Path) -> Iterator[Server]:
    """A cache in front of the server, which grants what it receives."""
    with Session() as session:
        upstream = Upstream(session, server.url.removesuffix("/new"), tmp_path / "kept")
        site = Granting(upstream)
        with running(site, Limits(), None, ANY) as found:
            yield Server(server.site, found)
        site.close()


@pytest.mark.parametrize("lies", [True, False])
def test_row_55_a_cache_relays_for_two(
    server: Server, relay: Server, tmp_path: Path, lies: bool
) -> None:
    """Its server has the manifest as a file, or makes it: the cache fetches that, and all once."""
    if lies:
        make_manifest(server.site.root / "new")
        settle(server.site.root / "new.rdlm")
    settle(server.site.root / "new")
    with ThreadPoolExecutor(2) as pool:
        ends = [pool.submit(sync, relay.url, tmp_path / name) for name in ("one", "two")]
        results = [one.result(90) for one in ends]
    assert [(tmp_path / name).read_bytes() for name in ("one", "two")] == [NEW, NEW]
    assert [one.retries for one in results] == [0, 0]
    assert until(lambda: len(relay.asked) >= 6)  # an answer is logged when all of it was sent
    asked = Counter(relay.asked)
    assert 2 <= asked.pop("POST /new.rdlm") <= 4, "each, and once more where its answer stalls"
    assert asked == {"GET /new.rdlm": 2, "HEAD /new": 2}
    assert not server.site.bodies
    assert server.sent("GET /new ") < 1.5 * len(NEW)


class Slow(Granted):
    """As much of an answer as the test lets through."""

    limit = 0

    def available(self, offset: int) -> int:
        return min(super().available(offset), max(0, self.limit - offset))

    def grow(self, size: int) -> None:
        self.limit = min(self.limit + size, len(NEW) - 50_000)
        self._ring()

    def release(self) -> None:
        self.limit = 2 * len(NEW)
        self._ring()


class Chain:
    """A server, B that fetches from it and serves what it has, and C that fetches from B."""

    def __init__(self, server: Server, between: Running, path: Path) -> None:
        self.server, self.b, self.path, self.session = server, between, path, Session()
        self.slow: Slow | None = None
        self.pool = ThreadPoolExecutor(3)
        server.site.grants = [self._begin]

    def _begin(self, *args: Any) -> Reading:
        self.slow = Slow(*args)
        return self.slow

    def fetch(self, who: str) -> Future[Any]:
        """B, or C."""
        folder = self.path / who
        folder.mkdir(exist_ok=True)
        if who == "B":
            target = Target(self.server.url, folder / "new")
            return self.pool.submit(sync_with, self.session, target)
        return self.pool.submit(sync, f"{self.b.url}/new", folder / "new")

    def comes(self, who: str, at: int) -> bool:
        """Whether this has come there, while a little more comes to B each time."""
        if self.slow is not None:
            self.slow.grow(2000)
        part = self.path / who / "new.part"
        return part.exists() and part.read_bytes()[at : at + 1000] == NEW[at : at + 1000]


@pytest.fixture
def chain(server: Server, tmp_path: Path) -> Iterator[Chain]:
    (tmp_path / "B").mkdir()
    make_manifest(server.site.root / "new", tmp_path / "B" / "new.rdlm")
    site = Granting(Folder(tmp_path / "B"))
    with running(site, Limits(), None, ANY) as between:
        found = Chain(server, between, tmp_path)
        yield found
        found.session.close()
        found.pool.shutdown()
    site.close()


def test_row_55_b_fetches_slowly_and_c_follows(chain: Chain) -> None:
    """What B has C has, though no more comes to B; C asks once, and ends when B does."""
    b = chain.fetch("B")
    assert until(lambda: chain.comes("B", 100_000))
    c = chain.fetch("C")
    assert until(lambda: chain.comes("C", 200_000))
    assert not b.done()
    assert not c.done()
    assert chain.slow is not None
    chain.slow.release()
    b.result(30)
    assert c.result(30).retries == 0
    assert (chain.path / "C" / "new").read_bytes() == NEW
    asked = [" ".join(line.split(" ")[1:3]) for line in chain.b.told()]
    assert asked == ["GET /new.rdlm", "HEAD /new", "POST /new.rdlm"]


def test_row_55_b_aborts_and_c_has_an_error(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who come after that, too; what came is kept, and nobody goes on asking."""
    monkeypatch.setattr("rdl.server.partials.GRACE", 0.5)
    b = chain.fetch("B")
    assert until(lambda: chain.comes("B", 100_000))
    c = chain.fetch("C")
    assert until(lambda: chain.comes("C", 200_000))
    chain.session.interrupt("SIGTERM")
    for one in (c, chain.fetch("late")):
        with pytest.raises(NetworkError, match="does not receive the file any more"):
            one.result(30)
    with pytest.raises(Interrupted):
        b.result(30)
    assert left(chain.path / "C") == left(chain.path / "late") == ["new.part", "new.part.index"]
    asked = [line.split(" ")[1] for line in chain.b.told()]
    assert asked.count("POST") == 4, "each, and once more"
