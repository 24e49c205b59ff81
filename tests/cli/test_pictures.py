"""The pictures of the README are what the program draws now; else `make pictures`."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from manual.pictures import FOLDER, pictures

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def drawn() -> dict[str, str]:
    return pictures()


def screen(svg: str) -> list[list[tuple[str, str]]]:
    """Its lines: each run of text with its style. How rich puts them into SVG is rich's."""
    styles = dict(re.findall(r"-(r\d+) \{ (.*?) \}", svg))
    lines: dict[str, list[tuple[str, str]]] = {}
    for text in ElementTree.fromstring(svg).iter(f"{SVG}text"):
        words = (text.text or "").replace("\xa0", " ").rstrip()
        style = styles[text.get("class", "").rpartition("-")[2]]
        if words:
            lines.setdefault(text.get("y", ""), []).append((words, style))
    return [lines[y] for y in sorted(lines, key=float)]


def test_there_are_no_others(drawn: dict[str, str]) -> None:
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(drawn)


@pytest.mark.parametrize("path", sorted(FOLDER.iterdir()), ids=lambda path: path.name)
def test_it_shows_what_is_drawn(path: Path, drawn: dict[str, str]) -> None:
    assert screen(path.read_text()) == screen(drawn[path.name])


def test_they_show_a_bar_and_a_block_map(drawn: dict[str, str]) -> None:
    _, bar = screen(drawn["flight.svg"])
    assert re.search(r"40% .* x8 +▕[█▒░·]{20,}▏", " ".join(text for text, _ in bar))
    maps = [text for ((text, _), *_) in screen(drawn["session.svg"]) if text.startswith("▕")]
    assert [set(text) for text in maps] == [set("▕█▒░·▏")] * 2


def test_it_is_shown_what_interrupts(drawn: dict[str, str]) -> None:
    lines = [line[0][0] for line in screen(drawn["session.svg"])]
    assert lines[lines.index("^C") + 1].startswith("rdl: interrupted: ")


def test_they_ask_nobody_for_anything(drawn: dict[str, str]) -> None:
    for svg in drawn.values():
        assert not re.search(r"href|@import|url\((?!#)|<script", svg)
