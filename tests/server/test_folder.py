"""What a folder gives away, and what not."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from rdl.core.byterange import ByteRange
from rdl.core.representation import TICK
from rdl.core.text import safe_text
from rdl.doors.index_page import listed
from rdl.errors import ChangedError, LocalFileError
from rdl.server.files import FileReading, media_type
from rdl.server.folder import Folder
from rdl.server.requests import Reply

LONG_AGO = 1_000_000_000


@pytest.fixture
def folder(tmp_path):
    """`public` is served; a secret is beside it."""
    (tmp_path / "secret").write_text("canary")
    public = tmp_path / "public"
    (public / "sub" / "deep").mkdir(parents=True)
    (public / "a b.txt").write_text("hello")
    (public / "sub" / "f.bin").write_bytes(b"x" * 1000)
    for path in public.rglob("*"):
        os.utime(path, (LONG_AGO, LONG_AGO))
    site = Folder(public)
    yield site
    site.close()


@pytest.fixture
def public(tmp_path):
    return tmp_path / "public"


def read(site, path):
    """All bytes behind a path, or the status of the answer that comes instead."""
    try:
        found = site.find(path)
    except Reply as reply:
        return -reply.status if reply.close else reply.status
    view = memoryview(bytearray(found.facts.size))
    assert found.available(0) == len(view)
    assert not view or found.read_into(0, view) == len(view)
    found.close()
    return bytes(view)


def test_files_and_folders(folder):
    assert read(folder, "/a%20b.txt") == b"hello"
    assert read(folder, "/sub/f.bin") == b"x" * 1000
    assert read(folder, "/sub/deep/").startswith(b"<!DOCTYPE html>")
    assert read(folder, "/nothing") == 404


@pytest.mark.parametrize(("path", "to"), [("/sub", "/sub/"), ("/sub/%64eep", "/sub/deep/")])
def test_a_folder_has_a_slash(folder, path, to):
    with pytest.raises(Reply) as moved:
        folder.find(path)
    assert (moved.value.status, moved.value.fields) == (301, (("Location", to),))


S33 = [
    *("/..", "/../secret", "/../public/a%20b.txt", "/sub/../a%20b.txt", "/./a%20b.txt", "/sub/."),
    *(
        "/..%2fsecret",
        "/%2e%2e/secret",
        "/%2e%2e%2fsecret",
        "/..%2f..%2fetc/passwd",
        "/.%2e/secret",
    ),
    *("/..%5csecret", "/..\\secret", "/sub%2ff.bin", "/sub\\f.bin", "/sub%5cf.bin", "/%5c"),
    *(
        "//",
        "//secret",
        "//sub/f.bin",
        "/sub//f.bin",
        "/sub/f.bin/",
        "/sub/f.bin/.",
        "//evil/%2e%2e",
    ),
    *("/a%20b.txt%00", "/%00", "/a%20b.txt%00.html", "/%", "/%zz", "/%2", "/a%2520b.txt"),
    *(
        "/..%c0%af..%c0%afsecret",
        "/%c0%ae%c0%ae/secret",
        "/..%ef%bc%8fsecret",
        "/..;/secret",
        "/sub/..;",
    ),
    *("/etc/passwd", "/%2fetc%2fpasswd", "/C:/x", "/" + "a/" * 2000, "/" + "a" * 5000),
    *("/sub/" + "../" * 100 + "etc/passwd", "/public", "/~root", "/proc/self/environ"),
]


@pytest.mark.parametrize("path", S33, ids=[safe_text(one, 40) for one in S33])
def test_s33_no_path_leads_out(folder, path):
    assert read(folder, path) == 404


OWN = [".hidden", "f.part", "f.part.index", "f.part.index.new", "f.part.bad", "F.PART", ".rdl-0123"]


@pytest.mark.parametrize("name", OWN)
def test_what_is_hidden_or_unfinished_is_not_there(folder, public, name):
    (public / name).write_text("canary")
    (public / f"{name}.d").mkdir()
    assert read(folder, f"/{name}") == 404
    page = read(folder, "/").decode()
    assert f">{name}<" not in page
    assert "sub/" in page


def test_links_and_what_is_no_file(folder, public, tmp_path):
    (public / "link").symlink_to(tmp_path / "secret")
    (public / "inside").symlink_to("a b.txt")
    (public / "linked").symlink_to(tmp_path, target_is_directory=True)
    (public / "loop").symlink_to("loop")
    os.mkfifo(public / "fifo")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(public / "socket"))
        for name in (
            "link",
            "inside",
            "linked",
            "linked/",
            "linked/secret",
            "loop",
            "fifo",
            "socket",
        ):
            assert read(folder, f"/{name}") == 404
        names = set(listed(read(folder, "/").decode(), "http://h/"))
    assert names == {"http://h/a%20b.txt", "http://h/sub"}


def test_a_file_that_may_not_be_read(folder, public):
    (public / "mine").write_text("x")
    (public / "mine").chmod(0)
    expected = b"x" if os.geteuid() == 0 else 404
    assert read(folder, "/mine") == expected


def test_no_descriptor_is_left(folder):
    before = len(os.listdir("/proc/self/fd"))
    for path in (
        "/a%20b.txt",
        "/sub/f.bin",
        "/",
        "/sub/",
        "/sub",
        "/nothing",
        "/sub/f.bin/",
        "/../x",
    ):
        read(folder, path)
    assert len(os.listdir("/proc/self/fd")) == before


HOSTILE = ["<script>", "a&b", 'q"uote', "java:script", "\x1b]0;x\x07", "\u202egnp.exe", "%41", "?#"]


@pytest.mark.parametrize("name", HOSTILE, ids=[safe_text(one) for one in HOSTILE])
def test_the_page_shows_names_as_text(tmp_path, name):
    (tmp_path / name).write_text("found")
    site = Folder(tmp_path)
    page = read(site, "/").decode()
    assert "<script>" not in page
    assert all(char.isprintable() or char == "\n" for char in page)
    link = page.partition('<a href="')[2].partition('"')[0]
    assert read(site, f"/{link}") == b"found"
    site.close()


def test_a_name_that_is_no_text(tmp_path):
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe"))).write_text("found")
    site = Folder(tmp_path)
    assert b'<a href="%FF%FE">\\xff\\xfe</a>' in read(site, "/")
    assert read(site, "/%ff%fe") == b"found"
    site.close()


def test_an_odd_time_does_not_break_the_page(tmp_path):
    (tmp_path / "old").write_text("")
    (tmp_path / "new").write_text("")
    os.utime(tmp_path / "old", (-(10**9), -(10**9)))
    os.utime(tmp_path / "new", (2**33, 2**33))
    site = Folder(tmp_path)
    page = read(site, "/")
    assert b"1970-01-01 00:00, 0 B<" in page
    assert b"2242-03-16 12:56, 0 B<" in page
    site.close()


def etag(site, path="/sub/f.bin"):
    found = site.find(path)
    found.close()
    return found.facts.etag


def test_a_changed_file_has_another_etag(folder, public, monkeypatch):
    monkeypatch.setattr("rdl.server.version.time.time", lambda: 2e9)
    path, seen = public / "sub" / "f.bin", {etag(folder)}
    assert seen == {etag(folder)}
    changes = [
        lambda: path.write_bytes(b"y" * 1001),
        lambda: os.utime(path, ns=(0, LONG_AGO * 10**9 + 1)),
        lambda: os.utime(path, (LONG_AGO, LONG_AGO)),
        lambda: (path.rename(path.with_name("g")), path.write_bytes(b"z" * 1001)),
    ]
    for change in changes:
        change()
        assert etag(folder) not in seen
        seen.add(etag(folder))
    assert all(not one.startswith("W/") for one in seen)


def test_a_file_of_this_very_moment_has_a_weak_one(folder, public, monkeypatch):
    path = public / "young"
    path.write_text("x")
    at = path.stat().st_ctime
    monkeypatch.setattr("rdl.server.version.time.time", lambda: at + TICK / 2)
    assert etag(folder, "/young").startswith('W/"')
    monkeypatch.setattr("rdl.server.version.time.time", lambda: at + TICK * 2)
    assert etag(folder, "/young").startswith('"')


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_bytes(b"y" * 1000),
        lambda path: os.truncate(path, 10),
        lambda path: path.write_bytes(path.read_bytes() + b"more"),
    ],
)
def test_a_file_that_changes_is_not_sent_on(folder, public, change):
    found = folder.find("/sub/f.bin")
    found.demand(ByteRange(0, 1000))
    assert found.available(0) == 1000
    change(public / "sub" / "f.bin")
    with pytest.raises(ChangedError):
        found.available(500)
    found.close()


def test_a_file_that_is_replaced_is_sent_as_it_was(folder, public):
    path = public / "sub" / "f.bin"
    found = folder.find("/sub/f.bin")
    assert isinstance(found, FileReading)
    path.with_name("g").write_bytes(b"new")
    path.with_name("g").replace(path)
    assert found.available(10) == 990
    assert os.pread(found.descriptor, 5, 0) == b"xxxxx"
    found.close()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (b"a.html", "text/html"),
        (b"a.png", "image/png"),
        (b"a.json", "application/json"),
        (b"a.tar.gz", "application/octet-stream"),
        (b"a.iso", "application/octet-stream"),
        (b"a", "application/octet-stream"),
        (b"a.\xff", "application/octet-stream"),
        (b"data:text/html,x", "application/octet-stream"),
    ],
)
def test_media_types_are_from_the_name(name, said):
    assert media_type(name) == said


@pytest.mark.parametrize("name", ["gone", "file", "a\0b"])
def test_what_is_no_folder(tmp_path, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(LocalFileError):
        Folder(tmp_path / name)
    assert (tmp_path / "file").exists()
