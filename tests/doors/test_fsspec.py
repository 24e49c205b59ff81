"""rdl behind fsspec: URLs and chains, what is there, what is read, and how it fails."""

from __future__ import annotations

import copy
import io
import os
import pickle
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import fsspec
import pytest

from rdl.doors import fsspec as door
from rdl.doors.fsspec import RemoteFileSystem
from rdl.errors import (
    ChangedError,
    ExitCode,
    HTTPStatusError,
    LocalFileError,
    NetworkError,
    PolicyError,
)
from rdl.options import LazyOptions, Options, TransferOptions
from tests.scenarios.coded import KiB, MiB, Origin, coded
from tests.support.folders import Folder

NO_RETRY = Options(transfer=TransferOptions(retry=0))


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin(size=3 * MiB) as server:
        yield server


@pytest.fixture
def fs() -> RemoteFileSystem:
    return RemoteFileSystem()


def asked(origin: Origin) -> list[str | None]:
    return [one.fields.get("range") for one in origin.log]


# URLs


def test_the_names_are_registered(origin: Origin) -> None:
    for protocol in ("rdl+http", "rdl+https"):
        assert fsspec.get_filesystem_class(protocol) is RemoteFileSystem
    with fsspec.open(f"rdl+{origin.url}") as file:
        assert file.read(9) == coded(0, 9)
        assert file.full_name == f"rdl+{origin.url}"


def test_a_chain_reads_a_member(folder: Folder) -> None:
    with ZipFile(folder.root / "a.zip", "w") as archive:
        archive.writestr("member.txt", "what is in it")
        archive.writestr("large.bin", bytes(4 * MiB))
    with fsspec.open(f"zip://member.txt::rdl+{folder.url}/a.zip", "rt") as file:
        assert file.read() == "what is in it"
    assert folder.sent < MiB


def test_fsspecs_own_caches_may_stand_in_front(origin: Origin, tmp_path: Path) -> None:
    url = f"filecache::rdl+{origin.url}"
    for _ in range(2):
        with fsspec.open(url, filecache={"cache_storage": str(tmp_path / "c")}) as file:
            assert file.read() == origin.content
    assert origin.sent < 2 * origin.size


def test_other_file_systems_stand_on_it(origin: Origin, fs: RemoteFileSystem) -> None:
    host = origin.url.rpartition("/")[0]
    assert fsspec.filesystem("dir", path=host, fs=fs).cat_file("file.bin", 8, 16) == coded(8, 16)
    chunks = {"array/0": [f"rdl+{origin.url}", 8, 8], "array/1": [f"rdl+{origin.url}", 80, 8]}
    there = fsspec.filesystem("reference", fo=chunks, remote_protocol="rdl+http")
    assert there.cat(["array/0", "array/1"]) == {
        "array/0": coded(8, 16),
        "array/1": coded(80, 88),
    }
    assert RemoteFileSystem.from_json(fs.to_json()) == fs


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("rdl+https://host/a/", "https://host/a"),
        ("rdl+http://host/", "http://host"),
        ("https://host/a", "https://host/a"),
        ("rdl+https://host/a?b=/", "https://host/a?b=/"),
    ],
)
def test_a_path_is_the_url(url: str, path: str) -> None:
    assert RemoteFileSystem._strip_protocol(url) == path
    assert RemoteFileSystem._strip_protocol(path) == path
    assert RemoteFileSystem._strip_protocol([url]) == [path]
    assert RemoteFileSystem().unstrip_protocol(path) == f"rdl+{path}"


def test_a_query_is_no_pattern(origin: Origin, fs: RemoteFileSystem) -> None:
    assert fs.cat(f"{origin.url}?part=1") == origin.content


# What is there


def test_what_has_a_query_is_no_folder(folder: Folder, fs: RemoteFileSystem) -> None:
    (folder.root / "f").write_bytes(b"12345")
    url = f"{folder.url}/f?sig=abc"
    assert [one["size"] for one in fs.ls(url)] == [5]
    assert list(fs.find(url)) == [url]
    assert all("/ " not in asked.line for asked in folder.log)


