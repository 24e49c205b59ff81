"""Files that smartremote and largefile began, adopted with --continue."""

from __future__ import annotations

import errno
import hashlib
import json
from pathlib import Path

import pytest
from pyroaring import BitMap

import rdl
from rdl.core.events import Fact, Result, Warned
from rdl.core.row import OVERLAP
from rdl.errors import BusyError, DigestMismatch, LocalFileError, NetworkError
from rdl.options import Digest, FileOptions, NetworkOptions, Options, RangeSpec, TransferOptions
from rdl.storage import foreign
from rdl.storage.copying import copy_to_part
from rdl.storage.foreign import find_foreign
from rdl.storage.memory import MemoryDisk
from rdl.storage.platform import PosixDisk
from tests.engine.staging import content_of
from tests.engine.test_api import ranged as served
from tests.support.origin import Origin, Seen

BLOCK = 64 << 10
SIZE = 20 * BLOCK + 1000
CONTENT = content_of(SIZE)
RIGHT = Digest("sha256", hashlib.sha256(CONTENT).hexdigest())
HERE = (*range(10), 20)
"""The blocks that are here."""


def sparse(*blocks: int) -> bytes:
    data = bytearray(SIZE)
    for at in blocks:
        data[at * BLOCK : (at + 1) * BLOCK] = CONTENT[at * BLOCK : (at + 1) * BLOCK]
    return bytes(data)


def state(*blocks: int) -> bytes:
    return bytes.fromhex("808008") + bytes(BitMap(blocks).serialize())


def index(*blocks: int) -> bytes:
    words = [f"{sum(1 << at for at in blocks):x}"]
    return json.dumps({"content_size": str(SIZE), "block_size": BLOCK, "ranges": words}).encode()


