"""Real indexes, damaged in every way: what is believed is what was recorded, and is on disk."""

from __future__ import annotations

from contextlib import suppress
from random import Random

import pytest

from rdl.core import saving
from rdl.core.byterange import Extent
from rdl.core.index import Decoded, IndexDamaged, IndexNewer, decode
from rdl.errors import LocalFileError
from rdl.storage.base import Saved
from rdl.storage.memory import SECTOR, MemoryDisk
from tests.engine.staging import content_of
from tests.engine.world import Killed
from tests.traps.stage import INDEX, PART, TARGET, Run, download

SIZE = 90_000
DATA, OTHER = content_of(SIZE, seed=4), content_of(SIZE, seed=5)


class Mortal(MemoryDisk):
    """Its user is killed before the operation that comes after so many."""

    left = 1 << 30

    def _may(self, operation: str, name: str) -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed


def killed() -> MemoryDisk:
    """At the last moment at which several extents are durable, and several are not yet."""
    for operations in range(100, 10, -1):
        disk = Mortal()
        disk.left = operations
        with suppress(Killed):
            download(disk, Run([DATA], connections=3))
        disk.left = 1 << 30
        disk.kill()
        index = disk.read(INDEX)
        if disk.read(PART) and index:
            decoded = decode(index)
            if len(decoded.durable) >= 3 and len(decoded.soft) >= 3:
                return disk
    raise AssertionError("there is no such moment")


def stopped() -> MemoryDisk:
    """One that was stopped in order: its index ends with CLEAN."""
    disk = MemoryDisk()
    assert download(disk, Run([DATA], stop_at=0.6, connections=3)).code == 143
    disk.kill()
    return disk