def test_info_costs_a_byte(folder: Folder, fs: RemoteFileSystem) -> None:
    path = folder.root / "a.csv"
    path.write_bytes(bytes(MiB))
    os.utime(path, (1_700_000_000, 1_700_000_000))
    about = fs.info(f"{folder.url}/a.csv")
    assert about.pop("ETag").startswith('"')
    assert about == {
        "name": f"{folder.url}/a.csv",
        "size": MiB,
        "type": "file",
        "mtime": 1_700_000_000.0,
        "mimetype": "text/csv",
    }
    assert folder.sent <= 1 + 64 * KiB
    assert fs.modified(f"{folder.url}/a.csv") == datetime.fromtimestamp(1_700_000_000, UTC)
    with pytest.raises(NotImplementedError):
        fs.created(f"{folder.url}/a.csv")
    with pytest.raises(NotImplementedError):
        fs.sign(f"{folder.url}/a.csv")


def test_files_folders_and_nothing(folder: Folder, fs: RemoteFileSystem) -> None:
    (folder.root / "f").write_bytes(b"1")
    (folder.root / "d").mkdir()
    found = [
        (fs.exists(url), fs.isfile(url), fs.isdir(url))
        for url in (f"{folder.url}/{name}" for name in ("f", "d", "d/", "no", ""))
    ]
    yes, no = (True, True, False), (False, False, False)
    assert found == [yes, (True, False, True), (True, False, True), no, (True, False, True)]


def test_a_page_that_is_no_folder_is_a_file(folder: Folder, fs: RemoteFileSystem) -> None:
    (folder.root / "p.html").write_text("<a href=x>")
    assert fs.isfile(f"{folder.url}/p.html")
    assert fs.cat(f"{folder.url}/p.html") == b"<a href=x>"


def test_a_listing_is_kept_only_where_that_is_asked_for(folder: Folder) -> None:
    (folder.root / "one").write_bytes(b"1")
    plain = RemoteFileSystem()
    kept = RemoteFileSystem(use_listings_cache=True)
    assert plain.ls(folder.url, detail=False) == kept.ls(folder.url, detail=False)
    (folder.root / "two").write_bytes(b"2")
    assert len(plain.ls(folder.url)) == 2
    assert len(kept.ls(folder.url)) == 1
    assert len(kept.ls(folder.url, refresh=True)) == 2
    kept.invalidate_cache(folder.url)
    (folder.root / "two").unlink()
    assert len(kept.ls(folder.url)) == 1
    kept.invalidate_cache()
    assert kept.glob(f"{folder.url}/o?e") == [f"{folder.url}/one"]


