"""file: URLs name one absolute path of this machine, or are refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdl.core.file_url import decides, is_file_url, path_of
from rdl.errors import UsageError


@given(st.binary(min_size=1, max_size=60).filter(lambda name: b"\0" not in name))
def test_every_path_has_one(name: bytes) -> None:
    path = b"/" + name.lstrip(b"/")
    url = Path(os.fsdecode(path)).as_uri()
    assert is_file_url(url)
    assert Path(os.fsdecode(path_of(url))) == Path(os.fsdecode(path))


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///a/b", b"/a/b"),
        ("FILE://LocalHost/a%20b%2fc", b"/a b/c"),
        ("file:///a#sha256=00", b"/a"),
        ("file:///a%3Fb%23", b"/a?b#"),
        ("file:///\u00fc", b"/\xc3\xbc"),
        ("file:///%zz", b"/%zz"),
        ("file:////a/../b/", b"//a/../b/"),
    ],
)
def test_paths(url: str, path: bytes) -> None:
    assert path_of(url) == path


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("file://host/a", "names another host"),
        ("file://me@localhost/a", "names another host"),
        ("file://localhost:80/a", "names another host"),
        ("file://a", "names another host"),
        ("file:///a?b", "has a query"),
        ("file:///a%00b", "holds a NUL"),
        ("file:///a b", "is not a usable file URL"),
        ("file:///a\nb", "is not a usable file URL"),
        ("file:///a\udc80", "is not a usable file URL"),
        ("file://", "is not a usable file URL"),
        ("file:/a", "is not a usable file URL"),
        ("file:a", "is not a usable file URL"),
        ("file:", "is not a usable file URL"),
        ("http://h/a", "is not a usable file URL"),
    ],
)
def test_refused(url: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        path_of(url)


@pytest.mark.parametrize(
    ("place", "users"),
    [
        ("a/f.rdlm", True),
        ("file:///a/f.rdlm", True),
        ("http://h/f.rdlm", False),
        (f"http://h/f.rdlm#sha256={'0' * 64}", True),
    ],
)
def test_what_is_here_or_pinned_is_the_users_word(place: str, users: bool) -> None:
    assert decides(place) == users
