"""The chunk cache on disk: least recently used first, nothing in use, whatever is cut off."""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import random
import subprocess
import sys
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rdl.core.chunks import Chunks
from rdl.errors import LocalFileError, RdlError
from rdl.storage import packs as module
from rdl.storage.local_file import LocalFile
from rdl.storage.packs import PAGE, Pack, Packs
from rdl.storage.platform import PosixDisk

SIZE = 5000
"""Of a chunk: a pack of it takes two pages."""


def chunks_of(data: bytes, size: int = SIZE) -> Chunks:
    ends = [*range(size, len(data), size), len(data)]
    parts = [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    digests = b"".join(hashlib.sha256(one).digest()[:20] for one in parts)
    return Chunks("sha256", 20, array("Q", ends), digests)


def made(folder: Path, data: bytes) -> tuple[Path, Chunks]:
    path = folder / "file"
    path.write_bytes(data)
    return path, chunks_of(data)


def add(packs: Packs, path: Path, chunks: Chunks, *numbers: int) -> None:
    with LocalFile(path) as file:
        packs.add(file, chunks, numbers or range(len(chunks)))


def held(folder: Path) -> dict[bytes, bytes]:
    """Every chunk in the cache, by its digest."""
    found = dict[bytes, bytes]()
    with Packs(folder) as packs:
        for pack in packs.packs():
            table = packs.table(pack)
            assert table is not None
            data = (folder / pack.name).read_bytes()
            for number in range(len(table)):
                span = table.chunk(number)
                found[table.digest(number)] = data[span.start : span.stop]
    return found


def all_right(found: dict[bytes, bytes]) -> bool:
    return all(hashlib.sha256(data).digest()[:20] == digest for digest, data in found.items())


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that no two looks find at the same time."""
    clock = itertools.count(10**18)
    monkeypatch.setattr(module.time, "time_ns", lambda: next(clock))


@pytest.mark.usefixtures("ticks")
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    steps=st.lists(st.tuples(st.sampled_from("apuc"), st.integers(0, 7)), max_size=30),
    room=st.integers(1, 5),
)
def test_least_recently_used_first_and_never_what_is_pinned(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]], room: int
) -> None:
    """Beside a model: chunks in the order of their last use, and how often each is pinned."""
    here = tmp_path_factory.mktemp("model")
    path, chunks = made(here, random.Random(1).randbytes(8 * SIZE))
    order, pins, users = list[int](), set[int](), dict[int, Packs]()
    with Packs(here / "cache", room * 2 * PAGE) as packs:
        for step, number in steps:
            tables = ((one, packs.table(one)) for one in packs.packs())
            here_now = {table.digest(0): one for one, table in tables if table is not None}
            pack = here_now.get(chunks.digest(number))
            assert (pack is not None) == (number in order)
            if step == "a" and number not in order:
                add(packs, path, chunks, number)
                free = [one for one in order if one not in pins]
                if len(order) >= room and free:
                    order.remove(free[0])
                if len(order) < room:
                    order.append(number)
            elif step == "p" and pack is not None and number not in users:
                users[number] = Packs(here / "cache").__enter__()
                assert users[number].pin(pack)
                order.remove(number)
                order.append(number)
                pins.add(number)
            elif step == "u" and number in users:
                users.pop(number).__exit__()
                pins.discard(number)
            elif step == "c":
                with Packs(here / "cache") as other:
                    other.clear()
                order = [one for one in order if one in pins]
            now = packs.holdings()
            assert now.entries == len(order)
            assert (now.used, now.locked) == (2 * PAGE * len(order), 2 * PAGE * len(pins))
            assert now.capacity == room * 2 * PAGE
        for user in users.values():
            user.__exit__()


def test_what_is_put_there_is_found_again_packed(tmp_path: Path) -> None:
    path, chunks = made(tmp_path, random.Random(2).randbytes(100 * SIZE + 17))
    with Packs(tmp_path / "cache", 4 << 20) as packs:
        add(packs, path, chunks)
        assert 2 <= len(packs.packs()) <= 3  # a sixteenth each
    found = held(tmp_path / "cache")
    assert len(found) == 101
    assert all_right(found)
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700
    assert {one.stat().st_mode & 0o777 for one in (tmp_path / "cache").iterdir()} == {0o600}


def test_of_a_larger_file_as_much_as_there_is_room_for(tmp_path: Path) -> None:
    path, chunks = made(tmp_path, random.Random(3).randbytes(60 * SIZE))
    with Packs(tmp_path / "cache", 32 * PAGE) as packs:
        add(packs, path, chunks)
        now = packs.holdings()
        assert 24 * PAGE <= now.used <= 32 * PAGE
        assert all_right(held(tmp_path / "cache"))
    with Packs(tmp_path / "tiny", PAGE) as packs:  # no chunk fits
        add(packs, path, chunks)
        assert packs.packs() == []
    with Packs(tmp_path / "tiny", 2 * PAGE) as packs:
        add(packs, path, chunks)
        pack = packs.packs()[0]
        assert packs.pin(pack)
        with Packs(tmp_path / "tiny", 2 * PAGE) as other:
            add(other, path, chunks, 5)  # nothing may go for it
            assert [one.name for one in other.packs()] == [pack.name]
            assert not other.drop(pack)


def test_equal_chunks_and_empty_ones_are_kept_once(tmp_path: Path) -> None:
    path, chunks = made(tmp_path, bytes(20 * SIZE))
    with Packs(tmp_path / "cache", 1 << 20) as packs:
        add(packs, path, chunks)
        table = packs.table(packs.packs()[0])
        assert table is not None
        assert len(table) == 1


FREE = ("close", "steps", "error", "lasts")


class Dying(PosixDisk):
    """A disk of a process that is killed before its call of this number."""

    def __init__(self, steps: int, error: BaseException) -> None:
        self.steps, self.error, self.lasts = steps, error, isinstance(error, Killed)

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name in ("close", "steps", "error", "lasts", "_link_to_free_name") or not callable(
            found
        ):
            return found

        def call(*arguments: Any, **named: Any) -> Any:
            self.steps -= 1
            if self.steps == 0 or (self.lasts and self.steps < 0):
                raise self.error
            return found(*arguments, **named)

        return call


class Killed(BaseException):
    """Nothing more is done."""


@pytest.mark.parametrize(
    "make",
    [Killed, lambda: OSError(errno.ENOSPC, "No space left on device"), lambda: OSError(5, "I/O")],
    ids=["killed", "full", "broken"],
)
def test_cut_off_between_any_two_steps(
    tmp_path: Path, make: Callable[[], BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SHARE", 2)
    path, chunks = made(tmp_path, random.Random(4).randbytes(8 * SIZE))
    cache, most = tmp_path / "cache", 12 * PAGE
    for steps in range(1, 1000):
        disk = Dying(steps, make())
        try:
            with Packs(cache, most, disk) as packs:
                add(packs, path, chunks, *random.Random(steps).sample(range(8), 6))
        except (Killed, OSError, RdlError):
            pass
        found = held(cache) if cache.exists() else {}
        assert all_right(found)
        with Packs(cache, most) as packs:
            add(packs, path, chunks, steps % 8)
            assert packs.holdings().used <= most
        assert chunks.digest(steps % 8) in held(cache)
        assert [one.name for one in cache.iterdir() if one.suffix == ".new"] == []
        if disk.steps > 0:
            break
    assert 20 < steps < 999


def test_a_pack_whose_copy_finds_no_space(tmp_path: Path) -> None:
    class Full(PosixDisk):
        def copy(self, *arguments: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    path, chunks = made(tmp_path, random.Random(5).randbytes(2 * SIZE))
    with (
        Packs(tmp_path / "cache", 1 << 20) as packs,
        LocalFile(path, disk=Full()) as file,
        pytest.raises(OSError, match="space"),
    ):
        packs.add(file, chunks, range(2))
    assert [one.name for one in (tmp_path / "cache").iterdir()] == ["packs.lock"]


DAMAGES: list[Callable[[bytes], bytes]] = [
    lambda data: b"",
    lambda data: data[:-1],
    lambda data: data[1:],
    lambda data: data + b"\0",
    lambda data: data[:-16] + bytes(16),
    lambda data: data[:-60] + bytes([data[-60] ^ 1]) + data[-59:],
    lambda data: data[:-56] + b"x" + data[-55:],
    lambda data: data[:-48] + b"//////" + data[-42:],
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_no_pack_is_none(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path, chunks = made(tmp_path, random.Random(6).randbytes(2 * SIZE))
    with Packs(tmp_path / "cache", 1 << 20) as packs:
        add(packs, path, chunks)
        pack = packs.packs()[0]
        place = tmp_path / "cache" / pack.name
        place.write_bytes(damage(place.read_bytes()))
        assert packs.table(pack) is None
        assert packs.drop(pack)
        assert packs.table(pack) is None
        assert packs.pin(pack)  # it is gone, which whoever reads it finds


def test_foreign_files_stay(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o700)
    for name in ("notes", "0123456789abcdef.pack", "x.new"):
        (cache / name).write_bytes(b"x")
    folders = {f"{'2' * 15}.pack", f"{'3' * 15}.new"}
    for name in folders:
        (cache / name).mkdir()
    path, chunks = made(tmp_path, random.Random(7).randbytes(2 * SIZE))
    with Packs(cache, 8 * PAGE) as packs:
        add(packs, path, chunks)
        assert packs.clear()[0] == 2
    assert {one.name for one in cache.iterdir()} == folders | {
        "notes",
        "0123456789abcdef.pack",
        "x.new",
        "packs.lock",
    }


def test_what_a_killed_run_wrote_goes_and_what_another_writes_counts(tmp_path: Path) -> None:
    path, chunks = made(tmp_path, random.Random(9).randbytes(4 * SIZE))
    with Packs(tmp_path / "cache", 8 * PAGE) as packs, Packs(tmp_path / "cache") as other:
        for name in ("0" * 15, "1" * 15):
            (tmp_path / "cache" / f"{name}.new").write_bytes(bytes(4 * PAGE))
        assert other.pin(Pack("1" * 15 + ".new", 0, 0))
        add(packs, path, chunks)
        assert packs.holdings().used == 4 * PAGE
        left = [one.name for one in (tmp_path / "cache").iterdir() if one.suffix == ".new"]
        assert left == ["1" * 15 + ".new"]
        assert other.pin(packs.packs()[0])
        assert other.pin(packs.packs()[0])
    going = Pack("2" * 15 + ".pack", 0, 0)
    with Packs(tmp_path / "cache", 8 * PAGE) as packs, Packs(tmp_path / "cache") as other:
        control = os.open(tmp_path / "cache" / "packs.lock", os.O_RDWR)
        assert PosixDisk().pin(control, int("2" * 15, 16), alone=True)
        assert not packs.pin(going)
        os.close(control)
        assert packs.pin(going)
        assert not other.drop(going)


def test_a_folder_that_is_not_the_users_alone(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o777)
    with pytest.raises(LocalFileError, match="others may write"):
        Packs(tmp_path / "cache", 1 << 20).__enter__()
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "made").mkdir(mode=0o700)
    (tmp_path / "made" / "packs.lock").mkdir()
    for folder in ("file", "file/deeper", "link", "made"):
        with pytest.raises(LocalFileError):
            Packs(tmp_path / folder, 1 << 20).__enter__()


def test_to_look_makes_nothing(tmp_path: Path) -> None:
    with Packs(tmp_path) as packs:
        assert packs.holdings() == module.Holdings(0, 0, 0, None)
        assert packs.clear() == (0, 0)
        assert not packs.drop(Pack("0" * 15 + ".pack", 0, 0))
    assert list(tmp_path.iterdir()) == []


OTHER = """
import sys
from pathlib import Path
from rdl.storage.packs import Packs
with Packs(Path(sys.argv[1])) as packs:
    assert all([packs.pin(one) for one in packs.packs()])
    print("pinned", flush=True)
    sys.stdin.read()
"""


def test_another_process_pins_until_it_is_killed(tmp_path: Path) -> None:
    path, chunks = made(tmp_path, random.Random(8).randbytes(3 * SIZE))
    with Packs(tmp_path / "cache", 12 * PAGE) as packs:
        add(packs, path, chunks)
        command = [sys.executable, "-c", OTHER, str(tmp_path / "cache")]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == "pinned\n"
            now = packs.holdings()
            assert now.locked == now.used > 0
            assert packs.clear() == (0, 0)
            other.kill()
        assert packs.clear() == (now.entries, now.used)


WRITER = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[4:]
from tests.storage.test_packs import add, chunks_of
from rdl.storage.packs import Packs
path = Path(sys.argv[2])
chunks = chunks_of(path.read_bytes())
for number in range(12):
    with Packs(Path(sys.argv[1]), int(sys.argv[3])) as packs:
        add(packs, path, chunks, number, number + 12)
"""


def test_two_processes_at_once(tmp_path: Path) -> None:
    cache, most, root = tmp_path / "cache", 20 * PAGE, Path(__file__).parents[2]
    running = []
    for number in range(2):
        path = tmp_path / f"file{number}"
        path.write_bytes(random.Random(number).randbytes(24 * SIZE))
        command = [sys.executable, "-c", WRITER, str(cache), str(path), str(most), str(root)]
        running.append(subprocess.Popen([*command, str(root / "tests")]))
    assert [one.wait(60) for one in running] == [0, 0]
    with Packs(cache) as packs:
        assert most - 4 * PAGE <= packs.holdings().used <= most
    assert all_right(held(cache))
    assert not [name for name in os.listdir(cache) if name.endswith(".new")]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EIO])
