"""What an enemy plants on disk, sends as text, or hopes to find later (rows S1-S23, S35-S38).

The command runs as a real process where its output is judged, else in this one.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import rdl
from rdl.api import Session, Target
from rdl.core.events import Result
from rdl.errors import LocalFileError, UsageError
from rdl.options import NetworkOptions, Options, TransferOptions
from rdl.storage.platform import PosixDisk
from tests.engine.staging import content_of
from tests.support.origin import END, HANG, Answer, Origin, Seen, response
from tests.support.program import RDL
from tests.traps.harness import KiB
from tests.traps.process import ROOT, Said, command

CONTENT = content_of(300 * KiB)
TAG = 'ETag: "v0"'
NOBODY = 65534


def file(connection: int, turn: int, seen: Seen, *fields: str) -> Answer:
    """The file, and parts of it."""
    text = seen.fields.get("range", "bytes=0-").removeprefix("bytes=")
    first, last = (int(one) if one else len(CONTENT) - 1 for one in text.split("-"))
    said = f"Content-Range: bytes {first}-{last}/{len(CONTENT)}"
    if seen.fields.get("if-none-match") == '"v0"':
        return [b"HTTP/1.1 304 Not Modified\r\n\r\n"]
    return [response(CONTENT[first : last + 1], "206 Partial Content", said, TAG, *fields)]


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin(file) as made:
        yield made


def fetch(url: str, path: Path, **transfer: Any) -> Result:
    """What became of it, without another try."""
    options = Options(
        NetworkOptions(netrc=False, proxy="", timeout=2.0),
        TransferOptions(retry=0, connections=1, **transfer),
    )
    with Session() as session:
        [result] = session.get_all([Target(url, path, options)])
    return result


# Planted state


def of_nobody(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file belongs to another user; where that takes root, we become another one."""
    try:
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    except PermissionError:
        monkeypatch.setattr(PosixDisk, "user", lambda self: os.geteuid() + 1)


def cut_run(origin: Origin, path: Path) -> None:
    """A partial, as an honest run leaves it."""
    [whole] = file(0, 0, Seen(0, b""))
    assert isinstance(whole, bytes)
    answers: Iterator[Answer] = iter([[whole[: 100 * KiB], END], [response(b"", "410 Gone"), END]])
    origin.answer = lambda connection, turn, seen: next(answers)
    assert fetch(origin.url("/f.bin"), path).exit_code == 8
    origin.answer = file
    origin.seen.clear()


PLANTED: dict[str, Callable[[Path, Path], object]] = {
    "a link to a victim": lambda path, victim: path.symlink_to(victim),
    "a dangling link": lambda path, victim: path.symlink_to(victim.with_name("new")),
    "a fifo": lambda path, victim: os.mkfifo(path),
    "a folder": lambda path, victim: path.mkdir(),
}


@pytest.mark.parametrize("kind", PLANTED)
@pytest.mark.parametrize("name", ["f.bin.part", "f.bin.part.index", "f.bin.part.index.new"])
def test_s7_what_is_planted_is_left_alone(
    tmp_path: Path, origin: Origin, name: str, kind: str
) -> None:
    """Not followed, not written to, not removed, and nothing is asked for."""
    folder, victim = tmp_path / "shared", tmp_path / "victim"
    folder.mkdir()
    victim.write_bytes(b"precious")
    PLANTED[kind](folder / name, victim)
    before = os.lstat(folder / name)
    result = fetch(origin.url("/f.bin"), folder / "f.bin")
    assert result.exit_code == 3
    assert os.lstat(folder / name).st_ino == before.st_ino
    assert victim.read_bytes() == b"precious"
    assert sorted(os.listdir(tmp_path)) == ["shared", "victim"]
    assert not (folder / "f.bin").exists()
    assert origin.seen == [] or name == "f.bin.part.index.new"


