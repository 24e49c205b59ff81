"""Shows a download that survives SIGKILL: start, kill half-way, continue, prove the digest.

Needs nothing but loopback and a temporary folder; takes about half a minute.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from demo.origin import Content, Origin

MiB = 1 << 20
PATIENCE = 120.0


class Failed(Exception):
    """Something did not happen as promised."""


def say(text: str) -> None:
    """One paragraph of the story, after the bar's line."""
    print(f"\n{text}", flush=True)


def mib(size: int) -> str:
    """A size for people."""
    return f"{size / MiB:.1f} MiB"


def command(origin: Origin, target: Path, *options: str) -> list[str]:
    """The rdl command; both runs use the same one."""
    url = f"{origin.url}/{target.name}"
    return [sys.executable, "-m", "rdl", "get", url, "-o", str(target), *options]


def kill_half_way(origin: Origin, target: Path) -> None:
    """Run until the origin has sent half of the file, then SIGKILL."""
    process = subprocess.Popen(command(origin, target), stdin=subprocess.DEVNULL)
    deadline = time.monotonic() + PATIENCE
    try:
        while origin.sent < origin.content.size // 2:
            if process.poll() is not None:
                raise Failed(f"rdl ended by itself with exit code {process.returncode}")
            if time.monotonic() > deadline:
                raise Failed(f"only {mib(origin.sent)} came in {PATIENCE:.0f} s")
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()


def run_to_the_end(origin: Origin, target: Path, sha256: str) -> dict[str, Any]:
    """The same command again, with the digest to prove; returns its result object."""
    arguments = command(origin, target, "--sha256", sha256, "--json")
    ended = subprocess.run(
        arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=PATIENCE, check=False
    )
    if ended.returncode != 0:
        raise Failed(f"rdl ended with exit code {ended.returncode}")
    result: dict[str, Any] = json.loads(ended.stdout)
    return result


def show_block_map(target: Path) -> None:
    """The picture of what is on disk, as `rdl status` draws it here."""
    sys.stdout.flush()
    subprocess.run([sys.executable, "-m", "rdl", "status", str(target)], timeout=20, check=True)


def print_a_range(origin: Origin, target: Path) -> None:
    """Print bytes of the remote file, and compare them with those that arrived."""
    span, middle = 48, origin.content.size // 2
    words = ["cat", f"{origin.url}/{target.name}", "-r", f"{middle}+{span}", "-r", "-16"]
    command = [sys.executable, "-m", "rdl", *words]
    printed = subprocess.run(command, stdout=subprocess.PIPE, timeout=20, check=True).stdout
    with target.open("rb") as data:
        data.seek(middle)
        expected = data.read(span)
        data.seek(-16, 2)
        expected += data.read()
    if printed != expected:
        raise Failed("rdl cat printed other bytes")
    for at in range(0, len(printed), 16):
        print(f"    {printed[at : at + 16].hex(' ')}")


def tell_what_is_there(folder: Path) -> None:
    """The files in the folder, one a line."""
    for path in sorted(folder.iterdir()):
        print(f"    {path.name:24} {mib(path.stat().st_size):>12}")


def check(target: Path, sha256: str) -> None:
    """Read the file back ourselves; nothing else may be beside it."""
    with target.open("rb") as data:
        if hashlib.file_digest(data, "sha256").hexdigest() != sha256:
            raise Failed("the file's bytes are wrong")
    if [path.name for path in target.parent.iterdir()] != [target.name]:
        raise Failed("something was left behind")


def story(origin: Origin, folder: Path) -> None:
    """The whole demonstration; raises Failed at the first broken promise."""
    content, target = origin.content, folder / "demo.bin"
    sha256 = content.sha256()
    say(
        f"A server on loopback offers {mib(content.size)}, but only {mib(origin.rate)}/s to each "
        f"connection.\nFirst run: rdl get {origin.url}/{target.name} -o {target.name}"
    )
    kill_half_way(origin, target)
    sent, busiest = origin.sent, origin.take_busiest()
    say(
        f"Killed with SIGKILL after the server had sent {mib(sent)} over up to {busiest} "
        f"connections.\nThe final name does not exist yet; this is on disk:"
    )
    tell_what_is_there(folder)
    if target.exists():
        raise Failed("an incomplete file has the final name")
    say(f"What of it is here, by its index: rdl status {target.name}")
    show_block_map(target)
    say("Second run: the same command, with the digest to prove.")
    result = run_to_the_end(origin, target, sha256)
    check(target, sha256)
    again = origin.sent - content.size
    say(
        f"Done in {result['seconds']:.1f} s: {mib(result['bytes_reused'])} were kept from the "
        f"killed run, {mib(result['bytes_downloaded'])} came now.\n"
        f"What the kill cost: {mib(max(0, again))} sent twice "
        f"(most of it was still in the kernel's socket buffers).\n"
        f"SHA-256 {sha256} is right, and nothing but {target.name} is left."
    )
    say(
        f"Any part of a remote file, no file kept: 48 bytes from its middle and its last 16:\n"
        f"rdl cat {origin.url}/{target.name} -r {content.size // 2}+48 -r -16"
    )
    print_a_range(origin, target)


def main() -> int:
    """Exit code 0 when every promise was kept."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("--size", type=int, default=256, help="MiB to download (256)")
    parser.add_argument("--rate", type=int, default=2, help="MiB/s for each connection (2)")
    options = parser.parse_args()
    content = Content(options.size * MiB, seed=2026)
    with (
        tempfile.TemporaryDirectory(prefix="rdl-demo-") as folder,
        Origin(content, options.rate * MiB) as origin,
    ):
        threading.Thread(target=origin.serve_forever, daemon=True).start()
        try:
            story(origin, Path(folder))
        except Failed as broken:
            print(f"demo: {broken}", file=sys.stderr)
            return 1
        finally:
            origin.shutdown()
    return 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
