"""Real processes without the cost of starting an interpreter: a program that has imported rdl forks
one child for each command line, which runs it as `rdl` would.

As a program it reads a JSON list on each line of stdin: how to run, then the arguments. It answers
with the child's number, and when it has ended with its status and its memory.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[2]


class Forks:
    """The program. A context manager that leaves no process."""

    def __init__(self) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        environment["PYTHONPATH"] = f"{ROOT}:{ROOT / 'src'}"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.traps.forks"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self._child = self.peak = 0
        """`peak`: KiB of memory that the last child had at most."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._child:
            os.kill(self._child, signal.SIGKILL)
        self._process.communicate(timeout=10)

    def start(
        self,
        stderr: Path,
        *arguments: str,
        limits: dict[str, int] | None = None,
        umask: int = -1,
        stdout: str | Path = os.devnull,
        folder: str | Path = ".",
    ) -> None:
        """Run `rdl` with these arguments; `limits`: of which resources how much there is;
        `folder`: where it runs, and its home."""
        assert self._process.stdin is not None
        how = {"stderr": str(stderr), "stdout": str(stdout), "folder": str(folder)}
        said = json.dumps([how | {"limits": limits or {}, "umask": umask}, *arguments])
        self._process.stdin.write(said + "\n")
        self._process.stdin.flush()
        self._child = self._answer()

    def send(self, number: signal.Signals) -> None:
        """A signal to the child. One that has ended keeps its number until it is waited for."""
        os.kill(self._child, number)

    def wait(self) -> int:
        """How it ended: the exit code, or the signal's number with a minus."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        status, self._child = self._answer(), 0
        self.peak = self._answer()
        return os.waitstatus_to_exitcode(status)

    def run(self, stderr: Path, *arguments: str, **more: Any) -> int:
        """To the end; the exit code."""
        self.start(stderr, *arguments, **more)
        return self.wait()

    def _answer(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


def serve() -> None:
    """Fork for each line, and wait at the empty one that follows it."""
    for name in ("httpx", "rdl.api", "rdl.cli.commands.get"):
        import_module(name)
    from rdl.cli.main import main

    for line in sys.stdin:
        how, *arguments = json.loads(line)
        child = os.fork()
        if child == 0:
            prepare(how)
            code = main(arguments)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        print(child, flush=True)
        sys.stdin.readline()
        _, status, used = os.wait4(child, 0)
        print(status, used.ru_maxrss, sep="\n", flush=True)


def prepare(how: dict[str, Any]) -> None:
    """In the child: where it is, where its streams go, and what it may use."""
    for number, name in enumerate((os.devnull, how["stdout"], how["stderr"])):
        target = os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(target, number)
        os.close(target)
    if how["folder"] != ".":
        os.chdir(how["folder"])
        os.environ["HOME"] = how["folder"]
    if how["umask"] >= 0:
        os.umask(how["umask"])
    for name, value in how["limits"].items():
        resource.setrlimit(getattr(resource, name), (value, value))


if __name__ == "__main__":
    serve()
