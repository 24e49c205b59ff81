"""Two that receive one file in orders of their own, and grant each other what they have: as
servers do, and users who name each other as mirrors."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import pytest

from rdl.core.byterange import ByteRange
from rdl.core.chunks import Chunks
from rdl.core.events import Result
from rdl.core.shuffle import Permutation
from rdl.core.wishlist import wish
from rdl.manifests import make_manifest
from rdl.options import Options, TransferOptions
from rdl.server.connection import Limits
from rdl.server.folder import Folder
from rdl.server.granting import Granting
from rdl.syncing import sync
from rdl.transport.base import Exchange, Request
from rdl.transport.peering import PeerTransport
from tests.core.wishing import received
from tests.server.conftest import ANY, Running, running
from tests.server.filling import Filling
from tests.server.wire import ask
from tests.server.wishes import body_for, list_of, post, receiver_for
from tests.support.waiting import until

MakeUser = Callable[..., "User"]
DATA = random.Random(54).randbytes(4 << 20)
WINDOW = 20


def granted(
    whom: Running, chunks: Chunks, lacking: list[int], slots: int = 1, seed: int = 0
) -> dict[int, bytes]:
    """What one has of these, at once."""
    body = body_for(chunks, lacking, slots, seed)
    answer = ask(whom.port, post(whom.port, body, "Connection: close"))
    assert answer.startswith(b"HTTP/1.1 200 ")
    receiver = receiver_for(chunks, lacking, slots, seed)
    return received(receiver, answer.partition(b"\r\n\r\n")[2])


class Peer:
    """Receives the file into its folder, which it serves."""

    def __init__(self, folder: Path, served: Running, slots: int, seed: int) -> None:
        self.served, self.slots, self.seed = served, slots, seed
        self.chunks = list_of(served.port)
        self.writer = Filling(folder / "data.bin", DATA)
        self.writer.begin()
        order = wish(self.chunks, Permutation.seeded(slots, seed), range(len(self.chunks)))
        self.order, self.has, self.fetched = order.numbers, dict[int, bytes](), 0

    def asked(self, whom: Running, numbers: Iterable[int]) -> dict[int, bytes]:
        """What one has of these, at once."""
        return granted(whom, self.chunks, list(numbers), self.slots, self.seed)

    def round(self, other: Running, origin: Running) -> dict[int, bytes]:
        """The next ones in its order, from the other one as far as that has them."""
        next_ones = list(islice((one for one in self.order if one not in self.has), WINDOW))
        came = self.asked(other, next_ones)
        rest = [one for one in next_ones if one not in came]
        found = self.asked(origin, rest)
        self.fetched += sum(map(len, found.values()))
        return came | found

    def store(self, came: dict[int, bytes]) -> None:
        """From now on the other one may have it."""
        for number, data in came.items():
            span = self.chunks.chunk(number)
            assert data == DATA[span.start : span.stop]
            self.writer.write(span.start, span.stop, DATA)
        self.writer.store.checkpoint()
        self.has |= came
        shown = max(came, default=0)
        if shown != len(self.chunks) - 1:  # which waits until all is here
            assert until(lambda: self.asked(self.served, [shown]))


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[Running]:
    (tmp_path / "origin").mkdir()
    (tmp_path / "origin" / "data.bin").write_bytes(DATA)
    site = Granting(Folder(tmp_path / "origin"))
    with running(site, Limits(), None, ANY) as found:
        yield found
    site.close()


@pytest.mark.parametrize(("slots", "most"), [(100, 1.5), (1, 2.0)])
def test_row_54_two_with_other_orders_fetch_little_twice(
    origin: Running,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    slots: int,
    most: float,
) -> None:
    """Both have each round at the same time; in the order of the file all is fetched twice."""
    monkeypatch.setattr("rdl.server.partials.PERIOD", 0.01)
    with ExitStack() as stack:
        peers = []
        for seed in (1, 2):
            folder = tmp_path / str(seed)
            folder.mkdir()
            make_manifest(tmp_path / "origin" / "data.bin", folder / "data.bin.rdlm")
            site = Granting(Folder(folder))
            stack.callback(site.close)
            served = stack.enter_context(running(site, Limits(), None, ANY))
            peers.append(Peer(folder, served, slots, seed))
            stack.callback(peers[-1].writer.store.close)
        one, two = peers
        while len(one.has) < len(one.chunks) or len(two.has) < len(two.chunks):
            came = one.round(two.served, origin), two.round(one.served, origin)
            one.store(came[0])
            two.store(came[1])
        for peer in peers:
            peer.writer.publish()
            assert peer.writer.path.read_bytes() == DATA
        share = (one.fetched + two.fetched) / len(DATA)
        sent = sum(int(line.split(" ")[4]) for line in origin.told() if " POST " in line)
    assert one.fetched + two.fetched < sent < 1.01 * (one.fetched + two.fetched)
    assert share < most if most < 2 else share == most


class User:
    """Has a folder, which is served, with the manifest beside the file that it is to hold."""

    def __init__(self, folder: Path, stack: ExitStack, *, manifest: bool = True) -> None:
        folder.mkdir()
        self.file, source = folder / "data.bin", folder.parent / "origin" / "data.bin"
        if manifest:
            make_manifest(source, folder / "data.bin.rdlm")
        site = Granting(Folder(folder))
        stack.callback(site.close)
        self.served = stack.enter_context(running(site, Limits(), None, ANY))
        self.url = f"{self.served.url}/data.bin"

    def sync(self, origin: Running, *mirrors: str) -> Result:
        options = Options(transfer=TransferOptions(connections=1), mirrors=mirrors)
        return sync(f"{origin.url}/data.bin", self.file, options=options)


@pytest.fixture
def user(tmp_path: Path, origin: Running, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeUser]:
    monkeypatch.setattr("rdl.server.partials.PERIOD", 0.01)
    monkeypatch.setattr("rdl.core.tiles.LEAST", 64 << 10)
    monkeypatch.setattr("rdl.transport.peering.REST", 0.01)
    with ExitStack() as stack:
        yield lambda name, **how: User(tmp_path / name, stack, **how)


def sent(by: Running, method: str) -> int:
    """Bytes of answers to this method about the file, or its list."""
    lines = (line for line in by.lines if f" {method} /data.bin" in line)
    return sum(int(line.split(" ")[4]) for line in lines if method == "POST" or ".rdlm" not in line)


def test_row_54_two_users_who_name_each_other(
    origin: Running, user: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each asks the server for more only when its own server shows what it has: so that it does not
    depend on who is faster than whose eyes."""
    one, two = user("one"), user("two")
    of = {one.url: two.served, two.url: one.served}
    chunks, serve, last = list_of(one.served.port), PeerTransport._serve, dict[str, list[int]]()

    def in_step(self: PeerTransport, request: Request) -> Exchange:
        (other,) = self.urls
        shown = [number for number in last.get(other, ()) if number != len(chunks) - 1]
        assert not shown or until(lambda: len(granted(of[other], chunks, shown)) == len(shown))
        first, final = re.findall("[0-9]+", dict(request.headers)["Range"])
        last[other] = [*chunks.numbers(ByteRange(int(first), int(final) + 1))]
        return serve(self, request)

    monkeypatch.setattr(PeerTransport, "_serve", in_step)
    with ThreadPoolExecutor(2) as pool:
        ends = pool.submit(one.sync, origin, two.url), pool.submit(two.sync, origin, one.url)
        results = [end.result(60) for end in ends]
    assert one.file.read_bytes() == two.file.read_bytes() == DATA
    assert {(one.reason, one.verified_by) for one in results} == {
        ("complete", ("manifest:sha256",))
    }
    assert len(DATA) <= sent(origin, "GET") < 1.5 * len(DATA)


