"""Rows of full, failing and odd disks, and of what stands where a file shall stand (L4 to L47).

Most run the program itself, forked, over a loopback server that counts what it is asked.
"""

from __future__ import annotations

import hashlib
import os
import re
import signal
import socket
import stat
import time
from pathlib import Path
from typing import Any

import pytest
from pyroaring import BitMap

from rdl.api import Session, Target
from rdl.core.events import Fact, Progress
from rdl.errors import BusyError, ExitCode, LocalFileError, TargetExists
from rdl.looking import status
from rdl.options import NetworkOptions, Options, TransferOptions
from rdl.storage.base import Finish
from rdl.storage.disk import FileStat
from rdl.storage.memory import MemoryDisk
from rdl.storage.part_file import PartStore
from tests.engine.staging import content_of
from tests.traps.changing import Changing
from tests.traps.forks import ROOT
from tests.traps.place import DATA, KiB, MiB, Place
from tests.traps.stage import FOLDER, SIZE, TARGET, VERSIONS, Run, download


def test_l04_l18_a_file_that_cannot_be_as_large_is_refused_before_its_first_byte(
    place: Place,
) -> None:
    limits = {"RLIMIT_FSIZE": 512 * KiB}
    assert place.get(place.folder / "f", limits=limits) == ExitCode.LOCAL_FILE
    assert "too large for this file system or limit" in place.said
    assert place.names() == []
    assert place.requests == 1


class Thin(MemoryDisk):
    """Promises more room than there is, as disks that compress or copy on write do."""

    room = 0

    def pwrite(self, file: int, data: memoryview, offset: int) -> int:
        if offset + len(data) > self.room:
            self.fault, before = (lambda *_: OSError(28, "No space left on device")), self.fault
            try:
                return super().pwrite(file, data, offset)
            finally:
                self.fault = before
        return super().pwrite(file, data, offset)


def test_l05_l20_space_that_ends_although_it_was_reserved() -> None:
    disk = Thin()
    disk.room = SIZE // 2
    ended = download(disk, Run(connections=1))
    assert ended.code == ExitCode.NO_SPACE
    assert disk.read(TARGET) is None
    disk.kill()
    disk.room = 1 << 30
    believed: list[int] = []
    again = download(disk, Run(), lambda saved: believed.append(len(saved.extents)))
    assert again.code == 0
    assert believed[0] > 0
    assert disk.read(TARGET) == VERSIONS[0]


class Flipping(MemoryDisk):
    """One bit of what is written to the part file is another on disk."""

    done = False

    def pwrite(self, file: int, data: memoryview, offset: int) -> int:
        if not self.done and len(data) > 900:
            self.done, other = True, bytearray(data)
            other[500] ^= 4
            return super().pwrite(file, memoryview(other), offset)
        return super().pwrite(file, data, offset)


def test_l10_a_bit_that_flips_on_its_way_to_the_disk() -> None:
    """A digest is that of the bytes on disk: put aside, and the next run is right. Without one what
    the disk takes is believed within the run; a later run sees it."""
    disk = Flipping()
    assert download(disk, Run(digest=1)).code == ExitCode.DIGEST
    assert disk.read(TARGET) is None
    disk.kill()
    assert download(disk, Run(digest=1)).code == 0
    assert disk.read(TARGET) == VERSIONS[0]
    disk = Flipping()
    assert download(disk, Run(stop_at=0.5)).code == ExitCode.TERMINATED
    disk.kill()
    disk.write(FOLDER / "file.part", disk.read(FOLDER / "file.part") or b"")  # another time
    damaged: list[int] = []
    assert download(disk, Run(), lambda saved: damaged.append(saved.damaged)).code == 0
    assert damaged == [1]
    assert disk.read(TARGET) == VERSIONS[0]


def test_l11_where_nothing_can_be_written_nothing_is_asked(place: Place) -> None:
    for folder in ("/proc/self", "/sys/kernel"):
        assert place.get(f"{folder}/f.bin") == ExitCode.LOCAL_FILE
    assert place.requests == 0


