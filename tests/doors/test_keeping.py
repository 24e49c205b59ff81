"""A member under its final name: proved, in one step, or not at all."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rdl.api import Target
from rdl.core.events import Fact, Result, Warned
from rdl.doors.archives import open_archive
from rdl.doors.keeping import Keeping
from rdl.errors import (
    ArchiveError,
    BusyError,
    DigestMismatch,
    Interrupted,
    LocalFileError,
    NoSpaceError,
    PolicyError,
    TargetExists,
)
from rdl.looking import status
from rdl.options import Digest, FileOptions, Options, TransferOptions
from rdl.storage.part_file import PartStore
from rdl.storage.platform import PosixDisk
from tests.doors.packing import Entry, Memory, made_tar, zip_of

BIG = random.Random(1).randbytes(3 << 20)
SMALL = b"the bytes of f"
SHA256 = Digest("sha256", hashlib.sha256(SMALL).hexdigest())
URL = "http://u:canary@h/a.zip?sig=canary"


class Keeper:
    """Keeps a member of an archive at one path; hears what is told."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data = zip_of(Entry(), Entry(b"big", BIG))
        self.facts: list[Fact] = []
        self.opened = 0

    def keep(
        self,
        name: str = "f",
        transfer: TransferOptions | None = None,
        check: Callable[[], None] = lambda: None,
        **file: Any,
    ) -> Result:
        options = Options(transfer=transfer or TransferOptions(), file=FileOptions(**file))
        target = Target(URL, self.path, options)
        return Keeping(target, self._open, self.facts.append, check).keep(name)

    def _open(self) -> tuple[Any, str]:
        self.opened += 1
        return open_archive(Memory(self.data)), "T2"

    @property
    def here(self) -> list[str]:
        return sorted(os.listdir(self.path.parent))


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    return Keeper(tmp_path / "kept")


@pytest.mark.parametrize(("name", "data"), [("f", SMALL), ("big", BIG)])
def test_it_stands_there_with_its_time_and_nothing_beside(
    keeper: Keeper, name: str, data: bytes
) -> None:
    result = keeper.keep(name)
    assert keeper.path.read_bytes() == data
    assert keeper.here == ["kept"]
    assert keeper.path.stat().st_mtime == 1359864306.0
    assert keeper.path.stat().st_mode & 0o777 == 0o666 & ~_umask()
    assert (result.verified_by, result.trust) == (("zip:crc32",), "T2")
    assert result.bytes_total == result.bytes_present == len(data)
    assert len(data) < result.bytes_downloaded < len(data) + (256 << 10)
    assert "canary" not in repr(result)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_without_its_time(keeper: Keeper) -> None:
    keeper.keep(keep_time=False)
    assert keeper.path.stat().st_mtime > 1_700_000_000


def test_a_digest_of_the_users_proves_it(keeper: Keeper) -> None:
    wanted = TransferOptions(digests=(SHA256,))
    result = keeper.keep(transfer=wanted)
    assert (result.verified_by, result.trust) == (("sha256", "zip:crc32"), "T4")
    assert result.digests == {"sha256": SHA256.hex}
    again = keeper.keep(transfer=wanted)
    assert (again.reason, keeper.opened) == ("unchanged", 1)


@pytest.mark.parametrize("name", ["f", "big"])
def test_what_has_not_the_digest_is_put_aside(keeper: Keeper, name: str) -> None:
    keeper.path.write_bytes(b"old")
    with pytest.raises(DigestMismatch, match="sha256 is") as caught:
        keeper.keep(name, TransferOptions(digests=(Digest("sha256", "a" * 64),)))
    assert "kept.part.bad" in caught.value.hint
    assert keeper.here == ["kept", "kept.part.bad"]
    assert keeper.path.read_bytes() == b"old"


