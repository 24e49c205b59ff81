"""The man pages and completion scripts that are committed are those of the commands."""

import re
import shutil
import subprocess
from collections.abc import Sequence

import click
import pytest

from manual.pages import ROOT, SAMPLE_LIST, everything
from rdl.cli.input_list import parse_list
from rdl.cli.main import main
from rdl.cli.options import get_parameters
from rdl.cli.sections import HEADINGS, sections

MADE = everything()


@pytest.mark.parametrize("place", sorted(MADE))
def test_what_is_committed_is_what_the_commands_say(place):
    assert (ROOT / place).read_text() == MADE[place], "run: make manual"


def test_nothing_else_is_there():
    here = {f"{one.parent.name}/{one.name}" for one in ROOT.glob("man/*")}
    here |= {f"{one.parent.name}/{one.name}" for one in ROOT.glob("completions/*")}
    assert here == set(MADE)


@pytest.mark.parametrize("place", sorted(one for one in MADE if one.startswith("man/")))
def test_a_page_has_its_sections_and_formats(place):
    text = MADE[place]
    for title in ("NAME", "SYNOPSIS", "OPTIONS", "EXIT STATUS", "FILES", "ENVIRONMENT", "EXAMPLES"):
        assert f"\n.SH {title}\n" in text
    if shutil.which("groff"):
        ended = subprocess.run(
            ["groff", "-man", "-Tascii", "-ww"],
            input=text,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert (ended.returncode, ended.stderr) == (0, "")


def test_the_page_of_get_tells_levels_lists_and_sizes():
    text = MADE["man/rdl-get.1"]
    levels = text.partition("\n.SH TRUST LEVELS\n")[2].partition("\n.SH ")[0]
    assert [f"T{n}" for n in (4, 3, 2, 1, 0)] == re.findall(r"^\.B (T\d)$", levels, re.M)
    lists = text.partition("\n.SH LISTS\n")[2].partition("\n.SH ")[0]
    for words in (
        "out=NAME",
        "dir=DIR",
        "checksum=SPEC",
        "mirror=URL",
        "header=NAME: VALUE",
        "replaces that of",
    ):
        assert words in lists
    assert "powers of 1024" in text
    assert "LISTS" not in MADE["man/rdl-cat.1"]


def test_the_list_that_is_shown_is_one():
    first, second = parse_list(SAMPLE_LIST.encode(), "list")
    assert (first.out, first.dir, first.checksums) == ("new.iso", "isos", ("sha256:HEX",))
    assert second.url == "https://example.org/notes.txt"


def test_the_page_of_rdl_says_where_the_variables_are_listed():
    assert "rdl\\-get(1) and docs/environment.md list" in MADE["man/rdl.1"]


def test_the_help_of_get_ends_with_where_more_is_told(capsys):
    assert main(["get", "--help"]) == 0
    last = capsys.readouterr().out.splitlines()[-2:]
    assert all(f"T{level} " in " ".join(last) for level in range(5))
    assert "man rdl-get" in last[1]


def listed(params: Sequence[click.Parameter]) -> list[str]:
    return [heading for heading, some in sections(params) if some]


def test_every_option_of_get_has_a_heading() -> None:
    visible = [one for one in get_parameters() if not getattr(one, "hidden", False)]
    names = " ".join(HEADINGS.values()).split()
    assert {one.name for one in visible} | {"help"} == {*names, "urls"}
    assert listed(visible[1:]) == [*HEADINGS]


def test_few_options_need_no_headings(capsys):
    assert main(["status", "--help"]) == 0
    assert capsys.readouterr().out.count(":\n") == 1


def test_own_options_come_first_and_help_last(capsys):
    assert main(["verify", "--help"]) == 0
    headings = [one for one in capsys.readouterr().out.splitlines() if re.fullmatch(r"\w.*:", one)]
    assert (headings[0], headings[-1]) == ("Options:", "Messages and results:")