@pytest.mark.parametrize("name", ["f.bin.part", "f.bin.part.index"])
def test_s7_a_hard_link_is_not_written_through(tmp_path: Path, origin: Origin, name: str) -> None:
    """At the name of an index it is no index, which begins a new file."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    victim.chmod(0o600)
    (tmp_path / name).hardlink_to(victim)
    result = fetch(origin.url("/f.bin"), tmp_path / "f.bin")
    assert result.exit_code == (3 if name == "f.bin.part" else 0)
    assert victim.read_bytes() == b"precious"


@pytest.mark.parametrize("kind", ["a link to a victim", "a folder", "a fifo"])
def test_s7_at_the_final_name_and_beside_it(tmp_path: Path, origin: Origin, kind: str) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    PLANTED[kind](tmp_path / "f.bin", victim)
    assert fetch(origin.url("/f.bin"), tmp_path / "f.bin").exit_code == 3
    assert sorted(os.listdir(tmp_path)) == ["f.bin", "victim"]
    PLANTED[kind](tmp_path / "g.bin.part.bad", victim)
    digest = rdl.Digest("sha256", "0" * 64)
    result = fetch(origin.url("/g.bin"), tmp_path / "g.bin", digests=(digest,))
    assert result.exit_code == 10
    assert not (tmp_path / "g.bin").exists()
    assert victim.read_bytes() == b"precious"


def test_s7_planted_between_the_look_and_the_step(
    tmp_path: Path, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each state file is planted at the moment after rdl saw that there is none."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    look, names = PosixDisk.stat, ["f.bin.part", "f.bin.part.index.new"]

    def stat(disk: PosixDisk, folder: int, name: str) -> Any:
        found = look(disk, folder, name)
        if found is None and name in names:
            names.remove(name)
            os.symlink(victim, name, dir_fd=folder)
        return found

    monkeypatch.setattr(PosixDisk, "stat", stat)
    for planted in ("f.bin.part", "f.bin.part.index.new"):
        assert fetch(origin.url("/f.bin"), tmp_path / "f.bin").exit_code == 3
        assert (tmp_path / planted).is_symlink()
        (tmp_path / planted).unlink()
    assert names == []
    assert victim.read_bytes() == b"precious"
    assert fetch(origin.url("/f.bin"), tmp_path / "f.bin").exit_code == 0


@pytest.mark.parametrize("name", ["f.bin.part", "f.bin.part.index"])
@pytest.mark.parametrize("how", ["another user", "writable by others"])
def test_s8_state_of_others_is_not_read(
    tmp_path: Path, origin: Origin, monkeypatch: pytest.MonkeyPatch, name: str, how: str
) -> None:
    """A perfect partial: but somebody else may have made it."""
    cut_run(origin, tmp_path / "f.bin")
    if how == "another user":
        of_nobody(tmp_path / name, monkeypatch)
    else:
        (tmp_path / name).chmod(0o666)
    before = (tmp_path / name).read_bytes()
    assert fetch(origin.url("/f.bin"), tmp_path / "f.bin").exit_code == 3
    with pytest.raises(LocalFileError):
        rdl.status(tmp_path / "f.bin")
    assert (tmp_path / name).read_bytes() == before
    assert origin.seen == []


@pytest.mark.parametrize("how", ["another user", "writable by others"])
def test_s8_a_note_of_others_is_not_believed(
    tmp_path: Path, origin: Origin, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Who may write to a file may also note with it that it is the one that the server has."""
    path = tmp_path / "f.bin"
    assert fetch(origin.url("/f.bin"), path).reason == "complete"
    assert fetch(origin.url("/f.bin"), path).reason == "unchanged"
    times = path.stat()
    path.write_bytes(b"x" * len(CONTENT))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    if how == "another user":
        of_nobody(path, monkeypatch)
    else:
        path.chmod(0o666)
    assert rdl.status(path).complete is None
    assert fetch(origin.url("/f.bin"), path).exit_code == 0
    assert path.read_bytes() == CONTENT


def test_s9_a_failing_run_removes_what_it_made(tmp_path: Path, origin: Origin) -> None:
    """And nothing else: what bears such a name but is not ours stays."""
    strangers = ["f.bin.part.bad", "f.bin.part.old", "f.bin.parts", ".rdl-0123456789abcdef"]
    for name in strangers:
        (tmp_path / name).write_bytes(b"mine")
    origin.answer = lambda connection, turn, seen: [response(b"", "404 No")]
    assert fetch(origin.url("/f.bin"), tmp_path / "f.bin").exit_code == 8
    assert sorted(os.listdir(tmp_path)) == sorted(strangers)


# The process


EVIL = "\x1b]0;title\x07\x9b31m\x85[/red][link=http://x]y[/link]\x7f"
AUDIT = """
import sys
STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.spawn")
def audit(event, arguments):
    if event.startswith(STARTS) or event in ("os.forkpty", "pty.spawn"):
        sys.stderr.write("STARTED " + event)
sys.addaudithook(audit)
from rdl.cli.main import main
sys.exit(main())
"""


def hostile(connection: int, turn: int, seen: Seen) -> Answer:
    """Every text that a server can choose is meant for a terminal."""
    path = seen.line.split(" ")[1].partition("?")[0]
    fields = (
        f"Content-Type: text/x{EVIL}",
        f"Content-Disposition: attachment; filename=../../evil{EVIL}",
        f"Last-Modified: {EVIL}",
        f"Server: {EVIL}",
    )
    if path == "/f.bin":
        return file(connection, turn, seen, *fields)
    if path == "/away":
        return [response(b"", f"302 {EVIL}", f"Location: http://h{EVIL}/{EVIL}")]
    if path == "/there":
        return [response(b"", "302 x", "Location: /missing\x9b31m\x85")]
    if path == "/tag":
        return [response(CONTENT, f"200 {EVIL}", f'ETag: "{EVIL}"', *fields)]
    return [response(EVIL.encode(), f"404 {EVIL}", *fields)]


def harmless(said: Said) -> None:
    """Lines of printable text, and no more."""
    for data in (said.out, said.err):
        text = data.decode("utf-8").replace("\n", "")
        assert text.isprintable(), said
        assert "Traceback" not in text


