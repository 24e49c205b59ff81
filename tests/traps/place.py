"""The program, forked, over a loopback server of one file, and the folder where it shall stand."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from rdl.errors import ExitCode
from tests.engine.staging import content_of
from tests.support.origin import Answer, Origin, Seen
from tests.traps.changing import Changing
from tests.traps.forks import Forks

KiB, MiB = 1 << 10, 1 << 20
DATA = content_of(MiB, seed=3)
QUIET = ("--no-netrc", "-q", "--retry", "1")


class Place:
    """The program, a server, and an empty folder."""

    def __init__(self, forks: Forks, tmp_path: Path) -> None:
        self.forks, self.folder = forks, tmp_path / "in"
        self.folder.mkdir()
        self.stderr = tmp_path / "stderr"
        self.server = Changing(DATA)
        self.origin = Origin(self.answer)

    def answer(self, connection: int, number: int, seen: Seen) -> Answer:
        return self.server.answer(connection, number, seen)

    def get(self, output: Path | str, *words: str, **more: Any) -> int:
        """`rdl get` to its end; no traceback whatever happens."""
        url = self.origin.url("/f.bin")
        code = self.forks.run(self.stderr, url, "-o", str(output), *QUIET, *words, **more)
        assert "Traceback" not in self.said
        return code

    @property
    def said(self) -> str:
        return self.stderr.read_text()

    @property
    def requests(self) -> int:
        return len(self.origin.seen)

    def names(self) -> list[str]:
        return sorted(os.listdir(self.folder))

    def interrupted(self, output: Path) -> int:
        """Leave a partial of about half; how many bytes it has."""
        self.server = Changing(self.server.newest, 0.01)
        url, words = self.origin.url("/f.bin"), ("--no-netrc", "-q", "-x", "1")
        self.forks.start(self.stderr, url, "-o", str(output), *words)
        part = output.with_name(output.name + ".part")
        for _ in range(1000):
            if part.exists() and part.stat().st_size > 300 * KiB:
                break
            time.sleep(0.01)
        self.forks.send(signal.SIGTERM)
        assert self.forks.wait() == ExitCode.TERMINATED
        self.server = Changing(self.server.newest)
        self.origin.seen.clear()
        return part.stat().st_size
