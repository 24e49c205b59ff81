"""A Session that fetches nothing: what it does with a target is said by the URL's host.

Run as a program it is `rdl` with this session, for tests that need a process of their own
and for looking at the displays: `python -m tests.cli.stand_in http://steady/f.iso`.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from msgspec.structs import replace

from rdl.api import Session, Target
from rdl.cli.commands import get
from rdl.cli.main import main
from rdl.core import events
from rdl.core.text import redact_url
from rdl.errors import ExitCode, Interrupted
from rdl.options import SessionOptions

MiB = 1 << 20
TOTAL = 1200 * MiB
REUSED = 300 * MiB
NASTY = "evil\x1b]0;title\x07\u202e[/red][link=x]\nnext"
Tell = Callable[[events.Fact], None]

HOSTS: dict[str, dict[str, Any]] = {
    "proved": {"verified_by": ("sha256",), "trust": "T4"},
    "weak": {"trust": "T0", "completeness": "unconfirmed"},
    "dated": {"trust": "T1", "bytes_reused": 0},
    "unchanged": {"reason": "unchanged", "bytes_downloaded": 0},
    "missing": {
        "exit_code": 8,
        "reason": "http-status",
        "error": "http://u:canary@missing/f?sig=canary: 404 Not Found",
        "completeness": "unconfirmed",
    },
    "refused": {
        "exit_code": 4,
        "reason": "network",
        "error": "connect: refused",
        "completeness": "unconfirmed",
        "resumable": True,
        "bytes_present": REUSED,
    },
    "denied": {
        "exit_code": 6,
        "reason": "auth",
        "error": "http://denied/f: 403 Forbidden",
        "hint": "the link may have died",
        "completeness": "unconfirmed",
        "resumable": True,
        "bytes_present": REUSED,
    },
    "nasty": {
        "exit_code": 7,
        "reason": "protocol",
        "error": f"reason phrase: {NASTY}",
        "completeness": "unconfirmed",
    },
}


class StandIn(Session):
    """Keeps what it was asked; waits for an interruption where the host is `endless`."""

    def __init__(self, options: SessionOptions | None = None) -> None:
        self.asked = options or SessionOptions()
        self.targets: list[Target] = []
        self.signals: list[str] = []
        self._interrupted = threading.Event()

    def interrupt(self, signal: str) -> None:
        self.signals.append(signal)
        self._interrupted.set()

    def close(self) -> None:
        pass

    def get_all(
        self,
        targets: Iterable[Target],
        tell: Tell | None = None,
        done: Callable[[events.Result], None] | None = None,
    ) -> list[events.Result]:
        self.targets = list(targets)
        results = []
        for target in self.targets:
            result = self._one(target, tell or (lambda _fact: None))
            results.append(result)
            if done:
                done(result)
        return results

    def _one(self, target: Target, tell: Tell) -> events.Result:
        host = target.url.split("/")[2]
        path, url = str(target.path), redact_url(target.url)
        if target.options.dry_run and host not in ("missing", "refused"):
            tell(events.Planned(url, path, TOTAL, REUSED, True, "T2", True))
            return events.Result(url, path, reason="dry-run", trust="T2")
        if self.signals:
            return self._interrupted_result(url, path, 0)
        if host == "broken":
            raise ZeroDivisionError("a bug\x1b[31m")
        self._facts(host, url, path, tell)
        if host in ("endless", "stubborn"):
            self._interrupted.wait(60)
            time.sleep(60 if host == "stubborn" else 0)
            return self._interrupted_result(url, path, REUSED)
        result = events.Result(
            *(url, path),
            bytes_total=TOTAL,
            bytes_present=TOTAL,
            bytes_downloaded=TOTAL - REUSED,
            bytes_reused=REUSED,
            seconds=9.0,
            connections=8,
            trust="T2",
        )
        return replace(result, **HOSTS.get(host, {}))

    def _interrupted_result(self, url: str, path: str, present: int) -> events.Result:
        signal = self.signals[0]
        return events.Result(
            *(url, path),
            exit_code=Interrupted.CODES.get(signal, ExitCode.INTERRUPTED),
            reason="interrupted",
            resumable=True,
            bytes_total=TOTAL if present else None,
            bytes_present=present,
            error=f"interrupted: {signal}",
            completeness="unconfirmed",
        )

    def _facts(self, host: str, url: str, path: str, tell: Tell) -> None:
        tell(events.Started(url, path, TOTAL, REUSED, "T2", True))
        if host == "warned":
            tell(events.Warned(path, NASTY))
        if host == "changed":
            tell(events.Changed(path, "ETag"))
        steps, pause = (60, 0.12) if host in ("steady", "pulse") else (9, 0.0)
        for step in range(steps):
            tell(_progress(path, step / steps, None if host == "pulse" else TOTAL))
            time.sleep(pause)
        if host in ("retried", "steady"):
            tell(events.Retrying(path, "503 Service Unavailable", 2, 1.5))
        for step in range(6 if pause else 1):
            tell(events.Verifying(path, TOTAL, TOTAL * step // 6))
            time.sleep(pause)


def _progress(path: str, share: float, total: int | None) -> events.Progress:
    present = REUSED + int((TOTAL - REUSED) * share)
    lanes = [min(8.0, 8 * share * (0.7 + lane % 4 * 0.2)) for lane in range(8)]
    ahead = [max(0.0, min(1.0, lanes[cell // 8] - cell % 8)) for cell in range(64)]
    coverage = tuple(1.0 if cell < 8 else ahead[cell] for cell in range(64))
    speed = 98.4 * MiB
    eta = None if total is None else (total - present) / speed
    return events.Progress(
        *(path, total, present, present - REUSED, speed, eta, 8), coverage if total else ()
    )


def run() -> int:
    """`rdl` with this session."""
    get.open_session = StandIn
    return main()


if __name__ == "__main__":
    sys.exit(run())
