"""`--mirror`, `mirror=` and metalinks: which sources, sizes and digests each file gets."""

from __future__ import annotations

import io
import subprocess
import sys
from hashlib import sha256, sha512
from pathlib import Path

import pytest
from msgspec.structs import replace

from rdl.cli.commands import cat
from rdl.cli.settings import given_as_in_get, options_from
from rdl.cli.targets import lone_download
from rdl.core.lock import decode_lock
from rdl.options import BlockDigests, Digest, Options, TransferOptions
from tests.cli.conftest import Rdl
from tests.cli.stand_in import Target
from tests.support.origin import Origin, response

U, M, N = "http://proved/f.iso", "http://m/x.iso", "https://n/y"
HEX, LONG = sha256(b"rdl").hexdigest(), sha512(b"rdl").hexdigest()
HEAD = '<?xml version="1.0"?><metalink xmlns="urn:ietf:params:xml:ns:metalink">'
FIRST = f"""
  <file name="sub/a.iso"><size>9</size><hash type="sha-256">{HEX}</hash>
    <hash type="sha-512">{LONG}</hash><hash type="md5">{"0" * 32}</hash>
    <pieces length="8" type="sha-256"><hash>{HEX}</hash><hash>{HEX}</hash></pieces>
    <url priority="2">{N}</url><url priority="1">{U}</url><url>ftp://m/f</url><url>{M}</url></file>
"""
BARE = '<file name="b"><url>http://proved/b?x=1&amp;y</url></file>'


def metalink(*files: str) -> bytes:
    return f"{HEAD}{''.join(files)}</metalink>".encode()


def asked(rdl: Rdl, *arguments: str) -> list[Target]:
    answer = rdl("get", *arguments)
    assert answer.code == 0, answer.err
    assert answer.session is not None
    return answer.session.targets


def test_mirrors_of_the_command_line(rdl: Rdl) -> None:
    (target,) = asked(rdl, U, "--mirror", M, "--mirror", f"{U}#x", "--mirror", N, "--mirror", M)
    assert target == Target(U, Path("f.iso"), Options(mirrors=(M, N)))
    Path("list").write_text(f"{U}\n mirror={N}\n")
    (target,) = asked(rdl, "-i", "list", "--mirror", M)
    assert target.options.mirrors == (M, N)


def test_mirrors_of_a_list(rdl: Rdl) -> None:
    Path("list").write_text(f"{U}\tmirror={N}\tmirror={U}\n\tmirror={M}\nhttp://proved/g\n")
    first, second = asked(rdl, "-i", "list")
    assert (first.options.mirrors, second.options.mirrors) == ((N, M), ())
    answer = rdl("get", "-i", "list", "--mirror", M)
    assert (answer.code, answer.session) == (2, None)
    assert answer.err.splitlines()[1] == "rdl: hint: mirror= in a list tells them apart"


@pytest.mark.parametrize("words", [["--mirror", M, "--mirror", N], ["--mirror", U, "--mirror", M]])
def test_mirrors_of_cat(words: list[str]) -> None:
    given = cat.command().make_context("cat", [U, *words]).params
    options = options_from(given_as_in_get(given | {"ranges": ()}))
    download = lone_download(U, given, lambda address, headers: options)
    assert download.options.mirrors == tuple(url for url in words[1::2] if url != U)


A = TransferOptions(
    digests=(Digest("sha512", LONG), Digest("sha256", HEX)),
    expected_size=9,
    blocks=BlockDigests(8, "sha256", (HEX, HEX)),
)


