"""Servers of this process, on loopback, each in a thread that ends with its test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from rdl.server.connection import Limits
from rdl.server.folder import Folder
from rdl.server.loop import Address, Server
from rdl.server.resource import Site
from tests.scenarios.coded import MiB, Origin
from tests.server.proxying import Proxy
from tests.support.waiting import until

ANY = Address(port=0)


class Running:
    """`lines`: what the server told."""

    def __init__(self, server: Server, lines: list[str], thread: threading.Thread) -> None:
        self.server, self.lines, self._thread = server, lines, thread
        self.port = server.address.port
        self.url = f"http://{server.address.shown}"

    def told(self) -> list[str]:
        """The lines, when each answer has its own: it is written behind the answer."""
        until(lambda: len(self.lines) >= sum(self.server.tally.requests.values()))
        return self.lines

    def ended(self, seconds: float = 10) -> bool:
        """Whether the loop ends by itself in that time."""
        self._thread.join(seconds)
        return not self._thread.is_alive()


@contextmanager
def running(site: Site, limits: Limits, token: str | None, address: Address) -> Iterator[Running]:
    lines: list[str] = []
    with Server(site, address, token=token, limits=limits, told=lines.append) as server:
        thread = threading.Thread(target=server.run, name="server")
        thread.start()
        try:
            yield Running(server, lines, thread)
        finally:
            server.stop(0)
            thread.join(10)
    assert not thread.is_alive()


Start = Callable[..., Running]


@pytest.fixture
def start() -> Iterator[Start]:
    """Serve a site, or a folder: `start(site, limits=None, token=None, address=ANY)`."""
    with ExitStack() as stack:

        def begin(
            site: Site | Path,
            limits: Limits | None = None,
            token: str | None = None,
            address: Address = ANY,
        ) -> Running:
            if isinstance(site, Path):
                site = Folder(site)
                stack.callback(site.close)
            return stack.enter_context(running(site, limits or Limits(), token, address))

        yield begin


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin(size=4 * MiB) as server:
        yield server


@pytest.fixture
def proxies(origin: Origin, start: Start, tmp_path: Path) -> Iterator[Any]:
    made: list[Proxy] = []

    def make(**options: Any) -> Proxy:
        made.append(Proxy(origin, start, tmp_path / "cache", **options))
        return made[-1]

    yield make
    for one in made:
        one.close()