def test_a_listing_is_of_bounded_length(
    folder: Folder, fs: RemoteFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(200):
        (folder.root / f"{number:0200}").write_bytes(b"")
    assert len(fs.ls(folder.url)) == 200
    monkeypatch.setattr(door, "MOST_PAGE", 16 * KiB)
    with pytest.raises(PolicyError, match="index page"):
        fs.ls(folder.url)


def test_a_version_has_a_key(folder: Folder, fs: RemoteFileSystem) -> None:
    path, url = folder.root / "f", f"{folder.url}/f"
    path.write_bytes(b"one")
    first = fs.ukey(url)
    assert fs.ukey(url) == first
    assert fs.checksum(url) == int(first, 16)
    os.utime(path, (1, 1))
    assert fs.ukey(url) != first


def test_without_a_validator_no_two_versions_are_the_same(
    origin: Origin, fs: RemoteFileSystem
) -> None:
    origin.etag = ""
    assert fs.ukey(origin.url) != fs.ukey(origin.url)
    with pytest.raises(NotImplementedError):
        fs.modified(origin.url)


# Reading

PARTS = [
    (None, None),
    (0, None),
    (5, 50),
    (3 * MiB - 5, None),
    (-9, None),
    (-9, -3),
    (7, -(3 * MiB - 20)),
    (5, 5),
    (50, 5),
    (3 * MiB - 5, 4 * MiB),
    (9 * MiB, 10 * MiB),
    (-4 * MiB, 6),
    (None, 6),
]


@pytest.mark.parametrize("kept", [False, True], ids=["", "cache"])
@pytest.mark.parametrize(("start", "end"), PARTS)
def test_parts(
    origin: Origin, tmp_path: Path, start: int | None, end: int | None, kept: bool
) -> None:
    fs = RemoteFileSystem(cache=tmp_path / "c" if kept else None)
    assert fs.cat_file(origin.url, start, end) == origin.content[start:end]
    if not kept and start == 5:
        assert origin.sent <= 45


def test_several_parts_at_a_time(origin: Origin, fs: RemoteFileSystem) -> None:
    starts, ends = [start or 0 for start, _ in PARTS], [end for _, end in PARTS]
    found = fs.cat_ranges([origin.url] * len(PARTS), starts, ends)
    assert found == [origin.content[start:end] for start, end in PARTS]
    origin.replace(always=404)
    error = fs.cat_ranges([origin.url], 0, 5)[0]
    assert isinstance(error, FileNotFoundError)
    with pytest.raises(FileNotFoundError):
        fs.cat_ranges([origin.url], [0], [5], on_error="raise")


def test_parts_that_are_asked_for_together_are_of_one_version(
    origin: Origin, fs: RemoteFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "ABREAST", 1)

    def before(_asked: object, _at: int) -> None:
        if len(origin.log) == 2:
            origin.salt, origin.etag = 1 << 40, '"two"'

    origin.before = before
    starts = list(range(0, 50_000, 10_000))
    found = fs.cat_ranges([origin.url] * 5, starts, [start + 9 for start in starts])
    assert found[0] == coded(0, 9)
    assert {type(one) for one in found[2:]} == {ChangedError}


def test_several_files_at_a_time(folder: Folder, fs: RemoteFileSystem) -> None:
    wanted = {f"{folder.url}/{number}": bytes([number]) * 9 for number in range(20)}
    for url, data in wanted.items():
        (folder.root / url.rpartition("/")[2]).write_bytes(data)
    missing = f"{folder.url}/no"
    assert fs.cat(list(wanted)) == wanted
    assert fs.cat([*wanted, missing], on_error="omit") == wanted
    assert isinstance(fs.cat([*wanted, missing], on_error="return")[missing], FileNotFoundError)
    with pytest.raises(FileNotFoundError):
        fs.cat([*wanted, missing])


def test_a_file_is_as_any_file(folder: Folder, fs: RemoteFileSystem) -> None:
    lines = [f"{number},{number * number}\n" for number in range(60_000)]
    (folder.root / "a.csv").write_text("".join(lines))
    data = "".join(lines).encode()
    with fs.open(f"{folder.url}/a.csv") as file:
        assert (file.size, file.info()["size"], file.tell()) == (len(data), len(data), 0)
        assert list(file) == [line.encode() for line in lines]
        assert file.read() == b""
        file.seek(-7, io.SEEK_END)
        assert file.read(100) == data[-7:]
        buffer = bytearray(200 * KiB)
        file.seek(70_000)
        assert file.readinto(buffer) == len(buffer)
        assert buffer == data[70_000 : 70_000 + len(buffer)]
        assert file.tell() == 70_000 + len(buffer)
    with fs.open(f"{folder.url}/a.csv", "rt") as text:
        assert text.readlines() == lines
    assert folder.sent < 3 * len(data)


def test_a_file_whose_size_is_given_is_asked_for_when_it_is_read(
    origin: Origin, fs: RemoteFileSystem
) -> None:
    with fs.open(origin.url, size=origin.size) as file:
        assert origin.log == []
        assert file.read(5) == coded(0, 5)
    with fs.open(origin.url, size=7) as file, pytest.raises(ChangedError):
        file.read(5)


def test_small_reads_ask_for_no_more_than_blocks(origin: Origin) -> None:
    lazy = LazyOptions(block=4 * KiB, least=4 * KiB)
    with RemoteFileSystem(lazy=lazy).open(origin.url) as file:
        file.seek(4 * KiB - 2)
        assert file.read(4) == coded(4 * KiB - 2, 4 * KiB + 2)
        file.seek(5000)
        assert file.read(9) == coded(5000, 5009)
    assert asked(origin) == ["bytes=-4096", "bytes=0-8191"]


def test_one_who_reads_lines_is_gone_ahead_of(folder: Folder, fs: RemoteFileSystem) -> None:
    data = b"".join(b"%07d\n" % number for number in range(8 * MiB // 8))
    (folder.root / "f").write_bytes(data)
    with fs.open(f"{folder.url}/f") as file:
        for at in range(0, len(data), 5000):
            assert file.read(5000) == data[at : at + 5000]
            file.seek(at + 100)  # as readline() does
            assert file.read(4900) == data[at + 100 : at + 5000]
    assert len(folder.log) < 32  # of 64 that bring 128 KiB


# What fsspec's http lacks


def test_a_file_replaced_between_two_reads_raises(origin: Origin, fs: RemoteFileSystem) -> None:
    with fs.open(origin.url) as file:
        assert file.read(5) == coded(0, 5)
        origin.replace(salt=1 << 40, etag='"two"')
        file.seek(MiB)
        with pytest.raises(ChangedError):
            file.read(5)


def test_a_cut_and_a_busy_server_are_survived(folder: Folder, fs: RemoteFileSystem) -> None:
    data = os.urandom(2 * MiB)
    (folder.root / "f").write_bytes(data)
    folder.cut_after = 300_000
    with fs.open(f"{folder.url}/f") as file:
        assert file.read() == data
    assert folder.cut_after is None
    folder.cut_after = 300_000
    assert fs.cat(f"{folder.url}/f") == data
    assert folder.cut_after is None


def test_a_busy_server_is_asked_again(origin: Origin, fs: RemoteFileSystem) -> None:
    origin.retry_after = "0"
    for name, found in (("exists", True), ("size", origin.size), ("isdir", False)):
        origin.statuses = [503, 429]
        assert getattr(fs, name)(origin.url) == found
        assert origin.statuses == []


def test_a_busy_folder_is_asked_again(folder: Folder, fs: RemoteFileSystem) -> None:
    folder.busy = 2
    assert fs.isdir(folder.url)
    assert folder.busy == 0


def test_what_was_read_is_kept_for_later_runs(origin: Origin, tmp_path: Path) -> None:
    options = {"cache": str(tmp_path / "c"), "skip_instance_cache": True}
    for _ in range(2):
        with fsspec.open(f"rdl+{origin.url}", **options) as file:
            file.seek(MiB)
            assert file.read(MiB) == coded(MiB, 2 * MiB)
        sent, origin.log[:] = origin.sent, []
    assert sent <= 128 * KiB
    origin.replace(salt=1 << 40, etag='"two"')
    with fsspec.open(f"rdl+{origin.url}", **options) as file:
        file.seek(MiB)
        assert file.read(8) == coded(MiB, MiB + 8, 1 << 40)


# Getting


def test_get_continues_what_was_begun(origin: Origin, tmp_path: Path) -> None:
    target = tmp_path / "deep" / "f"
    fs = RemoteFileSystem(options=NO_RETRY)
    origin.broken_at = 2 * MiB
    with pytest.raises(NetworkError):
        fs.get_file(origin.url, target)
    assert {path.name for path in target.parent.iterdir()} == {"f.part", "f.part.index"}
    origin.replace(broken_at=None)
    seen = fsspec.callbacks.Callback()
    fs.get_file(origin.url, target, callback=seen)
    assert target.read_bytes() == origin.content
    assert origin.sent <= MiB + 128 * KiB
    assert (seen.size, seen.value) == (origin.size, origin.size)
    assert [path.name for path in target.parent.iterdir()] == ["f"]


def test_get_goes_up_from_where_a_link_leads(
    origin: Origin, fs: RemoteFileSystem, tmp_path: Path
) -> None:
    (tmp_path / "there" / "below").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "there" / "below")
    fs.get_file(origin.url, f"{tmp_path}/link/../f")
    assert (tmp_path / "there" / "f").read_bytes() == origin.content
    assert not (tmp_path / "f").exists()


def test_get_into_a_file_that_is_open(origin: Origin, fs: RemoteFileSystem) -> None:
    into = io.BytesIO()
    fs.get_file(origin.url, into)
    assert into.getvalue() == origin.content


def test_get_leaves_a_page_that_is_no_folder(folder: Folder, tmp_path: Path) -> None:
    fs = RemoteFileSystem()
    (folder.root / "d").mkdir()
    (folder.root / "f").write_bytes(b"x")
    fs.get_file(f"{folder.url}/d", tmp_path / "d")
    fs.get_file(f"{folder.url}/d", tmp_path / "d")
    assert (tmp_path / "d").is_dir()
    with pytest.raises(LocalFileError):
        fs.get_file(f"{folder.url}/f", tmp_path / "d")


# Failing


@pytest.mark.parametrize("read", ["open", "cat_file", "info", "ls", "get_file", "cat_file part"])
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (404, FileNotFoundError),
        (410, FileNotFoundError),
        (401, PermissionError),
        (403, PermissionError),
        (400, HTTPStatusError),
        (500, HTTPStatusError),
    ],
)
def test_statuses(
    origin: Origin, tmp_path: Path, read: str, status: int, kind: type[Exception]
) -> None:
    origin.always = status
    fs = RemoteFileSystem(options=NO_RETRY)
    name, _, part = read.partition(" ")
    more = {"get_file": (tmp_path / "f",)}.get(name, (1, 2) if part else ())
    with pytest.raises(kind) as raised:
        getattr(fs, name)(origin.url, *more)
    if kind is HTTPStatusError:
        assert not isinstance(raised.value, OSError)
    else:
        assert raised.value.filename == origin.url
        assert raised.value.__cause__.exit_code in (ExitCode.HTTP_STATUS, ExitCode.AUTH)


