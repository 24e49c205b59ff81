"""URLs that could be misread are refused before anything is sent."""

from __future__ import annotations

import pytest

from rdl.errors import UsageError
from rdl.transport.urls import parse_url, split_userinfo

REFUSED = [
    "",
    "http://xn--a/f",
    "https://xn--/",
    "http://" + "a" * 300 + ".com/f",
    "example.com/file",
    "ftp://example.com/",
    "file:///etc/passwd",
    "data:text/plain,x",
    "http:///file",
    "http://",
    "http:file",
    "http://h\\@evil/",
    "http://h\\evil/",
    "http://a b/",
    "http://h:0/",
    "http://h:65536/",
    "http://h:99999/",
    "http://h:+80/",
    "http://h:\uff18\uff10/",
    "http://h:80:80/",
    "http://h%41/",
    "http://[fe80::1%25eth0]/",
    "http://[::1/",
    "http://[zz]/",
    "http://1.2.3.400/",
    "http://h/a\r\nX: y",
    "http://h/a\tb",
    "http://h/\x00",
    "http://h\x7f/",
    " http://h/",
    "http://user:secret@/x",
    "http://h" + "x" * 70_000,
    "http://h/?" + "x" * 70_000,
]

ACCEPTED = {
    "HTTP://EXAMPLE.com": "http://example.com/",
    "http://h:80/x": "http://h/x",
    "https://h:443": "https://h/",
    "http://h?q": "http://h/?q",
    "http://h/a b%2F%zz#frag": "http://h/a%20b%2F%25zz",
    "http://b\xfccher.example/\xe9": "http://xn--bcher-kva.example/%C3%A9",
    "http://[::1]:8080/x": "http://[::1]:8080/x",
    "http://u:p@h/x": "http://h/x",
    "http://h/a?u=http://x@y/": "http://h/a?u=http://x@y/",
    "http://under_score.example./": "http://under_score.example./",
}


@pytest.mark.parametrize("text", REFUSED)
def test_refused(text):
    with pytest.raises(UsageError) as caught:
        parse_url(text)
    assert "secret" not in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("text", ACCEPTED)
def test_accepted(text):
    assert str(parse_url(text)) == ACCEPTED[text]


def test_origin():
    assert parse_url("https://Example.com/x").origin == "https://example.com:443"
    assert parse_url("http://[::1]:81/").origin == "http://[::1]:81"


def test_split_userinfo():
    assert split_userinfo("http://u%40x:p%3A@h:1/a@b") == ("http://h:1/a@b", "u@x", "p:")
    assert split_userinfo("http://u@h/") == ("http://h/", "u", None)
    assert split_userinfo("http://h/a@b") == ("http://h/a@b", None, None)


@pytest.mark.parametrize("path", ["", "/.", "/..", "/.?q", "/x/../..", "/x/./../../?a=b", "/a%2e"])
def test_what_was_parsed_is_parsed_to_itself(path):
    url = parse_url(f"http://h{path}")
    assert parse_url(str(url)) == url
    assert url.target.startswith("/")
