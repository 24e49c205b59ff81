"""`rdl sync` by what zsyncmake and casync make, as they make it, from a server of many."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import rdl
from rdl.manifests import make_manifest
from rdl.options import NetworkOptions, Options
from tests.servers.conftest import StartOrigin, required
from tests.support.content import MiB
from tests.support.deltas import mixed
from tests.support.servers import RECIPES, public_folder

(NGINX,) = (recipe for recipe in RECIPES if recipe.name == "nginx")


@pytest.mark.parametrize("name", ["zsync", "caibx", "castr", "rdlm"])
def test_an_old_file_is_brought_up_to_date(
    name: str, start: StartOrigin, tmp_path: Path, output: Path
) -> None:
    old = mixed(3 * MiB)
    new = old[:MiB] + b"inserted" + old[MiB : 2 * MiB] + old[2 * MiB + 50_000 :]
    output.write_bytes(old)
    with public_folder() as public:
        content, index = public / "new", public / f"index.{name}"
        content.write_bytes(new)
        if name == "rdlm":
            words = []
            make_manifest(content, index)
        elif name == "zsync":
            words = [required("zsyncmake"), "-u", "new", "-o", str(index), str(content)]
        else:
            index = public / "index.caibx"
            store = f"--store={public}/x.castr"
            words = [required("casync"), "make", store, str(index), str(content)]
        if words:
            subprocess.run(words, check=True, timeout=60, capture_output=True)
        for path in public.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        origin = start(NGINX, source=content)
        options = Options(NetworkOptions(netrc=False, proxy=""))
        url = f"{origin.server.url}/{'x.castr' if name == 'castr' else 'new'}"
        manifest = f"{origin.server.url}/{index.name}"
        result = rdl.sync(url, output, manifest=manifest, options=options)
    assert output.read_bytes() == new
    assert result.bytes_downloaded < len(new) // (3 if name in ("caibx", "castr") else 10)
    assert result.trust == "T3"
