"""docs/json-events.schema.json: whatever is printed conforms, in every variant of every field."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Iterator
from contextlib import closing, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest
from jsonschema import Draft202012Validator

from rdl.cli.main import main
from rdl.errors import ExitCode
from rdl.storage.packs import Packs
from tests.doors.packing import Entry, link, made_tar, zip_of
from tests.scenarios.coded import Holding, KiB, MiB
from tests.scenarios.coded import Origin as Coded
from tests.support.json_schema import (
    KINDS,
    SCHEMA,
    Object,
    check,
    faults,
    kind_of,
    parse_all,
    types_of,
)
from tests.support.origin import END, HANG, Answer, Origin, Seen
from tests.support.program import Download

DOCS = Path(__file__).parents[2] / "docs"


class Ended(NamedTuple):
    """Exit code, and the objects on both streams."""

    code: int
    out: list[Object]
    err: list[Object]


def run(*arguments: str | Path, text: bool = False) -> Ended:
    """A command line in this process; `text`: stderr is for people."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([str(one) for one in arguments])
    assert code != ExitCode.INTERNAL, err.getvalue()
    assert not text or err.getvalue().startswith("rdl: ")
    return Ended(code, parse_all(out.getvalue()), [] if text else parse_all(err.getvalue()))


def get(url: str, output: Path, *options: str) -> Ended:
    """With events on stderr; the result on stdout is the last of them."""
    ended = run("get", url, "-o", output, "--json", "--progress", "json", *options)
    assert ended.out == ended.err[-1:]
    return ended


def said(*lines: str, body: bytes = b"", then: str = END) -> Origin:
    """An origin that says this to everyone."""
    head = "\r\n".join(["HTTP/1.1 200 OK", "Connection: close", *lines, "", ""]).encode()

    def answer(_connection: int, _number: int, _seen: Seen) -> Answer:
        return [head + body, then]

    return Origin(answer)


def downloads(folder: Path) -> Iterator[Ended]:
    """From a server that does everything right, but for one 503 and one new file."""
    with closing(Coded(size=2 * MiB, retry_after="0")) as origin:
        whole = folder / "whole"
        digest = hashlib.sha256(origin.content).hexdigest()
        yield run("get", origin.url, "-o", whole, "--dry-run", "--json")
        origin.statuses = [503]
        yield get(origin.url, whole, "--sha256", digest)
        yield get(origin.url, whole, "--sha256", digest)
        yield get(origin.url, folder / "bad", "--sha256", "0" * 64)
        yield get(origin.url, folder / "big", "--max-filesize", "1M")
        yield get(origin.url, folder / "range", "-r", "0-9")
        yield run("info", origin.url, "--json")
        yield run("status", whole, "--json")
    yield get(origin.url, folder / "gone", "--retry", "0")


def interruptions(folder: Path) -> Iterator[Ended]:
    """Of downloads that are continued, begun anew, and of a range."""
    for name, switches in (("same", {}), ("new", {"etag": '"two"', "salt": 1})):
        with closing(Coded(size=2 * MiB, hold_after=512 * KiB)) as origin:
            output = folder / name
            yield from interrupted(origin, output)
            origin.replace(hold_after=None)
            yield run("get", origin.url, "-o", output, "--dry-run", "--json")
            origin.replace(**switches)
            yield get(origin.url, output)
    with closing(Coded(size=2 * MiB, hold_after=512 * KiB)) as origin:
        yield from interrupted(origin, folder / "range", "-r", "1048576-")


def interrupted(origin: Coded, output: Path, *options: str) -> Iterator[Ended]:
    """A process that is interrupted half-way, with a look at it before and after."""
    with Download(origin.url, output, *options) as process:
        assert process.wait_for("progress", bytes_present=1)
        yield run("status", output, "--json")
        code = process.interrupt()
        assert code == ExitCode.INTERRUPTED, process.said
        yield Ended(code, [process.result()], parse_all(process.said))
    yield run("status", f"{output}.part", "--json")
    yield run("status", output.parent, "--json")


