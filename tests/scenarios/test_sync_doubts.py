"""`sync` where something is not as it should be: manifests, seeds, digests, and what is said."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import rdl
from rdl import recipes, syncing
from rdl.api import Session, Target
from rdl.core.byterange import ByteRange
from rdl.core.caibx import END, ENDLESS, INDEX, TABLE
from rdl.core.events import Fact, Result, Warned, ended
from rdl.errors import (
    ChangedError,
    DigestMismatch,
    Interrupted,
    LocalFileError,
    NoSpaceError,
    OutOfTime,
    PolicyError,
    ProtocolError,
    RdlError,
    UsageError,
)
from rdl.options import Digest, FileOptions, Options, TransferOptions
from rdl.repairing import repair_by
from rdl.seeds import MOST_SAID, Seeds, files_of
from rdl.storage import local_file
from rdl.storage.local_file import LocalFile
from rdl.storage.platform import PosixDisk
from rdl.storage.sown_part import SownPart
from rdl.syncing import sync, sync_with
from tests.scenarios.coded import KiB, MiB
from tests.support.deltas import content_sent, manifest_of, mixed, put
from tests.support.folders import Folder
from tests.support.zsyncs import sums_of

OLD = mixed(256 * KiB)
NEW = OLD[: 100 * KiB] + mixed(20 * KiB, 3) + OLD[120 * KiB :]


Check = Callable[[int], None]


def warnings(facts: list[Fact]) -> str:
    return "\n".join(fact.message for fact in facts if isinstance(fact, Warned))


def by_digests(*algorithms: str) -> Options:
    digests = tuple(Digest(name, hashlib.new(name, NEW).hexdigest()) for name in algorithms)
    return Options(transfer=TransferOptions(digests=digests))


def test_a_digest_in_the_url_is_the_users(folder: Folder, here: Path) -> None:
    put(folder.root, "new", NEW)
    (here / "new").write_bytes(OLD)
    digest = hashlib.sha256(NEW).hexdigest()
    result = sync(f"{folder.url}/new#sha256={digest}", here / "new")
    assert (result.trust, result.verified_by) == ("T4", ("sha256",))
    assert content_sent(folder) < len(NEW) // 2


def test_a_digest_in_the_url_and_a_manifest_of_another_version(folder: Folder, here: Path) -> None:
    put(folder.root, "new", OLD)
    (folder.root / "new").write_bytes(NEW)
    facts, digest = list[Fact](), hashlib.sha256(NEW).hexdigest()
    sync(f"{folder.url}/new#sha256={digest}", here / "new", tell=facts.append)
    assert (here / "new").read_bytes() == NEW
    assert "of another file" in warnings(facts)


def test_a_manifest_that_no_digest_of_the_user_vouches_for(folder: Folder, here: Path) -> None:
    put(folder.root, "new", OLD)
    (folder.root / "new").write_bytes(NEW)
    (here / "new").write_bytes(OLD[: 50 * KiB])
    result = sync(f"{folder.url}/new", here / "new", options=by_digests("sha512"))
    assert (here / "new").read_bytes() == NEW
    assert result.trust == "T4"


def test_what_an_earlier_download_put_aside_stays(folder: Folder, here: Path) -> None:
    put(folder.root, "new", OLD)
    (folder.root / "new").write_bytes(NEW + b"longer")
    (here / "new.part.bad").write_bytes(b"kept")
    sync(f"{folder.url}/new", here / "new")
    assert (here / "new").read_bytes() == NEW + b"longer"
    assert (here / "new.part.bad").read_bytes() == b"kept"


def test_a_manifest_that_is_damaged_further_on(folder: Folder, here: Path) -> None:
    put(folder.root, "new", NEW)
    manifest = bytearray(manifest_of(NEW))
    manifest[-2000:] = bytes(2000)
    (folder.root / "new.rdlm").write_bytes(manifest)
    (here / "m").write_bytes(manifest)
    (here / "seed").write_bytes(OLD[::-1] + OLD[: 10 * KiB])
    facts = list[Fact]()
    with pytest.raises(ProtocolError, match="do not tile"):  # the user's own decides
        sync(f"{folder.url}/new", here / "new", seeds=[here / "seed"], manifest=here / "m")
    sync(f"{folder.url}/new", here / "new", seeds=[here / "seed"], tell=facts.append)
    assert (here / "new").read_bytes() == NEW
    assert "all of it is fetched" in warnings(facts)


def test_an_index_without_any_digest_of_the_whole(folder: Folder, here: Path) -> None:
    (folder.root / "new").write_bytes(NEW)
    head = f"zsync: 0.6.2\nBlocksize: 65536\nLength: {len(NEW)}\nHash-Lengths: 1,2,3\n\n"
    (here / "z").write_bytes(head.encode() + bytes(5 * -(-len(NEW) // 65536)))
    facts = list[Fact]()
    sync(f"{folder.url}/new", here / "new", manifest=here / "z", tell=facts.append)
    assert (here / "new").read_bytes() == NEW
    assert "no digest would prove" in warnings(facts)


def test_of_a_large_manifest_a_part_is_read(
    folder: Folder, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder.root, "new", NEW)
    (here / "new").write_bytes(NEW[:1000] + NEW[1010:99_000] + NEW[99_010:])
    monkeypatch.setattr(recipes, "MOST_FINE", 1)
    monkeypatch.setattr(recipes, "AT_ONCE", 1)
    result = sync(f"{folder.url}/new", here / "new")
    assert (here / "new").read_bytes() == NEW
    assert 2 * KiB < result.bytes_downloaded < 100 * KiB


def test_restart_takes_nothing_of_the_file(folder: Folder, here: Path) -> None:
    put(folder.root, "new", NEW)
    (here / "new").write_bytes(NEW)
    options = Options(file=FileOptions(restart=True))
    assert sync(f"{folder.url}/new", here / "new", options=options).bytes_reused == 0
    assert content_sent(folder) >= len(NEW)


def test_a_manifest_that_does_not_come_has_no_time_of_its_own(here: Path) -> None:
    options = Options(transfer=TransferOptions(max_time=0.2))
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(OutOfTime):
        sync(f"http://127.0.0.1:{silent.getsockname()[1]}/new", here / "new", options=options)
    assert list(here.iterdir()) == []


def test_looking_through_seeds_is_part_of_the_time(
    folder: Folder, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder.root, "new", NEW)
    (here / "new").write_bytes(OLD)

    def copy(part: SownPart, seed: LocalFile, offset: int, range: ByteRange, check: Check) -> None:
        time.sleep(0.3)
        check(len(range))

    monkeypatch.setattr(SownPart, "copy", copy)
    options = Options(transfer=TransferOptions(max_time=0.25))
    with pytest.raises(OutOfTime):
        sync(f"{folder.url}/new", here / "new", options=options)
    assert (here / "new").read_bytes() == OLD


def test_a_store_without_its_index(folder: Folder, here: Path) -> None:
    put(folder.root, "new", NEW)
    for manifest in (None, f"{folder.url}/new.rdlm"):
        with pytest.raises(UsageError, match="store of chunks"):
            sync(f"{folder.url}/new.castr", here / "new", manifest=manifest)
    assert list(here.iterdir()) == []


def test_what_is_kept_when_it_ends_early_is_said(
    folder: Folder, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder.root, "new", NEW)
    (here / "new").write_bytes(OLD)
    with Session() as session:

        def copy(
            part: SownPart, seed: LocalFile, offset: int, range: ByteRange, check: Check
        ) -> None:
            check(len(range))  # the second one ends it
            session.interrupt("SIGINT")

        monkeypatch.setattr(SownPart, "copy", copy)
        target = Target(f"{folder.url}/new", here / "new")
        with pytest.raises(Interrupted) as caught:
            sync_with(session, target)
    result = ended("url", "path", caught.value)
    assert (result.exit_code, result.bytes_total, result.resumable) == (130, len(NEW), True)
    assert 0 < result.bytes_present < len(NEW)
    assert (here / "new").read_bytes() == OLD


def test_what_came_when_it_fails_is_said(folder: Folder, here: Path) -> None:
    (folder.root / "new").write_bytes(OLD)
    put(here, "m", NEW)
    with pytest.raises(DigestMismatch) as caught:
        sync(f"{folder.url}/new", here / "new", manifest=here / "m.rdlm")
    result = ended("url", "path", caught.value)
    assert (result.exit_code, result.reason) == (10, "digest-mismatch")
    assert result.bytes_downloaded > 0
    assert ended("url", "path", UsageError("what")) == Result(
        "url", "path", 2, "usage", completeness="unconfirmed", error="what"
    )


def test_of_many_seeds_that_are_left_out_few_are_named(tmp_path: Path) -> None:
    said = list[str]()
    with Seeds([tmp_path / str(number) for number in range(99)], said.append) as seeds:
        found = [seeds.using(number, lambda seed: True, instead=False) for number in range(99)]
    assert not any(found)
    assert len(said) == MOST_SAID + 1


def test_folders_of_seeds_are_looked_through_while_time_is_left(tmp_path: Path) -> None:
    def check() -> None:
        raise Interrupted("SIGINT")

    with pytest.raises(Interrupted):
        files_of([tmp_path], print, check)
    (tmp_path / "loop").symlink_to(tmp_path)
    assert files_of([tmp_path], print, lambda: None) == []


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, NoSpaceError), (errno.EIO, LocalFileError)]
)
def test_a_disk_that_fails_is_not_the_seeds(
    folder: Folder, here: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[RdlError]
) -> None:
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    put(folder.root, "new", NEW)
    (here / "seed").write_bytes(OLD)
    monkeypatch.setattr(PosixDisk, "copy", fail)
    monkeypatch.setattr(local_file, "write_all", fail)
    facts = list[Fact]()
    with pytest.raises(kind) as caught:
        sync(f"{folder.url}/new", here / "new", seeds=[here / "seed"], tell=facts.append)
    assert caught.value.what == str(here / "new.part")
    assert "left out" not in warnings(facts)


@pytest.mark.parametrize("same_length", [True, False])
def test_a_repair_by_a_manifest_never_ends_with_other_bytes(
    folder: Folder, here: Path, same_length: bool
) -> None:
    data = mixed(300 * KiB)
    served = mixed(300 * KiB if same_length else 200 * KiB, 2)
    (folder.root / "f").write_bytes(served)
    (folder.root / "f.rdlm").write_bytes(manifest_of(data))
    path = here / "f"
    path.write_bytes(b"x" + data[1:])
    with rdl.Session() as session, pytest.raises((DigestMismatch, ChangedError)):
        repair_by(session, rdl.Target(f"{folder.url}/f", path), f"{folder.url}/f.rdlm")
    assert path.read_bytes() == b"x" + data[1:]


@pytest.mark.parametrize(
    "pin", ["sha1=" + "0" * 40, "sha265=" + "0" * 64, "sha256-" + "0" * 64, "x"]
)
def test_a_pin_that_is_no_digest_is_refused(folder: Folder, here: Path, pin: str) -> None:
    put(folder.root, "f", mixed(1000))
    with pytest.raises(UsageError, match="digest"):
        rdl.sync(f"{folder.url}/f", here / "f", manifest=f"{folder.url}/f.rdlm#{pin}")
    assert folder.log == []


def test_an_index_is_no_file_to_bring_up_to_date(folder: Folder, here: Path) -> None:
    with pytest.raises(UsageError, match="it is an index"):
        rdl.sync(f"{folder.url}/f.zsync", here / "f")
    assert folder.log == []


def zsync_of(data: bytes) -> bytes:
    """As zsyncmake writes it."""
    lines = ["zsync: 0.6.2", "Blocksize: 2048", f"Length: {len(data)}", "Hash-Lengths: 2,4,16"]
    lines += ["URL: f", f"SHA-1: {hashlib.sha1(data).hexdigest()}", "", ""]
    return "\n".join(lines).encode() + sums_of(data, 2048, 4, 16)


@pytest.mark.parametrize("index", [manifest_of, zsync_of])
def test_without_the_extra_all_is_fetched(
    folder: Folder, here: Path, monkeypatch: pytest.MonkeyPatch, index: Callable[[bytes], bytes]
) -> None:
    data, facts = mixed(30 * KiB), list[Fact]()
    put(folder.root, "f", data)
    (here / "old").write_bytes(data)
    manifest = here / "m"
    manifest.write_bytes(index(data))
    for name in ("numpy", "pyfastcdc"):
        monkeypatch.setitem(sys.modules, name, None)
    for name in [one for one in sys.modules if one.startswith("rdl.chunkers.")]:
        if name != "rdl.chunkers.base":
            monkeypatch.delitem(sys.modules, name)
    result = rdl.sync(
        f"{folder.url}/f", here / "f", seeds=here / "old", manifest=manifest, tell=facts.append
    )
    assert (here / "f").read_bytes() == data
    assert result.bytes_reused == 0
    assert any(
        "not installed (pip install" in one.message for one in facts if isinstance(one, Warned)
    )


def caibx_of(data: bytes, least: int, average: int, most: int) -> bytes:
    """Of one chunk after another of a MiB."""
    stops = range(MiB, len(data) + MiB, MiB)
    items = (
        struct.pack("<Q", min(stop, len(data))) + hashlib.sha256(data[stop - MiB : stop]).digest()
        for stop in stops
    )
    head = struct.pack("<8Q", 48, INDEX, 0b1001 << 60, least, average, most, ENDLESS, TABLE)
    return b"".join((head, *items, struct.pack("<5Q", 0, 0, 48, 56 + 40 * len(stops), END)))


UNCUT = {
    "average": caibx_of(NEW, MiB, 5 * MiB, 16 * MiB),
    "least": caibx_of(NEW, 47, MiB, 4 * MiB),
    "most": caibx_of(NEW, MiB, 4 * MiB, 17 * MiB),
    "name": manifest_of(NEW, chunker="rabin"),
}


@pytest.mark.parametrize("what", UNCUT)
def test_what_cuts_in_no_way_that_is_known_is_only_not_looked_for(
    folder: Folder, here: Path, what: str
) -> None:
    (folder.root / "new").write_bytes(NEW)
    (here / "new").write_bytes(OLD)
    (here / "m").write_bytes(UNCUT[what])
    facts = list[Fact]()
    sync(f"{folder.url}/new", here / "new", manifest=here / "m", tell=facts.append)
    assert (here / "new").read_bytes() == NEW
    assert "old files are not looked through: chunker" in warnings(facts)


def test_the_manifest_tells_how_large_it_is(folder: Folder, here: Path) -> None:
    data = mixed(300 * KiB)
    put(folder.root, "f", data)
    (here / "f").write_bytes(data[:-1])
    options = Options(transfer=TransferOptions(max_filesize=1000))
    with pytest.raises(PolicyError, match="over --max-filesize"):
        rdl.sync(f"{folder.url}/f", here / "f", options=options)
    assert sorted(path.name for path in here.iterdir()) == ["f"]


def test_a_manifest_that_policy_refuses_is_none(
    folder: Folder, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PolicyError("redirect", "from https to http")

    (folder.root / "new").write_bytes(NEW)
    monkeypatch.setattr(syncing, "opened", refused)
    facts = list[Fact]()
    sync(f"{folder.url}/new", here / "new", tell=facts.append)
    assert (here / "new").read_bytes() == NEW
    assert "no manifest helps" in warnings(facts)
    with pytest.raises(PolicyError):
        sync(f"{folder.url}/new", here / "new", manifest=f"{folder.url}/m")


def test_what_repeats_is_copied_though_a_source_is_left_meanwhile(
    folder: Folder, here: Path
) -> None:
    same = mixed(20 * KiB, 7)
    data = b"".join(part for seed in range(12) for part in (same, mixed(20 * KiB, 10 + seed)))
    put(folder.root, "right", data)
    (folder.root / "wrong").write_bytes(data[:30_000] + b"wrong" + data[30_005:])
    options = Options(transfer=TransferOptions(max_time=3), mirrors=(f"{folder.url}/right",))
    sync(f"{folder.url}/wrong", here / "new", manifest=f"{folder.url}/right.rdlm", options=options)
    assert (here / "new").read_bytes() == data
