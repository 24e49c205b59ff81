"""Where the rows are measured: a folder in memory with content, certificates and one output.

Content is made when a row first needs it and kept; every output is compared with it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.clients import Client
from bench.measure import Cost, run
from tests.support.certificates import Certificates, make_certificates
from tests.support.content import MiB, write_seeded
from tests.support.servers import Recipe, RunningServer, Site, nginx, running

SEED = 1


def serve(site: Site) -> list[str]:
    """nginx without an access log."""
    return nginx(site, log=False)


SCHEMES = {
    "http": Recipe("http", "nginx", serve),
    "https": Recipe("https", "nginx", serve, tls=True),
}


@dataclass(frozen=True, slots=True)
class Content:
    """A file that the servers serve."""

    path: Path
    size: int
    sha256: str


class Bench:
    """A folder in memory. `size`: bytes that a row fetches which says nothing else."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder, self.size = folder, size
        self.public = folder / "public"
        self.public.mkdir()
        self.certificates: Certificates = make_certificates(folder)
        self.output = folder / "output.bin"
        self._contents: dict[int, Content] = {}

    def content(self, size: int | None = None) -> Content:
        """Seeded random bytes; a smaller one is the start of a larger one."""
        size = self.size if size is None else size
        if size not in self._contents:
            path = self.public / f"{size}.bin"
            self._contents[size] = Content(path, size, write_seeded(path, size, SEED))
        return self._contents[size]

    @contextmanager
    def server(self, scheme: str, rate: int | None = None) -> Iterator[RunningServer]:
        """nginx for one scheme, throttled to `rate` bytes a second and connection or not."""
        private = Path(tempfile.mkdtemp(dir=self.folder))
        certificates = self.certificates
        with running(
            SCHEMES[scheme], self.public, private, rate=rate, certificates=certificates
        ) as server:
            yield server

    def fetch(self, client: Client, url: str, content: Content) -> Cost:
        """One measured download, compared with the content and removed."""
        cost = run(client.build(url, self.output, self.certificates.authority))
        self.take(client.name, content)
        return cost

    def take(self, name: str, content: Content) -> None:
        """Remove the output. RuntimeError when it is not the content."""
        compare(name, self.output, content.path)
        self.output.unlink()


def compare(name: str, output: Path, right: Path) -> None:
    """RuntimeError unless both files hold the same bytes."""
    found, size = output.stat().st_size, right.stat().st_size
    if found != size:
        raise RuntimeError(f"{name} left {found} bytes of {size}")
    with output.open("rb") as left, right.open("rb") as expected:
        while block := expected.read(MiB):
            if left.read(MiB) != block:
                raise RuntimeError(f"{name} left wrong bytes before {expected.tell()}")
