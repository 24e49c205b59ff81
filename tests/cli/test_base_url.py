"""`-i SHA256SUMS --base-url URL`: the files that a sums file names, each with its digest."""

from __future__ import annotations

from hashlib import md5, sha256
from pathlib import Path

import pytest

from tests.support.origin import Answer, Origin, Seen, response
from tests.support.program import rdl

FILES = {"/v1/a.bin": b"first" * 1000, "/v1/sub/a%20file%23.bin": b"second" * 3000}


def answer(connection: int, turn: int, seen: Seen) -> Answer:
    data = FILES.get(seen.line.split()[1])
    return [response(b"", "404 Not Found") if data is None else response(data)]


def sums(*names: str) -> str:
    datas = list(FILES.values())
    return "".join(
        f"{sha256(data).hexdigest()}  {name}\n" for data, name in zip(datas, names, strict=False)
    )


@pytest.mark.parametrize("base", ["/v1", "/v1/"])
def test_the_files_of_a_sums_file(tmp_path: Path, base: str) -> None:
    (tmp_path / "SHA256SUMS").write_text("# both\n" + sums("./a.bin", "sub/a file#.bin"))
    with Origin(answer) as origin:
        words = ("get", "-i", "SHA256SUMS", "--base-url", origin.url(base), "-d", "out")
        done = rdl(tmp_path, *words)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "out/a.bin").read_bytes() == FILES["/v1/a.bin"]
        assert (tmp_path / "out/sub/a file#.bin").read_bytes() == list(FILES.values())[1]
        asked = len(origin.seen)
        assert rdl(tmp_path, *words).returncode == 0
        assert len(origin.seen) == asked


def test_from_stdin_and_a_wrong_one(tmp_path: Path) -> None:
    with Origin(answer) as origin:
        base = ("--base-url", origin.url("/v1"))
        assert rdl(tmp_path, "get", "-i", "-", *base, stdin=sums("a.bin")).returncode == 0
        (tmp_path / "a.bin").unlink()
        done = rdl(tmp_path, "get", "-i", "-", *base, stdin=f"{'0' * 64}  a.bin\n")
        assert done.returncode == 10
        assert not (tmp_path / "a.bin").exists()


@pytest.mark.parametrize(
    ("text", "code", "why"),
    [
        ("http://h/f\n", 2, "lines that are no digest and name: 1"),
        (f"{'0' * 64}  ../f\n", 2, "'../f'"),
        (f"{'0' * 64}  /etc/f\n", 2, "'/etc/f'"),
        (f"{md5(b'').hexdigest()}  f\n", 11, "can be forged"),
        (f"{'0' * 64}  f\n{'1' * 64}  f\n", 2, "two different digests"),
        (f"{'0' * 64}  a\n{'0' * 64}  ./a\n", 2, "the same target twice"),
        ("", 2, "no URL in this list"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, code: int, why: str) -> None:
    done = rdl(tmp_path, "get", "-i", "-", "--base-url", "http://127.0.0.1:9/", stdin=text)
    assert (done.returncode, done.stdout) == (code, "")
    assert why in done.stderr


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--base-url", "http://h/", "http://h/f"], "useless without -i"),
        (["--base-url", "ftp://h/", "-i", "x"], "not an http, https or file URL"),
        (["--base-url", "http://h/?q=1", "-i", "x"], "neither query nor fragment"),
    ],
)
def test_wrong_options(tmp_path: Path, words: list[str], why: str) -> None:
    done = rdl(tmp_path, "get", *words)
    assert done.returncode == 2
    assert why in done.stderr