@pytest.mark.parametrize("old", [False, True])
def test_row_54_what_a_mirror_has_that_receives_is_not_asked_of_the_server(
    origin: Running, user: MakeUser, old: bool
) -> None:
    """Nor does it matter that it has stopped."""
    one, two = user("one"), user("two")
    half = len(DATA) // 2
    writer = Filling(two.file, DATA)
    writer.fill(0, half)
    if old:  # some fine chunks are wished for, some ranges are short
        one.file.write_bytes(
            b"".join(DATA[at + 9000 : at + 300_000] for at in range(0, half, 300_000))
        )
    one.sync(origin, two.url)
    writer.stop()
    assert one.file.read_bytes() == DATA
    assert half <= sent(origin, "GET") < half + (256 << 10)
    assert sent(two.served, "POST") < half + (64 << 10)


def test_a_mirror_with_another_file_brings_nothing(origin: Running, user: MakeUser) -> None:
    one, two = user("one"), user("two")
    two.file.write_bytes(DATA[::-1])
    one.sync(origin, two.url)
    assert one.file.read_bytes() == DATA
    assert sent(origin, "GET") == len(DATA)


def test_a_mirror_that_has_all_is_one_as_ever(origin: Running, user: MakeUser) -> None:
    one, two = user("one"), user("two", manifest=False)
    two.file.write_bytes(DATA)
    result = one.sync(origin, two.url, (two.file).as_uri())
    assert one.file.read_bytes() == DATA
    assert [share.url for share in result.sources][1:] == [two.url, two.file.as_uri()]
    assert sent(two.served, "POST") < 100
