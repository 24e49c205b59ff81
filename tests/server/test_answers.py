"""From what is asked and what is there to a head: ranges, fields, and what others wrote."""

from __future__ import annotations

from email.message import Message
from email.parser import BytesParser

import pytest

from rdl.core.byterange import ByteRange
from rdl.core.fields import format_http_date
from rdl.core.row import ENDLESS
from rdl.server.answers import Answer, Facts, answer, head, short
from rdl.server.requests import Asked, Reply
from tests.support.timing import seconds

NOW, THEN = 1.7e9, 1e9
FILE = Facts(1000, '"v"', THEN, sha256=bytes(32))


def asked(method: str = "GET", close: bool = False, **fields: str) -> Asked:
    named = {name.replace("_", "-"): text for name, text in fields.items()}
    return Asked(method, "/f", named, close)


def fields_of(found: Answer) -> Message:
    assert found.head.endswith(b"\r\n\r\n")
    line, _, rest = found.head.partition(b"\r\n")
    assert line.startswith(f"HTTP/1.1 {found.status} ".encode())
    return BytesParser().parsebytes(rest)


def test_the_whole() -> None:
    found = answer(asked(), FILE, NOW)
    assert (found.status, found.body, found.close) == (200, ByteRange(0, 1000), False)
    assert sorted(fields_of(found).items()) == [
        ("Accept-Ranges", "bytes"),
        ("Content-Length", "1000"),
        ("Content-Type", "application/octet-stream"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
        ("Date", format_http_date(NOW)),
        ("ETag", '"v"'),
        ("Last-Modified", format_http_date(THEN)),
        ("Repr-Digest", "sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:"),
        ("X-Content-Type-Options", "nosniff"),
    ]


RANGES = [
    ("bytes=0-0", (0, 1)),
    ("bytes=0-", (0, 1000)),
    ("bytes=999-", (999, 1000)),
    ("bytes=10-19", (10, 20)),
    ("bytes=990-5000", (990, 1000)),
    ("bytes=-1", (999, 1000)),
    ("bytes=-5000", (0, 1000)),
    ("BYTES=10-19", (10, 20)),
    ("bytes=0-99999999999999999999", (0, 1000)),
    # nothing of it is there, or it is not one range
    ("bytes=1000-", None),
    ("bytes=1000-2000", None),
    ("bytes=99999999999999999999-", None),
    ("bytes=-0", None),
    ("bytes=5-4", None),
    ("bytes=-", None),
    ("bytes=", None),
    ("bytes", None),
    ("bytes=a-b", None),
    ("bytes=0x1-2", None),
    ("bytes= 0-1", None),
    ("bytes=0-1,", None),
    ("bytes=0-1,5-6", None),
    ("bytes=0-1, bytes=0-1", None),
    ("bytes=\u0661-\u0662", None),
    ("bytes=" + "0" * 300 + "-1", None),
    # another unit
    ("lines=0-1", (0, 0)),
    ("", (0, 0)),
    ("bytesx=0-1", (0, 0)),
]


@pytest.mark.parametrize(("text", "body"), RANGES, ids=[one[:30] or "empty" for one, _ in RANGES])
def test_ranges(text: str, body: tuple[int, int] | None) -> None:
    found = answer(asked(range=text), FILE, NOW)
    said = fields_of(found)
    if body is None:
        assert (found.status, said["Content-Range"], found.close) == (416, "bytes */1000", False)
        assert said["Content-Length"] == str(len(found.text))
    elif body == (0, 0):
        assert (found.status, said["Content-Range"]) == (200, None)
        assert found.body == ByteRange(0, 1000)
    else:
        assert (found.status, found.body) == (206, ByteRange(*body))
        assert said["Content-Range"] == f"bytes {body[0]}-{body[1] - 1}/1000"
        assert said["Content-Length"] == str(body[1] - body[0])
    whole = answer(asked("HEAD", range=text), FILE, NOW)
    assert (whole.status, whole.body, whole.text) == (200, ByteRange(0, 0), b"")
    assert fields_of(whole)["Content-Length"] == "1000"


@pytest.mark.parametrize("text", ["bytes=0-", "bytes=0-0", "bytes=-1"])
def test_nothing_of_an_empty_file(text: str) -> None:
    assert answer(asked(range=text), Facts(0), NOW).status == 416
    assert answer(asked(), Facts(0), NOW).status == 200


@pytest.mark.parametrize("text", ["0-0,", "-", "0-", ",", " ", "1-2, ", "0"])
def test_s27_a_hundred_thousand_ranges_cost_nothing(text: str) -> None:
    request = asked(range="bytes=" + text * 100_000)
    assert answer(request, FILE, NOW).status == 416
    assert seconds(answer, request, FILE, NOW) < 0.01


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"if_none_match": '"v"'}, 304),
        ({"if_none_match": '"v"', "range": "bytes=0-1"}, 304),
        ({"if_match": '"u"', "range": "bytes=9999-"}, 412),
        ({"if_modified_since": format_http_date(THEN)}, 304),
        ({"if_unmodified_since": format_http_date(THEN - 1)}, 412),
        ({"if_range": '"v"', "range": "bytes=0-1"}, 206),
        ({"if_range": '"u"', "range": "bytes=0-1"}, 200),
        ({"if_range": 'W/"v"', "range": "bytes=0-1"}, 200),
        ({"if_range": '"u"', "range": "bytes=9999-"}, 200),
        ({"if_range": '"v"', "range": "bytes=9999-"}, 416),
        ({"if_range": '"u"'}, 200),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_conditions_come_first(method: str, fields: dict[str, str], status: int) -> None:
    found = answer(asked(method, **fields), FILE, NOW)
    assert found.status == (200 if method == "HEAD" and status in (206, 416) else status)
    said = fields_of(found)
    if status in (304, 412):
        assert (said["ETag"], found.body) == ('"v"', ByteRange(0, 0))
    assert (said["Content-Length"] is None) == (status == 304)


