"""Index pages: what servers write, and what nobody should have written."""

from __future__ import annotations

import time

import pytest

from rdl.doors.index_page import LONGEST_TAG, listed

FOLDER = "http://host/data/"
NGINX = """<html><head><title>Index of /data/</title></head><body>
<h1>Index of /data/</h1><hr><pre><a href="../">../</a>
<a href="sub/">sub/</a>                       22-Nov-2026 11:00       -
<a href="a%20b.csv">a b.csv</a>               22-Nov-2026 11:00      12
<a href="x%26y.bin">x&amp;y.bin</a>
</pre><hr></body></html>"""
APACHE = """<table><tr><th><a href="?C=N;O=D">Name</a></th><th><a href="?C=M;O=A">Size</a></th></tr>
<tr><td><img src="/icons/back.gif" alt="[PARENTDIR]"></td><td><a href="/">Parent Directory</a></td>
<tr><td><A HREF="sub/">sub/</A></td></tr><tr><td><a class='f' href='a%20b.csv'>a b.csv</a></td></tr>
<tr><td><a
  href=x&amp;y.bin>x&amp;y.bin</a></td></tr></table>"""


@pytest.mark.parametrize(
    ("page", "last"), [(NGINX, "x%26y.bin"), (APACHE, "x&y.bin")], ids=["nginx", "apache"]
)
def test_what_servers_write(page: str, last: str) -> None:
    found = {FOLDER + "sub": True, FOLDER + "a%20b.csv": False, FOLDER + last: False}
    assert listed(page, FOLDER) == found


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("one", {"one": False}),
        ("./one#top", {"one": False}),
        ("/data/one", {"one": False}),
        ("//host/data/one", {"one": False}),
        ("http://host/data/one", {"one": False}),
        ("deep/er/one", {"deep": True}),
        (".zarray", {".zarray": False}),
        (" one ", {"one": False}),
        ("?C=N", {}),
        ("one?download=1", {}),
        ("..", {}),
        ("../other", {}),
        ("/database/one", {}),
        ("//other/data/one", {}),
        ("http://other/data/one", {}),
        ("http://host@other/data/one", {}),
        ("https://host/data/one", {}),
        ("ftp://host/data/one", {}),
        ("javascript:alert(1)", {}),
        ("mailto:x@y", {}),
        ("http://[", {}),
        ("%2e%2e/x", {}),
        ("%2e%2e%2fx", {}),
        ("..%2f..%2fetc%2fpasswd", {}),
        ("a%5cb", {}),
        ("a%00b", {}),
        ("a%0ab", {}),
        ("%1b%5b2J", {}),
        ("", {}),
        ("#", {}),
    ],
)
def test_only_what_stands_in_the_folder(target: str, found: dict[str, bool]) -> None:
    names = {FOLDER + name: folder for name, folder in found.items()}
    assert listed(f'<p><a href="{target}">x</a>', FOLDER) == names


def test_what_links_are_relative_to() -> None:
    assert listed('<base href="/data/"><a href="x">', FOLDER) == {FOLDER + "x": False}
    assert listed('<base href="/other/"><a href="x">', FOLDER) == {}
    assert listed('<base href="http://["><a href="x">', FOLDER) == {FOLDER + "x": False}


def test_a_name_is_a_folder_where_any_link_says_so() -> None:
    for page in ('<a href="x/"><a href="x">', '<a href="x"><a href="x/y">'):
        assert listed(page, FOLDER) == {FOLDER + "x": True}


HOSTILE = [
    "<!--",
    "<![",
    "<a ",
    '<a href="',
    "<a href='x\n",
    "<a x ",
    "<a <",
    "&#x",
    "<base\n",
    "<",
]


@pytest.mark.parametrize("unit", [*HOSTILE, "<a " + "=" * LONGEST_TAG, "<a href=" + '"' * 99 + ">"])
def test_no_page_takes_long(unit: str) -> None:
    """html.parser by itself takes minutes for the first, and raises AssertionError at the next."""
    page = unit * ((4 << 20) // len(unit)) + '<a href="x">'
    begun = time.process_time()
    found = listed(page, FOLDER)
    assert time.process_time() - begun < 5
    assert found.items() <= {FOLDER + "x": False}.items()
