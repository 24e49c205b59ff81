"""`sync` with a chunk cache: what came once does not come again, whatever became of the cache."""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path

import pytest
from msgspec.structs import replace

from rdl import recipes
from rdl.api import Session, Target
from rdl.chunkers import CannotCut
from rdl.core.events import Fact, Result, Warned
from rdl.options import ChunkCache, Digest
from rdl.storage.packs import Packs
from rdl.storage.platform import PosixDisk
from rdl.syncing import Syncing, sync, sync_with
from tests.scenarios.coded import KiB, MiB
from tests.scenarios.test_sync import changed, metalink_of
from tests.support.deltas import content_sent, mixed, put
from tests.support.folders import Folder

DATA = mixed(2 * MiB)


@pytest.fixture
def cache(tmp_path: Path) -> ChunkCache:
    return ChunkCache(tmp_path / "cache", 100 * MiB)


def anew(folder: Folder, here: Path, cache: ChunkCache, seeds: tuple[Path, ...] = ()) -> list[str]:
    """Sync to a FILE that is not there; the warnings."""
    facts = list[Fact]()
    (here / "new").unlink(missing_ok=True)
    folder.log.clear()
    result = sync(f"{folder.url}/new", here / "new", seeds=seeds, cache=cache, tell=facts.append)
    assert isinstance(result, Result)
    assert (here / "new").read_bytes() == (folder.root / "new").read_bytes()
    return [fact.message for fact in facts if isinstance(fact, Warned)]


def test_row_57_a_repeated_sync_fetches_nothing_again(
    folder: Folder, here: Path, cache: ChunkCache
) -> None:
    put(folder.root, "new", DATA)
    assert anew(folder, here, cache) == []
    assert content_sent(folder) >= len(DATA)
    assert anew(folder, here, cache) == []
    assert content_sent(folder) <= 4 * KiB  # which show that the file is the same
    with Packs(cache.folder) as packs:
        now = packs.holdings()
        assert len(DATA) <= now.used <= cache.most == now.capacity
        assert now.locked == 0
        assert packs.clear() == (now.entries, now.used)
    assert anew(folder, here, cache) == []
    assert content_sent(folder) >= len(DATA)


def test_row_57_what_came_for_a_delta_is_found_on_both_levels(
    folder: Folder, here: Path, cache: ChunkCache
) -> None:
    (here / "old").write_bytes(DATA)
    put(folder.root, "new", changed(DATA))
    anew(folder, here, cache, (here / "old",))
    assert 0 < content_sent(folder) < len(DATA) // 10
    anew(folder, here, cache, (here / "old",))
    assert content_sent(folder) <= 4 * KiB


def test_row_57_a_small_cache_keeps_its_size(folder: Folder, here: Path, tmp_path: Path) -> None:
    small = ChunkCache(tmp_path / "cache", 512 * KiB)
    put(folder.root, "new", DATA)
    anew(folder, here, small)
    anew(folder, here, small)
    assert 512 * KiB * 3 // 4 < len(DATA) - content_sent(folder) <= 512 * KiB
    with Packs(small.folder) as packs:
        assert packs.holdings().used <= small.most


def test_what_is_copied_from_is_locked(
    folder: Folder, here: Path, cache: ChunkCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder.root, "new", DATA)
    anew(folder, here, cache)
    copied, seen = PosixDisk.copy, list[tuple[int, int]]()

    def copy(self: PosixDisk, *arguments: int) -> int:
        with Packs(cache.folder) as packs:
            seen.append((packs.clear()[0], packs.holdings().locked))
        return copied(self, *arguments)

    monkeypatch.setattr(PosixDisk, "copy", copy)
    anew(folder, here, cache)
    assert content_sent(folder) <= 4 * KiB
    assert all(gone == 0 and locked > len(DATA) for gone, locked in seen)
    assert seen


def test_a_wrong_chunk_costs_its_pack_and_that_a_fetch(
    folder: Folder, here: Path, tmp_path: Path
) -> None:
    cache = ChunkCache(tmp_path / "cache", 8 * MiB)  # of 512 KiB each
    put(folder.root, "new", DATA)
    anew(folder, here, cache)
    pack = next(cache.folder.glob("*.pack"))
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.write_bytes(data)
    (cache.folder / f"{'0' * 15}.pack").write_bytes(b"none")
    anew(folder, here, cache)
    assert not (cache.folder / f"{'0' * 15}.pack").exists()
    assert 0 < content_sent(folder) < len(DATA)
    assert not pack.exists()
    anew(folder, here, cache)
    assert content_sent(folder) <= 4 * KiB


