"""User, password, netrc and header fields: to the right origin, and only in a form HTTP has."""

from __future__ import annotations

import base64

import pytest

from rdl.errors import LocalFileError, UsageError
from tests.support.origin import Origin, response
from tests.support.reading import fetch


def ok(connection, number, seen):
    return (response(b"ok"),)


def basic(text):
    return "Basic " + base64.b64encode(text.encode()).decode()


def sent(connect, **options):
    """The Authorization field that one request had."""
    with Origin(ok) as origin:
        fetch(connect(**options), origin.url())
        return origin.seen[0].fields.get("authorization")


def test_user_and_password(connect):
    assert sent(connect, user="us\xe9r", password="p:w") == basic("us\xe9r:p:w")
    assert sent(connect, user="u") == basic("u:")
    assert sent(connect) is None


def test_a_header_of_the_user_wins(connect):
    given = (("authorization", "Bearer x"),)
    assert sent(connect, user="u", password="p", headers=given) == "Bearer x"


def test_colon_in_the_user_name(connect):
    with pytest.raises(UsageError):
        sent(connect, user="a:b", password="p")


def test_netrc(connect, tmp_path):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login u password p\n")
    (tmp_path / ".netrc").chmod(0o600)
    assert sent(connect) == basic("u:p")
    assert sent(connect, netrc=False) is None
    assert sent(connect, user="x", password="y") == basic("x:y")


def test_netrc_matches_exactly_and_has_no_default(connect, tmp_path):
    path = tmp_path / "rc"
    path.write_text("machine 27.0.0.1 login a password b\ndefault login c password d\n")
    assert sent(connect, netrc_file=path) is None
    assert sent(connect, env={"NETRC": str(path)}) is None


@pytest.mark.parametrize(
    ("content", "error"), [("machine\nlogin login login x", UsageError), (None, LocalFileError)]
)
def test_unusable_netrc(connect, tmp_path, content, error):
    path = tmp_path / "rc"
    if content is not None:
        path.write_text(content)
    with pytest.raises(error) as caught:
        sent(connect, netrc_file=path)
    assert "\n" not in str(caught.value)
    assert "--no-netrc" in caught.value.hint


def test_netrc_is_not_for_where_a_redirect_leads(connect, tmp_path):
    path = tmp_path / "rc"
    path.write_text("machine ::1 login u password p\n")
    with Origin(ok, family=6) as other, Origin(ok) as origin:
        there = f"Location: {other.url()}"
        origin.answer = lambda c, n, s: (response(b"", "302 Found", there),)
        fetch(connect(netrc_file=path), origin.url())
        assert "authorization" not in other.seen[0].fields


@pytest.mark.parametrize(
    "field",
    [
        ("A", "b\r\nEvil: x"),
        ("A", "b\nc"),
        ("A", "b\x00c"),
        ("A b", "c"),
        ("", "c"),
        ("A:", "c"),
        ("\xe4", "c"),
        ("Range", "bytes=0-1"),
        ("Content-Length", "3"),
        ("Transfer-Encoding", "chunked"),
        ("connection", "close"),
    ],
)
def test_refused_fields(connect, field):
    with pytest.raises(UsageError):
        connect(headers=(field,))


def test_fields_of_the_user(connect):
    given = (
        ("Host", "other.example"),
        ("Accept-Encoding", "gzip"),
        ("X-Two", "1"),
        ("X-Two", " 2 "),
        ("X-Text", "caf\xe9"),
        ("User-Agent", "mine"),
    )
    with Origin(ok) as origin:
        fetch(connect(headers=given), origin.url())
        head = origin.seen[0].head
        assert b"\r\nX-Two: 1\r\nX-Two: 2\r\n" in head
        assert "caf\xe9".encode() in head
        assert head.lower().count(b"\r\nuser-agent:") == 1
        fields = origin.seen[0].fields
        assert (fields["host"], fields["user-agent"]) == ("other.example", "mine")
        assert fields["accept-encoding"] == "identity"


def cookies(path, *lines):
    """A cookie file: domain, path, whether only by https, end, name, value."""
    text = ["# Netscape HTTP Cookie File"]
    text += ["\t".join([one[0], "FALSE", *one[1:]]) for one in lines]
    path.write_text("\n".join(text) + "\n")
    return path


LATE = "9999999999"


def test_cookies_of_a_file_go_where_they_say(connect, tmp_path):
    path = cookies(
        tmp_path / "c",
        ("127.0.0.1", "/", "FALSE", LATE, "sid", "secret"),
        ("127.0.0.1", "/", "FALSE", "0", "session", "1"),
        ("127.0.0.1", "/other", "FALSE", LATE, "path", "2"),
        ("127.0.0.1", "/", "TRUE", LATE, "secure", "3"),
        ("127.0.0.1", "/", "FALSE", "1", "old", "4"),
        ("example.org", "/", "FALSE", LATE, "foreign", "5"),
    )
    with Origin(ok) as origin:
        fetch(connect(cookies=path), origin.url())
        sent = origin.seen[0].fields["cookie"]
    assert set(sent.split("; ")) == {"sid=secret", "session=1"}


def test_a_server_replaces_a_cookie_of_the_file(connect, tmp_path):
    path = cookies(tmp_path / "c", ("127.0.0.1", "/", "FALSE", LATE, "sid", "old"))
    field = "Set-Cookie: sid=new; Path=/"
    with Origin(lambda *_: [response(b"ok", "200 OK", field)]) as origin:
        transport = connect(cookies=path)
        for _ in range(2):
            fetch(transport, origin.url())
        assert [seen.fields["cookie"] for seen in origin.seen] == ["sid=old", "sid=new"]
    assert "old" in path.read_text(), "the file is only read"


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (None, LocalFileError),
        (b"sid=1", UsageError),
        (b"\xff\xfe", LocalFileError),
        (b"", UsageError),
    ],
)
def test_unusable_cookies(connect, tmp_path, content, error):
    path = tmp_path / "c"
    if content is not None:
        path.write_bytes(content)
    with Origin(ok) as origin, pytest.raises(error):
        fetch(connect(cookies=path), origin.url())
