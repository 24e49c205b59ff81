"""What casync makes, its own way, is read from a server of many."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import rdl
from rdl.api import Session
from rdl.chunk_store import ChunkStore
from rdl.core.caibx import parse_caibx
from rdl.options import NetworkOptions, Options
from tests.servers.conftest import StartOrigin, required
from tests.support.content import MiB, write_seeded
from tests.support.servers import RECIPES, public_folder

(NGINX,) = (recipe for recipe in RECIPES if recipe.name == "nginx")


@pytest.mark.parametrize(
    ("digest", "compression"), [("sha512-256", "zstd"), ("sha256", "xz"), ("sha256", "gzip")]
)
def test_a_store_of_casync(
    digest: str, compression: str, start: StartOrigin, tmp_path: Path, output: Path
) -> None:
    content, size = tmp_path / "content", MiB // 4 + 4321
    write_seeded(content, size, seed=3)
    with content.open("ab") as file:  # what repeats is stored once
        file.write(bytes(MiB) + content.read_bytes()[: MiB // 8])
    data = content.read_bytes()
    with public_folder() as public:
        index = public / "content.caibx"
        options = [f"--digest={digest}", f"--compression={compression}", "--chunk-size=32768"]
        words = [required("casync"), "make", *options, f"--store={public}/x.castr"]
        subprocess.run([*words, str(index), str(content)], check=True, timeout=60)
        for folder, _, names in os.walk(public):
            os.chmod(folder, 0o755)
            for name in names:
                os.chmod(Path(folder, name), 0o644)
        origin = start(NGINX, source=index)
        network = NetworkOptions(netrc=False, proxy="")
        address = f"{origin.server.url}/content.caibx"
        with Session() as session:
            found = parse_caibx(session.stream(address, Options(network)).readall())
            url = f"{origin.server.url}/x.castr"
            store = ChunkStore(found, url, session, name="content", network=network)
            result = rdl.get(store, output)
    assert (found.average, found.total, result.bytes_total) == (32768, len(data), len(data))
    assert found.chunks.algorithm == digest.replace("-", "_")
    assert output.read_bytes() == data