def test_a_lost_server_is_no_missing_file(origin: Origin) -> None:
    fs = RemoteFileSystem(options=NO_RETRY)
    url = origin.url
    origin.close()
    for name in ("exists", "isfile", "isdir", "open", "ls", "find"):
        with pytest.raises(NetworkError):
            getattr(fs, name)(url)


def test_a_mapper_takes_only_what_is_missing_for_missing(folder: Folder) -> None:
    (folder.root / "a").mkdir()
    (folder.root / "a" / "0.0").write_bytes(b"chunk")
    mapper = RemoteFileSystem(options=NO_RETRY).get_mapper(f"{folder.url}/a")
    assert mapper["0.0"] == b"chunk"
    assert list(mapper) == ["0.0"]
    with pytest.raises(KeyError):
        mapper["0.1"]
    folder.cut_after = 2
    with pytest.raises(NetworkError):
        mapper["0.0"]


def test_no_secret_is_in_an_error(origin: Origin, fs: RemoteFileSystem) -> None:
    origin.always = 404
    url = origin.url.replace("127", "user:secret@127") + "?token=hidden"
    for name in ("open", "info", "cat_file", "ls", "rm"):
        with pytest.raises(OSError, match=r"127\.0\.0\.1") as raised:
            getattr(fs, name)(url)
        said = f"{raised.value} {raised.value.__cause__}"
        assert "secret" not in said
        assert "hidden" not in said


