"""A headless Chromium, spoken to by its DevTools protocol over two pipes."""

from __future__ import annotations

import base64
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

PROGRAM = "chromium-headless-shell"
PATIENCE = 30.0


class Browser:
    """One page of it. Everything that it said, or refused to do, is in `said`."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, answers
        self._data, self._number = b"", 0
        self._session: str | None = None
        self.said: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        """The result of one command."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE
        while True:
            found = self._next(deadline)
            if found.get("id") == self._number:
                assert "error" not in found, found["error"]
                return found["result"]
            self._hear(found)

    def open(self, url: str) -> None:
        """Until it is loaded."""
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def value(self, expression: str) -> Any:
        """Of an expression in the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, expression: str) -> Any:
        """Until it is true."""
        deadline = time.monotonic() + PATIENCE
        while not (found := self.value(expression)):
            assert time.monotonic() < deadline, f"never: {expression}; {self.said}"
            time.sleep(0.02)
        return found

    def show(self, width: int, *, dark: bool = False) -> None:
        """As a screen of this width, 700 high."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=700,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def shoot(self, path: Path) -> None:
        """A screenshot."""
        data = self.call("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))

    def _next(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._data:
            patience = max(0, deadline - time.monotonic())
            assert select.select([self._answers], [], [], patience)[0], "the browser is silent"
            data = os.read(self._answers, 1 << 16)
            assert data, "the browser has gone"
            self._data += data
        one, _, self._data = self._data.partition(b"\0")
        found: dict[str, Any] = json.loads(one)
        return found

    def _hear(self, event: dict[str, Any]) -> None:
        about = event.get("params", {})
        if event.get("method") == "Log.entryAdded":
            self.said.append(about["entry"]["text"])
        elif event.get("method") == "Runtime.exceptionThrown":
            self.said.append(str(about["exceptionDetails"]))


@contextmanager
def browser(program: str, home: Path) -> Iterator[Browser]:
    """One that leaves nothing behind but what is in `home`."""
    (to_read, commands), (answers, to_write) = os.pipe(), os.pipe()
    process = subprocess.Popen(
        [
            *("bash", "-c", 'exec "$@" 3<&"$IN" 4>&"$OUT"', "bash", program, "--no-sandbox"),
            *("--remote-debugging-pipe", f"--user-data-dir={home}", "--no-first-run"),
            *("--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"),
            "about:blank",
        ],
        env={**os.environ, "IN": str(to_read), "OUT": str(to_write), "HOME": str(home)},
        pass_fds=(to_read, to_write),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(to_read)
    os.close(to_write)
    try:
        yield Browser(commands, answers)
    finally:
        os.close(commands)
        os.close(answers)
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
