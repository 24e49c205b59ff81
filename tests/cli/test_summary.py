"""The closing line: what it says of time, speed, parts and replaced files, and what it leaves."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from rdl.cli.display.plain import again
from rdl.cli.display.summary import (
    closing_lines,
    counted,
    failed_lines,
    located,
    outcome_lines,
    took,
    total_line,
)
from rdl.core.events import Result, Retrying
from rdl.errors import AuthError, DigestMismatch, HTTPStatusError
from rdl.options import RangeSpec

MiB = 1 << 20
URL = "http://h/f?token=canary"


def line(
    size: int, seconds: float, *, part: RangeSpec | None = None, replaced: bool = False
) -> str:
    result = Result(URL, "d/f", bytes_present=size, bytes_downloaded=size, seconds=seconds)
    (text,) = closing_lines(result, part=part, replaced=replaced)
    return text.partition(", no digest given")[0]


@pytest.mark.parametrize(
    ("size", "seconds", "text"),
    [
        (27, 0.004, "f: 27 B in under 0.1 s"),
        (27, 5.0, "f: 27 B in 5.0 s"),
        (0, 0.0, "f: 0 B in under 0.1 s"),
        (8 * MiB, 0.05, "f: 8.0 MiB in under 0.1 s"),
        (8 * MiB, 0.5, "f: 8.0 MiB in 0.5 s (16 MiB/s)"),
        (64 << 10, 0.5, "f: 64 KiB in 0.5 s (128 KiB/s)"),
    ],
)
def test_a_speed_is_said_where_it_means_something(size: int, seconds: float, text: str) -> None:
    assert line(size, seconds) == text


@pytest.mark.parametrize(
    ("part", "text"),
    [
        (RangeSpec(0, 5), "only bytes 0-4"),
        (RangeSpec(20), "only bytes 20-24"),
        (RangeSpec(0, 500), "only bytes 0-4"),
        (RangeSpec(suffix=500), "only the last 5 bytes"),
    ],
)
def test_a_part_is_called_a_part(part: RangeSpec, text: str) -> None:
    assert line(5, 1.0, part=part) == f"f: 5 B in 1.0 s, {text}"
    both = line(5, 1.0, part=part, replaced=True)
    assert both == f"f: 5 B in 1.0 s, {text}, the old file was replaced"


def test_what_was_left_alone_was_not_replaced() -> None:
    same = Result(URL, "f", reason="unchanged", bytes_present=5, trust="T2")
    assert closing_lines(same, replaced=True) == ["f: unchanged, 5 B, nothing fetched (T2)"]
    failed = Result(URL, "f", 4, "network", error="h: refused")
    assert closing_lines(failed, replaced=True) == ["h: refused"]


@pytest.mark.parametrize("told", ["f: gone", "/a/f: gone", "d/f: gone"])
def test_of_several_files_each_error_names_its_own_once(told: str) -> None:
    assert closing_lines(Result(URL, "d/f", 3, "local-file", error=told), several=True) == [told]
    other = Result(URL, "d/f", 3, "local-file", error="d/f.part: gone")
    assert closing_lines(other, several=True) == ["f: d/f.part: gone"]


def test_a_total_of_little_has_no_speed() -> None:
    results = [Result(URL, "f", bytes_downloaded=5), Result(URL, "g", 8, error="gone")]
    assert total_line(results, 0.01) == "1 of 2 files complete, 5 B fetched in under 0.1 s"
    assert took(61) == "1m01s"


def test_bytes_are_said_once_where_few() -> None:
    assert (counted(27), counted(2048)) == ("27 bytes", "2048 bytes (2.0 KiB)")


def test_the_first_try_after_new_bytes_has_no_number() -> None:
    assert again(Retrying("f", "stalled", 0, 0.5)) == "going on in 0.5 s"
    assert again(Retrying("f", "stalled", 2, 0.5)) == "retry 2 in 0.5 s"
    assert again(Retrying("f", "stalled", 2, 0.5), 10) == "retry 2 of 10 in 0.5 s"
    assert again(Retrying("f", "stalled", 0, 0.5), 10) == "going on in 0.5 s"


def test_an_answer_is_said_with_its_url() -> None:
    error = located(HTTPStatusError("HTTP 404", "no such file", status=404), URL, None)
    assert str(error) == "http://h/f?token=***: HTTP 404: no such file"
    error = located(DigestMismatch("stream", "sha256 is 1, expected 2"), URL, None)
    assert str(error) == "http://h/f?token=***: sha256 is 1, expected 2"


def test_who_gave_a_password_is_not_told_to_give_one() -> None:
    for user, hint in ((None, "-u"), ("me", "the user and password that were given were not")):
        error = located(AuthError("HTTP 401", "a login", hint="-u"), URL, user)
        assert error.hint.startswith(hint)
    assert located(AuthError("HTTP 407", "a login", hint="--proxy"), URL, "me").hint == "--proxy"


def test_an_interruption_says_whether_what_came_is_of_use() -> None:
    result = Result(URL, "d/f", exit_code=130, reason="interrupted", bytes_present=MiB)
    (text,) = closing_lines(result)
    assert text == "interrupted: what came of f cannot be continued; the same command starts anew"
    (text,) = closing_lines(replace(result, resumable=True))
    assert text == "interrupted: 1.0 MiB of f kept; the same command continues"


def test_what_became_of_many_is_a_table() -> None:
    good = [Result("u", f"f{number}", bytes_downloaded=MiB) for number in range(9)]
    same = replace(good[0], reason="unchanged", bytes_downloaded=0)
    bad = replace(good[0], exit_code=8, reason="http-status", bytes_downloaded=5)
    assert outcome_lines([*good, same]) == [], "ten lines can be seen"
    assert outcome_lines([*good, same, same, bad]) == [
        "outcome      files  fetched",
        "complete         9  9.0 MiB",
        "unchanged        2  nothing",
        "http-status      1      5 B",
    ]


def test_what_failed_of_many_is_told_once_more() -> None:
    good = [Result("u", f"f{number}") for number in range(15)]
    bad = [
        replace(one, path=f"bad\x1b{one.path}", exit_code=8, reason="http-status", error="HTTP 404")
        for one in good
    ]
    assert failed_lines(good) == []
    assert failed_lines([*good[:8], bad[0]]) == [], "that is still to be seen"
    (line,) = failed_lines([*good, bad[0]])
    assert line.startswith("not complete: bad")
    assert line.endswith("f0: HTTP 404")
    assert "\x1b" not in line
    assert failed_lines([*good, *bad])[-1] == "and 5 more"
    assert len(failed_lines([*good, *bad])) == 11
