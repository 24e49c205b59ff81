"""Servers and content for this folder. Where servers are required, a missing one fails."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

from tests.support.certificates import Certificates, make_certificates
from tests.support.content import MiB, write_seeded
from tests.support.servers import Recipe, RunningServer, program_path, public_folder, running

SIZE = 12 * MiB + 4321
LONG_AGO = 1_700_000_000
"""A modification time that makes every validator strong."""


@dataclass(frozen=True, slots=True)
class Origin:
    """A running server with one file: `url` names it, `source` is it, `sha256` its digest.

    `hasten` begins it anew at the same place, without its throttle.
    """

    server: RunningServer
    url: str
    source: Path
    sha256: str
    options: tuple[str, ...]
    hasten: Callable[[], None]

    @property
    def recipe(self) -> Recipe:
        return self.server.recipe


StartOrigin = Callable[..., Origin]


def require(recipe: Recipe) -> None:
    """Skip when the server is not installed; fail where CI says that it must be."""
    if not recipe.is_installed():
        lack(recipe.program)


def required(program: str) -> str:
    """Where a program is that makes what is served; the same where it is not."""
    return program_path(program) or lack(program)


def lack(program: str) -> NoReturn:
    missing = f"{program} is not installed"
    if os.environ.get("REQUIRE_SERVERS") == "1" or os.environ.get("CI", "").lower() == "true":
        pytest.fail(missing)
    pytest.skip(missing)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """One authority for all TLS servers of the run."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def content() -> Iterator[tuple[Path, str]]:
    """A served folder's file and its digest; tests that change a file make their own."""
    with public_folder() as folder:
        path = folder / "data.bin"
        digest = write_seeded(path, SIZE, seed=1)
        path.chmod(0o644)
        os.utime(path, (LONG_AGO, LONG_AGO))
        yield path, digest


@pytest.fixture
def start(
    tmp_path: Path, certificates: Certificates, content: tuple[Path, str]
) -> Iterator[StartOrigin]:
    """Start a server: `start(recipe, rate=None, source=None)`; it ends with the test."""
    with ExitStack() as stack:

        def begin(recipe: Recipe, *, rate: int | None = None, source: Path | None = None) -> Origin:
            require(recipe)
            path, digest = (source, "") if source else content
            private = tmp_path / recipe.name
            private.mkdir()
            own = stack.enter_context(ExitStack())

            def run(port: int | None, rate: int | None) -> RunningServer:
                return own.enter_context(
                    running(
                        *(recipe, path.parent, private),
                        port=port,
                        rate=rate,
                        certificates=certificates,
                    )
                )

            def hasten() -> None:
                own.close()
                run(server.site.port, None)

            server = run(None, rate)
            options = ("--cacert", str(certificates.authority)) if recipe.tls else ()
            return Origin(server, f"{server.url}/{path.name}", path, digest, options, hasten)

        yield begin


@pytest.fixture
def fresh_source() -> Iterator[Path]:
    """A served file that was written a moment ago and that the test may replace."""
    with public_folder() as folder:
        path = folder / "fresh.bin"
        write_seeded(path, SIZE, seed=2)
        path.chmod(0o644)
        yield path


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Where to download to: a folder of its own, so that leftovers show."""
    folder = tmp_path / "output"
    folder.mkdir()
    return folder / "file.bin"
