"""Two versions of a file: what a delta is measured on.

One is made up; those of others come from a package index and from the archive that apt has, by
their own clients. What cannot be had is left out.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

from bench.place import SEED
from tests.support.content import MiB

INSERTED, REMOVED = 8, MiB
WHEEL, RELEASES = "numpy", ("2.3.3", "2.3.4")
PLATFORMS = ("manylinux_2_27_x86_64", "manylinux_2_28_x86_64")
PACKAGE = "postgresql-15"
PATIENCE = 300.0
"""Seconds that one download may take."""
BLOCK = 128 << 10


class Absent(Exception):
    """A pair that cannot be had here, and why."""


@dataclass(frozen=True, slots=True)
class Pair:
    """`about`: what they are."""

    about: str
    old: Path
    new: Path


Make = Callable[[Path, Path, Path], str]
"""Makes a pair (folder to work in, old, new) and says what it is. Raises Absent."""


def insertion(size: int) -> Make:
    """Mixed content of `size` bytes: some are put in in the middle, and some taken away later."""

    def make(folder: Path, old: Path, new: Path) -> str:
        source = random.Random(SEED)
        data = b"".join(_block(source, number) for number in range(size // BLOCK))
        middle, later = len(data) // 2, len(data) * 3 // 4
        old.write_bytes(data)
        parts = (data[:middle], source.randbytes(INSERTED), data[middle:later])
        new.write_bytes(b"".join((*parts, data[later + REMOVED :])))
        return f"{INSERTED} bytes put in, {REMOVED // MiB} MiB taken away"

    return make


def _block(source: random.Random, number: int) -> bytes:
    """Random bytes, lines of text, or zeros, in turn."""
    if number % 8 == 7:
        return bytes(BLOCK)
    if number % 2:
        return source.randbytes(BLOCK)
    words = source.choices(("one", "of", "these", "words", "and", "a", "number"), k=BLOCK // 8)
    lines = "\n".join(f"{place} {word}" for place, word in enumerate(words, number * BLOCK))
    return lines.encode()[:BLOCK]


def wheels(folder: Path, old: Path, new: Path) -> str:
    """Two releases of a wheel, unpacked, as tar files."""
    for release, out in zip(RELEASES, (old, new), strict=True):
        place = folder / f"{WHEEL}-{release}"
        cpython = ("--implementation", "cp", "--python-version", "3.11", "--abi", "cp311")
        wanted = [word for platform in PLATFORMS for word in ("--platform", platform)]
        quiet = ("--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:")
        command = [sys.executable, "-m", "pip", "download", *quiet, *cpython, *wanted]
        _fetched([*command, "-d", str(place), f"{WHEEL}=={release}"], folder)
        _repack(next(place.glob("*.whl")), out)
        shutil.rmtree(place)
    return f"{WHEEL} {RELEASES[0]} and {RELEASES[1]}, wheels as tar"


def _repack(wheel: Path, out: Path) -> None:
    """The members in the order of their names, with nothing of the time and the user in them."""
    with ZipFile(wheel) as archive, tarfile.open(out, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(archive.namelist()):
            one = tarfile.TarInfo(name)
            one.size = archive.getinfo(name).file_size
            with archive.open(name) as data:
                tar.addfile(one, data)


def packages(folder: Path, old: Path, new: Path) -> str:
    """The files of two versions of a Debian package, as its tar files."""
    if not all(map(shutil.which, ("apt-cache", "apt-get", "dpkg-deb"))):
        raise Absent("apt is not here")
    rows = _fetched(["apt-cache", "madison", PACKAGE], folder).splitlines()
    found = {row.split("|")[1].strip(): None for row in rows if "Packages" in row}
    if len(versions := list(found)) < 2:
        raise Absent(f"the archive that apt knows has no two versions of {PACKAGE}")
    pair = (versions[-1], versions[0])  # the newest is the first
    for version, out in zip(pair, (old, new), strict=True):
        _fetched(["apt-get", "-qq", "download", f"{PACKAGE}={version}"], folder)
        package = next(folder.glob(f"{PACKAGE}_*.deb"))
        with out.open("wb") as data:
            command = ["dpkg-deb", "--fsys-tarfile", str(package)]
            subprocess.run(command, stdout=data, check=True, timeout=PATIENCE)
        package.unlink()
    return f"{PACKAGE} {pair[0]} and {pair[1]}, their data.tar"


def _fetched(command: Sequence[str], folder: Path) -> str:
    """What it says. Raises Absent where it fails."""
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=True, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        raise Absent(f"{command[0]} takes more than {PATIENCE:.0f} s") from None
    except subprocess.CalledProcessError as error:
        last = error.stderr.strip().splitlines()[-1:]
        raise Absent(" ".join((*command[:4], "failed:", *last))) from error
    return done.stdout
