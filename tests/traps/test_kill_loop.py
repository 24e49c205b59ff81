"""Killed again and again, while the file changes on the server: real processes, real sockets.

NIGHTLY_KILLS sets the number of kills of the servers' tests; here there are 25 times as many.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from random import Random

import pytest

import rdl
from rdl.errors import LocalFileError
from tests.engine.staging import content_of
from tests.support import json_schema
from tests.support.origin import Origin
from tests.support.waiting import until
from tests.traps.changing import STEP, Changing
from tests.traps.forks import Forks

MiB = 1 << 20
KILLS = 25 * int(os.environ["NIGHTLY_KILLS"]) if "NIGHTLY_KILLS" in os.environ else 24
SIZE, CONNECTIONS, PAUSE = 6 * MiB, 2, 0.005
LONGEST = 0.3
"""Seconds after which a run is killed at the latest; a download takes about so long. With each
that did not come to its end it is a little more, until one does: that is for the machine to say."""
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


class Loop:
    """Runs that end badly, and what is there after each."""

    def __init__(self, forks: Forks, origin: Origin, server: Changing, folder: Path) -> None:
        self.forks, self.origin, self.server = forks, origin, server
        self.path, self.stderr = folder / "f.bin", folder.parent / "stderr"
        self.random = Random(20)
        self.complete = self.most_reused = 0
        self.longest = LONGEST
        self.claimed: tuple[int, int] | None = None
        """(version, bytes) that the index says are here."""
        self.spare = [content_of(SIZE, seed=number) for number in (1, 2, 3)]

    def run(self, ending: list[signal.Signals]) -> int:
        """One process that gets these signals; its exit code."""
        changes = self.random.random() < 0.3
        moment = self.random.uniform(0.0, self.longest)
        words = ["-x", str(CONNECTIONS), "-k", "256K", "--progress", "json", "--no-netrc"]
        self.stderr.write_text("")  # a run that is killed at once does not come to do it
        self.forks.start(self.stderr, self.origin.url("/f.bin"), "-o", str(self.path), *words)
        if ending != [signal.SIGKILL]:
            assert until(lambda: '"start"' in self.stderr.read_text()), "it does not begin"
        begun = time.monotonic()
        if changes:
            time.sleep(self.random.uniform(0.0, moment))
            self.server.change(self.another())
        time.sleep(max(0.0, begun + moment - time.monotonic()))
        for number in ending:
            self.forks.send(number)
        sent = time.monotonic()
        code = self.forks.wait()
        assert time.monotonic() - sent < 6.0, "it took more than two seconds to end"
        self.look(code, changes)
        return code

    def another(self) -> bytes:
        """A version that is like none before, anywhere."""
        number = len(self.server.versions)
        data, turn = self.spare[number % 3], 4097 * number
        return data[turn:] + data[:turn]

    def look(self, code: int, changes: bool) -> None:
        """The promise, the index, and that nothing recorded was fetched again."""
        said = self.stderr.read_text()
        assert "Traceback" not in said, said
        there = self.path.exists()  # a kill may come between the publishing and the exit
        assert there or code != 0, said
        for event in json_schema.parse_all(said[: said.rfind("\n") + 1]):
            if event["event"] == "start":
                self.check_reused(event["bytes_reused"], changes)
        if code == 0:
            assert sorted(entry.name for entry in self.path.parent.iterdir()) == ["f.bin"]
        self.longest = LONGEST if there else 1.05 * self.longest
        if there:
            data = self.path.read_bytes()
            assert data in self.server.versions, "a wrong byte"
            assert data == self.server.newest or changes
            self.path.unlink()
            self.complete += 1
        self.claimed = self.claims()

    def check_reused(self, reused: int, changes: bool) -> None:
        self.most_reused = max(self.most_reused, reused)
        if self.claimed is not None and not changes:
            version, size = self.claimed
            current = self.server.versions[version] == self.server.newest
            assert reused == size or not current or version < len(self.server.versions) - 1

    def claims(self) -> tuple[int, int] | None:
        """What the index claims; it is so, and not much more than that was written."""
        try:
            status = rdl.status(self.path)
        except LocalFileError:
            return None
        if not status.present:
            return None
        part = self.path.with_name("f.bin.part").read_bytes()
        for number in reversed(range(len(self.server.versions))):
            data = self.server.versions[number]
            if all(part[a : b + 1] == data[a : b + 1] for a, b in status.present):
                written = sum(
                    part[at : at + STEP] == data[at : at + STEP] for at in range(0, SIZE, STEP)
                )
                allowed = (CONNECTIONS + 1) * MiB
                assert written * STEP - status.bytes_present <= allowed, "too much is lost"
                return number, status.bytes_present
        raise AssertionError(f"the index claims what no version has: {status!r}")


def test_killed_again_and_again_while_the_file_changes(tmp_path: Path) -> None:
    folder, server = tmp_path / "in", Changing(content_of(SIZE, seed=0), PAUSE)
    folder.mkdir()
    kills = 0
    with Origin(server.answer) as origin, Forks() as forks:
        loop = Loop(forks, origin, server, folder)
        while kills < KILLS or (loop.complete < 2 and kills < 4 * KILLS):
            code = loop.run([signal.SIGKILL])
            assert code in (0, -signal.SIGKILL), loop.stderr.read_text()
            kills += code != 0
        assert loop.complete >= 2
        assert loop.most_reused > MiB
        assert len(server.versions) > KILLS // 6


@pytest.mark.parametrize(
    ("number", "times"),
    [(signal.SIGINT, 1), (signal.SIGINT, 2), (signal.SIGTERM, 1), (signal.SIGHUP, 1)],
)
def test_signals_at_many_points(number: signal.Signals, times: int, tmp_path: Path) -> None:
    """Once: the state is saved, in two seconds at most. Twice: it ends at once, losing no more
    than a kill does."""
    folder, server = tmp_path / "in", Changing(content_of(SIZE, seed=0), PAUSE)
    folder.mkdir()
    with Origin(server.answer) as origin, Forks() as forks:
        loop = Loop(forks, origin, server, folder)
        codes = [loop.run([number] * times) for _ in range(max(5, KILLS // 10))]
    assert set(codes) <= {0, CODES[number]}
    assert CODES[number] in codes
