"""Two that receive one file in orders of their own, and grant each other what they have."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import pytest

from rdl.core.shuffle import Permutation
from rdl.core.wishlist import wish
from rdl.manifests import make_manifest
from rdl.server.connection import Limits
from rdl.server.folder import Folder
from rdl.server.granting import Granting
from tests.core.wishing import received
from tests.server.conftest import ANY, Running, running
from tests.server.filling import Filling
from tests.server.wire import ask
from tests.server.wishes import body_for, list_of, post, receiver_for
from tests.support.waiting import until

DATA = random.Random(54).randbytes(4 << 20)
WINDOW = 20


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
        lacking = list(numbers)
        body = body_for(self.chunks, lacking, self.slots, self.seed)
        answer = ask(whom.port, post(whom.port, body, "Connection: close"))
        assert answer.startswith(b"HTTP/1.1 200 ")
        receiver = receiver_for(self.chunks, lacking, self.slots, self.seed)
        return received(receiver, answer.partition(b"\r\n\r\n")[2])

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
        sent = sum(int(line.split(" ")[4]) for line in origin.lines if " POST " in line)
    assert one.fetched + two.fetched < sent < 1.01 * (one.fetched + two.fetched)
    assert share < most if most < 2 else share == most
