"""Secrets given in every way there is, and looked for in all that is said and left (S13, S14, P89).

Real processes, successes and failures, for people and for programs.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest

from tests.engine.staging import content_of
from tests.support.origin import END, Answer, Origin, Seen, response
from tests.traps.forks import Forks
from tests.traps.harness import KiB
from tests.traps.process import Said

MARK = "canary"
CONTENT = content_of(200 * KiB)
RIGHT = hashlib.sha256(CONTENT).hexdigest()
TAG = 'ETag: "v0"'
SETS = f"Set-Cookie: session={MARK}-set; Path=/"
QUERY = f"?a=1&token={MARK}-query&X-Amz-Signature={MARK}-signed&sig={MARK}-sig"
LED = f"/f.bin?Signature={MARK}-led"
PEOPLE = ("-vv", "--progress", "lines")
PROGRAMS = ("--progress", "json", "--json")
NEEDLES = [
    MARK.encode(),
    MARK.encode().hex().encode(),
    *(
        base64.b64encode(f"me:{MARK}-{one}".encode()).rstrip(b"=")
        for one in ("info", "user", "netrc", "proxy", "list")
    ),
]


def file(connection: int, turn: int, seen: Seen) -> Answer:
    """The file, and parts of it."""
    text = seen.fields.get("range", "bytes=0-").removeprefix("bytes=")
    first, last = (int(one) if one else len(CONTENT) - 1 for one in text.split("-"))
    said = f"Content-Range: bytes {first}-{last}/{len(CONTENT)}"
    return [response(CONTENT[first : last + 1], "206 Partial Content", said, TAG, SETS)]


def answer(connection: int, turn: int, seen: Seen) -> Answer:
    """By path: the file, a redirect, or a failure."""
    path = seen.line.split(" ")[1].removeprefix("http://").partition("/")[2].partition("?")[0]
    [whole] = file(connection, turn, seen)
    assert isinstance(whole, bytes)
    led = {"moved": LED, "away": f"ftp://me:{MARK}@h/?key={MARK}", "loop": f"/loop{QUERY}"}
    if path in led:
        return [response(b"", "302 Found", f"Location: {led[path]}", SETS)]
    if path == "cut" and seen.fields.get("range", "bytes=0-") == "bytes=0-":
        return [whole[: 100 * KiB], END]
    if path == "cut":
        return [response(MARK.encode(), "410 Gone")]
    if path == "page":
        return [response(b"<html>", "200 OK", "Content-Type: text/html")]
    if path.isdigit():
        return [response(MARK.encode(), f"{path} {MARK}", f"WWW-Authenticate: {MARK}")]
    return [whole]


class Case(NamedTuple):
    """A command, and the exit code it has. `{url}` is the origin's, with secrets."""

    code: int
    arguments: str


GIVEN = f"-H X-Api-Key:{MARK}-header -H Cookie:c={MARK}-cookie"
CASES = {
    "file": Case(0, f"get {{url}}/f.bin{QUERY}"),
    "file with a login": Case(0, f"get {{plain}}/f.bin{QUERY} -u me:{MARK}-user"),
    "file with netrc": Case(0, f"get {{plain}}/f.bin{QUERY} --netrc-file netrc"),
    "file by a proxy": Case(0, f"get http://h.invalid/f.bin{QUERY} --proxy {{proxy}}"),
    "plan": Case(0, f"get {{url}}/f.bin{QUERY} --dry-run"),
    "list": Case(0, "get -i list"),
    "redirect": Case(0, f"get {{url}}/moved{QUERY} -o moved"),
    "redirect to nonsense": Case(7, f"get {{url}}/away{QUERY}"),
    "loop": Case(7, f"get {{url}}/loop{QUERY}"),
    "page": Case(7, f"get {{url}}/page{QUERY}"),
    "401": Case(6, f"get {{url}}/401{QUERY}"),
    "403": Case(6, f"get {{url}}/403{QUERY}"),
    "404": Case(8, f"get {{url}}/404{QUERY}"),
    "500": Case(8, f"get {{url}}/500{QUERY} --retry 1"),
    "407": Case(6, f"get {{url}}/407{QUERY}"),
    "nobody there": Case(4, f"get http://me:{MARK}-info@127.0.0.1:1/f{QUERY} --retry 0"),
    "no proxy there": Case(
        4, f"get {{url}}/f --retry 0 --proxy http://me:{MARK}-proxy@127.0.0.1:1"
    ),
    "no proxy": Case(2, f"get {{url}}/f --proxy ftp://me:{MARK}-proxy@127.0.0.1:1"),
    "no URL": Case(2, f"get http://me:{MARK}@h:99999/f{QUERY}"),
    "no name": Case(2, f"get {{url}}/{QUERY}"),
    "wrong digest": Case(10, f"get {{url}}/f.bin{QUERY} --sha256 {'0' * 64}"),
    "cut": Case(8, f"get {{url}}/cut{QUERY} --retry 0"),
    "TLS where there is none": Case(4, f"get {{tls}}/f.bin{QUERY} --retry 0 --connect-timeout 0.5"),
}
OTHERS = {
    "cat": Case(0, f"cat {{url}}/f.bin{QUERY} -vv"),
    "cat of nothing": Case(8, f"cat {{url}}/404{QUERY} -vv"),
    "cat of a cut body": Case(8, f"cat {{url}}/cut{QUERY} --retry 0 --progress json"),
    "info": Case(0, f"info {{url}}/moved{QUERY}"),
    "info for programs": Case(0, f"info {{url}}/moved{QUERY} --json"),
    "info of nothing": Case(7, f"info {{url}}/away{QUERY} -vv"),
    "verify": Case(10, f"verify other {'0' * 64} -vv"),
    "repair": Case(0, f"verify other {RIGHT} --repair {{url}}/f.bin{QUERY} -vv"),
    "no repair": Case(8, f"verify other {RIGHT} --repair {{url}}/404{QUERY} --json"),
}
AFTER = {  # the folder has a partial then
    "status": Case(0, "status cut"),
    "status for programs": Case(0, "status cut --json"),
    "status of a folder": Case(0, "status ."),
    "resume": Case(2, "get --resume cut -vv"),
    "clean": Case(0, "clean . --yes"),
}


