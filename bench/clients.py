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


def _aria2(connections: int, *more: str) -> Build:
    def build(url: str, output: Path, authority: Path) -> list[str]:
        where = ["-d", str(output.parent), "-o", output.name, f"--ca-certificate={authority}"]
        split = [f"-x{connections}", f"-s{connections}", "--file-allocation=falloc"]
        return ["aria2c", "--no-conf", "-q", *split, *more, *where, url]

    return build


def _axel(url: str, output: Path, authority: Path) -> list[str]:
    del authority  # axel cannot be told, and refuses an address as a certificate's name
    return ["axel", "-q", "-k", "-n8", "-o", str(output), url]


RDL = Client("rdl", sys.executable, _rdl)
CURL = Client("curl", "curl", _curl)
WGET2 = Client("wget2", "wget2", _wget2)
AXEL = Client("axel -n8", "axel", _axel)
SPLITTING = Client("aria2c -x8 -k1M", "aria2c", _aria2(8, "-k1M"))
"""As users set it who want eight connections to any file: its own least split is 20 MiB."""

TOLD = "rdl -x8 -k1M"
"""rdl told the same."""

CLIENTS = (
    RDL,
    CURL,
    WGET2,
    Client("aria2c -x1", "aria2c", _aria2(1)),
    Client("aria2c -x8", "aria2c", _aria2(8)),
    AXEL,
)


def installed(*clients: Client) -> list[Client]:
    """Those of them that are there."""
    return [client for client in clients if client.is_installed()]


def rdl_with(*options: str, name: str = "rdl") -> Client:
    """rdl with further options."""
    return Client(name, sys.executable, lambda *place: [*_rdl(*place), *options])


def aria2_checking(sha256: str) -> Client:
    """aria2c with eight connections, which checks the whole file at the end."""
    build = _aria2(8, f"--checksum=sha-256={sha256}")
    return Client("aria2c -x8 --checksum", "aria2c", build)
