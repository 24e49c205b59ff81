"""Link fields: mirrors of a file, by RFC 8288 and RFC 6249."""

from __future__ import annotations

import pytest

from rdl.core import link_field
from rdl.core.link_field import mirrors_in

BASE = "https://h/d/f.iso?x=1"


def mirrors(*values: str) -> tuple[str, ...]:
    return mirrors_in(values, BASE)


def test_the_example_of_rfc_6249() -> None:
    """Section 1.1."""
    values = [
        "<http://www2.example.com/example.ext>; rel=duplicate; pri=1; pref",
        "<ftp://ftp.example.com/example.ext>; rel=duplicate",
        "<http://example.com/example.ext.torrent>; rel=describedby;"
        ' type="application/x-bittorrent"; name="different.ext"',
        '<http://example.com/example.ext.meta4>; rel=describedby; type="application/metalink4+xml"',
        '<http://example.com/example.ext.asc>; rel=describedby; type="application/pgp-signature"',
    ]
    expected = ("http://www2.example.com/example.ext",)
    assert mirrors(*values) == mirrors(", ".join(values)) == expected


def test_the_best_first_and_without_priority_last() -> None:
    text = (
        "<http://a/1>;rel=duplicate, <http://a/2>;rel=duplicate;pri=20, <http://a/3>; pri=3"
        ";rel=duplicate, <http://a/4>;rel=duplicate;pri=0, <http://a/5>;rel=duplicate;pri=x"
        ",<http://a/6>;rel=duplicate;pri=999999, <http://a/7>;rel=duplicate;pri=-1"
    )
    expected = tuple(f"http://a/{number}" for number in (3, 2, 1, 4, 5, 6, 7))
    assert mirrors(text) == expected
    assert mirrors(*text.split(",")) == expected


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ('<http://m/f>; rel="duplicate"', "http://m/f"),
        ("<http://m/f>;REL=DUPLICATE", "http://m/f"),
        ('<http://m/f>; rel="next  Duplicate"', "http://m/f"),
        ('<http://m/f>; title="a, <b>; rel=x \\" ;"; rel=duplicate', "http://m/f"),
        ("<http://m/f>; rel = duplicate ;; geo=de;depth=1;", "http://m/f"),
        ("<http://m/f>; rel=duplicate; rel=next", "http://m/f"),
        ('<http://m/f>; rel="dupl\\icate"', "http://m/f"),
        ("<http://m/a,b;c>; rel=duplicate", "http://m/a,b;c"),
        ('<http://m/a"b>; rel=duplicate', 'http://m/a"b'),
        ("</m/f>; rel=duplicate", "https://h/m/f"),
        ("<../f>; rel=duplicate", "https://h/f"),
        ("<?y=2>; rel=duplicate", "https://h/d/f.iso?y=2"),
        ("<//m/f>; rel=duplicate", "https://m/f"),
        ("<HTTP://m/f#x>; rel=duplicate", "HTTP://m/f"),
        ("<http://[::1]:81/f>; rel=duplicate", "http://[::1]:81/f"),
    ],
)
def test_forms_of_a_link(text: str, url: str) -> None:
    assert mirrors(text) == (url,)
    assert mirrors(f"x, {text}, <http://z/>; rel=duplicate") == (url, "http://z/")


@pytest.mark.parametrize(
    "text",
    [
        *("", ",", "<", ">", "<>", ";", '"', "<http://m/f", "http://m/f>; rel=duplicate"),
        *("<http://m/f>", "<http://m/f>; rel", "<http://m/f>; rel=", "<http://m/f>; rel=next"),
        "<http://m/f>; rel=next; rel=duplicate",
        "<http://m/f> rel=duplicate",
        "<http://m/f>; rel=duplicate x",
        "<http://m/f>; rel=duplicate; =x",
        '<http://m/f>; rel="duplicate',
        '<http://m/f>; rel="duplicate\\',
        "<http://m/f>; rel=duplicates",
        "<http://m/f>; rel=duplicate; anchor=/other",
        "<http://m/f>; anchor; rel=duplicate",
        "x<http://m/f>; rel=duplicate",
        '"<http://m/f>; rel=duplicate"',
        "<ftp://m/f>; rel=duplicate",
        "<file:///etc/passwd>; rel=duplicate",
        "<http:f>; rel=duplicate",
        "<http://u:p@m/f>; rel=duplicate",
        "<http://m:x/f>; rel=duplicate",
        "<http://m:0/f>; rel=duplicate",
        "<http://[::1/f>; rel=duplicate",
        "<http:///f>; rel=duplicate",
        "<http://m/a b>; rel=duplicate",
        "<http://m/\u00e4>; rel=duplicate",
        "<http://m/\x1b>; rel=duplicate",
        "<f.iso?x=1>; rel=duplicate",
        "<#top>; rel=duplicate",
        "<http://m/f>; rel=describedby",
        '<http://m/f>; rel=describedby; type="application/metalink4+xml"',
    ],
)
def test_what_says_nothing(text: str) -> None:
    assert mirrors(text) == ()
    assert mirrors(text, "<http://z/>; rel=duplicate") == ("http://z/",)


def test_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [f"<http://m/{number}>; rel=duplicate; pri={99 - number}" for number in range(90)]
    found = mirrors(*many)
    assert found == tuple(f"http://m/{89 - number}" for number in range(link_field.MOST))
    link = "<http://m/f>; rel=duplicate"
    padded = f"{link}; x={'y' * (link_field.MOST_TEXT - len(link) - 4)}"
    assert mirrors(padded) == ("http://m/f",)
    assert mirrors(f"{padded}y") == (), "a link cut short may say something else"
    assert mirrors(padded, "<http://z/>; rel=duplicate") == ("http://m/f",)