def test_what_has_not_the_crc_is_put_aside(keeper: Keeper) -> None:
    lie = {"crc": 1}
    keeper.data = zip_of(Entry(central=lie, local=lie))
    with pytest.raises(DigestMismatch, match="CRC-32"):
        keeper.keep()
    assert keeper.here == ["kept.part.bad"]


def test_what_is_damaged_leaves_nothing(keeper: Keeper) -> None:
    keeper.data = made_tar([("big", BIG)])[: 1 << 20]
    with pytest.raises(ArchiveError):
        keeper.keep("big")
    assert keeper.here == []


def test_an_end_in_the_middle_leaves_nothing(keeper: Keeper) -> None:
    keeper.path.write_bytes(b"old")
    count = 0

    def check() -> None:
        nonlocal count
        count += 1
        if count > 2:
            raise Interrupted("SIGINT")

    with pytest.raises(Interrupted):
        keeper.keep("big", check=check)
    assert keeper.here == ["kept"]
    assert keeper.path.read_bytes() == b"old"


def test_an_existing_file_is_replaced_or_not(keeper: Keeper) -> None:
    keeper.path.write_bytes(b"old")
    with pytest.raises(TargetExists):
        keeper.keep(no_clobber=True)
    assert keeper.opened == 0
    keeper.keep()
    assert keeper.path.read_bytes() == SMALL


def test_a_target_that_changed_meanwhile_stays(keeper: Keeper) -> None:
    keeper.path.write_bytes(b"old")

    def check() -> None:
        keeper.path.write_bytes(b"somebody else's")

    with pytest.raises(TargetExists, match="changed while we worked"):
        keeper.keep("big", check=check)
    assert keeper.path.read_bytes() == b"somebody else's"
    assert keeper.here == ["kept"]


def test_a_link_as_target_stays_untouched(keeper: Keeper) -> None:
    keeper.path.symlink_to("elsewhere")
    with pytest.raises(LocalFileError, match="symlink"):
        keeper.keep()
    assert keeper.here == ["kept"]


def test_another_rdl_writes_there(keeper: Keeper) -> None:
    other = PartStore(keeper.path)
    other.open()
    try:
        with pytest.raises(BusyError):
            keeper.keep()
    finally:
        other.close()


def test_what_has_no_room_is_refused_before_it_is_written(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PosixDisk, "free", lambda _disk, _file: 1 << 20)
    with pytest.raises(NoSpaceError, match="3145728 bytes are needed and 1048576 are free"):
        keeper.keep("big")
    assert keeper.here == []


def test_what_is_larger_than_the_limit_is_refused(keeper: Keeper) -> None:
    with pytest.raises(PolicyError, match="--max-filesize is 100"):
        keeper.keep("big", TransferOptions(max_filesize=100))
    assert keeper.here == []


def test_a_partial_of_something_else_is_replaced(keeper: Keeper) -> None:
    keeper.path.with_name("kept.part").write_bytes(b"whose?")
    with pytest.raises(LocalFileError, match="no index says"):
        keeper.keep()
    assert keeper.here == ["kept.part"]


def test_what_a_killed_run_leaves_is_no_download_and_is_replaced(keeper: Keeper) -> None:
    class Killed(BaseException):
        """The process ends here."""

    left = keeper.path.with_name("copy")
    left.mkdir()

    def check() -> None:
        for name in ("kept.part", "kept.part.index"):
            found = keeper.path.with_name(name)
            if found.exists():
                (left / name).write_bytes(found.read_bytes())
        if (left / "kept.part.index").exists():
            raise Killed

    with pytest.raises(Killed):
        keeper.keep("big", check=check)
    keeper.path = left / "kept"
    assert keeper.here == ["kept.part", "kept.part.index"]
    assert status(keeper.path).url is None
    keeper.facts.clear()
    keeper.keep("big")
    assert keeper.here == ["kept"]
    assert keeper.path.read_bytes() == BIG
    assert [type(fact) for fact in keeper.facts if isinstance(fact, Warned)] == [Warned]
