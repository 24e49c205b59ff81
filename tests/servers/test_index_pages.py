"""The index pages of real servers, as fsspec sees them."""

from __future__ import annotations

from pathlib import Path

import pytest

from rdl.doors.fsspec import RemoteFileSystem
from rdl.options import NetworkOptions, Options
from tests.servers.conftest import StartOrigin
from tests.support.certificates import Certificates
from tests.support.servers import RECIPES, Recipe, public_folder

NAMES = ("nginx", "nginx-tls", "lighttpd", "apache", "python")
KINDS = [recipe for recipe in RECIPES if recipe.name in NAMES]


@pytest.mark.parametrize("recipe", KINDS, ids=lambda recipe: recipe.name)
def test_a_folder_is_listed_and_fetched(
    recipe: Recipe,
    start: StartOrigin,
    tmp_path: Path,
    certificates: Certificates,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    names = ["a & b.txt", "über.csv", "x=1,y;z.bin", "plain"]
    with public_folder() as public:
        (public / "deep" / "er").mkdir(parents=True)
        for name in names:
            (public / "deep" / name).write_text(name)
        (public / "deep" / "er" / "last").write_text("last")
        origin = start(recipe, source=public / "deep")
        trusted = NetworkOptions(cacert=certificates.authority, netrc=False)
        fs = RemoteFileSystem(options=Options(trusted))
        assert fs.isdir(origin.url)
        kinds = [one["type"] for one in fs.ls(origin.url)]
        assert sorted(kinds) == ["directory", *["file"] * 4]
        assert fs.ls(f"{origin.url}/plain", detail=False) == [f"{origin.url}/plain"]
        found = fs.cat(fs.find(origin.url))
        assert {data.decode() for data in found.values()} == {*names, "last"}
        fs.get(origin.url, str(tmp_path / "here"), recursive=True)
        assert (tmp_path / "here" / "er" / "last").read_text() == "last"
        with pytest.raises(FileNotFoundError):
            fs.ls(f"{origin.url}/nothing")
