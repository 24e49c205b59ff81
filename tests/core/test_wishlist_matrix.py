"""Any overlap, any size, any order: both sides in memory; and receivers that serve each other."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import pytest

from rdl.core import cafs
from rdl.core.chunks import Chunks
from rdl.core.shuffle import Permutation, shuffle
from rdl.core.wishlist import bits_of, numbers_in, wish
from tests.core.wishing import COUNTS, SIZES, asked, chunks_of, part, received, seeded

OVERLAPS = (0, 0.01, 0.25, 0.5, 0.75, 0.99, 1)


def kept(count: int, overlap: float) -> set[int]:
    """So many of the chunks are in the old file, evenly spread."""
    return {one for one in range(count) if int((one + 1) * overlap) > int(one * overlap)}


def repeating(count: int) -> list[bytes]:
    """A file in which every seventh chunk is one of three that come again and again."""
    return [part(one % 3, "again") if one % 7 == 5 else part(one) for one in range(count)]


@pytest.mark.parametrize("overlap", OVERLAPS)
@pytest.mark.parametrize("size", SIZES)
def test_the_file_is_rebuilt(overlap: float, size: int) -> None:
    played = 0
    for count in COUNTS:
        parts = repeating(count)
        row, here = chunks_of(parts), {parts[one] for one in kept(count, overlap)}
        lacking = [number for number in range(count) if parts[number] not in here]
        found, receiver = asked(row, lacking, dict(enumerate(parts)), size)
        assert sorted(found) == lacking
        assert [found.get(number, parts[number]) for number in range(count)] == parts
        assert receiver.transferred == sum(map(len, {parts[number] for number in lacking}))
        assert receiver.to_transfer == receiver.transferred
        played += 1
    assert played == len(COUNTS)


@pytest.mark.parametrize("overlap", OVERLAPS)
@pytest.mark.parametrize("size", SIZES)
def test_the_same_as_cafs_speaks(overlap: float, size: int) -> None:
    played = 0
    for count in COUNTS:
        parts = repeating(count) or [b""]
        info = cafs.SyncInfo(chunks_of(parts, 32), seeded(size))
        here = {parts[one] for one in kept(count, overlap)}
        theirs = cafs.parse_json(cafs.encode_json(info))
        lacking = [number for number in range(len(parts)) if parts[number] not in here]
        wished = wish(theirs.chunks, theirs.permutation, lacking)
        bits = bits_of(theirs.permutation, len(theirs.chunks), wished.numbers)
        numbers = numbers_in(info.permutation, info.chunks, bits)
        sender = cafs.StreamSender(info.chunks, numbers, dict(enumerate(parts)).get)
        receiver = cafs.StreamReceiver(theirs.chunks, wished)
        found = received(receiver, b"".join(sender.answer()), 100)
        assert sorted(found) == [number for number in lacking if parts[number]]
        assert all(parts[number] == data for number, data in found.items())
        assert sender.transferred == receiver.transferred == receiver.to_transfer
        played += 1
    assert played == len(COUNTS)


class Peer:
    """Fetches a file in an order of its own, so many chunks at a time: of those, what another
    peer has from there, the rest from the source."""

    def __init__(self, chunks: Chunks, size: int, seed: int) -> None:
        self.chunks, self.size, self.seed = chunks, size, seed
        self.order = wish(chunks, Permutation.seeded(size, seed), range(len(chunks))).numbers
        self.store: dict[int, bytes] = {}
        self.fetched = 0

    def lacking(self, window: int) -> list[int]:
        """The next ones in its order."""
        return [*islice((one for one in self.order if one not in self.store), window)]

    def fetch(
        self, window: int, others: Iterable[dict[int, bytes]], source: dict[int, bytes]
    ) -> dict[int, bytes]:
        """What came in one round."""
        came: dict[int, bytes] = {}
        left = self.lacking(window)
        for store in others:
            found, receiver = asked(self.chunks, left, store, self.size, self.seed)
            came, left = came | found, [*receiver.absent]
        found, receiver = asked(self.chunks, left, source, self.size, self.seed)
        self.fetched += receiver.transferred
        return came | found


def fetched(seeds: list[int], size: int, window: int = 20, count: int = 400) -> float:
    """Bytes that the source sent, in sizes of the file: all peers have a round at the same time,
    and none has what another one gets in it."""
    parts = [*map(part, range(count))]
    row, source = chunks_of(parts), dict(enumerate(parts))
    peers = [Peer(row, size, seed) for seed in seeds]
    while any(len(peer.store) < count for peer in peers):
        came = [
            peer.fetch(window, [one.store for one in peers if one is not peer], source)
            for peer in peers
        ]
        for peer, found in zip(peers, came, strict=True):
            peer.store.update(found)
    assert all(peer.store == source for peer in peers)
    return sum(peer.fetched for peer in peers) / sum(map(len, parts))


@pytest.mark.parametrize("size", [100, 400, 1000])
def test_row_54_two_with_other_orders_feed_each_other(size: int) -> None:
    assert 1 <= fetched([1, 2], size) < 1.5
    assert 1 <= fetched([3, 4], size) < 1.5


def test_two_with_the_same_order_fetch_all_twice() -> None:
    assert fetched([1, 1], 100) == 2
    assert fetched([1, 2], 1) == 2


def test_four_feed_each_other() -> None:
    assert 1 <= fetched([1, 2, 3, 4], 400) < 1.5


@pytest.mark.parametrize("size", SIZES)
def test_row_55_a_relay_forwards_as_it_receives(size: int) -> None:
    """What a shuffled SyncInfo asks for in the trivial order is what comes in that of the first."""
    parts = repeating(64)
    info = cafs.SyncInfo(chunks_of(parts, 32), seeded(size))
    relay = info.shuffled()
    order = [number for number in shuffle(info.permutation, range(64)) if number is not None]
    assert [*relay.entries()] == [[*info.entries()][number] for number in order]
    first = wish(info.chunks, info.permutation, range(64))
    then = wish(relay.chunks, relay.permutation, range(64))
    sent = b"".join(cafs.StreamSender(info.chunks, first.numbers, parts.__getitem__).answer())
    shuffled = [parts[number] for number in order]
    again = b"".join(cafs.StreamSender(relay.chunks, then.numbers, shuffled.__getitem__).answer())
    assert sent == again
