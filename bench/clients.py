"""The downloaders that are measured: how each is told to fetch one URL to one file, quietly."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Build = Callable[[str, Path, Path], list[str]]


@dataclass(frozen=True, slots=True)
class Client:
    """`build(url, output, authority)` makes the command line."""

    name: str
    program: str
    build: Build

    def is_installed(self) -> bool:
        return shutil.which(self.program) is not None


def _rdl(url: str, output: Path, authority: Path) -> list[str]:
    trust = ["--cacert", str(authority)]
    return [sys.executable, "-m", "rdl", "get", url, "-o", str(output), "-q", *trust]


def _curl(url: str, output: Path, authority: Path) -> list[str]:
    return ["curl", "-q", "-sS", "--cacert", str(authority), "-o", str(output), url]


def _wget2(url: str, output: Path, authority: Path) -> list[str]:
    return ["wget2", "--no-config", "-q", f"--ca-certificate={authority}", "-O", str(output), url]


def _aria2(connections: int) -> Build:
    def build(url: str, output: Path, authority: Path) -> list[str]:
        where = ["-d", str(output.parent), "-o", output.name, f"--ca-certificate={authority}"]
        split = [f"-x{connections}", f"-s{connections}", "--file-allocation=falloc"]
        return ["aria2c", "--no-conf", "-q", *split, *where, url]

    return build


def _axel(url: str, output: Path, authority: Path) -> list[str]:
    del authority  # axel cannot be told, and refuses an address as a certificate's name
    return ["axel", "-q", "-k", "-n8", "-o", str(output), url]


CLIENTS = (
    Client("rdl", sys.executable, _rdl),
    Client("curl", "curl", _curl),
    Client("wget2", "wget2", _wget2),
    Client("aria2c -x1", "aria2c", _aria2(1)),
    Client("aria2c -x8", "aria2c", _aria2(8)),
    Client("axel -n8", "axel", _axel),
)
