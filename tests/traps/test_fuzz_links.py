"""Metalinks and Link fields: what is accepted is bounded and plain, and nothing is slow."""

from __future__ import annotations

import string
from xml.sax.saxutils import escape, quoteattr

from hypothesis import given
from hypothesis import strategies as st

from rdl.core.digest import HEX_DIGITS
from rdl.core.link_field import MOST, mirrors_in
from rdl.core.lock import path_fault
from rdl.core.metalink import MetalinkFile, parse_metalink
from rdl.options import BlockDigests, Digest
from tests.support.timing import seconds
from tests.traps.fuzzing import ANY, MiB, accepted, bounded, mutated

HEAD = '<metalink xmlns="urn:ietf:params:xml:ns:metalink">'
HEX = "0123456789abcdef" * 4
plain = st.text(alphabet=string.ascii_letters + string.digits + "\u00e4<&'\"", min_size=1)
names = st.lists(plain.filter(lambda name: not path_fault(name)), min_size=1, max_size=3)
urls = plain.map(lambda text: f"http://h/{text}")
hexes = st.binary(min_size=64, max_size=64).map(bytes.hex)
digests = st.sets(st.sampled_from([*HEX_DIGITS])).flatmap(
    lambda some: st.tuples(
        *(
            st.builds(Digest, st.just(name), hexes.map(lambda text, n=name: text[: HEX_DIGITS[n]]))
            for name in HEX_DIGITS
            if name in some
        )
    )
)
rows = st.builds(
    lambda length, rest, found: (
        length * (len(found) - 1) + min(rest, length),
        BlockDigests(length, "sha256", tuple(one[:64] for one in found)),
    ),
    st.integers(1, 1 << 40),
    st.integers(1, 1 << 40),
    st.lists(hexes, min_size=1, max_size=5),
)
files = st.builds(
    lambda name, row, some, more: MetalinkFile("/".join(name), *row[:1], some, row[1], more),
    names,
    rows | st.tuples(st.none() | st.integers(0, 10**18 - 1), st.none()),
    digests,
    st.lists(urls, unique=True, max_size=4).map(tuple),
)


def written(file: MetalinkFile) -> str:
    """A file as XML, its elements in an order of our own."""
    said = [f"<file name={quoteattr(file.name)}><url>ftp://x/</url>"]
    said += [
        f'<url priority="{rank}">{escape(url)}</url>' for rank, url in enumerate(file.urls, 1)
    ][::-1]
    if file.blocks:
        said.append(f'<pieces length="{file.blocks.size}" type="{file.blocks.algorithm}">')
        said += [f"<hash>{one}</hash>" for one in file.blocks.hexes]
        said.append("</pieces>")
    said += [f'<hash type="{one.algorithm}">{one.hex}</hash>' for one in file.digests][::-1]
    said += [] if file.size is None else [f"<size>{file.size}</size>"]
    return "\n".join([*said, "</file>"])


@bounded
@given(st.lists(files, max_size=4))
def test_a_metalink_is_read_back(some: list[MetalinkFile]) -> None:
    text = f"{HEAD}{''.join(map(written, some))}</metalink>"
    assert parse_metalink(text.encode()) == tuple(some)


WHOLE = (
    f'<?xml version="1.0"?>{HEAD}<file name="a/b"><size>9</size><hash type="sha-256">{HEX}</hash>'
    f'<pieces length="8" type="sha-256"><hash>{HEX}</hash><hash>{HEX}</hash></pieces>'
    f'<url priority="2">http://h/b</url><url>https://[::1]:8/c&amp;d</url></file></metalink>'
)


@bounded
@given(st.one_of(mutated(WHOLE.encode()), st.binary(max_size=80)))
def test_any_metalink_is_read_or_refused(data: bytes) -> None:
    found = accepted(lambda _: parse_metalink(data, "me\x1bta"), "")
    for one in found or ():
        assert path_fault(one.name) == ""
        assert all(len(digest.hex) == HEX_DIGITS[digest.algorithm] for digest in one.digests)
        assert all(url.isprintable() and url.lower().startswith("http") for url in one.urls)
        if one.blocks is not None:
            assert one.size is not None
            assert 0 <= one.blocks.size * len(one.blocks.hexes) - one.size < one.blocks.size
        assert parse_metalink(f"{HEAD}{written(one)}</metalink>".encode()) == (one,)


