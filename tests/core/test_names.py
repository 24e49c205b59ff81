"""Names come from the URL as typed, decoded once, and are refused rather than repaired."""

from __future__ import annotations

import ntpath
import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdl.core.names import MAX_NAME, name_from_url
from rdl.errors import UsageError


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://h/a.iso", "a.iso"),
        ("https://h/dir/a.iso?x=/b.iso#/c.iso", "a.iso"),
        ("https://h/a%20b.iso", "a b.iso"),
        ("https://h/%E6%96%87.zip", "文.zip"),
        ("https://h/文.zip", "文.zip"),
        ("https://h/a%252fb", "a%2fb"),
        ("https://h/a%zz", "a%zz"),
        ("https://u:p@h/a", "a"),
        ("https://h/2024-01-01T00:00:00.nc", "2024-01-01T00:00:00.nc"),
        ("https://h/a[/red].bin", "red].bin"),
        ("https://h/a[%5d.bin", "a[].bin"),
        ("https://h/console.log", "console.log"),
        ("https://h/com10", "com10"),
        ("https://h/" + "x" * MAX_NAME, "x" * MAX_NAME),
    ],
)
def test_the_last_segment_is_the_name(url: str, name: str) -> None:
    assert name_from_url(url) == name


HOSTILE = [
    *("", ".", "..", "%2e", "%2e%2e", "%2E.", "..%2f..%2fetc%2fpasswd", "a%2fb", "%2fetc%2fpasswd"),
    *("..%5c..%5cx.dll", "a%5Cb", "a\\b", "%5c%5cserver%5cshare"),
    *("%00", "a%00.txt", "a%0a", "a%0d%0ab", "a%1b%5b31m", "a%7f", "a%c2%9b"),
    *("C:x", "c%3ax", "C%3A%5Cx", "z:"),
    *("CON", "con.txt", "NUL", "nul.tar.gz", "AUX", "prn", "COM1", "com9.log", "LPT1", "lpt%C2%B9"),
    *("CONIN$", "conout$.x", "CON%20", "NUL%20.txt", "aux:x", "COM%C2%B2"),
    *("-rf", "--output", "-", ".bashrc", ".htaccess", "...", "....", "%2ebashrc", "%2drf"),
    *("a.", "a%20", "%20a", "a.%20", "a.%20."),
    *("gpj%E2%80%AEexe", "%E2%81%A6a", "a%E2%80%8Bb", "%EF%BB%BFa", "a%E2%80%A8b", "a%C2%A0b"),
    *("%ff", "%c0%af", "%ed%a0%80", "%f8%88%80%80%80", "a%80"),
    *("x" * (MAX_NAME + 1), "%E6%96%87" * 86),
]


@pytest.mark.parametrize("segment", HOSTILE)
def test_what_is_no_plain_name_is_refused(segment: str) -> None:
    with pytest.raises(UsageError) as caught:
        name_from_url(f"https://h/dir/{segment}")
    assert "-o FILE" in caught.value.hint
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("url", ["https://h", "https://h/", "https://h/dir/", "https://h?a=/b"])
def test_a_url_without_last_segment_needs_a_name(url: str) -> None:
    with pytest.raises(UsageError, match="without a file name"):
        name_from_url(url)


def test_the_refusal_shows_no_secret() -> None:
    with pytest.raises(UsageError) as caught:
        name_from_url("https://u:canary@h/dir/?token=canary")
    assert "canary" not in str(caught.value)


@given(st.text(min_size=1, max_size=60))
def test_an_accepted_name_stays_in_its_directory_on_every_system(segment: str) -> None:
    try:
        name = name_from_url(f"https://h/{segment}")
    except UsageError:
        return
    for system in (posixpath, ntpath):
        assert system.basename(name) == name
        assert system.normpath(system.join("base", name)) == system.join("base", name)
    assert len(name.encode()) <= MAX_NAME