def test_what_cannot_be_asked_for_in_parts() -> None:
    found = answer(asked(range="bytes=0-1"), Facts(10, ranges=False), NOW)
    assert (found.status, fields_of(found)["Accept-Ranges"]) == (200, "none")


def test_private() -> None:
    assert fields_of(answer(asked(), FILE, NOW, private=True))["Cache-Control"] == "private"
    own = Facts(10, control="no-store")
    assert fields_of(answer(asked(), own, NOW, private=True))["Cache-Control"] == "no-store"
    again = answer(asked(if_none_match="*"), FILE, NOW, private=True)
    assert (again.status, fields_of(again)["Cache-Control"]) == (304, "private")
    assert fields_of(answer(asked(), FILE, NOW))["Cache-Control"] is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("text/plain", "text/plain"),
        ("text/plain; charset=utf-8", "text/plain; charset=utf-8"),
        ("text/plain\r\nSet-Cookie: a=b", "application/octet-stream"),
        ("text/plain\n", "application/octet-stream"),
        ("text/plain; boundary=x", "application/octet-stream"),
        ("multipart", "application/octet-stream"),
        ("", "application/octet-stream"),
        ("t\u00e9xt/plain", "application/octet-stream"),
    ],
)
def test_s32_a_media_type_of_others(given: str, said: str) -> None:
    assert fields_of(answer(asked(), Facts(1, media_type=given), NOW))["Content-Type"] == said


@pytest.mark.parametrize("etag", ['"a\r\nX: y"', "bare", '"a" "b"', '"\u20ac"', ""])
def test_s32_an_etag_of_others(etag: str) -> None:
    found = answer(asked(if_match=etag), Facts(1, etag=etag), NOW)
    assert (found.status, fields_of(found)["ETag"], fields_of(found)["X"]) == (412, None, None)


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb", "a\rb", "a\0", "\x7f", "\u20ac"])
def test_a_value_that_would_break_the_head_is_never_written(value: str) -> None:
    with pytest.raises(ValueError, match=r"control|encode"):
        head(200, [("X", value)], NOW, close=False)


@pytest.mark.parametrize("media", ["text/html", "image/svg+xml", "application/xml", "text/xsl"])
def test_what_runs_scripts_is_kept_apart(media: str) -> None:
    policy = "Content-Security-Policy"
    said = fields_of(answer(asked(), Facts(1, media_type=media), NOW))
    assert said[policy] == "sandbox allow-downloads"
    assert fields_of(answer(asked(), Facts(1, media_type="text/css"), NOW))[policy] is None


def test_short_answers() -> None:
    reply = Reply(404, "nothing")
    found = short(reply, asked(), NOW)
    assert (found.status, found.text, found.close) == (404, b"nothing\n", False)
    assert short(reply, asked("HEAD"), NOW).text == b""
    assert short(reply, asked(close=True), NOW).close
    assert short(reply, None, NOW).close
    closing = short(Reply(400, "no", (("Allow", "GET"),), close=True), asked(), NOW)
    assert (fields_of(closing)["Connection"], fields_of(closing)["Allow"]) == ("close", "GET")


def test_an_answer_without_an_end() -> None:
    facts = Facts(ENDLESS, media_type="text/event-stream", endless=True)
    found = answer(asked(range="bytes=0-9", if_none_match="*"), facts, NOW)
    assert (found.status, found.endless, found.close) == (200, True, True)
    assert found.body == ByteRange(0, ENDLESS)
    fields = fields_of(found)
    assert (fields["Content-Type"], fields["Cache-Control"]) == ("text/event-stream", "no-store")
    assert (fields["Content-Length"], fields["Connection"]) == (None, "close")
    assert not answer(asked("HEAD"), facts, NOW).body


def test_a_page_has_a_policy_of_its_own() -> None:
    facts = Facts(3, media_type="text/html; charset=utf-8", policy="default-src 'none'")
    assert fields_of(answer(asked(), facts, NOW))["Content-Security-Policy"] == "default-src 'none'"