def bare_servers(folder: Path) -> Iterator[Ended]:
    """From servers that say little: no length, no ranges, no validator; or too much."""
    name = folder / "endless"
    with said(body=b"x" * 1000) as origin:
        yield run("get", origin.url(), "-o", name, "--dry-run", "--json")
        yield get(origin.url(), name)
        yield run("info", origin.url(), "--json")
    with said(body=b"x" * 1000, then=HANG) as origin:
        yield get(origin.url(), folder / "held", "--max-time", "0.5")
        yield run("status", folder / "held", "--json")
    dated = "Last-Modified: Tue, 01 Jul 2025 10:00:00 GMT", "Date: Wed, 02 Jul 2025 10:00:00 GMT"
    with said("Content-Length: 5", "Accept-Ranges: bytes", *dated, body=b"bytes") as origin:
        yield get(origin.url(), folder / "dated")
        yield run("info", origin.url("/"), "--json")
        yield run("status", folder / "dated", "--json")
        yield get(origin.url(), folder / "dated", "--no-clobber")
    digest = base64.b64encode(hashlib.sha256(b"bytes").digest()).decode()
    with said("Content-Length: 5", f"Repr-Digest: sha-256=:{digest}:", body=b"bytes") as origin:
        yield get(origin.url(), folder / "proved")
        yield run("info", origin.url(), "--json")
    offer = 'Content-Disposition: attachment; filename="x.zip"'
    with said("Content-Length: 0", "Content-Type: text/plain", offer) as origin:
        yield get(origin.url(), folder / "empty")
        yield run("info", origin.url(), "--json")


def checks(folder: Path) -> Iterator[Ended]:
    """Of files that are right, wrong, and not there; and commands that make no sense."""
    file, wrong = folder / "file", "0" * 64
    file.write_bytes(b"bytes")
    right = hashlib.sha256(b"bytes").hexdigest()
    for name, digest in ((file, right), (file, wrong), (folder / "missing", right)):
        yield run("verify", name, digest, "--json", "--progress", "json")
    yield run("verify", file, "-r", "0-1", wrong, "--json", "--progress", "json")
    yield run("verify", file, "nonsense", "--progress", "json")
    yield run("get", "--nope", "http://h/f", "--json", text=True)
    yield run("get", "http://h/", "--progress", "json")
    yield run("status", file, "--json")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RDL_RETRY", "3")
        yield run("config", "show", "--json")
    with Packs(folder / "cache", 1 << 20):
        yield run("cache", "--cache", folder / "cache", "--json")
    (folder / "empty").mkdir()
    yield run("cache", "--cache", folder / "empty", "--json")


def manifests(folder: Path) -> Iterator[Ended]:
    """Of a file that is as its manifest says, and of one that is not."""
    file, made = folder / "file", folder / "file.rdlm"
    file.write_bytes(b"bytes")
    yield run("manifest", "make", file, "--json", "--progress", "json")
    yield run("manifest", "show", made, "--json")
    yield run("verify", file, "--manifest", made, "--json", "--progress", "json")
    file.write_bytes(b"other")
    yield run("verify", file, "--manifest", made, "--json", "--progress", "json")
    yield run("verify", file, "--manifest", file, "--progress", "json")


def archives(folder: Path) -> Iterator[Ended]:
    """What is in a zip and in a tar, and one member of each."""
    packed = zip_of(Entry(), Entry(b"never", b"", central={"stamp": 0}))
    with closing(Holding(data=packed)) as origin:
        yield run("ls", origin.url, "--json")
        yield get(origin.url, folder / "f", "--member", "f")
        yield get(origin.url, folder / "g", "--member", "g")
    packed = made_tar([("f", b"1")], "gz", others=[link("g", b"2", "f")])
    with closing(Holding(data=packed)) as origin:
        yield run("ls", origin.url, "--json")
        yield get(origin.url, folder / "f", "--member", "f")


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> list[Object]:
    """Every object of all these runs; each was validated when it was parsed."""
    found: list[Object] = []
    for story in (downloads, interruptions, bare_servers, checks, manifests, archives):
        for ended in story(tmp_path_factory.mktemp(story.__name__)):
            found += [*ended.out, *ended.err]
    return found


def test_every_kind_of_object_was_seen(seen: list[Object]) -> None:
    assert {kind_of(one) for one in seen} == KINDS
    for kind in ("result", "verdict"):
        assert {one["event"] for one in seen if kind_of(one) == kind} == {"done", "error"}


def test_every_variant_of_a_field_was_seen(seen: list[Object]) -> None:
    """Null and not null, true and false, of every field that may be so."""
    unseen = []
    for kind in KINDS:
        for name, field in SCHEMA["$defs"][kind]["properties"].items():
            values = [one[name] for one in seen if kind_of(one) == kind]
            types = types_of(field)
            for wanted in [None] * ("null" in types) + [True, False] * ("boolean" in types):
                if not any(value is wanted for value in values):
                    unseen.append((kind, name, wanted))
            if all(value is None for value in values):
                unseen.append((kind, name, "a value"))
    assert unseen == [("plan", "ranges", None)]  # a plan is told after an answer


