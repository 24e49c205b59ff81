"""The README's examples of remote files run, against a served folder in place of example.org."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pandas
import pytest

from tests.support.folders import Folder

README = (Path(__file__).parents[2] / "README.md").read_text()
BLOCKS = [
    block
    for block in re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    if "rdl.open" in block
]


def test_remote_files(folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with ZipFile(folder.root / "photos.zip", "w") as archive:
        archive.writestr("2026/one.jpg", b"a photo")
        archive.writestr("2026/two.jpg", bytes(1 << 20))
    frame = pandas.DataFrame({"name": ["a", "b"], "price": [1.5, 2.5]})
    frame.to_parquet(folder.root / "prices.parquet")
    assert len(BLOCKS) == 1
    code, names = BLOCKS[0].replace("https://example.org", folder.url), dict[str, Any]()
    exec(compile(code, "README.md", "exec"), names)
    assert names["photo"] == b"a photo"
    assert names["prices"].equals(frame)
    assert len([asked for asked in folder.log if "photos" in asked.line]) <= 3
    assert list((tmp_path / "cache").iterdir())