@pytest.fixture(scope="module")
def served() -> Iterator[Origin]:
    with Origin(answer) as made:
        yield made


def run(forks: Forks, folder: Path, origin: Origin, case: Case, *more: str) -> Said:
    """Run it, and look for secrets in all there is."""
    folder.mkdir(exist_ok=True)
    place = f"127.0.0.1:{origin.port}"
    inside = {"netrc": f"machine 127.0.0.1 login me password {MARK}-netrc\n", "other": "x" * 500}
    inside["list"] = f"http://{place}/f.bin{QUERY}\n  header=X-Key: {MARK}-list\n"
    for name, text in inside.items():
        (folder / name).write_text(text)
    words = case.arguments.format(
        url=f"http://me:{MARK}-info@{place}",
        plain=f"http://{place}",
        tls=f"https://me:{MARK}-info@{place}",
        proxy=f"http://me:{MARK}-proxy@{place}",
    ).split()
    given = GIVEN.split() if words[0] in ("get", "cat", "info") else []
    said = said_by(forks, folder, *words, *given, *more)
    assert said.code == case.code, said
    for name in inside:
        if (folder / name).exists() and MARK in (folder / name).read_text(errors="replace"):
            (folder / name).unlink()
    for what, data in (("stdout", said.out), ("stderr", said.err), *left(folder)):
        found = [needle for needle in NEEDLES if needle in data]
        assert not found, (what, found, data[:3000])
    return said


def said_by(forks: Forks, folder: Path, *words: str) -> Said:
    with TemporaryDirectory() as place:
        out, err = Path(place, "out"), Path(place, "err")
        code = forks.run(err, *words, stdout=out, folder=folder)
        return Said(code, out.read_bytes(), err.read_bytes())


def left(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below: its name, what is in it, and its attributes."""
    for path in folder.rglob("*"):
        yield "a name", os.fsencode(path)
        if path.is_file():
            yield path.name, path.read_bytes()
            for name in os.listxattr(path):
                yield f"{path.name} {name}", name.encode() + os.getxattr(path, name)


@pytest.mark.parametrize("display", [PEOPLE, PROGRAMS], ids=["people", "programs"])
def test_get_tells_no_secret(
    tmp_path: Path, served: Origin, forks: Forks, display: tuple[str, ...]
) -> None:
    for number, case in enumerate(CASES.values()):
        assert run(forks, tmp_path / str(number), served, case, *display).err


def test_the_others_tell_no_secret(tmp_path: Path, served: Origin, forks: Forks) -> None:
    for number, case in enumerate(OTHERS.values()):
        said = run(forks, tmp_path / str(number), served, case)
        assert said.code == case.code
        assert said.out or said.err


def test_what_is_left_tells_no_secret(tmp_path: Path, served: Origin, forks: Forks) -> None:
    run(forks, tmp_path, served, CASES["cut"])
    assert (tmp_path / "cut.part.index").exists()
    for case in AFTER.values():
        run(forks, tmp_path, served, case)
    assert not (tmp_path / "cut.part").exists()


def test_the_secrets_were_really_given(tmp_path: Path, served: Origin, forks: Forks) -> None:
    """Where they are meant for they arrive, so the tests above looked for what there is."""
    served.seen.clear()
    run(forks, tmp_path / "1", served, CASES["file by a proxy"])
    run(forks, tmp_path / "2", served, CASES["redirect"])
    run(forks, tmp_path / "3", served, CASES["file with netrc"])
    heads = b"\n".join(seen.head for seen in served.seen)
    for secret in ("header", "cookie", "query", "signed", "led"):
        assert f"{MARK}-{secret}".encode() in heads
    for login in ("info", "netrc", "proxy"):
        assert base64.b64encode(f"me:{MARK}-{login}".encode()) in heads