@pytest.mark.parametrize("display", ["lines", "json"])
def test_s17_s38_nothing_reaches_the_terminal(tmp_path: Path, display: str) -> None:
    name = "a\n" + EVIL.replace("/", ".") + ".bin"
    with Origin(hostile) as origin:
        for path, code in {"/f.bin": 0, "/away": 7, "/there": 8, "/tag": 0, "/x": 8}.items():
            options = ["-vv", "--progress", display, "-o", name, "--restart", "--json"]
            said = command(tmp_path, "get", origin.url(path), *options)
            assert said.code == code, said
            harmless(said)
            assert json.loads(said.out)["exit_code"] == code
            assert said.out.count(b"\n") == 1
            if display == "json":
                assert all(json.loads(line) for line in said.err.splitlines())
        for arguments in (["info", origin.url("/tag")], ["info", "--json", origin.url("/f.bin")]):
            harmless(command(tmp_path, *arguments))
        harmless(command(tmp_path, "status", name))
        harmless(command(tmp_path, "verify", name, f"sha256:{'0' * 64}"))
        harmless(command(tmp_path, "status", f"none{name}"))
    assert os.listdir(tmp_path) == [name]


def test_s1_s3_the_server_does_not_choose_the_name(tmp_path: Path) -> None:
    """Not by Content-Disposition, and not by where it leads to."""

    def answer(connection: int, turn: int, seen: Seen) -> Answer:
        if seen.line.startswith("GET /f.bin"):
            return [response(b"", "302 Found", "Location: /a/.bashrc")]
        return file(connection, turn, seen, 'Content-Disposition: attachment; filename="/evil"')

    with Origin(answer) as origin:
        said = command(tmp_path, origin.url("/f.bin"), "-d", "into", "-q")
    assert (said.code, said.out, said.err) == (0, b"", b"")
    assert os.listdir(tmp_path) == ["into"]
    assert os.listdir(tmp_path / "into") == ["f.bin"]


@pytest.mark.parametrize(
    "path", ["/..%2f..%2fevil", "/%2e%2e", "/..%5cevil", "/a%00b", "/.bashrc", "/-rf", "/con", "/"]
)
def test_s2_s5_names_that_are_no_names(
    tmp_path: Path, origin: Origin, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError):
        rdl.get(origin.url(path))
    assert os.listdir(tmp_path) == []
    assert origin.seen == []


def test_s36_no_other_program_is_started(tmp_path: Path, origin: Origin) -> None:
    program = (sys.executable, "-c", AUDIT)
    (tmp_path / "old").write_bytes(CONTENT[:-1])
    url, digest = origin.url("/f.bin"), f"sha256:{'0' * 64}"
    for arguments, code in [
        (["get", url, "--progress", "lines"], 0),
        (["get", url, "-o", "g", "--checksum", digest], 10),
        (["cat", url], 0),
        (["info", url], 0),
        (["status", "f.bin"], 0),
        (["verify", "old", digest, "--repair", url], 10),
    ]:
        said = command(tmp_path, *arguments, program=program)
        assert said.code == code, said
        assert b"STARTED" not in said.err


def test_s36_a_running_download_has_no_children(tmp_path: Path, origin: Origin) -> None:
    origin.answer = lambda connection, turn, seen: [HANG]
    process = subprocess.Popen(
        [*RDL, "get", origin.url("/f.bin"), "-q"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    try:
        while not origin.seen and process.poll() is None:
            os.sched_yield()
        threads = Path(f"/proc/{process.pid}/task").iterdir()
        assert [one.joinpath("children").read_text() for one in threads] != []
        assert not any(one.joinpath("children").read_text() for one in threads)
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("spec", ["md5:" + "0" * 32, "sha1:" + "0" * 40, "0" * 32, "crc32:00"])
def test_s35_weak_digests_verify_nothing(tmp_path: Path, origin: Origin, spec: str) -> None:
    said = command(tmp_path, "get", origin.url("/f.bin"), "--checksum", spec)
    assert said.code == 2
    assert origin.seen == []


def test_s37_what_is_imported_is_declared() -> None:
    """certifi comes with httpx, which is declared, as its store of authorities; what an extra
    brings is imported by the modules that need it alone."""
    declared = re.search(
        r"^dependencies = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.M | re.S
    )
    assert declared is not None
    names = set(re.findall(r'"([a-z0-9]+)[><=]', declared[1])) | {"rdl", "certifi"}
    names |= sys.stdlib_module_names
    extra = {
        "dask": ("engines.py",),
        "distributed": ("dask.py",),
        "fsspec": ("fsspec.py", "fsspec_file.py"),
        "numpy": ("adler.py", "buzhash.py", "groups.py", "limited.py", "md4.py"),
        "pyfastcdc": ("fastcdc.py",),
        "zstandard": ("chunk_store.py",),
    }
    pattern = re.compile(r"^\s*(?:from|import) ([A-Za-z_0-9]+)", re.M)
    for source in (ROOT / "src/rdl").rglob("*.py"):
        found = set(pattern.findall(re.sub(r'"""[\s\S]*?"""', "", source.read_text())))
        own = {name for name, files in extra.items() if source.name in files}
        assert found <= names | own, source
