"""The downloaders that are played, each with the options of a careful user who expects trouble."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

NAME = "file.bin"
"""What every tool calls its output, in a folder of its own."""
Build = Callable[[str, int], list[str]]


@dataclass(frozen=True, slots=True)
class Tool:
    """`build(url, split)` makes the command; `split`: the smallest part, in bytes, worth a
    connection. `several`: it uses four connections."""

    name: str
    program: str
    build: Build
    several: bool = False
    version_of: tuple[str, ...] = ()

    def is_installed(self) -> bool:
        return shutil.which(self.program) is not None

    def version(self) -> str:
        """The first number of what `--version` says."""
        command = [*(self.version_of or (self.program,)), "--version"]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        found = re.search(r"[0-9]+(?:\.[0-9]+)+", ended.stdout)
        return found[0] if found else "unknown"


def _rdl(url: str, split: int) -> list[str]:
    options = ["-x", "4", "-k", str(split), "--strict", "-q"]
    return [sys.executable, "-m", "rdl", "get", url, "-o", NAME, *options]


def _curl(url: str, split: int) -> list[str]:
    again = ["-C", "-", "--retry", "5", "--retry-all-errors", "--retry-delay", "1"]
    return ["curl", "-q", "-sS", "-f", *again, "-o", NAME, url]


def _wget(url: str, split: int) -> list[str]:
    return ["wget", "--no-config", "-nv", "-c", "-t", "5", "--waitretry=1", "-O", NAME, url]


def _wget2(url: str, split: int) -> list[str]:
    return ["wget2", "--no-config", "-nv", "-c", "-t", "5", "--waitretry=1", "-O", NAME, url]


def _aria2(url: str, split: int) -> list[str]:
    parts = ["-x4", "-s4", "-k1M", "-c", "-q"]
    return ["aria2c", "--no-conf", *parts, "-o", NAME, url]


def _axel(url: str, split: int) -> list[str]:
    return ["axel", "-q", "-n4", "-o", NAME, url]


RDL = Tool("rdl -x4", sys.executable, _rdl, True, (sys.executable, "-m", "rdl"))
TOOLS = (
    RDL,
    Tool("curl -C -", "curl", _curl),
    Tool("wget -c", "wget", _wget),
    Tool("wget2 -c", "wget2", _wget2),
    Tool("aria2c -x4", "aria2c", _aria2, True),
    Tool("axel -n4", "axel", _axel, True),
)
