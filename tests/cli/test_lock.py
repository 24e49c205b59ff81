"""`rdl lock` and `get --locked`: the same files or an error; a lock that makes no sense fetches
nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdl.core.fields import MAX_TOTAL
from rdl.core.lock import Locked, decode_lock, encode_lock
from rdl.core.names import name_fault
from rdl.errors import UsageError
from tests.support.origin import Answer, Origin, Seen, response
from tests.support.program import rdl

FILES = {"/a.bin": b"first" * 1000, "/b/c.bin": b"second" * 3000}
HEX = sha256(b"").hexdigest()


class Site:
    """Serves FILES, which a test may change."""

    def __init__(self) -> None:
        self.files = dict(FILES)

    def answer(self, connection: int, turn: int, seen: Seen) -> Answer:
        data = self.files.get(seen.line.split()[1])
        if data is None:
            return [response(b"", "404 Not Found")]
        return [response(data, "200 OK", f'ETag: "{sha256(data).hexdigest()}"')]


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def origin(site: Site) -> Iterator[Origin]:
    with Origin(site.answer) as origin:
        yield origin


@pytest.fixture
def listed(origin: Origin, tmp_path: Path) -> Path:
    """A list of both files, in an empty folder."""
    path = tmp_path / "list"
    path.write_text(f"{origin.url('/a.bin')}\n{origin.url('/b/c.bin')}\n  dir=sub\n  out=d.bin\n")
    return path


def test_a_list_is_locked_and_fetched_from_the_lock(listed: Path, origin: Origin) -> None:
    folder = listed.parent
    done = rdl(folder, "lock", "list")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert done.stderr.endswith("rdl: list.lock: 23000 bytes (22 KiB) in 2 files\n")
    locked = json.loads((folder / "list.lock").read_text())
    assert locked["rdl_lock"] == 1
    assert locked["files"] == [
        {
            "path": path,
            "sha256": sha256(FILES[name]).hexdigest(),
            "size": len(FILES[name]),
            "url": origin.url(name),
        }
        for path, name in (("a.bin", "/a.bin"), ("sub/d.bin", "/b/c.bin"))
    ]
    assert sorted(path.name for path in folder.iterdir()) == ["list", "list.lock"]
    done = rdl(folder, "get", "--locked", "list.lock", "-d", "out")
    assert done.returncode == 0, done.stderr
    assert (folder / "out/a.bin").read_bytes() == FILES["/a.bin"]
    assert (folder / "out/sub/d.bin").read_bytes() == FILES["/b/c.bin"]
    asked = len(origin.seen)
    assert rdl(folder, "get", "--locked", "list.lock", "-d", "out").returncode == 0
    assert len(origin.seen) == asked, "what is right is not asked for"


@pytest.mark.parametrize(("other", "code"), [(b"first" * 999 + b"FIRST", 10), (b"first" * 1001, 9)])
def test_what_is_not_what_was_locked_is_not_taken(
    listed: Path, site: Site, other: bytes, code: int
) -> None:
    folder = listed.parent
    assert rdl(folder, "lock", "list").returncode == 0
    site.files["/a.bin"] = other
    done = rdl(folder, "get", "--locked", "list.lock")
    assert done.returncode == code
    assert not (folder / "a.bin").exists()
    assert (folder / "sub/d.bin").read_bytes() == FILES["/b/c.bin"]


def test_the_same_list_gives_the_same_lock(listed: Path) -> None:
    folder = listed.parent
    locks = []
    for name in ("one", "two"):
        assert rdl(folder, "lock", "-", "-o", name, stdin=listed.read_text()).returncode == 0
        locks.append((folder / name).read_bytes())
    assert locks[0] == locks[1]


def test_where_one_fails_the_old_lock_stays(listed: Path, site: Site) -> None:
    folder = listed.parent
    (folder / "list.lock").write_text("old")
    del site.files["/b/c.bin"]
    done = rdl(folder, "lock", "list", "--retry", "0")
    assert done.returncode == 8
    assert "/b/c.bin" in done.stderr
    assert (folder / "list.lock").read_text() == "old"
    assert sorted(path.name for path in folder.iterdir()) == ["list", "list.lock"]


def test_a_sums_file_is_locked_with_its_folders(site: Site, origin: Origin, tmp_path: Path) -> None:
    digest = sha256(FILES["/b/c.bin"]).hexdigest()
    (tmp_path / "SUMS").write_text(f"{digest}  b/c.bin\n")
    done = rdl(tmp_path, "lock", "SUMS", "--base-url", origin.url("/"))
    assert done.returncode == 0, done.stderr
    (locked,) = decode_lock((tmp_path / "SUMS.lock").read_bytes(), "l")
    assert (locked.path, locked.sha256, locked.url) == ("b/c.bin", digest, origin.url("/b/c.bin"))
    site.files["/b/c.bin"] = b"other"
    assert rdl(tmp_path, "lock", "SUMS", "--base-url", origin.url("/")).returncode == 10


def test_a_digest_of_the_list_is_checked(listed: Path) -> None:
    with listed.open("a") as file:
        file.write(f"  checksum=sha256:{HEX}\n")
    assert rdl(listed.parent, "lock", "list").returncode == 10


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("http://h/f?X-Amz-Signature=abc\n", "the URL holds a secret"),
        ("http://h/f\n  dir=/etc\n", "cannot be locked"),
        ("http://h/f\n  out=../f\n", "cannot be locked"),
        ("http://h/\n", "the URL ends without a file name"),
        ("", "no URL in this list"),
    ],
)
def test_what_cannot_be_locked(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "list").write_text(text)
    done = rdl(tmp_path, "lock", "list")
    assert (done.returncode, done.stdout) == (2, "")
    assert why in done.stderr
    assert "abc" not in done.stderr


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["lock"], "no LIST given"),
        (["lock", "-"], "where to is not known"),
        (["lock", "none"], "rdl: none: No such file"),
        (["get", "--locked", "none"], "No such file"),
        (["get", "--locked", "l", "http://h/f"], "contradict"),
        (["get", "--locked", "l", "-i", "x"], "contradict"),
        (["get", "--locked", "l", "-o", "x"], "contradict"),
    ],
)
def test_wrong_commands(tmp_path: Path, words: list[str], why: str) -> None:
    done = rdl(tmp_path, *words)
    assert done.returncode == 2
    assert why in done.stderr


GOOD = {"path": "f", "sha256": HEX, "size": 0, "url": "http://h/f"}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"path": "../f"}, "path: "),
        ({"path": "/etc/f"}, "path: "),
        ({"path": ""}, "path: "),
        ({"path": "a//b"}, "path: "),
        ({"path": "a\x1b[2Jb"}, "path: "),
        ({"sha256": HEX.upper()}, "sha256"),
        ({"sha256": ""}, "sha256"),
        ({"size": -1}, "size"),
        ({"size": 2**63 - 1}, "size"),
        ({"size": "1"}, "int"),
        ({"url": None}, "str"),
        ({"url": "file:///etc/passwd"}, "not an http or https URL"),
    ],
)
def test_a_lock_that_makes_no_sense(tmp_path: Path, change: dict[str, object], why: str) -> None:
    (tmp_path / "l").write_text(json.dumps({"rdl_lock": 1, "files": [GOOD, {**GOOD, **change}]}))
    done = rdl(tmp_path, "get", "--locked", "l")
    assert (done.returncode, done.stdout) == (2, "")
    assert why in done.stderr
    assert "file 2" in done.stderr
    assert "\x1b" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["l"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"rdl_lock": 1}',
        '{"files": []}',
        "\xff",
        '{"rdl_lock": 1, "x":' + "[" * 9999,
    ],
)
def test_what_is_no_lock(text: str) -> None:
    with pytest.raises(UsageError, match="not a lock file"):
        decode_lock(text.encode("latin-1"), "l")


@pytest.mark.parametrize("value", ['"\xff"', "[" * 9999 + "]" * 9999])
def test_a_file_of_a_lock_that_is_no_json(value: str) -> None:
    text = f'{{"rdl_lock": 1, "files": [{{"path": {value}, "x": {value}}}]}}'
    with pytest.raises(UsageError, match=r"^l: (file 1|not a lock file)"):
        decode_lock(text.encode("latin-1"), "l")


def test_a_newer_lock_is_refused() -> None:
    with pytest.raises(UsageError, match="a lock of version 2; this rdl knows 1"):
        decode_lock(b'{"rdl_lock": 2, "files": 0}', "l")


NAMES = st.text(min_size=1, max_size=20).filter(lambda name: not name_fault(name))
LOCKED = st.builds(
    Locked,
    st.lists(NAMES, min_size=1, max_size=3).map("/".join),
    st.binary(max_size=5).map(lambda data: sha256(data).hexdigest()),
    st.integers(0, MAX_TOTAL),
    st.text(),
)


@given(st.lists(LOCKED, max_size=4))
def test_a_lock_is_read_back(files: list[Locked]) -> None:
    data = encode_lock(files)
    assert decode_lock(data, "l") == files
    assert data.count(b"\n") == len(files) + 2 + (not files)


@given(st.binary(max_size=200) | LOCKED.map(lambda one: encode_lock([one])[:-3]))
def test_any_bytes_are_a_lock_or_refused(data: bytes) -> None:
    found: list[Locked] = []
    with suppress(UsageError):
        found = decode_lock(data, "l")
    assert all(not name_fault(one.path.rpartition("/")[2]) for one in found)