def test_the_closed_sets_were_seen(seen: list[Object]) -> None:
    results = [one for one in seen if kind_of(one) == "result"]
    assert {one["trust"] for one in results} == {"T0", "T1", "T2", "T3", "T4"}
    assert {one["completeness"] for one in results} == {"confirmed", "unconfirmed"}
    assert {one["reason"] for one in seen if "reason" in one} >= {
        *("complete", "unchanged", "verified", "usage", "network", "policy", "interrupted"),
        *("digest-mismatch", "local-file", "out-of-time", "exists", "archive"),
    }


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_a_reader_may_meet_new_fields_but_here_they_are_an_error() -> None:
    value = {"schema": 1, "event": "changed", "path": "f", "why": "ETag"}
    assert check(value) == value
    assert Draft202012Validator(SCHEMA).is_valid(value | {"new": 1})
    assert faults(value | {"new": 1}) == [
        "$: Additional properties are not allowed ('new' was unexpected)"
    ]


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ({}, "$: 'event' is a required property"),
        ({"schema": 1, "event": "what"}, "$.event: 'what' is not one of"),
        ({"schema": 2, "event": "changed", "path": "f", "why": "x"}, "$.schema: 1 was expected"),
        ({"schema": 1, "event": "changed", "path": "f"}, "$: 'why' is a required property"),
        ({"schema": 1, "event": "changed", "path": "f", "why": None}, "$.why: None is not of type"),
        ({"schema": 1, "event": "done", "expected": {}}, "$: 'bytes_hashed' is a required"),
        ({"schema": 1, "event": "error", "url": ""}, "$: 'bytes_downloaded' is a required"),
        ({"schema": 1, "event": "done", "exit_code": 4}, "$.exit_code: 0 was expected"),
        ({"schema": 1, "event": "error", "exit_code": 20}, "$.exit_code: 20 is not one of"),
        ({"schema": 1, "event": "error", "reason": "complete"}, "$.reason: 'complete' is not"),
        ({"schema": 1, "event": "status", "present": [[1]]}, "$.present[0]: [1] is too short"),
        ({"schema": 1, "event": "status", "range": [2, 3, 4]}, "$.range: [2, 3, 4] is not valid"),
        ({"schema": 1, "event": "info", "digests": {"md5": "00"}}, "$.digests: 'md5' is not"),
        ({"schema": 1, "event": "info", "trust": "T4"}, "$.trust: 'T4' is not one of"),
    ],
)
def test_a_fault_is_named_where_it_is(value: Object, fault: str) -> None:
    assert [one for one in faults(value) if one.startswith(fault)]


def test_reason_and_code_of_what_was_seen_belong_together(seen: list[Object]) -> None:
    table = (DOCS / "exit-codes.md").read_text()
    for one in seen:
        if "exit_code" in one:
            (row,) = re.findall(rf"^\| {one['exit_code']} \| (.*?) \|", table, re.M)
            assert f"`{one['reason']}`" in row


@pytest.mark.parametrize(
    "arguments",
    [
        ["get", "--json"],
        ["get", "--json", "--nope", "http://h/f"],
        ["--json", "--nope", "http://h/f"],
        ["get", "--json", "http://h/"],
        ["get", "--json", "http://u:canary@h/f", "-x", "0"],
        ["get", "--json", "http://h/f", "-o", "f", "http://h/g"],
        ["get", "--json", "http://h/f", "-i", "missing-list"],
    ],
)
def test_an_error_before_the_start_is_a_result_of_get(arguments: list[str]) -> None:
    told = run(*arguments, text=True)
    (error,) = told.out
    assert (error["event"], error["url"], error["path"]) == ("error", "", "")
    assert error["exit_code"] == told.code != 0
    both = run(*arguments, "--progress", "json")
    assert both.out == both.err == [error]


@pytest.mark.parametrize(
    "arguments",
    [
        ["get", "http://h/f", "--json", "-o", "-"],
        ["get", "http://h/f", "--json", "-o-"],
        ["get", "http://h/f", "--json", "-fsSLo", "-"],
        ["get", "http://h/f", "--json", "--output=-"],
        ["get", "http://h/f", "--json", "--output", "/dev/stdout"],
        ["get", "http://h/f", "-x", "0"],
        ["cat", "http://h/f", "--json"],
        ["info", "--json"],
        ["status", "missing", "--json"],
        ["verify", "missing", "nonsense", "--json"],
    ],
)
def test_otherwise_it_is_not_on_stdout(arguments: list[str]) -> None:
    told = run(*arguments, text=True)
    assert (told.code in (2, 3), told.out) == (True, [])
