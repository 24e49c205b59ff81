"""The displays, with a clock of their own."""

from __future__ import annotations

import io
import json
import os
import re
from typing import TextIO

import pytest

from rdl.cli.display import bar as bar_module
from rdl.cli.display.bar import Bar, is_in_foreground
from rdl.cli.display.bar_row import Row, block_map, fit, resample, row_text
from rdl.cli.display.choose import display_for
from rdl.cli.display.json_lines import JsonLines, encode
from rdl.cli.display.lines import Lines
from rdl.cli.display.picture import Marks, marks_for
from rdl.cli.display.plain import Plain, Style
from rdl.cli.streams import Messages
from rdl.core import events
from tests.cli.stand_in import NASTY
from tests.support.json_schema import parse

MiB = 1 << 20
BLOCKS, PLAIN = marks_for("utf-8"), marks_for("ascii")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "10")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    return Terminal()


def progress(present: int, total: int | None = 100 * MiB, path: str = "d/f") -> events.Progress:
    return events.Progress(path, total, present, present, 10.0 * MiB, 3.0, 4, ())


def without_codes(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_a_line_every_ten_percent_or_ten_seconds() -> None:
    stream, clock = io.StringIO(), Clock()
    lines = Lines(Messages(stream), Style(), clock)
    for percent, seconds in [(0, 0), (9, 1), (10, 2), (11, 3), (12, 12), (13, 21), (13, 22)]:
        clock.now = seconds
        lines.tell(progress(percent * MiB))
    for percent in (25, 100):
        lines.tell(progress(percent * MiB))
    assert stream.getvalue().splitlines() == [
        "rdl: f: 10%, 10 MiB of 100 MiB, 10 MiB/s, 3.0 s left",
        "rdl: f: 12%, 12 MiB of 100 MiB, 10 MiB/s, 3.0 s left",
        "rdl: f: 13%, 13 MiB of 100 MiB, 10 MiB/s, 3.0 s left",
        "rdl: f: 25%, 25 MiB of 100 MiB, 10 MiB/s, 3.0 s left",
    ]


def test_lines_of_an_unknown_size_come_by_time() -> None:
    stream, clock = io.StringIO(), Clock()
    lines = Lines(Messages(stream), Style(), clock)
    for seconds in range(25):
        clock.now = seconds
        lines.tell(progress(seconds * MiB, None))
    assert stream.getvalue() == "rdl: f: 10 MiB, 10 MiB/s\nrdl: f: 20 MiB, 10 MiB/s\n"


def test_a_bar_shows_its_row_and_goes(terminal: Terminal) -> None:
    clock = Clock()
    bar = Bar(Messages(terminal), Style(), clock=clock)
    bar.tell(events.Started("http://h/f", "f", 100 * MiB, 0, "T2", True))
    for second in range(5):
        clock.now = second
        bar.tell(progress(second * 20 * MiB, path="f"))
    drawn = without_codes(terminal.getvalue())
    assert "f" in drawn
    assert "80%  80 MiB/100 MiB" in drawn
    assert "10 MiB/s" in drawn
    assert "3.0 s  x4" in drawn
    assert "█·" in drawn
    before = len(terminal.getvalue())
    bar.tell(progress(81 * MiB, path="f"))
    assert len(terminal.getvalue()) == before
    clock.now = 9
    bar.tell(events.Verifying("f", 100, 50))
    assert "verifying 50%" in without_codes(terminal.getvalue())
    clock.now = 10
    bar.tell(events.Retrying("f", "503", 3, 1.0))
    assert "retry 3 in 1.0 s: 503" in without_codes(terminal.getvalue())
    bar.done(events.Result("http://h/f", "f", bytes_present=100 * MiB, seconds=1.0), ())
    end = terminal.getvalue()
    assert "\x1b[?25h" in end
    assert end.endswith("validator (T0)\n")
    bar.close()
    assert terminal.getvalue() == end


def test_a_bar_leaves_room_for_what_ctrl_c_shows(terminal: Terminal) -> None:
    bar = Bar(Messages(terminal), Style(several=True, count=10**120))
    bar.tell(progress(MiB, path="f" * 90))
    rows = re.split(r"[\r\n]", without_codes(terminal.getvalue()))
    assert max(map(len, rows)) == 98
    assert any(row.endswith("…") for row in rows)
    bar.close()


def test_a_bar_in_the_background_is_not_drawn(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    front, clock = [True], Clock()
    monkeypatch.setattr(bar_module, "is_in_foreground", lambda messages: front[0])
    bar = Bar(Messages(terminal), Style(), clock=clock)

    def drawn() -> str:
        before, clock.now = len(terminal.getvalue()), clock.now + 1
        bar.tell(progress(20 * MiB))
        return terminal.getvalue()[before:]

    assert "20%" in drawn()
    front[0] = False
    assert drawn() == drawn() == ""
    bar.tell(events.Warned("d/f", "one line"))
    assert terminal.getvalue().endswith("rdl: f: warning: one line\n")
    front[0] = True
    assert "20%" in drawn()
    front[0] = False
    before = terminal.getvalue()
    bar.close()
    assert terminal.getvalue() == before


@pytest.mark.parametrize(("group", "front"), [(os.getpgrp(), True), (os.getpgrp() + 1, False)])
def test_whose_the_terminal_is(monkeypatch: pytest.MonkeyPatch, group: int, front: bool) -> None:
    monkeypatch.setattr(os, "tcgetpgrp", lambda number: group)
    with open(os.devnull, "w") as stream:
        assert is_in_foreground(Messages(stream)) == front
    assert is_in_foreground(Messages(io.StringIO()))
    assert is_in_foreground(Messages(None))


def test_a_bar_of_several_files_has_a_total(terminal: Terminal) -> None:
    clock = Clock()
    bar = Bar(Messages(terminal), Style(several=True, count=40), clock=clock)
    for number in range(20):
        clock.now += 1
        bar.tell(progress(MiB, path=f"f{number}"))
    picture = without_codes(terminal.getvalue())
    assert "0 of 40 files, 20 MiB, 200 MiB/s" in picture
    assert "f6 " in picture
    assert "f7 " not in picture
    bar.close()


def test_hostile_names_and_reasons_are_only_text(terminal: Terminal) -> None:
    clock = Clock()
    bar = Bar(Messages(terminal), Style(verbose=1), clock=clock)
    for path in (NASTY, "a[red].bin", "[link=http:x]y", ":smile:"):
        clock.now += 1
        bar.tell(progress(MiB, path=path))
        bar.tell(events.Warned(path, NASTY))
        bar.tell(events.Retrying(path, NASTY, 1, 1.0))
    bar.done(events.Result("http://h/f", NASTY, 7, "protocol", error=NASTY), ())
    bar.close()
    text = without_codes(terminal.getvalue())
    assert not re.search("[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\u202e]", text)
    assert "a[red].bin" in text
    assert "[/red][link=x]" in text
    assert ":smile:" in text
    assert "\x1b]" not in terminal.getvalue()


def test_no_color_is_honoured(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    bar = Bar(Messages(terminal), Style())
    bar.tell(progress(MiB))
    bar.close()
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", terminal.getvalue())


def test_stdout_is_written_while_the_bar_is_away(terminal: Terminal) -> None:
    bar = Bar(Messages(terminal), Style())
    bar.tell(progress(MiB))
    seen: list[str] = []
    bar.aside(lambda: seen.append(terminal.getvalue()))
    assert seen[0].rfind("\x1b[?25h") > seen[0].rfind("\x1b[?25l") >= 0


@pytest.mark.parametrize("width", [1, 9, 20, 39, 60, 79, 100, 300])
@pytest.mark.parametrize("symbols", [BLOCKS, PLAIN])
def test_a_row_fits_its_terminal(width: int, symbols: Marks) -> None:
    rows = [
        Row("a-very-long-name-of-a-file-文件文件文件文件.tar.zst", 3 << 40, 1 << 40, 1e9, 1e6, 8),
        Row("f", None, 1 << 40, 1e9, None, 1),
        Row("f", 0, 0),
        Row("f", 100, 100, state="verifying 100%"),
    ]
    for row in rows:
        assert row_text(row, width, symbols).cell_len <= max(width, 10)


def test_the_map_is_there_on_80_columns() -> None:
    row = Row("ubuntu.iso", 1200 * MiB, 1005 * MiB, 98 * MiB, 700, 8, (1.0, 0.5, 0.0))
    assert row_text(row, 79, BLOCKS).plain.endswith("·▏")


def test_the_map_is_drawn_from_the_coverage() -> None:
    row = Row("f", 8, 4, coverage=(1.0, 1.0, 0.7, 0.2, 0.0, 0.0, 1.0, 0.0))
    assert block_map(row, 8, BLOCKS) == "██▒░··█·"
    assert block_map(row, 8, PLAIN) == "##+-..#."
    assert block_map(row, 4, PLAIN) == "#-.+"
    assert len(block_map(row, 32, PLAIN)) == 32
    assert block_map(Row("f", 8, 4), 8, PLAIN) == "####...."


def test_the_mark_of_an_unknown_size_moves_to_and_fro() -> None:
    places = [block_map(Row("f", beats=beat), 6, PLAIN).index("#") for beat in range(11)]
    assert places == [0, 1, 2, 3, 4, 5, 4, 3, 2, 1, 0]


def test_resampling_keeps_the_mean() -> None:
    coverage = [0.0, 1.0, 0.5, 0.25, 1.0]
    for cells in (1, 3, 5, 7, 64):
        assert sum(resample(coverage, cells)) / cells == pytest.approx(0.55)


def test_names_are_cut_in_the_middle() -> None:
    assert fit("short", 8, "…") == "short   "
    assert fit("a-long-name.tar.gz", 12, "…") == "a-long-…r.gz"


@pytest.mark.parametrize(
    ("asked", "term", "stream", "kind"),
    [
        ("auto", "xterm", Terminal(), Bar),
        ("auto", "dumb", Terminal(), Lines),
        ("auto", "", Terminal(), Lines),
        ("auto", "xterm", io.StringIO(), Lines),
        ("auto", "xterm", None, Lines),
        ("bar", "xterm", io.StringIO(), Bar),
        ("lines", "xterm", Terminal(), Lines),
        ("none", "xterm", Terminal(), Plain),
        ("json", "xterm", Terminal(), JsonLines),
    ],
)
def test_which_display(
    monkeypatch: pytest.MonkeyPatch, asked: str, term: str, stream: TextIO | None, kind: type
) -> None:
    monkeypatch.setenv("TERM", term)
    assert type(display_for(asked, Messages(stream), Style())) is kind
    quiet = type(display_for(asked, Messages(stream), Style(quiet=True)))
    assert quiet is (Plain if asked == "auto" else kind)


def test_json_is_one_line_of_ascii_whatever_is_in_a_name() -> None:
    stream = io.StringIO()
    display = JsonLines(Messages(stream))
    path = "a\nb\x1b\x7f\x85\u2028\udcff"
    display.tell(progress(1, path=path))
    display.done(events.Result("http://u:canary@h/?sig=canary", path), ["http://u:canary@h/"])
    first, second = stream.getvalue().splitlines()
    assert (first + second).isascii()
    assert (first + second).isprintable()
    assert parse(first)["path"] == path
    assert parse(second)["url"] == "http://h/?sig=***"
    assert "canary" not in second


def test_json_has_no_number_that_json_has_not() -> None:
    stream = io.StringIO()
    JsonLines(Messages(stream)).tell(
        events.Progress("f", None, 1, 1, float("inf"), float("nan"), 1, (0.33333, 1.0))
    )
    event = json.loads(stream.getvalue())
    assert (event["speed"], event["eta"], event["coverage"]) == (None, None, [0.333, 1.0])
    with pytest.raises(ValueError, match="JSON"):
        encode({"x": float("nan")})
