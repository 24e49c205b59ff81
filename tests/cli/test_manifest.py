"""`rdl manifest` and `verify --manifest` as they are typed: what they say, and how they end."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rdl.core.byterange import ByteRange
from rdl.core.manifest import Cutting, Manifest, ManifestEncoder, Sizes
from rdl.manifests import open_manifest
from tests.cli.conftest import Rdl
from tests.scenarios.coded import Holding
from tests.support.json_schema import parse, parse_all
from tests.support.program import interrupted

DATA = random.Random(4).randbytes(200_000)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(autouse=True)
def _file(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(DATA)


@pytest.fixture
def made(rdl: Rdl) -> Manifest:
    """f.rdlm."""
    assert rdl("manifest", "make", "f", "-q").err == ""
    return open_manifest(Path("f.rdlm"))


@pytest.fixture
def origin(made: Manifest) -> Iterator[Holding]:
    """It is there too."""
    with closing(Holding(data=Path("f.rdlm").read_bytes())) as origin:
        yield origin


# make


def test_a_manifest_is_made_beside_the_file(rdl: Rdl) -> None:
    answer = rdl("manifest", "make", "f")
    found = open_manifest(Path("f.rdlm"))
    chunks = f"{len(found.coarse)} coarse and {found.fine_count} fine chunks"
    size = os.path.getsize("f.rdlm")
    assert (answer.code, answer.out) == (0, "")
    assert answer.err.startswith(f"rdl: f.rdlm: {size} bytes (")
    assert answer.err.endswith(f" KiB), {chunks} of 195 KiB\n")
    assert (found.total, found.sha256, found.chunker) == (len(DATA), sha256(DATA), "fastcdc")


def test_the_same_file_gives_the_same_manifest(rdl: Rdl, made: Manifest) -> None:
    first = Path("f.rdlm").read_bytes()
    assert rdl("manifest", "make", "f", "-o", "other").code == 0
    assert Path("other").read_bytes() == first
    assert Path("f.rdlm").stat().st_mode & 0o777 == 0o666 & ~_umask()
    assert rdl("manifest", "make", "f").code == 0, "it may be made again"
    assert sorted(os.listdir()) == ["f", "f.rdlm", "other"]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_directory_means_into_it(rdl: Rdl) -> None:
    Path("d").mkdir()
    Path("d/g").write_bytes(b"g")
    assert rdl("manifest", "make", "f", "-o", "d").code == 0
    assert rdl("manifest", "make", "d/g", "-o", ".").code == 0
    assert rdl("manifest", "make", "d/g").code == 0
    assert (sorted(os.listdir()), sorted(os.listdir("d"))) == (
        ["d", "f", "g.rdlm"],
        ["f.rdlm", "g", "g.rdlm"],
    )


def test_what_was_made_as_json(rdl: Rdl) -> None:
    answer = rdl("manifest", "make", "f", "--json", "-q")
    assert (answer.code, answer.err) == (0, "")
    told = parse(answer.out)
    assert (told["event"], told["path"], told["sha256"]) == ("manifest", "f.rdlm", sha256(DATA))
    events = parse_all(rdl("manifest", "make", "f", "--progress", "json").err)
    assert [one["event"] for one in events] == ["verify", "manifest"]
    assert events[-1] == told
    assert events[0]["bytes_hashed"] == len(DATA)


@pytest.mark.parametrize("progress", ["bar", "lines", "none"])
def test_every_display_shows_it(rdl: Rdl, tmp_path: Path, progress: str) -> None:
    answer = rdl("manifest", "make", "f", "--progress", progress)
    assert answer.code == 0
    assert "rdl: f.rdlm: " in answer.err
    assert ("%" in answer.err) == (progress == "bar")


def test_a_signal_ends_it_soon(tmp_path: Path) -> None:
    with (tmp_path / "big").open("wb") as file:
        file.truncate(200 << 30)
    assert interrupted(tmp_path, "manifest", "make", "big")[0] == 130
    assert sorted(os.listdir(tmp_path)) == ["big", "f"]


# show


def test_what_is_in_it(rdl: Rdl, made: Manifest) -> None:
    answer = rdl("manifest", "show", "f.rdlm")
    rows = dict(line.split(None, 1) for line in answer.out.splitlines())
    assert (answer.code, answer.err) == (0, "")
    average = len(DATA) // len(made.coarse)
    assert rows == {
        "name": "f",
        "length": "200000 bytes (195 KiB)",
        "sha256": sha256(DATA),
        "chunker": "fastcdc",
        "coarse": f"{len(made.coarse)} chunks, {average} bytes on average (4096 to 65536)",
        "fine": f"{made.fine_count} chunks, {len(DATA) // made.fine_count} bytes on average "
        "(128 to 2048)",
        "manifest": rows["manifest"],
    }
    assert rows["manifest"].startswith(f"{made.length} bytes (")


def test_what_is_in_it_as_json(rdl: Rdl, made: Manifest) -> None:
    assert parse(rdl("manifest", "show", "f.rdlm", "--json").out) == {
        "schema": 1,
        "event": "manifest",
        "path": "f.rdlm",
        "name": "f",
        "bytes_total": len(DATA),
        "sha256": sha256(DATA),
        "chunker": "fastcdc",
        "coarse_sizes": [4096, 16384, 65536],
        "coarse_chunks": len(made.coarse),
        "fine_sizes": [128, 512, 2048],
        "fine_chunks": made.fine_count,
        "digest_bytes": 16,
        "bytes_first": made.fine_at,
        "bytes_manifest": made.length,
        "urls": [],
    }


def test_what_a_hostile_one_says_is_harmless(rdl: Rdl) -> None:
    cutting = Cutting("x", *[Sizes(64, 64, 64)] * 2)
    urls = ("http://h/f?token=canary", "https://h/f")
    encoder = ManifestEncoder("../\x1b[2Jf\u202e", cutting, urls)
    fine = encoder.add(bytes(32), [1], [bytes(32)])
    Path("m").write_bytes(encoder.first_level(bytes(32)) + fine)
    for arguments in ((), ("--json",)):
        answer = rdl("manifest", "show", "m", *arguments)
        assert answer.code == 0
        assert answer.out.replace("\n", "").isprintable()
        assert "canary" not in answer.out
    assert "name      ../\\x1b[2Jf\\u{202e}\n" in rdl("manifest", "show", "m").out


def test_an_empty_file(rdl: Rdl) -> None:
    Path("e").touch()
    assert rdl("manifest", "make", "e").err.endswith(", 0 coarse and 0 fine chunks of 0 B\n")
    assert "coarse    0 chunks (4096 to 65536)\n" in rdl("manifest", "show", "e.rdlm").out
    assert rdl("verify", "e", "--manifest", "e.rdlm").code == 0
    answer = rdl("verify", "f", "--manifest", "e.rdlm")
    assert answer.code == 10
    assert answer.err.endswith("; wrong are bytes 0-199999\n")


# From elsewhere


def test_one_at_a_url(rdl: Rdl, made: Manifest, origin: Holding) -> None:
    local = rdl("manifest", "show", "f.rdlm").out
    assert rdl("manifest", "show", origin.url).out == local
    told = parse(rdl("manifest", "show", f"{origin.url}?token=canary", "--json").out)
    assert told["path"] == f"{origin.url}?token=***"
    pin = f"#sha256={hashlib.sha256(Path('f.rdlm').read_bytes()).hexdigest()}"
    local_url = Path("f.rdlm").resolve().as_uri()
    for place, trust in (
        (origin.url, "T3"),
        (origin.url + pin, "T4"),
        (local_url, "T4"),
        ("f.rdlm", "T4"),
    ):
        verdict = rdl("verify", "f", "--manifest", place, "--json")
        assert (verdict.code, parse(verdict.out)["trust"]) == (0, trust)
        assert f"({trust})" in verdict.err


def test_of_a_long_one_little_is_fetched(rdl: Rdl, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(random.Random(5).randbytes(24 << 20))
    assert rdl("manifest", "make", "f").code == 0
    data = Path("f.rdlm").read_bytes()
    with closing(Holding(data=data)) as origin:
        assert rdl("manifest", "show", origin.url).code == 0
        assert origin.sent <= 256 << 10 < len(data)


@pytest.mark.parametrize("remote", [False, True])
def test_its_own_digest_may_be_given(
    rdl: Rdl, made: Manifest, origin: Holding, remote: bool
) -> None:
    place, data = origin.url if remote else "f.rdlm", origin.data
    for algorithm in ("sha256", "sha512"):
        right = hashlib.new(algorithm, data).hexdigest()
        pinned = f"{place}#{algorithm}={right}"
        assert rdl("manifest", "show", pinned).code == 0
        assert rdl("verify", "f", "--manifest", pinned).code == 0
    wrong = rdl("manifest", "show", f"{place}#sha256={'0' * 64}")
    assert (wrong.code, wrong.out) == (10, "")
    assert wrong.err == f"rdl: {place}: sha256 is {sha256(data)}, expected {'0' * 64}\n"
    assert rdl("manifest", "show", f"{place}#sha256=12").code == 2


def test_a_name_may_have_a_number_sign(rdl: Rdl, made: Manifest) -> None:
    Path("f.rdlm").rename("f#1.rdlm")
    assert rdl("manifest", "show", "f#1.rdlm").code == 0


def test_a_server_that_has_none(rdl: Rdl) -> None:
    with closing(Holding(data=b"<html>not here</html>" * 50)) as origin:
        answer = rdl("manifest", "show", origin.url)
        assert answer.err == f"rdl: {origin.url}: not a manifest of rdl\n"
        assert answer.code == 7
        origin.always = 404
        answer = rdl("verify", "f", "--manifest", origin.url, "--retry", "0")
        assert answer.code == 8
        assert answer.err.startswith(f"rdl: {origin.url}: HTTP 404")


# verify


def test_where_a_file_differs(rdl: Rdl, made: Manifest) -> None:
    changed = bytearray(DATA)
    changed[100_000] ^= 1
    Path("f").write_bytes(changed)
    (number,) = made.coarse.numbers(ByteRange(100_000, 100_001))
    chunk = made.coarse.chunk(number)
    answer = rdl("verify", "f", "--manifest", "f.rdlm")
    assert (answer.code, answer.out) == (10, "")
    assert answer.err == (
        f"rdl: f: sha256 is {sha256(changed)}, expected {sha256(DATA)}; "
        f"wrong are bytes {chunk.start}-{chunk.stop - 1}\n"
    )
    told: dict[str, Any] = parse(rdl("verify", "f", "--manifest", "f.rdlm", "--json", "-q").out)
    assert (told["event"], told["reason"]) == ("error", "digest-mismatch")
    assert told["wrong"] == [[chunk.start, chunk.stop - 1]]
    assert told["expected"] == {"sha256": sha256(DATA)}
    events = parse_all(rdl("verify", "f", "--manifest", "f.rdlm", "--progress", "json").err)
    assert {one["event"] for one in events[:-1]} == {"verify"}
    assert (events[-1]["event"], events[-1]["wrong"]) == ("error", told["wrong"])


def test_a_file_that_is_right(rdl: Rdl, made: Manifest) -> None:
    answer = rdl("verify", "f", "--manifest", "f.rdlm")
    assert (answer.code, answer.out) == (0, "")
    assert "verified by sha256" in answer.err


# What makes no sense


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        ((), 2, "make of which FILE, or show which M?"),
        (("make",), 2, "make of which FILE, or show which M?"),
        (("show",), 2, "make of which FILE, or show which M?"),
        (("cut", "f"), 2, "'cut' is not one of 'make', 'show'"),
        (("make", "f", "-x", "2"), 2, "no such option"),
        (("make", "f", "--proxy", "http://h"), 2, "manifest make: takes no --proxy"),
        (("show", "f", "-o", "g"), 2, "manifest show: takes no --output"),
        (("show", "f", "--progress", "none"), 2, "manifest show: takes no --progress"),
        (("make", "f", "-o", "-"), 2, "-o -: a manifest is a file"),
        (("make", "f", "-o", "f"), 2, "f: the manifest would take the place of the file"),
        (("make", "f", "-o", "none/m"), 3, "none/m: No such file or directory"),
        (("make", "none"), 3, "none: no such file"),
        (("make", "."), 3, "a directory"),
        (("make", "/dev/null", "-o", "m"), 3, "/dev/null: not a regular file"),
        (("show", "none"), 3, "none: no such file"),
        (("show", "f"), 7, "f: not a manifest of rdl"),
        (("show", "ftp://h/f"), 2, "ftp://h/f: not an http"),
    ],
)
def test_what_makes_no_sense_is_refused(
    rdl: Rdl, arguments: tuple[str, ...], code: int, why: str
) -> None:
    answer = rdl("manifest", *arguments)
    assert (answer.code, answer.out) == (code, "")
    assert answer.err.startswith("rdl: ")
    assert why in answer.err
    assert os.listdir() == ["f"]


@pytest.mark.parametrize("cut", [0, 7, 79, 100, -1])
def test_a_damaged_one_is_refused(rdl: Rdl, made: Manifest, cut: int) -> None:
    data = Path("f.rdlm").read_bytes()
    Path("f.rdlm").write_bytes(data[:cut])
    answer = rdl("verify", "f", "--manifest", "f.rdlm")
    assert (answer.code, answer.out) == (7, "")
    assert answer.err.startswith("rdl: f.rdlm: ")
    assert answer.err.count("\n") == 1