def test_l12_an_existing_file_stays_until_the_new_one_is_whole(place: Place) -> None:
    path = place.folder / "f"
    path.write_bytes(b"old")
    inode = path.stat().st_ino
    assert place.get(path, "--no-clobber") == ExitCode.EXISTS
    assert place.requests == 0
    wrong = hashlib.sha256(b"others").hexdigest()
    assert place.get(path, "--sha256", wrong) == ExitCode.DIGEST
    assert (path.read_bytes(), path.stat().st_ino) == (b"old", inode)
    place.interrupted(path)
    assert (path.read_bytes(), path.stat().st_ino) == (b"old", inode)
    assert place.get(path) == 0
    assert path.read_bytes() == DATA
    assert path.stat().st_ino != inode
    right = hashlib.sha256(DATA).hexdigest()
    place.origin.seen.clear()
    assert place.get(path, "--sha256", right) == 0
    assert place.requests == 0


def test_l01_what_a_kill_while_publishing_leaves_goes_with_the_next_run(place: Place) -> None:
    """Also where a digest says at once that nothing need be fetched; not for a mere plan."""
    path, right = place.folder / "f", hashlib.sha256(DATA).hexdigest()
    place.interrupted(path)
    index = place.folder / "f.part.index"
    (place.folder / "f.part").unlink()
    path.write_bytes(DATA)
    assert place.get(path, "--sha256", right, "--dry-run") == 0
    assert index.exists()
    os.link(path, place.folder / "f.part")
    (place.folder / "f.part").chmod(0o600)
    assert place.get(path, "--sha256", right) == 0
    assert place.requests == 0
    assert place.names() == ["f"]
    assert path.read_bytes() == DATA


def test_l13_a_folder_is_where_the_file_goes_and_never_the_file(place: Place) -> None:
    assert place.get(place.folder) == 0
    assert place.names() == ["f.bin"]
    (place.folder / "f.bin").unlink()
    (place.folder / "f.bin" / "inside").mkdir(parents=True)
    place.origin.seen.clear()
    assert place.get(place.folder) == ExitCode.LOCAL_FILE
    assert os.listdir(place.folder / "f.bin") == ["inside"]
    assert place.requests == 0


@pytest.mark.parametrize("kind", ["link", "dangling", "fifo", "socket", "device"])
def test_l14_l15_what_is_no_file_stays_untouched(place: Place, kind: str) -> None:
    path, victim = place.folder / "f", place.folder / "victim"
    if kind == "link":
        victim.write_bytes(b"precious")
    if kind in ("link", "dangling"):
        path.symlink_to(victim)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(os.path.relpath(path))
    else:
        path = Path("/dev/zero")
    before, names = path.lstat(), place.names()
    assert place.get(path) == ExitCode.LOCAL_FILE
    assert place.requests == 0
    after = path.lstat()
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    assert place.names() == names
    assert kind != "link" or victim.read_bytes() == b"precious"


def test_l15_what_is_a_stream(place: Place) -> None:
    for name in ("/dev/null", "/dev/stdout", "-"):
        assert place.get(name) == 0
    assert place.names() == []
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_l19_a_full_size_part_without_index_is_no_file(place: Place) -> None:
    path, part = place.folder / "f", place.folder / "f.part"
    part.write_bytes(bytes(len(DATA)))
    part.chmod(0o600)
    assert place.get(path) == ExitCode.LOCAL_FILE
    assert place.requests == 0
    assert part.read_bytes() == bytes(len(DATA))
    right = hashlib.sha256(DATA).hexdigest()
    assert place.get(path, "--continue", "--sha256", right) == 0
    assert path.read_bytes() == DATA


def test_row_60_what_another_program_began(place: Place) -> None:
    """Blocks of 64 KiB, the first three and a phantom one claimed; without --continue untouched."""
    path, part = place.folder / "f", place.folder / "f.part"
    path.write_bytes(DATA[: 3 << 16].ljust(len(DATA), b"\0"))
    part.write_bytes(bytes.fromhex("808008") + bytes(BitMap([0, 1, 2, 99]).serialize()))
    part.chmod(0o600)
    before = path.read_bytes(), part.read_bytes()
    assert place.get(path) == ExitCode.LOCAL_FILE
    with pytest.raises(LocalFileError, match="no index says"):
        status(path)
    assert (path.read_bytes(), part.read_bytes()) == before
    right = hashlib.sha256(DATA).hexdigest()
    assert place.get(path, "-c", "--sha256", right) == 0
    assert path.read_bytes() == DATA
    assert place.names() == ["f"]