def names(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


def put(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    path.chmod(0o644)
    return path


def options(*digests: Digest, range: RangeSpec | None = None) -> Options:
    transfer = TransferOptions(digests=digests, retry=0, connections=1, range=range)
    return Options(NetworkOptions(netrc=False, proxy=""), transfer, FileOptions(adopt=True))


def get(path: Path, *digests: Digest, content: bytes = CONTENT) -> tuple[Result, list[str]]:
    """What came of it, and what was said."""
    told: list[Fact] = []
    with Origin(served(content)) as origin:
        result = rdl.get(origin.url(), path, options=options(*digests), tell=told.append)
    return result, [fact.message for fact in told if isinstance(fact, Warned)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "f"


def test_what_smartremote_began_is_continued(path: Path) -> None:
    put(path, sparse(*HERE))
    put(path.with_name("f.part"), state(*HERE))
    with Origin(served(CONTENT)) as origin:
        result = rdl.get(origin.url(), path, options=options(RIGHT))
        first = origin.seen[0].fields["range"]
    assert first.startswith(f"bytes={10 * BLOCK - OVERLAP - 4096}-")
    assert path.read_bytes() == CONTENT
    assert result.bytes_reused > 10 * BLOCK - 8192
    assert names(path.parent) == ["f"]


@pytest.mark.parametrize("data", ["f", "f.cache"])
def test_what_largefile_began_is_continued_and_its_files_stay(path: Path, data: str) -> None:
    put(path.with_name(data), sparse(*HERE))
    put(path.with_name("f.index"), index(*HERE))
    result, said = get(path, RIGHT)
    assert path.read_bytes() == CONTENT
    assert (result.bytes_reused > 10 * BLOCK - 8192, said) == (True, [])
    assert names(path.parent) == sorted({"f", data, "f.index"})
    assert path.with_name("f.index").read_bytes() == index(*HERE)
    assert data == "f" or path.with_name(data).read_bytes() == sparse(*HERE)


@pytest.mark.parametrize("ending", [".part", ".index"])
def test_what_is_not_claimed_is_not_taken(path: Path, ending: str) -> None:
    """Bytes of half a block, or of another version: the digest would not hold."""
    put(path, sparse(*HERE)[: 15 * BLOCK] + b"torn" * (len(sparse(*HERE)[15 * BLOCK :]) // 4))
    put(path.with_name("f" + ending), {".part": state, ".index": index}[ending](*range(10)))
    result, _ = get(path, RIGHT)
    assert path.read_bytes() == CONTENT
    assert result.bytes_reused > 10 * BLOCK - 8192
    assert result.bytes_downloaded < 12 * BLOCK


@pytest.mark.parametrize(
    ("claimed", "there"),
    [(range(22), HERE), (range(10), range(3)), ((0, 5, 21, 1 << 31), range(6)), (range(21), ())],
    ids=["the phantom block", "claimed, never written", "far past the end", "nothing there"],
)
@pytest.mark.parametrize("length", [SIZE, 7 * BLOCK + 5])
def test_claims_that_are_no_bytes_are_fetched(
    path: Path, claimed: list[int], there: list[int], length: int
) -> None:
    put(path, sparse(*there)[:length])
    put(path.with_name("f.part"), state(*claimed))
    get(path, RIGHT)
    assert path.read_bytes() == CONTENT
    assert names(path.parent) == ["f"]


@pytest.mark.parametrize("ending", [".part", ".index"])
def test_claims_that_are_lies_are_fetched_anew(path: Path, ending: str) -> None:
    put(path, b"G" * SIZE)
    put(path.with_name("f" + ending), {".part": state, ".index": index}[ending](*range(21)))
    get(path, RIGHT)
    assert path.read_bytes() == CONTENT


DAMAGED = {
    "no block size": (".part", b"\0" + state(*HERE)[3:], "its blocks have no size"),
    "cut": (".part", state(*HERE)[:-1], "its bitmap is broken"),
    "endless": (".part", state()[:5] + b"\0\0\xff\xff\xff\xff", "its bitmap is broken"),
    "torn": (".index", index(*HERE)[:-9], "it is torn, or not as largefile writes it"),
    "short": (".index", index().replace(b'"0"', b""), "it has 0 words of bits for 21 blocks"),
    "of another": (".index", index().replace(b'"1', b'"2'), "it is for a file of another size"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_state_is_said_and_the_data_is_of_unknown_origin(path: Path, name: str) -> None:
    ending, data, why = DAMAGED[name]
    put(path, sparse(*HERE))
    put(path.with_name("f" + ending), data)
    result, said = get(path, RIGHT)
    assert path.read_bytes() == CONTENT
    assert said == [f"f{ending} was not usable ({why}); all but zeros is taken"]
    assert result.bytes_reused > 10 * BLOCK - 8192


@pytest.mark.parametrize("ending", [".part", ".index"])
def test_a_state_that_is_too_large_is_not_read(
    path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign, "MAX_STATE", 16)
    put(path, sparse(*HERE))
    put(path.with_name("f" + ending), {".part": state, ".index": index}[ending](*HERE))
    _, said = get(path, RIGHT)
    assert said == [f"f{ending} was not usable (it has more than 16 bytes); all but zeros is taken"]


@pytest.mark.parametrize("ending", [".part", ".index"])
def test_without_a_digest_all_is_fetched(path: Path, ending: str) -> None:
    put(path, sparse(*HERE))
    kept = {".part": state, ".index": index}[ending](*HERE)
    put(path.with_name("f" + ending), kept)
    result, said = get(path)
    assert said == ["without a digest nothing proves the old bytes; all is fetched"]
    assert (path.read_bytes(), result.bytes_reused) == (CONTENT, 0)
    assert names(path.parent) == (["f"] if ending == ".part" else ["f", "f.index"])


@pytest.mark.parametrize("digests", [(), (RIGHT,)], ids=["unproved", "proved"])
def test_a_run_that_begins_nothing_leaves_both_as_they_were(
    path: Path, digests: tuple[Digest, ...]
) -> None:
    put(path, sparse(*HERE))
    put(path.with_name("f.part"), state(*HERE))
    with pytest.raises(NetworkError):
        rdl.get("http://127.0.0.1:1/f", path, options=options(*digests))
    assert path.read_bytes() == sparse(*HERE)
    assert path.with_name("f.part").read_bytes() == state(*HERE)
    assert names(path.parent) == ["f", "f.part"]


def test_a_wrong_digest_leaves_both_as_they_were(path: Path) -> None:
    put(path, sparse(*HERE))
    put(path.with_name("f.part"), state(*HERE))
    with pytest.raises(DigestMismatch):
        get(path, Digest("sha256", "0" * 64))
    assert path.read_bytes() == sparse(*HERE)
    assert path.with_name("f.part").read_bytes() == state(*HERE)
    assert names(path.parent) == ["f", "f.part", "f.part.bad"]


def test_a_run_that_is_stopped_keeps_the_state_until_the_next_is_done(path: Path) -> None:
    put(path, sparse(*HERE))
    put(path.with_name("f.part"), state(*HERE))

    def cut(connection: int, number: int, seen: Seen) -> list[bytes | str]:
        whole = served(CONTENT)(connection, number, seen)[0]
        return [whole[: 5 * BLOCK], "reset"] if len(origin.seen) == 1 else ["reset"]

    with Origin(cut) as origin, pytest.raises(NetworkError):
        rdl.get(origin.url(), path, options=options(RIGHT))
    assert names(path.parent) == ["f", "f.part", "f.part.foreign", "f.part.index"]
    assert path.with_name("f.part.foreign").read_bytes() == state(*HERE)
    assert path.read_bytes() == sparse(*HERE)
    result, _ = get(path, RIGHT)
    assert path.read_bytes() == CONTENT
    assert names(path.parent) == ["f"]
    assert result.bytes_reused > 9 * BLOCK


def test_a_state_that_a_killed_run_left_aside_is_found(path: Path) -> None:
    put(path, sparse(*HERE))
    put(path.with_name("f.part.foreign"), state(*HERE))
    result, _ = get(path, RIGHT)
    assert path.read_bytes() == CONTENT
    assert result.bytes_reused > 10 * BLOCK - 8192
    assert names(path.parent) == ["f"]


def test_what_is_left_beside_a_file_that_is_right_goes(path: Path) -> None:
    put(path, CONTENT)
    put(path.with_name("f.part.foreign"), state(*HERE))
    result, _ = get(path, RIGHT)
    assert (result.reason, names(path.parent)) == ("unchanged", ["f"])


def test_an_older_state_is_never_replaced(path: Path) -> None:
    put(path, sparse(*HERE))
    put(path.with_name("f.part"), state(*HERE))
    disk, found = PosixDisk(), find_foreign(PosixDisk(), path)
    assert found is not None
    put(path.with_name("f.part.foreign"), b"older")
    with pytest.raises(LocalFileError, match="stands in the way"):
        copy_to_part(disk, path, lambda: None, found)
    assert path.with_name("f.part").read_bytes() == state(*HERE)
    assert path.with_name("f.part.foreign").read_bytes() == b"older"
    assert names(path.parent) == ["f", "f.part", "f.part.foreign"]


def test_a_state_has_its_name_again_when_the_data_cannot_take_it() -> None:
    disk, path = MemoryDisk(), Path("/somewhere/f")
    disk.write(path, sparse(*HERE))
    disk.write(path.with_name("f.part"), state(*HERE))
    calls: list[str] = []

    def fault(operation: str, name: str) -> OSError | None:
        calls.append(name) if (operation, name) == ("rename", "f.part") else None
        return OSError(errno.EIO, "no") if calls == ["f.part"] and operation == "rename" else None

    disk.fault = fault
    with pytest.raises(LocalFileError):
        copy_to_part(disk, path, lambda: None, find_foreign(disk, path))
    assert disk.read(path.with_name("f.part")) == state(*HERE)
    assert disk.names(path.parent) == ["f", "f.part"]


def test_another_run_that_was_faster_is_noticed(path: Path) -> None:
    put(path, sparse(*HERE))
    part = put(path.with_name("f.part"), state(*HERE))
    found = find_foreign(PosixDisk(), path)
    part.rename(path.with_name("moved"))
    put(part, b"data of the other run")
    with pytest.raises(BusyError):
        copy_to_part(PosixDisk(), path, lambda: None, found)
    assert part.read_bytes() == b"data of the other run"
    assert names(path.parent) == ["f", "f.part", "moved"]


def test_a_state_that_others_may_write_is_left_alone(path: Path) -> None:
    put(path, sparse(*HERE))
    put(path.with_name("f.part"), state(*HERE)).chmod(0o666)
    with pytest.raises(LocalFileError, match="others may write to it"):
        get(path, RIGHT)
    assert names(path.parent) == ["f", "f.part"]


def test_without_continue_a_state_is_an_unknown_partial(path: Path) -> None:
    put(path, sparse(*HERE))
    put(path.with_name("f.part"), state(*HERE))
    with pytest.raises(LocalFileError, match="no index says what it holds"):
        rdl.get("http://127.0.0.1:1/f", path)
    with pytest.raises(LocalFileError, match="no index says what it holds"):
        rdl.status(path)
    assert path.with_name("f.part").read_bytes() == state(*HERE)


@pytest.mark.parametrize("kind", ["folder", "link", "film"])
def test_what_is_no_index_is_no_matter(path: Path, kind: str) -> None:
    put(path, sparse(*HERE))
    beside = path.with_name("f.index")
    if kind == "folder":
        beside.mkdir()
    elif kind == "link":
        beside.symlink_to(put(path.with_name("x"), index(*range(21))))
    else:
        put(beside, b"00:01 the beginning\n")
    result, said = get(path, RIGHT)
    assert (path.read_bytes(), said) == (CONTENT, [])
    assert result.bytes_reused > 10 * BLOCK - 8192