def test_mebibytes_of_a_metalink_cost_little() -> None:
    for text in ("<", "<a>", "<a/>", "&#65;", "a", "<file name='f'/>", "<!-- -->", "<a b='"):
        data = (HEAD + text * (2 * MiB // len(text))).encode()
        assert seconds(lambda _, whole=data: accepted(lambda _: parse_metalink(whole), ""), "") < 2
    url, row = "<url>http://h/f</url>", f"<hash>{HEX}</hash>"
    for text in (url, f"<pieces length='1' type='sha-256'>{row * 9}</pieces>", row):
        data = (f"{HEAD}<file name='f'>" + text * (2 * MiB // len(text))).encode()
        assert seconds(lambda _, whole=data: accepted(lambda _: parse_metalink(whole), ""), "") < 2


BASE = "https://h/d/f?x"
PARTS = st.sampled_from(
    [
        *("<http://m/f>", "<../a,b>", "<", ">", ";", ",", '"', "\\", "=", " ", "rel", "duplicate"),
        *("; rel=duplicate", "; pri=3", '; rel="x duplicate"', "; rel=describedby", "anchor"),
        *("; type=application/metalink4+xml", "http://", "[", "@", ":", "//", "\t", "\x00", "ä"),
    ]
)


def assert_plain(found: tuple[str, ...]) -> None:
    assert len(found) <= MOST
    assert len(set(found)) == len(found)
    for url in found:
        assert url.isascii()
        assert url.isprintable()
        assert url.partition("://")[0].lower() in ("http", "https")
        assert not set(" #<>") & set(url)


@bounded
@given(st.lists(st.one_of(ANY, st.lists(PARTS, max_size=20).map("".join)), max_size=3), ANY)
def test_any_links_are_read_or_passed_over(values: list[str], base: str) -> None:
    for one in (BASE, base):
        assert_plain(mirrors_in(values, one))


tokens = st.text(alphabet=string.ascii_lowercase, min_size=1, max_size=5)


@bounded
@given(
    st.lists(
        st.tuples(st.integers(1, 999_999), st.text(alphabet="ab/,;='", max_size=9), st.booleans()),
        min_size=1,
        max_size=MOST,
        unique_by=(lambda one: one[0], lambda one: one[1]),
    ),
    st.dictionaries(
        tokens.filter(lambda name: name not in ("rel", "pri", "anchor")),
        st.text(alphabet='ab,;<>=\\" ', max_size=9),
        max_size=3,
    ),
    st.booleans(),
)
def test_links_are_read_back(
    some: list[tuple[int, str, bool]], more: dict[str, str], apart: bool
) -> None:
    others = "".join(
        ';{}="{}"'.format(name, text.replace("\\", "\\\\").replace('"', '\\"'))
        for name, text in more.items()
    )
    kind = {True: "duplicate", False: '"a duplicate"'}
    values = [
        f"<http://m/x{end}>{others}; pri={rank}; rel={kind[bare]}" for rank, end, bare in some
    ]
    expected = tuple(f"http://m/x{end}" for _, end, _ in sorted(some))
    assert mirrors_in(values if apart else [", ".join(values)], BASE) == expected


def test_hostile_links_cost_little() -> None:
    link = "<a>; rel=duplicate, "
    for text in ("<", "<a", '"', '"\\', "\\", ";", "; a", ";a=", ';a="', ", ", "<a>;", " ", link):
        for before in ("", "<http://m/f>", '<http://m/f>; rel="'):
            whole = before + text * ((64 << 10) // len(text) - len(before))
            assert seconds(lambda one: mirrors_in([one], BASE), whole) < 0.5
            assert seconds(lambda one: mirrors_in([one[:200]] * 10_000, BASE), whole) < 0.5
