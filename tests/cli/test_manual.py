"""The man pages and completion scripts that are committed are those of the commands."""

import shutil
import subprocess

import pytest

from manual.pages import ROOT, everything

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