# Instances, processes


def test_one_instance_for_the_same_options() -> None:
    first = fsspec.filesystem("rdl+http", headers={"X-A": "1"})
    assert fsspec.filesystem("rdl+https", headers={"X-A": "1"}) is first
    assert fsspec.filesystem("rdl+http", headers={"X-A": "2"}) is not first


def test_headers_go_with_requests(origin: Origin) -> None:
    fsspec.filesystem("rdl+http", headers={"X-A": "1"}).cat_file(origin.url, 0, 5)
    assert origin.log[0].fields["x-a"] == "1"


def test_pickled_it_reads_on(origin: Origin, fs: RemoteFileSystem) -> None:
    assert pickle.loads(pickle.dumps(fs)) == fs
    with fs.open(origin.url) as file:
        file.seek(MiB)
        same: Any
        for same in (pickle.loads(pickle.dumps(file)), copy.copy(file)):
            with same:
                assert same.read(9) == coded(MiB, MiB + 9)
        assert file.read(9) == coded(MiB, MiB + 9)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_after_a_fork_it_reads(origin: Origin, fs: RemoteFileSystem) -> None:
    """Also while the parent reads."""
    with fs.open(origin.url) as file:
        file.read(5)
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.write(write, RemoteFileSystem().cat_file(origin.url, 9, 99))
            finally:
                os._exit(0)
        os.close(write)
        alarm = threading.Timer(20, os.kill, (child, 9))
        alarm.start()
        with os.fdopen(read, "rb") as pipe:
            assert pipe.read() == coded(9, 99)
        os.waitpid(child, 0)
        alarm.cancel()
        assert file.read(5) == coded(5, 10)


def test_threads_read_the_same_file(origin: Origin, fs: RemoteFileSystem) -> None:
    wrong: list[int] = []

    def work(first: int) -> None:
        with fs.open(origin.url) as file:
            for at in range(first, origin.size - 100, 400_000):
                file.seek(at)
                if file.read(100) != coded(at, at + 100):
                    wrong.append(at)

    threads = [threading.Thread(target=work, args=(1000 * number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert wrong == []
    assert origin.sent <= 2 * origin.size