@pytest.mark.parametrize("name", ["l.meta4", "L.META4", "list", "-"])
def test_the_files_of_a_metalink(rdl: Rdl, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    data = metalink(FIRST, BARE)
    if name == "-":
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbf" + data)))
    else:
        Path(name).write_bytes(data)
    first, second = asked(rdl, "-i", name, "-d", "out")
    assert first == Target(U, Path("out/sub/a.iso"), Options(transfer=A, mirrors=(N, M)))
    assert second == Target("http://proved/b?x=1&y", Path("out/b"), Options())
    assert Path("out/sub").is_dir()


def test_a_metalink_without_a_declaration_is_told_by_its_root(rdl: Rdl) -> None:
    Path("list").write_bytes(b"\n" + metalink(BARE).partition(b"?>")[2])
    (target,) = asked(rdl, "-i", "list")
    assert target.path == Path("b")


def test_a_digest_beside_a_metalink(rdl: Rdl) -> None:
    Path("l.meta4").write_bytes(metalink(FIRST))
    (target,) = asked(rdl, "-i", "l.meta4", "--sha256", HEX, "--mirror", "http://q/")
    assert target.options.transfer == replace(A, digests=A.digests[::-1])
    assert target.options.mirrors == ("http://q/", N, M)
    answer = rdl("get", "-i", "l.meta4", "--sha256", "0" * 64)
    line = "rdl: l.meta4: 'sub/a.iso': --checksum: two different sha256 digests\n"
    assert (answer.code, answer.err, answer.session) == (2, line, None)


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"", "l.meta4:1: not XML: no element found"),
        (metalink(), "l.meta4: no URL in this list"),
        (b"<!DOCTYPE html><html>", "l.meta4: it has a document type, which is not read"),
        (metalink() + b" " * (8 << 20), "l.meta4: more than 8 MiB"),
        (
            b'<metalink version="3.0" xmlns="http://www.metalinker.org/"/>',
            "l.meta4: a Metalink of version 3; only 4 (RFC 5854) is read",
        ),
        (metalink(BARE, '<file name="c"/>'), "l.meta4: 'c': it has no http or https URL"),
        (
            metalink(BARE, '<file name="c"><url>http://h:x/</url></file>'),
            "l.meta4: 'c': http://***: not a URL: the host or port makes no sense",
        ),
        (
            metalink('<file name="c"><url>http://u:canary@h/</url></file>'),
            "l.meta4: 'c': http://h/: no login is taken from the URL of a mirror",
        ),
        (metalink('<file name="../c"/>'), "l.meta4: '../c': it names a directory or nothing"),
        (metalink('<file name="&#x202e;"/>'), "l.meta4: '\\u{202e}': it holds a control"),
        (metalink('<file name="a"><size>x</size></file>'), "l.meta4: 'a': its size is no number"),
        (metalink(BARE, BARE), "l.meta4: 'b': b: the same target twice in one run"),
    ],
)
def test_a_metalink_that_is_refused(rdl: Rdl, data: bytes, line: str) -> None:
    Path("l.meta4").write_bytes(data)
    answer = rdl("get", "-i", "l.meta4")
    assert (answer.code, answer.out, answer.session) == (2, "", None)
    assert answer.err.startswith(f"rdl: {line}")
    assert "canary" not in answer.err
    assert [path.name for path in Path().iterdir()] == ["l.meta4"]


def test_a_metalink_has_no_parts(rdl: Rdl) -> None:
    Path("l.meta4").write_bytes(metalink(FIRST))
    answer = rdl("get", "-i", "l.meta4", "-r", "0-4")
    assert answer.code == 2
    assert answer.err == "rdl: -r with a metalink: its digests are of whole files\n"


def test_a_metalink_is_fetched_and_locked(tmp_path: Path) -> None:
    content = b"content" * 1000
    digest = sha256(content).hexdigest()

    def rdl(*words: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "rdl", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stderr

    with Origin(lambda *_: [response(content, "200 OK", 'ETag: "v"')]) as origin:
        url = origin.url("/x")
        (tmp_path / "l.meta4").write_bytes(
            metalink(
                f'<file name="sub/f"><hash type="sha-256">{digest}</hash><url>{url}</url></file>'
            )
        )
        code, said = rdl("get", "-i", "l.meta4", "-d", "out")
        assert (code, "verified by sha256 (T4)" in said) == (0, True), said
        assert (tmp_path / "out/sub/f").read_bytes() == content
        assert rdl("lock", "l.meta4")[0] == 0
        (locked,) = decode_lock((tmp_path / "l.meta4.lock").read_bytes(), "l")
        assert (locked.path, locked.sha256, locked.url) == ("sub/f", digest, url)
        for change in (("<hash", "<size>1</size><hash", 9), (digest, HEX, 10)):
            text = (tmp_path / "l.meta4").read_text().replace(*change[:2])
            (tmp_path / "wrong").write_text(text)
            assert rdl("get", "-i", "wrong", "-d", str(change[2]))[0] == change[2]
            assert not (tmp_path / f"{change[2]}/sub/f").exists()
