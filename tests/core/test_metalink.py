"""Metalink 4: what is read, what is passed over, and what is refused with one line."""

from __future__ import annotations

from hashlib import sha256, sha512

import pytest

from rdl.core import metalink
from rdl.core.metalink import MetalinkFile, parse_metalink
from rdl.errors import UsageError
from rdl.options import BlockDigests, Digest

HEX, LONG = sha256(b"rdl").hexdigest(), sha512(b"rdl").hexdigest()
OTHER = sha256(b"other").hexdigest()
HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<metalink xmlns="urn:ietf:params:xml:ns:metalink">'


def read(inside: str, head: str = HEAD) -> tuple[MetalinkFile, ...]:
    return parse_metalink(f"{head}{inside}</metalink>".encode())


def only(inside: str) -> MetalinkFile:
    (found,) = read(f'<file name="a.iso">{inside}</file>')
    return found


def blocks(length: object, kind: str, *hexes: str) -> str:
    inside = "".join(f"<hash>{one}</hash>" for one in hexes)
    return f'<pieces length="{length}" type="{kind}">{inside}</pieces>'


def test_the_example_of_the_rfc() -> None:
    """Section 1.1, with a digest that verifies."""
    found = read(
        f"""
  <published>2009-05-15T12:23:23Z</published>
  <file name="example.ext">
    <size>14471447</size>
    <identity>Example</identity>
    <version>1.0</version>
    <language>en</language>
    <description>A description of the example file for download.</description>
    <hash type="sha-256">{HEX}</hash>
    <url location="de" priority="2">ftp://ftp.example.com/example.ext</url>
    <url location="fr" priority="1">http://example.com/example.ext</url>
    <metaurl mediatype="torrent" priority="2">http://example.com/example.ext.torrent</metaurl>
  </file>"""
    )
    digests = (Digest("sha256", HEX),)
    urls = ("http://example.com/example.ext",)
    assert found == (MetalinkFile("example.ext", 14471447, digests, None, urls),)


def test_urls_come_by_priority_and_each_once() -> None:
    found = only(
        "<url>http://h/last</url>"
        '<url priority="7">https://h/7</url>'
        '<url priority="0">http://h/0</url>'
        '<url priority="x">http://h/x</url>'
        '<url priority="1000000">http://h/m</url>'
        '<url priority=" 3">http://h/spaced</url>'
        '<url priority="1">\n  HTTP://h/1?a=b&amp;c=d \n</url>'
        '<url priority="2">http://h/last</url>'
        '<url priority="999999">http://h/end</url>'
    )
    first = ("HTTP://h/1?a=b&c=d", "http://h/last", "https://h/7")
    assert found.urls[:3] == first
    assert found.urls[3:] == tuple(f"http://h/{end}" for end in ("0", "x", "m", "spaced", "end"))


@pytest.mark.parametrize(
    "text",
    [
        *("", "ftp://h/f", "file:///etc/passwd", "magnet:?x", "/f", "http://", "http://h/a b"),
        *("http://h/a\u202eb", "http://h/a\u00a0b", "javascript:http://h/", "<x>http://h/f</x>"),
    ],
)
def test_urls_that_are_not_http(text: str) -> None:
    assert only(f"<url>{text}</url>").urls == ()


def test_digests_the_strongest_first_and_weak_ones_passed_over() -> None:
    found = only(
        f'<hash type="md5">{"0" * 32}</hash><hash type="sha-1">no</hash><hash>{HEX}</hash>'
        f'<hash type="sha-256">\n {HEX.upper()} </hash><hash type="sha-512">{LONG}</hash>'
        f'<hash type="sha-256">{HEX}</hash><hash type="crc32">0</hash>'
    )
    assert found.digests == (Digest("sha512", LONG), Digest("sha256", HEX))


def test_blocks() -> None:
    size = "<size>2049</size>"
    rows = blocks(1024, "sha-256", HEX, OTHER, HEX) + blocks(1024, "sha-1", "0")
    expected = BlockDigests(1024, "sha256", (HEX, OTHER, HEX))
    assert only(size + rows).blocks == only(rows + size).blocks == expected
    assert only(blocks(1, "md5") + blocks("no", "") + size).blocks is None
    both = blocks(2048, "sha-512", LONG, LONG)
    assert only(size + rows + both).blocks == BlockDigests(2048, "sha512", (LONG, LONG))


