"""The page in headless Chromium: live, on a phone, in the dark, without scripts, with a token."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rdl.server.folder import Folder
from tests.server.conftest import Start
from tests.server.filling import filling
from tests.servers.conftest import required
from tests.support.browser import PROGRAM, Browser, browser
from tests.support.content import MiB

NAME = "<img src=x onerror=alert(1)>.iso"
DATA = bytes(range(256)) * 4096 * 4
WIDE, PHONE = 1000, 390


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(required(PROGRAM), tmp_path_factory.mktemp("home")) as found:
        yield found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    long = "a name that goes on until it has to be wrapped on a small screen.txt"
    for name in ("a.txt", long, "w" * 200):
        (tmp_path / name).write_text("text")
    return tmp_path


def text_of(name: str) -> str:
    return f"document.querySelector('#flights li {name}')?.textContent"


def test_the_page_is_live(chromium: Browser, start: Start, folder: Path, tmp_path: Path) -> None:
    running = start(folder)
    with filling(folder / NAME, DATA) as writer:
        writer.fill(0, MiB)
        chromium.show(WIDE)
        chromium.open(f"{running.url}/")
        chromium.wait("document.getElementById('state').textContent === 'Live.'")
        assert chromium.value(text_of("a")) == NAME
        assert chromium.value(text_of("p")).startswith("25 % of 4.0 MiB, downloading")
        width = "[...document.querySelectorAll('#flights rect')].map(r => r.getAttribute('width'))"
        assert chromium.value(width) == ["30"]
        chromium.value("document.querySelector('#flights a').focus()")
        writer.fill(2 * MiB, 3 * MiB)
        chromium.wait(f"{text_of('p')}.startsWith('50 % of')")
        assert chromium.value(width) == ["30", "30"]
        assert chromium.value("document.activeElement.textContent") == NAME, "it keeps the focus"
        assert chromium.value("document.getElementById('spoken').textContent")
        for name, width_of, dark in (("wide", WIDE, False), ("phone", PHONE, True)):
            chromium.show(width_of, dark=dark)
            chromium.shoot(tmp_path / f"{name}.png")
            assert chromium.value("document.documentElement.scrollWidth") <= width_of
        writer.fill(MiB, 2 * MiB)
        writer.fill(3 * MiB, 4 * MiB)
        writer.publish()
        chromium.wait(f"{text_of('p')}.startsWith('100 % of 4.0 MiB, complete')")
    running.server.stop(0)
    assert running.ended()
    chromium.wait("document.getElementById('state').textContent.startsWith('No connection')")
    assert [line for line in chromium.said if "ERR_CONNECTION" not in line] == []
    assert chromium.value("document.querySelectorAll('img').length") == 0
    chromium.open("about:blank#")


def test_it_is_whole_without_scripts(chromium: Browser, start: Start, folder: Path) -> None:
    running = start(folder)
    chromium.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        with filling(folder / NAME, DATA) as writer:
            writer.fill(0, MiB)
            chromium.open(f"{running.url}/")
            assert chromium.value(text_of("p")) == "25 % of 4.0 MiB, downloading, 0 readers"
            assert "As it was" in chromium.value("document.getElementById('state').textContent")
            assert chromium.value("document.querySelectorAll('.files li').length") == 5
    finally:
        chromium.call("Emulation.setScriptExecutionDisabled", value=False)


def test_with_a_token(chromium: Browser, start: Start, folder: Path) -> None:
    site = Folder(folder)
    running = start(site, token="s3cret")
    chromium.open(running.url.replace("://", "://x:s3cret@") + "/")
    chromium.wait("document.getElementById('state').textContent === 'Live.'")
    chromium.open("about:blank#")
    running.server.stop(0)
    assert running.ended()
    site.close()