def test_l29_the_indexes_of_two_downloads_change_places(place: Place) -> None:
    one, two = place.folder / "one", place.folder / "two"
    place.interrupted(one)
    place.server.change(content_of(MiB, seed=4))
    place.interrupted(two)
    first, second, aside = (
        place.folder / name for name in ("one.part.index", "two.part.index", "x")
    )
    first.rename(aside)
    second.rename(first)
    aside.rename(second)
    for path in (one, two):
        assert place.get(path) == 0
        assert path.read_bytes() == place.server.newest
    assert place.names() == ["one", "two"]


def test_l30_a_huge_index_is_not_read(place: Place) -> None:
    (place.folder / "f.part").touch(0o600)
    index = place.folder / "f.part.index"
    index.touch(0o600)
    os.truncate(index, 1 << 40)
    began = time.monotonic()
    assert place.get(place.folder / "f") == ExitCode.LOCAL_FILE
    assert "too large to be an index" in place.said
    assert time.monotonic() - began < 5
    assert place.forks.peak < 300 * KiB


def test_l31_l35_no_bitmap_goes_to_disk_and_no_file_into_memory() -> None:
    """Neither can then be damaged, or cut under us. Only that of another program is read."""
    found = {
        str(path.relative_to(ROOT)): path.read_text()
        for path in (ROOT / "src" / "rdl").rglob("*.py")
    }
    sources = list(found.values())
    assert len(sources) > 50
    assert not [text for text in sources if re.search(r"\bmmap\b|\.serialize", text)]
    assert [name for name, text in found.items() if ".deserialize" in text] == [
        "src/rdl/core/foreign.py"
    ]
    assert not [text for text in sources if re.search(r"\bos\.fork\b|posix_fallocate\(", text)]


def session(place: Place, tell: Any, **options: Any) -> int:
    network = NetworkOptions(netrc=False, proxy="", timeout=5.0)
    made = Options(network, TransferOptions(**{"connections": 1, "retry": 1, **options}))
    with Session() as running:
        target = Target(place.origin.url("/f.bin"), place.folder / "f", made)
        return running.get_all([target], tell)[0].exit_code


@pytest.mark.parametrize("what", ["part", "replaced", "index", "away", "folder"])
def test_l34_what_we_work_on_goes_away(place: Place, what: str) -> None:
    """Bytes that were written to a file without its name are published by nobody."""
    place.server = Changing(DATA, 0.005)
    part, index = place.folder / "f.part", place.folder / "f.part.index"
    done: list[str] = []

    def tell(fact: Fact) -> None:
        if done or not isinstance(fact, Progress) or fact.bytes_present < 100 * KiB:
            return
        done.append(what)
        if what == "away":
            part.rename(place.folder / "elsewhere")
        elif what in ("part", "replaced", "folder"):
            part.unlink()
        if what == "replaced":
            part.write_bytes(bytes(len(DATA)))
        if what in ("index", "folder"):
            index.unlink()
        if what == "folder":
            place.folder.rmdir()

    assert session(place, tell) == ExitCode.LOCAL_FILE
    assert done
    assert not (place.folder / "f").exists()
    if what == "replaced":
        assert part.read_bytes() == bytes(len(DATA))