def test_locks_that_are_not_to_be_had(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def fail(*arguments: object) -> int:
        raise OSError(number, "no locks")

    monkeypatch.setattr(fcntl, "fcntl", fail)
    (tmp_path / "file").write_bytes(b"")
    disk, file = PosixDisk(), os.open(tmp_path / "file", os.O_RDWR)
    try:
        if number == errno.ENOLCK:
            assert disk.pin(file, 7, alone=True)
            assert not disk.is_pinned(file, 7)
        else:
            with pytest.raises(OSError, match="no locks"):
                disk.pin(file, 7, alone=True)
            with pytest.raises(OSError, match="no locks"):
                disk.is_pinned(file, 7)
    finally:
        os.close(file)


def test_a_folder_of_other_files_is_not_made_a_cache(tmp_path: Path) -> None:
    (tmp_path / "notes").write_bytes(b"the user's")
    with (
        pytest.raises(LocalFileError, match="holds other files") as caught,
        Packs(tmp_path, 1 << 20),
    ):
        pass
    assert "folder of its own" in caught.value.hint
    assert [one.name for one in tmp_path.iterdir()] == ["notes"]


def test_an_empty_folder_is_and_stays_one_beside_other_files(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    path, chunks = made(tmp_path, bytes(range(256)) * 40)
    for number in range(2):
        with Packs(folder, 1 << 20) as packs:
            (folder / "notes").write_bytes(b"the user's")
            add(packs, path, chunks, number)
            assert len(packs.packs()) == number + 1
    assert len(held(folder)) == 2
    assert (folder / "notes").read_bytes() == b"the user's"