@pytest.fixture(scope="module", params=["killed", "stopped"])
def left(request: pytest.FixtureRequest) -> tuple[bytes, bytes]:
    """Index and data as a run left them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saving, "CHECKPOINT_SECONDS", 0.1)
        disk = killed() if request.param == "killed" else stopped()
    index, part = disk.read(INDEX), disk.read(PART)
    assert index is not None
    assert part is not None
    decoded = decode(index)
    assert len(decoded.durable) >= 3
    assert (decoded.clean is None) == (request.param == "killed")
    assert decoded.consumed == len(index)
    return index, part


def claims(decoded: Decoded) -> frozenset[Extent]:
    return frozenset((*decoded.durable, *decoded.soft))


def read(data: bytes) -> Decoded | None:
    """None where nothing can be believed."""
    try:
        return decode(data)
    except (IndexDamaged, IndexNewer):
        return None


def ends_of(index: bytes) -> dict[int, frozenset[Extent]]:
    """Where its records end, and what it claims until there."""
    found = {}
    for length in range(len(index) + 1):
        decoded = read(index[:length])
        if decoded is not None:
            found[decoded.consumed] = claims(decoded)
    assert len(found) > 8
    return found


def is_prefix(damaged: bytes, first: int, ends: dict[int, frozenset[Extent]]) -> None:
    """Damage from byte `first` on: believed is exactly what stands before it."""
    decoded = read(damaged)
    before = [end for end in ends if end <= first]
    if not before:
        assert decoded is None
        return
    assert decoded is not None
    assert decoded.consumed == max(before)
    assert claims(decoded) == ends[max(before)]
    assert decoded.clean is None or max(before) == len(damaged)


def test_every_truncation(left: tuple[bytes, bytes]) -> None:
    index, _ = left
    ends = ends_of(index)
    assert len(index) > 500
    for length in range(len(index)):
        is_prefix(index[:length], length, ends)


def test_every_flipped_bit(left: tuple[bytes, bytes]) -> None:
    index, _ = left
    ends = ends_of(index)
    damaged = bytearray(index)
    assert max(ends) == len(index)
    for bit in range(len(index) * 8):
        damaged[bit // 8] ^= 1 << bit % 8
        is_prefix(bytes(damaged), bit // 8, ends)
        damaged[bit // 8] ^= 1 << bit % 8


def test_two_flipped_bits(left: tuple[bytes, bytes]) -> None:
    index, _ = left
    ends, random = ends_of(index), Random(3)
    assert max(ends) == len(index)
    for _ in range(3000):
        one, two = sorted(random.sample(range(len(index) * 8), 2))
        damaged = bytearray(index)
        damaged[one // 8] ^= 1 << one % 8
        damaged[two // 8] ^= 1 << two % 8
        is_prefix(bytes(damaged), one // 8, ends)


def first_difference(one: bytes, other: bytes) -> int:
    pairs = zip(one, other, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def test_zeros_and_junk_from_any_sector_on(left: tuple[bytes, bytes]) -> None:
    index, _ = left
    ends = ends_of(index)
    assert len(index) > SECTOR
    for start in range(0, len(index), SECTOR):
        for stop in (start + SECTOR, len(index)):
            for fill in (b"\0", b"\xff", b"RDLINDEX"):
                junk = (fill * SECTOR * 8)[: min(stop, len(index)) - start]
                damaged = index[:start] + junk + index[start + len(junk) :]
                is_prefix(damaged, first_difference(index, damaged), ends)


def test_records_that_come_twice_change_places_or_are_missing(left: tuple[bytes, bytes]) -> None:
    index, _ = left
    ends = ends_of(index)
    edges = sorted(ends)
    records = [index[a:b] for a, b in zip([0, *edges], edges, strict=False)]
    for one in range(1, len(records)):
        twice = [*records[: one + 1], records[one], *records[one + 1 :]]
        missing = [*records[:one], *records[one + 1 :]]
        orders = [twice, missing]
        for two in range(one + 1, len(records)):
            swapped = list(records)
            swapped[one], swapped[two] = swapped[two], swapped[one]
            orders.append(swapped)
        for order in orders:
            damaged = b"".join(order)
            if damaged != index:
                decoded = read(damaged)
                assert decoded is not None
                assert claims(decoded) in ends.values()
                assert decoded.consumed <= first_difference(index, damaged)


def damages(index: bytes) -> list[bytes]:
    """Some of each kind, for what takes longer."""
    random = Random(5)
    found = [index[: random.randrange(len(index))] for _ in range(25)]
    for _ in range(60):
        damaged = bytearray(index)
        damaged[random.randrange(len(index))] ^= 1 << random.randrange(8)
        found.append(bytes(damaged))
    found += [index[:at] + bytes(len(index) - at) for at in range(0, len(index), SECTOR)]
    return [*found, b"", bytes(len(index)), index + b"junk", index[100:]]


def finished(index: bytes, part: bytes) -> int:
    """Put this on a disk, run, and see a right file; how many extents were believed."""
    disk, believed = MemoryDisk(), 0

    def look(saved: Saved) -> None:
        nonlocal believed
        believed = len(saved.extents)
        for one in saved.extents:
            assert part[one.start : one.stop] == DATA[one.start : one.stop]

    disk.write(PART, part)
    disk.write(INDEX, index)
    ended = download(disk, Run([DATA]), look)
    assert ended.code == 0, repr(ended.error)
    assert disk.read(TARGET) == DATA
    assert disk.names(TARGET.parent) == [TARGET.name]
    return believed


def test_a_run_after_any_damage_ends_right(left: tuple[bytes, bytes]) -> None:
    index, part = left
    whole = len(claims(decode(index)))
    for damaged in damages(index):
        try:
            assert finished(damaged, part) <= whole
        except LocalFileError as error:
            pytest.fail(f"it should begin anew: {error}")


def test_data_that_is_not_what_the_index_says_is_fetched_again(left: tuple[bytes, bytes]) -> None:
    """Also under the time and size of an orderly stop, which another inode does not share."""
    index, part = left
    whole = finished(index, part)
    assert whole == len(claims(decode(index)))
    for start in range(0, SIZE, 9000):
        assert finished(index, part[:start] + bytes(100) + part[start + 100 :]) <= whole
        assert finished(index, part[:start]) <= whole
    assert finished(index, bytes(len(part))) == 0


def test_the_index_of_an_earlier_moment(left: tuple[bytes, bytes]) -> None:
    """Put back by a backup: what it claims is there, or is fetched."""
    index, part = left
    for end, claimed in ends_of(index).items():
        assert finished(index[:end], part) == len(claimed)


def test_the_index_of_another_download(left: tuple[bytes, bytes]) -> None:
    index, _ = left
    assert finished(index, OTHER) == 0