@pytest.mark.parametrize(
    ("inside", "why"),
    [
        ("<size>-1</size>", "its size is no number of bytes"),
        ("<size>1e3</size>", "its size is no number of bytes"),
        ("<size></size>", "its size is no number of bytes"),
        (f"<size>{10**18}</size>", "its size is no number of bytes"),
        ("<size>1</size><size>1</size>", "its size is given twice"),
        ('<hash type="sha-256">00</hash>', "sha256: 2 hex digits; sha256 has 64"),
        (f'<hash type="sha-256">{HEX}<x/></hash>', "sha256: not hexadecimal"),
        (f'<hash type="sha-256">{HEX[:32]}\n{HEX[32:]}</hash>', "sha256: not a digest"),
        (
            f'<hash type="sha-256">{HEX}</hash><hash type="SHA256">{OTHER}</hash>',
            "two different sha256 digests",
        ),
        (blocks(8, "sha-256", HEX), "digests of blocks, and no size"),
        (blocks(0, "sha-256"), "the length of its blocks is no number of bytes"),
        (blocks("", "sha-256"), "the length of its blocks is no number of bytes"),
        (blocks(8, "sha-256", "0"), "sha256: 1 hex digits; sha256 has 64"),
        (
            "<size>8</size>" + blocks(8, "sha-256", HEX) * 2,
            "digests of blocks by sha256 are given twice",
        ),
        (
            "<size>9</size>" + blocks(8, "sha-256", HEX),
            "1 digests of blocks, where 9 bytes are 2 of 8",
        ),
        (
            "<size>8</size>" + blocks(8, "sha-256", HEX, HEX),
            "2 digests of blocks, where 8 bytes are 1 of 8",
        ),
        (
            "<size>8</size>" + blocks(8, "sha-512", LONG) + blocks(4, "sha-256", HEX),
            "1 digests of blocks, where 8 bytes are 2 of 4",
        ),
    ],
)
def test_what_contradicts_itself_is_refused(inside: str, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        only(inside)
    assert str(caught.value) == f"metalink: 'a.iso': {why}"


@pytest.mark.parametrize(
    "name", ["../f", "/etc/f", "", "a//b", "a/./b", "-rf", ".bashrc", "a\\b", "C:x", "a\u202eb"]
)
def test_names_are_those_of_strangers(name: str) -> None:
    with pytest.raises(UsageError, match=r"^metalink: '"):
        read(f'<file name="{name}"/>')
    with pytest.raises(UsageError, match="metalink: '': it names a directory or nothing"):
        read("<file/>")
    assert [one.name for one in read('<file name="a/b.c"/><file name="d"/>')] == ["a/b.c", "d"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "metalink:1: not XML: no element found"),
        ("no", "metalink:1: not XML: syntax error"),
        (HEAD, "metalink:2: not XML: no element found"),
        (f"{HEAD}\n<file>", "metalink: '': it names a directory or nothing"),
        (f"{HEAD}</metalink><x/>", "metalink:2: not XML: junk after document element"),
        (f"{HEAD}&x;</metalink>", "metalink:2: not XML: undefined entity"),
        ("<html/>", "metalink: not a metalink (RFC 5854)"),
        ("<metalink/>", "metalink: not a metalink (RFC 5854)"),
        (
            '<metalink version="3.0" xmlns="http://www.metalinker.org/"><files/></metalink>',
            "metalink: a Metalink of version 3; only 4 (RFC 5854) is read",
        ),
        ("<!DOCTYPE html><html/>", "metalink: it has a document type, which is not read"),
        (
            '<!DOCTYPE m [<!ENTITY a "b"><!ENTITY c SYSTEM "file:///etc/passwd">]><m>&c;</m>',
            "metalink: it has a document type, which is not read",
        ),
    ],
)
def test_what_is_no_metalink(text: str, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_metalink(text.encode())
    assert str(caught.value) == why


def test_other_namespaces_and_depths_say_nothing() -> None:
    found = read(
        '<x:file xmlns:x="urn:x" name="../f"/><y><file name="../f"/></y>'
        '<file name="f"><x:size xmlns:x="urn:x">no</x:size><y><size>no</size></y>'
        '<y><pieces length="no" type="sha-256"><hash>no</hash></pieces></y><hash/>'
        '<m:size xmlns:m="urn:ietf:params:xml:ns:metalink">5</m:size></file>'
    )
    assert found == (MetalinkFile("f", 5),)


def test_text_is_utf_8_whatever_the_declaration_says() -> None:
    declared = HEAD.replace("UTF-8", "utf-16")
    assert read('<file name="ä"/>', declared) == read('<file name="ä"/>', f"\ufeff{HEAD}")
    with pytest.raises(UsageError, match="not XML"):
        parse_metalink(f'{HEAD}<file name="ä"/></metalink>'.encode("latin-1"))


def test_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    size, row = "<size>3</size>", blocks(1, "sha-256", HEX, HEX, HEX)
    whole = f'<file name="f">{size}{row}<url>http://h/1</url><url>http://h/2</url></file>'
    data = f"{HEAD}{whole * 2}</metalink>".encode()
    exact = {
        "MOST_BYTES": (len(data), "more than 0 MiB"),
        "MOST_FILES": (2, "more than 1 files"),
        "MOST_URLS": (2, "more than 1 URLs of one file"),
        "MOST_BLOCKS": (6, "more than 5 digests of blocks"),
        "DEEPEST": (4, "more than 3 elements within one another"),
    }
    for name, (most, why) in exact.items():
        monkeypatch.setattr(metalink, name, most)
        assert len(parse_metalink(data)) == 2
        monkeypatch.setattr(metalink, name, most - 1)
        with pytest.raises(UsageError, match=why):
            parse_metalink(data)
        monkeypatch.undo()
