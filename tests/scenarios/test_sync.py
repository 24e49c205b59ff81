"""`sync`: what local files hold is copied, the rest fetched; the manifest says what is right."""

from __future__ import annotations

import hashlib
import os
import random
from pathlib import Path

import pytest

import rdl
from rdl import recipes
from rdl.core import delta
from rdl.core.events import Fact, Result, Retrying, Warned
from rdl.errors import DigestMismatch, HTTPStatusError, ProtocolError, UsageError
from rdl.options import Digest, FileOptions, Options, TransferOptions
from rdl.repairing import repair_by
from rdl.syncing import sync
from tests.scenarios.coded import KiB, MiB
from tests.support.deltas import content_sent, manifest_of, mixed, put
from tests.support.folders import Folder


def changed(data: bytes) -> bytes:
    """Eight bytes more in the middle, and a sixtieth of it gone near the end."""
    half, most = len(data) // 2, len(data) * 3 // 4
    return data[:half] + b"inserted" + data[half:most] + data[most + len(data) // 60 :]


def warnings(facts: list[Fact]) -> list[str]:
    return [fact.message for fact in facts if isinstance(fact, Warned)]


def left(here: Path) -> list[str]:
    return sorted(path.name for path in here.iterdir())


def test_row_49_a_delta_over_a_static_host(folder: Folder, here: Path) -> None:
    old = mixed(8 * MiB)
    new = changed(old)
    put(folder.root, "new", new)
    (here / "old").write_bytes(old)
    result = sync(f"{folder.url}/new", here / "new", seeds=[here / "old"])
    assert (here / "new").read_bytes() == new
    assert content_sent(folder) < 2 * 64 * KiB + len(new) // 100
    assert result.reason == "complete"
    assert result.bytes_reused > 0.97 * len(new)
    assert result.verified_by == ("manifest:sha256",)
    assert {asked.line.split()[0] for asked in folder.log} == {"GET"}
    assert left(here) == ["new", "old"]
    assert (here / "old").read_bytes() == old


def test_the_file_itself_is_a_seed_and_is_replaced(folder: Folder, here: Path) -> None:
    old = mixed(2 * MiB)
    new = changed(old)
    put(folder.root, "new", new)
    (here / "new").write_bytes(old)
    sync(f"{folder.url}/new", here / "new")
    assert (here / "new").read_bytes() == new
    assert content_sent(folder) < len(new) // 5
    folder.log.clear()
    assert sync(f"{folder.url}/new", here / "new").reason == "unchanged"
    assert content_sent(folder) == 0


def test_a_folder_of_seeds(folder: Folder, here: Path) -> None:
    parts = [mixed(300 * KiB, seed) for seed in range(5)]
    put(folder.root, "new", b"".join(parts))
    (here / "seeds" / "deep").mkdir(parents=True)
    for number, part in enumerate(parts):
        (here / "seeds" / ("deep" if number % 2 else ".") / str(number)).write_bytes(part)
    result = sync(f"{folder.url}/new", here / "new", seeds=[here / "seeds"])
    assert (here / "new").read_bytes() == b"".join(parts)
    assert result.bytes_reused > 0.9 * len(b"".join(parts))


def test_everything_is_here_already(folder: Folder, here: Path) -> None:
    data = mixed(MiB)
    put(folder.root, "new", data)
    (here / "old").write_bytes(b"before" + data + b"after")
    sync(f"{folder.url}/new", here / "new", seeds=[here / "old"])
    assert (here / "new").read_bytes() == data
    assert content_sent(folder) <= 80 * KiB


@pytest.mark.parametrize("size", [0, 1, 63, 5000])
def test_small_and_empty_files(folder: Folder, here: Path, size: int) -> None:
    data = mixed(size)
    put(folder.root, "new", data)
    (here / "old").write_bytes(data + b"more")
    sync(f"{folder.url}/new", here / "new", seeds=[here / "old"])
    assert (here / "new").read_bytes() == data
    assert left(here) == ["new", "old"]


def test_without_a_manifest_all_is_fetched_and_said_so(folder: Folder, here: Path) -> None:
    data, facts = mixed(MiB), list[Fact]()
    (folder.root / "new").write_bytes(data)
    (here / "old").write_bytes(data)
    sync(f"{folder.url}/new", here / "new", seeds=[here / "old"], tell=facts.append)
    assert (here / "new").read_bytes() == data
    assert "all of it is fetched" in warnings(facts)[0]


def test_a_manifest_that_was_named_and_is_not_there(folder: Folder, here: Path) -> None:
    (folder.root / "new").write_bytes(b"data")
    with pytest.raises(HTTPStatusError, match=r"none\.rdlm"):
        sync(f"{folder.url}/new", here / "new", manifest=f"{folder.url}/none.rdlm")
    assert left(here) == []


def test_what_is_no_manifest(folder: Folder, here: Path) -> None:
    facts = list[Fact]()
    (folder.root / "new").write_bytes(b"data")
    (folder.root / "new.rdlm").write_bytes(b"<!doctype html><p>not found")
    with pytest.raises(ProtocolError, match="no manifest"):
        sync(f"{folder.url}/new", here / "new", manifest=f"{folder.url}/new.rdlm")
    sync(f"{folder.url}/new", here / "new", tell=facts.append)  # beside the file it may be a page
    assert (here / "new").read_bytes() == b"data"
    assert warnings(facts)


def test_a_manifest_on_this_disk_with_its_digest(folder: Folder, here: Path) -> None:
    old = mixed(MiB)
    new = changed(old)
    (folder.root / "new").write_bytes(new)
    (here / "new").write_bytes(old)
    (here / "m").write_bytes(manifest_of(new))
    digest = hashlib.sha256((here / "m").read_bytes()).hexdigest()
    result = sync(f"{folder.url}/new", here / "by", manifest=(here / "m").as_uri())
    assert (result.trust, result.verified_by) == ("T4", ("sha256",))
    wrong = f"{here / 'm'}#sha256={'0' * 64}"
    with pytest.raises(DigestMismatch, match="manifest"):
        sync(f"{folder.url}/new", here / "new", manifest=wrong)
    assert (here / "new").read_bytes() == old
    result = sync(f"{folder.url}/new", here / "new", manifest=f"{here / 'm'}#sha256={digest}")
    assert (here / "new").read_bytes() == new
    assert (result.trust, result.verified_by) == ("T4", ("sha256",))


def test_row_x8_a_manifest_of_another_version(folder: Folder, here: Path) -> None:
    old = mixed(MiB)
    new = changed(old)
    facts = list[Fact]()
    (folder.root / "new").write_bytes(new)
    (folder.root / "new.rdlm").write_bytes(manifest_of(old))
    (here / "new").write_bytes(old[:-5])
    sync(f"{folder.url}/new", here / "new", tell=facts.append)
    assert (here / "new").read_bytes() == new
    assert "of another version" in warnings(facts)[-1]
    assert left(here) == ["new"]


def test_row_x8_another_version_of_the_same_length(folder: Folder, here: Path) -> None:
    old = mixed(MiB)
    new = old[: MiB // 3] + mixed(MiB // 3, 5) + old[MiB // 3 * 2 :]
    assert len(new) == len(old)
    (folder.root / "new").write_bytes(new)
    (folder.root / "new.rdlm").write_bytes(manifest_of(old))
    (here / "seed").write_bytes(old[: MiB // 2])
    sync(f"{folder.url}/new", here / "new", seeds=[here / "seed"])
    assert (here / "new").read_bytes() == new
    assert left(here) == ["new", "seed"]


def test_row_x8_what_a_mirror_brought_by_such_a_manifest_is_not_kept(
    folder: Folder, here: Path
) -> None:
    old = mixed(MiB)
    new = old[: MiB // 3] + mixed(MiB // 3, 5) + old[MiB // 3 * 2 :]
    (folder.root / "new").write_bytes(new)
    (folder.root / "new.rdlm").write_bytes(manifest_of(old))
    (folder.root / "other").write_bytes(old[: MiB // 2] + mixed(MiB - MiB // 2, 6))
    (here / "new.part.bad").mkdir()  # it cannot be removed as a file, and that is an error of ours
    options = Options(mirrors=(f"{folder.url}/other",))
    with pytest.raises(rdl.errors.LocalFileError):
        sync(f"{folder.url}/new", here / "new", options=options)
    (here / "new.part.bad").rmdir()
    sync(f"{folder.url}/new", here / "new", options=options)
    assert (here / "new").read_bytes() == new
    assert left(here) == ["new"]


def test_there_is_no_plan_of_it(folder: Folder, here: Path) -> None:
    put(folder.root, "new", b"data")
    with pytest.raises(UsageError, match="put together"):
        sync(f"{folder.url}/new", here / "new", options=Options(dry_run=True))
    assert left(here) == []


def test_row_x8_a_manifest_that_is_pinned_decides(folder: Folder, here: Path) -> None:
    old = mixed(MiB)
    (folder.root / "new").write_bytes(changed(old)[: len(old)].ljust(len(old), b"x"))
    (here / "m").write_bytes(manifest_of(old))
    digest = hashlib.sha256((here / "m").read_bytes()).hexdigest()
    with pytest.raises(DigestMismatch):
        sync(f"{folder.url}/new", here / "new", manifest=f"{here / 'm'}#sha256={digest}")
    assert not (here / "new").exists()


def test_a_digest_of_the_user_that_is_not_the_manifests(folder: Folder, here: Path) -> None:
    data, facts = mixed(MiB), list[Fact]()
    put(folder.root, "new", mixed(MiB, 2))
    (folder.root / "new").write_bytes(data)
    own = Digest("sha256", hashlib.sha256(data).hexdigest())
    options = Options(transfer=TransferOptions(digests=(own,)))
    sync(f"{folder.url}/new", here / "new", options=options, tell=facts.append)
    assert (here / "new").read_bytes() == data
    assert "of another file" in warnings(facts)[0]


def test_row_52_what_repeats_is_fetched_once(folder: Folder, here: Path) -> None:
    data = bytes(8 * MiB)
    put(folder.root, "zeros", data)
    result = sync(f"{folder.url}/zeros", here / "zeros")
    assert (here / "zeros").read_bytes() == data
    assert result.bytes_downloaded <= 64 * KiB
    folder.log.clear()
    unit, between = mixed(200 * KiB, 3), mixed(500 * KiB, 4)  # beyond any gap
    data = unit + between + unit + mixed(300 * KiB, 5) + unit
    put(folder.root, "again", data)
    result = sync(f"{folder.url}/again", here / "again")
    assert (here / "again").read_bytes() == data
    assert result.bytes_downloaded < len(data) - len(unit)


def test_row_52_what_repeats_and_is_looked_at_finely_is_fetched_once(
    folder: Folder, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delta, "MOST_GAP", KiB)  # however long this machine takes to answer
    unit, between = mixed(200 * KiB, 3), mixed(500 * KiB, 4)
    old = bytearray(unit)
    old[:: 10 * KiB] = bytes(len(old[:: 10 * KiB]))  # each coarse chunk is another one
    data = unit + between + unit + mixed(300 * KiB, 5) + unit
    put(folder.root, "again", data)
    (here / "seed").write_bytes(old + between + mixed(300 * KiB, 5))
    result = sync(f"{folder.url}/again", here / "again", seeds=[here / "seed"])
    assert (here / "again").read_bytes() == data
    assert result.bytes_downloaded < 64 * KiB


def sent_of_manifest(folder: Folder) -> int:
    return sum(asked.sent for asked in folder.log if ".rdlm" in asked.line)


@pytest.mark.parametrize("alike", [False, True])
def test_fine_chunks_are_read_where_a_few_of_them_say_that_it_pays(
    folder: Folder, here: Path, monkeypatch: pytest.MonkeyPatch, alike: bool
) -> None:
    for name, number in (("MANY", 16), ("SAMPLES", 4), ("SAMPLE", 2)):
        monkeypatch.setattr(recipes, name, number)
    monkeypatch.setattr(delta, "MOST_GAP", KiB)  # however long this machine takes to answer
    old, new = mixed(2 * MiB), bytearray(random.Random(7).randbytes(2 * MiB))
    if alike:
        new[:] = old
        new[:: 4 * KiB] = bytes(len(new[:: 4 * KiB]))
    put(folder.root, "new", bytes(new))
    (here / "old").write_bytes(old)
    sync(f"{folder.url}/new", here / "new", seeds=[here / "old"])
    assert (here / "new").read_bytes() == new
    assert (content_sent(folder) < len(new) // 2) == alike
    assert (sent_of_manifest(folder) > len(manifest_of(bytes(new))) // 2) == alike


def test_row_x7_a_seed_that_changes_while_it_is_read(
    folder: Folder, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rdl.storage import sown_part

    old = mixed(2 * MiB)
    new = changed(old)
    put(folder.root, "new", new)
    seed = here / "seed"
    seed.write_bytes(old)
    copy = sown_part.SownPart.copy

    def meanwhile(self: sown_part.SownPart, *arguments: object) -> None:
        with seed.open("r+b") as file:  # the same file, other bytes
            file.seek(100_000)
            file.write(b"other" * 1000)
        copy(self, *arguments)

    monkeypatch.setattr(sown_part.SownPart, "copy", meanwhile)
    sync(f"{folder.url}/new", here / "new", seeds=[seed])
    assert (here / "new").read_bytes() == new


def test_a_seed_that_is_cut_while_it_is_read(
    folder: Folder, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rdl.storage import sown_part

    old, facts = mixed(2 * MiB), list[Fact]()
    new = changed(old)
    put(folder.root, "new", new)
    seed = here / "seed"
    seed.write_bytes(old)
    sow = sown_part.SownPart.sow

    def meanwhile(self: sown_part.SownPart, *arguments: object) -> None:
        os.truncate(seed, MiB // 2)
        sow(self, *arguments)

    monkeypatch.setattr(sown_part.SownPart, "sow", meanwhile)
    sync(f"{folder.url}/new", here / "new", seeds=[seed], tell=facts.append)
    assert (here / "new").read_bytes() == new
    assert any("left out" in text for text in warnings(facts))


def test_row_51_a_wrong_chunk_comes_again(folder: Folder, here: Path) -> None:
    data = mixed(MiB)
    put(folder.root, "new", data)
    bad = bytearray(data)
    bad[700_000] ^= 1
    (folder.root / "other").write_bytes(bad)
    options = Options(mirrors=(f"{folder.url}/new",))
    manifest = f"{folder.url}/new.rdlm"
    sync(f"{folder.url}/other", here / "new", manifest=manifest, options=options)
    assert (here / "new").read_bytes() == data


def test_row_51_wrong_everywhere(folder: Folder, here: Path) -> None:
    data = mixed(MiB)
    digest = hashlib.sha256(manifest_of(data)).hexdigest()
    (here / "m").write_bytes(manifest_of(data))
    bad = bytearray(data)
    bad[700_000] ^= 1
    (folder.root / "new").write_bytes(bad)
    with pytest.raises(DigestMismatch, match=r"bytes [0-9]+-[0-9]+ are not what their digest says"):
        sync(f"{folder.url}/new", here / "new", manifest=f"{here / 'm'}#sha256={digest}")
    assert not (here / "new").exists()


def cut_off(folder: Folder, here: Path) -> None:
    """A run that ends when half a MiB has come."""
    folder.cut_after, folder.busy = 512 * KiB, 0

    def tell(fact: Fact) -> None:
        if isinstance(fact, Retrying):
            folder.busy = 100

    options = Options(transfer=TransferOptions(retry=1, connections=1))
    with pytest.raises(HTTPStatusError):
        sync(f"{folder.url}/new", here / "new", seeds=[here / "seed"], options=options, tell=tell)
    folder.busy = 0


def test_it_is_continued_after_a_cut(folder: Folder, here: Path) -> None:
    old = mixed(4 * MiB)
    new = old[: 2 * MiB] + mixed(2 * MiB, 9)
    put(folder.root, "new", new)
    (here / "seed").write_bytes(old)
    cut_off(folder, here)
    assert left(here) == ["new.part", "new.part.index", "seed"]
    (here / "seed").unlink()  # what was copied from it is in the part file
    folder.log.clear()
    result = sync(f"{folder.url}/new", here / "new")
    assert (here / "new").read_bytes() == new
    assert result.bytes_reused > 2.3 * MiB
    assert content_sent(folder) < 1.7 * MiB
    assert left(here) == ["new"]


def test_a_plain_get_continues_it_too(folder: Folder, here: Path) -> None:
    old = mixed(4 * MiB)
    new = old[: 2 * MiB] + mixed(2 * MiB, 9)
    put(folder.root, "new", new)
    (here / "seed").write_bytes(old)
    cut_off(folder, here)
    rdl.get(f"{folder.url}/new", here / "new")
    assert (here / "new").read_bytes() == new


def test_restart_forgets_what_is_there(folder: Folder, here: Path) -> None:
    data = mixed(MiB)
    put(folder.root, "new", data)
    (here / "new").write_bytes(data)
    options = Options(file=FileOptions(restart=True))
    result: Result = sync(f"{folder.url}/new", here / "new", options=options)
    assert (here / "new").read_bytes() == data
    assert result.reason == "complete"


def test_a_seed_that_does_not_exist(folder: Folder, here: Path) -> None:
    put(folder.root, "new", b"data")
    with pytest.raises(rdl.errors.LocalFileError, match="no such file"):
        sync(f"{folder.url}/new", here / "new", seeds=[here / "none"])
    with pytest.raises(UsageError, match="sha256 has 64"):
        sync(f"{folder.url}/new", here / "new", manifest="m#sha256=12")
    assert left(here) == []


def broken(data: bytes, *places: int) -> bytes:
    """With one wrong bit at each of these places."""
    bad = bytearray(data)
    for place in places:
        bad[place] ^= 1
    return bytes(bad)


def test_repair_by_the_manifest_beside_the_file(folder: Folder, here: Path) -> None:
    data = mixed(4 * MiB)
    put(folder.root, "new", data)
    path = here / "new"
    path.write_bytes(broken(data, 1_000_000, 2_000_000, 3_000_000))
    path.chmod(0o640)
    digest = Digest("sha256", hashlib.sha256(data).hexdigest())
    result = rdl.repair(path, f"{folder.url}/new", digest)
    assert path.read_bytes() == data
    assert path.stat().st_mode & 0o777 == 0o640
    assert content_sent(folder) < 64 * KiB + 3 * 20 * KiB
    assert result.verified_by == ("sha256",)
    assert left(here) == ["new"]


def test_repair_where_what_stands_beside_is_of_another_version(folder: Folder, here: Path) -> None:
    data = mixed(MiB)
    (folder.root / "new").write_bytes(data)
    (folder.root / "new.rdlm").write_bytes(manifest_of(mixed(MiB, 2)))
    (here / "new").write_bytes(broken(data, 500_000))
    digest = Digest("sha256", hashlib.sha256(data).hexdigest())
    rdl.repair(here / "new", f"{folder.url}/new", digest)
    assert (here / "new").read_bytes() == data
    assert left(here) == ["new"]


def test_repair_by_a_manifest_that_was_given(folder: Folder, here: Path) -> None:
    data = mixed(MiB)
    put(folder.root, "new", data)
    (here / "new").write_bytes(broken(data, 500_000))
    (here / "m").write_bytes(manifest_of(data))
    with rdl.Session() as session:
        target = rdl.Target(f"{folder.url}/new", here / "new")
        result = repair_by(session, target, str(here / "m"))
    assert (here / "new").read_bytes() == data
    assert result.trust == "T4"
    assert content_sent(folder) < 100 * KiB


BLOCKS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 400)


@pytest.mark.parametrize("overlap", [0, 0.01, 0.25, 0.5, 0.75, 0.99, 1])
def test_row_50_any_overlap_of_any_size(folder: Folder, here: Path, overlap: float) -> None:
    numbers = random.Random(int(overlap * 100))
    for count in BLOCKS:
        blocks = [numbers.randbytes(numbers.randrange(1, 2000)) for _ in range(count)]
        kept = [block for block in blocks if numbers.random() < overlap or overlap == 1]
        numbers.shuffle(kept)
        new = b"".join(blocks)
        put(folder.root, f"new-{count}", new)
        (here / "seed").write_bytes(b"".join(kept))
        sync(f"{folder.url}/new-{count}", here / str(count), seeds=[here / "seed"])
        assert (here / str(count)).read_bytes() == new
    assert left(here) == sorted([*map(str, BLOCKS), "seed"])


def metalink_of(name: str, data: bytes, block: int = 64 * KiB) -> bytes:
    """With the digests of its blocks."""
    hexes = (hashlib.sha256(data[at : at + block]).hexdigest() for at in range(0, len(data), block))
    inside = "".join(f"<hash>{one}</hash>" for one in hexes)
    return (
        '<?xml version="1.0" encoding="UTF-8"?><metalink xmlns="urn:ietf:params:xml:ns:metalink">'
        f'<file name="{name}"><size>{len(data)}</size>'
        f'<hash type="sha-256">{hashlib.sha256(data).hexdigest()}</hash>'
        f'<pieces length="{block}" type="sha-256">{inside}</pieces>'
        f"<url>http://127.0.0.1/{name}</url></file></metalink>"
    ).encode()


def test_repair_by_the_blocks_of_a_metalink(folder: Folder, here: Path) -> None:
    data = mixed(2 * MiB + 5)
    (folder.root / "new").write_bytes(data)
    (folder.root / "new.meta4").write_bytes(metalink_of("new", data))
    (here / "new").write_bytes(broken(data, 700_000, len(data) - 1))
    digest = Digest("sha256", hashlib.sha256(data).hexdigest())
    rdl.repair(here / "new", f"{folder.url}/new", digest)
    assert (here / "new").read_bytes() == data
    assert sum(one.sent for one in folder.log if one.line.split()[1] == "/new") < 260 * KiB
    assert left(here) == ["new"]


@pytest.mark.parametrize("text", [b"<?xml version='1.0'?><html/>", metalink_of("other", b"x") * 2])
def test_what_is_no_metalink_of_the_file(folder: Folder, here: Path, text: bytes) -> None:
    (folder.root / "new").write_bytes(b"data")
    (folder.root / "m").write_bytes(text)
    with pytest.raises(ProtocolError):
        sync(f"{folder.url}/new", here / "new", manifest=f"{folder.url}/m")