def test_l36_no_clock_of_the_wall_decides_anything(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    years = [10.0]

    def jumping() -> float:
        years[0] = -years[0]
        return 1.8e9 + years[0] * 366 * 86400

    monkeypatch.setattr(time, "time", jumping)
    monkeypatch.setattr(time, "time_ns", lambda: int(jumping() * 1e9))
    began = time.monotonic()
    assert session(place, None) == 0
    assert time.monotonic() - began < 5
    assert (place.folder / "f").read_bytes() == DATA


@pytest.mark.parametrize("descriptors", [12, 14, 16, 24])
def test_l37_few_descriptors(place: Place, descriptors: int) -> None:
    """Fewer connections, or an error that says so; never a traceback or a wrong file."""
    path, limits = place.folder / "f", {"RLIMIT_NOFILE": descriptors}
    code = place.get(path, "-x", "8", "-k", "64K", limits=limits)
    assert code in (0, ExitCode.LOCAL_FILE, ExitCode.NETWORK)
    assert code == 0 or descriptors < 24, place.said
    assert path.exists() == (code == 0)
    assert place.get(path, "-x", "8", "-k", "64K") == 0
    assert path.read_bytes() == DATA


@pytest.mark.parametrize("name", ["x" * 255, "\N{LATIN SMALL LETTER E WITH ACUTE}" * 127])
def test_l38_the_longest_names(place: Place, name: str) -> None:
    kept = place.folder / name
    assert place.get(kept) == 0
    assert place.names() == [name]
    assert place.get(place.folder / ("x" * 256)) == ExitCode.LOCAL_FILE
    assert place.names() == [name]


def test_l43_a_process_that_is_stopped_for_a_while(place: Place) -> None:
    """Longer than a stall may last: nothing is fetched again."""
    place.server = Changing(DATA, 0.005)
    path = place.folder / "f"
    url, words = place.origin.url("/f.bin"), ("--no-netrc", "--progress", "json", "-T", "0.3")
    place.forks.start(place.stderr, url, "-o", str(path), *words, "-x", "1")
    part = place.folder / "f.part"
    for _ in range(1000):
        if part.exists() and part.stat().st_size > 100 * KiB:
            break
        time.sleep(0.005)
    place.forks.send(signal.SIGSTOP)
    time.sleep(0.6)
    place.forks.send(signal.SIGCONT)
    assert place.forks.wait() == 0, place.said
    assert path.read_bytes() == DATA
    assert f'"bytes_downloaded":{len(DATA)}' in place.said.replace(" ", "")


def test_l45_what_is_fetched_is_private_until_it_is_published(place: Place) -> None:
    path = place.folder / "f"
    place.interrupted(path)
    for name in ("f.part", "f.part.index"):
        assert stat.S_IMODE((place.folder / name).stat().st_mode) == 0o600
    assert place.get(path, umask=0o027) == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_l46_memory_does_not_grow_with_the_file(place: Place) -> None:
    words = ("-x", "4", "-k", "1M")
    assert place.get(place.folder / "small", *words) == 0
    small = place.forks.peak
    place.server.change(content_of(48 * MiB, seed=6))
    assert place.get(place.folder / "large", *words) == 0
    assert (place.folder / "large").read_bytes() == place.server.newest
    assert place.forks.peak - small < 16 * KiB


class CaseBlind(MemoryDisk):
    """A file system on which names differ by more than their case."""

    def open(self, folder: int, name: str, *, create: bool = False, write: bool = True) -> int:
        return super().open(folder, name.lower(), create=create, write=write)

    def stat(self, folder: int, name: str) -> FileStat | None:
        return super().stat(folder, name.lower())

    def rename(self, folder: int, old: str, new: str, *, replace: bool) -> None:
        super().rename(folder, old.lower(), new.lower(), replace=replace)

    def unlink(self, folder: int, name: str) -> None:
        super().unlink(folder, name.lower())


def test_l47_two_names_that_are_one() -> None:
    """The disk decides what is the same, not a comparison of names."""
    from rdl.core.representation import Representation
    from rdl.storage.base import Header

    disk, header = CaseBlind(), Header("u", Representation(5, '"a"'), 4096)
    one, two = PartStore(FOLDER / "File", disk), PartStore(FOLDER / "file", disk)
    one.open()
    with pytest.raises(BusyError):
        two.open()
    one.begin(header)
    one.write_at(0, memoryview(b"first"))
    disk.write(FOLDER / "file", b"theirs")
    with pytest.raises(TargetExists):
        one.publish(Finish())
    assert disk.read(FOLDER / "file") == b"theirs"