def test_blocks_of_a_metalink(folder: Folder, here: Path, cache: ChunkCache) -> None:
    (folder.root / "new").write_bytes(DATA)
    (folder.root / "new.meta4").write_bytes(metalink_of("new", DATA))
    for _ in range(2):
        folder.log.clear()
        (here / "new").unlink(missing_ok=True)
        sync(f"{folder.url}/new", here / "new", manifest=f"{folder.url}/new.meta4", cache=cache)
        assert (here / "new").read_bytes() == DATA
    sent = sum(asked.sent for asked in folder.log if ".meta4" not in asked.line)
    assert sent <= 64 * KiB
    put(folder.root, "new", DATA)  # whose digests are of other lengths: nothing of use is here
    (cache.folder / "packs.lock").write_bytes(b"?")
    anew(folder, here, cache)


def test_where_nothing_can_be_cut_the_cache_is_of_use(
    folder: Folder, here: Path, cache: ChunkCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder.root, "new", DATA)
    anew(folder, here, cache)
    (here / "old").write_bytes(DATA)

    def none(*arguments: object) -> None:
        raise CannotCut("manifest", "it cannot be cut")

    monkeypatch.setattr(recipes, "chunker_of", none)
    assert "cannot be cut" in anew(folder, here, cache, (here / "old",))[0]
    assert content_sent(folder) <= 4 * KiB


def test_a_folder_that_is_none_costs_only_the_caching(
    folder: Folder, here: Path, cache: ChunkCache
) -> None:
    put(folder.root, "new", DATA)
    cache.folder.write_bytes(b"")
    said = anew(folder, here, cache)
    assert len(said) == 1
    assert "the cache is left out" in said[0]


@pytest.mark.parametrize(
    ("name", "number", "said"),
    [
        ("copy", errno.ENOSPC, "not kept in the cache"),
        ("pin", errno.EIO, "the cache is left out"),
        ("entries", errno.EACCES, "the cache is left out"),
    ],
)
def test_a_disk_that_fails_costs_only_the_caching(
    folder: Folder,
    here: Path,
    cache: ChunkCache,
    monkeypatch: pytest.MonkeyPatch,
    *,
    name: str,
    number: int,
    said: str,
) -> None:
    put(folder.root, "new", DATA)
    if name == "pin":
        anew(folder, here, cache)

    def fail(*arguments: object, **named: object) -> int:
        raise OSError(number, "it fails")

    monkeypatch.setattr(PosixDisk, name, fail)
    assert said in anew(folder, here, cache)[0]


def test_who_ends_it_waits_for_no_cache(
    folder: Folder, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder.root, "new", DATA)
    cache, copied = ChunkCache(tmp_path / "cache", 8 * MiB), PosixDisk.copy  # of 512 KiB each
    facts = list[Fact]()
    with Session() as session:

        def copy(self: PosixDisk, *arguments: int) -> int:
            session.interrupt("SIGINT")
            return copied(self, *arguments)

        monkeypatch.setattr(PosixDisk, "copy", copy)
        target = Target(f"{folder.url}/new", here / "new")
        result = sync_with(session, target, tell=facts.append, cache=cache)
    assert result.exit_code == 0
    assert (here / "new").read_bytes() == DATA
    assert "not kept in the cache" in next(one.message for one in facts if isinstance(one, Warned))
    with Packs(cache.folder) as packs:
        assert packs.holdings().entries == 1


def test_what_another_manifest_found_is_not_kept(
    folder: Folder, here: Path, cache: ChunkCache
) -> None:
    put(folder.root, "new", DATA)
    with Session() as session:
        target = Target(f"{folder.url}/new", here / "new")
        syncing = Syncing(session, target, (), None, cache=cache)
        syncing.run(None)
        digest = Digest("sha256", hashlib.sha256(DATA).hexdigest())
        syncing._options = replace(
            syncing._options, transfer=replace(syncing._options.transfer, digests=(digest,))
        )
        with Packs(cache.folder) as packs:
            packs.clear()
        assert syncing.run(None).reason == "unchanged"
    with Packs(cache.folder) as packs:
        assert packs.holdings().entries == 0
