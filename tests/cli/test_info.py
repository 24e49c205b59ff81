"""`rdl info`: one question, no body, and the exit codes of `get`."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence

import pytest

import rdl as package
from rdl.core.describing import Info
from rdl.errors import AuthError
from tests.cli.conftest import Rdl
from tests.support.json_schema import parse
from tests.support.origin import RESET, Answer, Origin, Seen, response

LENGTH = 5000
DIGEST = hashlib.sha256(b"content")
BASE64 = base64.b64encode(DIGEST.digest()).decode()
DATES = (
    "Last-Modified: Tue, 01 Jul 2025 10:00:00 GMT",
    "Date: Wed, 02 Jul 2025 10:00:00 GMT",
)


def ranged(*fields: str, total: int | str = LENGTH) -> bytes:
    """The answer to `bytes=0-0`."""
    said = f"Content-Range: bytes 0-0/{total}"
    return response(b"c", "206 Partial Content", said, *fields)


def whole(*fields: str) -> bytes:
    """The head of an answer with the whole body, of which nothing will be sent."""
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {LENGTH}", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def saying(*answers: bytes | str) -> Origin:
    """An origin that gives the answers one after the other, whatever the connection."""
    left = list(answers)

    def answer(_connection: int, _number: int, _seen: Seen) -> Answer:
        steps: Sequence[bytes | str] = [left.pop(0)]
        return steps

    return Origin(answer)


def asked(rdl: Rdl, url: str, *arguments: str) -> dict[str, object]:
    answer = rdl("info", url, "--json", *arguments)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.count("\n") == 1
    return parse(answer.out)


def test_one_request_for_one_byte_tells_all(rdl: Rdl) -> None:
    fields = (
        'ETag: "v1"',
        *DATES,
        "Content-Type: Application/Zip; x=y",
        f"Repr-Digest: md5=:AAAA:, sha-256=:{BASE64}:",
        'Content-Disposition: attachment; filename="real.zip"',
    )
    with saying(ranged(*fields)) as origin:
        url = origin.url("/a.zip?token=secret")
        found = asked(rdl, url)
    assert [(seen.line.split()[0], seen.fields["range"]) for seen in origin.seen] == [
        ("GET", "bytes=0-0")
    ]
    shown = url.replace("secret", "***")
    assert found == {
        "schema": 1,
        "event": "info",
        "url": shown,
        "final_url": shown,
        "length": LENGTH,
        "ranges": True,
        "etag": '"v1"',
        "last_modified": "Tue, 01 Jul 2025 10:00:00 GMT",
        "media_type": "application/zip",
        "digests": {"sha256": DIGEST.hexdigest()},
        "filename": "a.zip",
        "offered_filename": "real.zip",
        "trust": "T2",
    }


def test_a_body_that_was_not_asked_for_is_not_waited_for(rdl: Rdl) -> None:
    with saying(whole('ETag: W/"v1"')) as origin:
        found = asked(rdl, origin.url())
    assert (found["length"], found["ranges"], found["trust"]) == (LENGTH, False, "T0")
    assert origin.connections == 1


@pytest.mark.parametrize(
    "first",
    [
        response(b"", "416 Range Not Satisfiable", "Content-Range: bytes */0"),
        ranged(total="*"),
        response(b"ab", "206 Partial Content", "Content-Range: bytes 3-4/9"),
    ],
    ids=["unsatisfiable", "no total", "wrong range"],
)
def test_where_a_range_is_not_answered_the_whole_is_asked_for(rdl: Rdl, first: bytes) -> None:
    with saying(first, whole()) as origin:
        found = asked(rdl, origin.url())
    assert (found["length"], found["ranges"]) == (LENGTH, None)
    assert [seen.fields.get("range") for seen in origin.seen] == ["bytes=0-0", None]


def test_an_empty_file_has_a_length(rdl: Rdl) -> None:
    first = response(b"", "416 Range Not Satisfiable", "Content-Range: bytes */0")
    with saying(first, response(b"")) as origin:
        assert asked(rdl, origin.url())["length"] == 0


def test_a_length_that_is_not_said_is_null(rdl: Rdl) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with saying(head) as origin:
        assert asked(rdl, origin.url())["length"] is None


def test_redirects_are_followed_and_shown(rdl: Rdl) -> None:
    with saying(response(b"", "302 Found", "Location: /b?sig=secret"), ranged()) as origin:
        found = asked(rdl, origin.url("/a"))
        assert found["url"] == origin.url("/a")
        assert found["final_url"] == origin.url("/b?sig=***")
    assert found["filename"] == "a"


@pytest.mark.parametrize(
    ("answers", "code", "said"),
    [
        ([response(b"", "404 Not Found")], 8, "no such file"),
        ([response(b"", "503 Busy")], 8, "busy"),
        ([response(b"", "401 No")], 6, "login"),
        ([response(b"", "403 No")], 6, "refuses access"),
        ([response(b"", "204 No Content")], 7, "204"),
        ([whole("Content-Encoding: gzip")] * 2, 7, "Content-Encoding"),
        ([response(b"", "301 Moved", "Location: /file")], 7, "loop"),
        (["reset"], 4, ""),
    ],
    ids=["404", "503", "401", "403", "204", "encoded", "loop", "reset"],
)
def test_errors_are_those_of_get(
    rdl: Rdl, answers: list[bytes | str], code: int, said: str
) -> None:
    assert RESET == "reset"
    with saying(*answers * 2) as origin:
        answer = rdl("info", origin.url())
    assert answer.code == code
    assert answer.out == ""
    assert said in answer.err
    assert re.fullmatch(r"rdl: [^\n]+\n(rdl: hint: [^\n]+\n)?", answer.err)


def test_people_get_aligned_and_harmless_lines(rdl: Rdl) -> None:
    fields = ('ETag: W/"v\xff"', *DATES, "Content-Type: te\x80xt/\x9bplain")
    with saying(ranged(*fields)) as origin:
        answer = rdl("info", origin.url("/a.bin"))
        lines = answer.out.splitlines()
        assert lines == [
            f"url       {origin.url('/a.bin')}",
            "length    5000 bytes (4.9 KiB)",
            "ranges    yes",
            'etag      W/"v\xff" (weak)',
            "modified  Tue, 01 Jul 2025 10:00:00 GMT (strong)",
            r"type      te\x80xt/\x9bplain",
            "name      a.bin",
        ]


def test_credentials_and_fields_go_out(rdl: Rdl) -> None:
    with saying(ranged(), ranged()) as origin:
        asked(rdl, origin.url(), "-u", "al:pw", "-H", "X-A: b", "-A", "me/1")
        asked(rdl, origin.url().replace("://", "://bo:pw@"))
    first, second = (seen.fields for seen in origin.seen)
    assert first["authorization"] == "Basic " + base64.b64encode(b"al:pw").decode()
    assert (first["x-a"], first["user-agent"]) == ("b", "me/1")
    assert second["authorization"] == "Basic " + base64.b64encode(b"bo:pw").decode()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no URL given"),
        (["ftp://h/a"], "not an http, https or file URL"),
        (["http://h/a", "-4", "-6"], "contradict"),
        (["http://h/a", "--sha256", "0" * 64], "no such option"),
    ],
)
def test_usage(rdl: Rdl, arguments: list[str], said: str) -> None:
    answer = rdl("info", *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err


def test_from_python() -> None:
    with saying(ranged('ETag: "v1"'), response(b"", "401 No")) as origin:
        found = package.info(origin.url("/a.bin"))
        assert isinstance(found, Info)
        assert (found.length, found.ranges, found.etag) == (LENGTH, True, '"v1"')
        with pytest.raises(AuthError):
            package.info(origin.url())


def test_a_proxy_that_refuses_is_called_one(rdl: Rdl) -> None:
    for url in ("http://127.0.0.1:2/", "https://127.0.0.1:2/"):
        answer = rdl("info", url, "--proxy", "127.0.0.1:1")
        assert (answer.code, answer.out) == (4, "")
        assert answer.err == "rdl: proxy 127.0.0.1:1: cannot connect (Connection refused)\n"
