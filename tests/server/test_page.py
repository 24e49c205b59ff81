"""The page at the root and its news, as text: what they say, and what nobody can make them say."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser

import pytest

from rdl.core.byterange import ByteRange
from rdl.server import page
from rdl.server.picture import CELLS, MOST, NONE, SHADES, Counts, Painter, Picture, runs_of
from rdl.server.resource import FileView, View

MiB = 1 << 20
HOSTILE = "</script><img%20src=x%20onerror=alert(1)>\"'&%E2%80%AE%1B%FF"
"""As a path may be that a client asks for."""
NOBODY = Counts(0, 0)


def flight(
    path: str = "/f", size: int | None = 4 * MiB, here: int = MiB, readers: int = 1
) -> FileView:
    return FileView(path, size, (ByteRange(0, here),) if here else (), readers, "downloading")


def painted(*flights: FileView) -> Picture:
    return Painter().paint(View(flights), NOBODY, 1.0)


def test_a_flight_in_words_and_cells() -> None:
    found = painted(flight("/a%20b"))
    assert found.summary == "1 download, 1.0 MiB here."
    (shown,) = found.flights
    assert (shown.name, shown.href) == ("a b", "./a%20b")
    assert shown.text == "25 % of 4.0 MiB, downloading, 1 reader"
    assert shown.label == "Blocks of a b: 25 % here, in 1 run"
    assert shown.runs == [(0, CELLS // 4, SHADES)]


@pytest.mark.parametrize(
    ("size", "here", "told"),
    [
        (1000, 999, "99 % of 1000 B"),
        (1000, 1000, "100 % of 1000 B"),
        (0, 0, "100 % of 0 B"),
        (None, 2048, "2.0 KiB here"),
    ],
)
def test_shares_are_not_rounded_up(size: int | None, here: int, told: str) -> None:
    assert painted(flight(size=size, here=here)).flights[0].text.startswith(f"{told}, ")


def test_block_maps() -> None:
    assert runs_of(None, [ByteRange(0, 5)]) == []
    assert runs_of(0, []) == []
    assert runs_of(CELLS * 100, []) == []
    assert runs_of(CELLS * 100, [ByteRange(0, 100), ByteRange(250, 299)]) == [(0, 1, 4), (2, 1, 2)]
    assert runs_of(CELLS * 100, [ByteRange(1, CELLS * 100)]) == [(0, 1, 3), (1, CELLS - 1, 4)]


def test_speeds_are_of_the_last_pictures() -> None:
    painter, seen = Painter(), []
    for second in range(4):
        found = painter.paint(View((flight(here=second * MiB),)), Counts(2, second * MiB), second)
        seen.append((found.flights[0].text, found.server))
    assert "/s" not in "".join(seen[0])
    assert "1.0 MiB/s" in seen[3][0]
    assert seen[3][1] == "2 connections, 1.0 MiB/s sent"
    again = painter.paint(View((flight(here=0),)), Counts(1, 3 * MiB), 3)
    assert "/s" not in again.flights[0].text, "it was begun anew"
    painter.paint(View(), NOBODY, 4)
    assert painter._samples.keys() == {""}
    assert not painter._maps


def test_the_cache() -> None:
    found = Painter().paint(View((), 5 * MiB, 9 * MiB), Counts(1, 0), 0)
    assert (found.server, found.summary) == ("1 connection, cache 5.0 MiB of 9.0 MiB", NONE)
    assert Painter().paint(View((), 5 * MiB), NOBODY, 0).server == "0 connections, cache 5.0 MiB"


def test_a_picture_is_bounded() -> None:
    every = painted(*(flight(f"/{number:05}" + "x" * 1000) for number in range(5 * MOST)))
    assert len(every.flights) == MOST
    assert every.summary.endswith(f" The first {MOST} are shown.")
    assert len(every.event()) < 200_000


def test_an_event_is_one_line_of_json() -> None:
    event = painted(flight(f"/{HOSTILE}%0D%0A%0D%0Adata: x")).event()
    assert event.startswith(b"data: {")
    assert event.endswith(b"}\n\n")
    assert event.count(b"\n") == 2
    assert b"\r" not in event
    read = json.loads(event[6:])
    assert read["flights"][0]["name"].isprintable()
    assert set(read) == {"flights", "summary", "server"}


class Tags(HTMLParser):
    """Tags with their attributes, in order."""

    def __init__(self, text: bytes) -> None:
        super().__init__()
        self.found = list[tuple[str, dict[str, str | None]]]()
        self.feed(text.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.found if name == tag]


def test_the_page_is_whole_without_scripts() -> None:
    text = page.live(painted(flight("/a"), flight("/sub/b")), ['<a href="f">f</a>'])
    tags = Tags(text)
    assert [one["href"] for one in tags.of("a")] == ["./a", "./sub/b", "f", "."]
    assert [one["role"] for one in tags.of("svg")] == ["img"] * 3
    assert all("here" in str(one["aria-label"]) for one in tags.of("svg")[:2])
    assert len(tags.of("rect")) == 2
    assert {"header", "main", "h1", "h2"} <= {name for name, _ in tags.found}
    assert tags.of("html") == [{"lang": "en"}]
    assert [one.get("aria-live") for one in tags.of("p") if one.get("role")] == ["polite"]


def test_no_text_becomes_a_tag() -> None:
    text = page.live(painted(flight(f"/{HOSTILE}")), None)
    tags = Tags(text)
    assert {name for name, _ in tags.found} <= {
        *("html", "head", "meta", "title", "style", "body", "header", "h1", "h2", "p", "main"),
        *("section", "ul", "li", "a", "svg", "rect", "template", "script"),
    }
    assert not [attrs for _, attrs in tags.found if any(name.startswith("on") for name in attrs)]
    assert not [attrs for _, attrs in tags.found if "style" in attrs]
    assert all(char.isprintable() or char == "\n" for char in text.decode())
    listed = page.listing("/<img src=x onerror=alert(1)>", [])
    assert Tags(listed).of("img") == []


@pytest.mark.parametrize("tag", ["script", "style"])
def test_the_policy_is_of_what_stands_there(tag: str) -> None:
    text = page.live(painted(), None).decode()
    (inner,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    known = b64encode(sha256(inner.encode()).digest()).decode()
    assert f"{tag}-src 'sha256-{known}'" in page.LIVE_POLICY
    assert "unsafe" not in page.LIVE_POLICY
    assert page.LIVE_POLICY.startswith("default-src 'none'; ")
    assert "http" not in re.sub(r"http://www\.w3\.org/2000/svg", "", text), "nothing of others"
