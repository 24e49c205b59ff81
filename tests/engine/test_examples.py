"""Every example of docs/python.md runs, and its table of errors is the tree."""

import contextlib
import hashlib
import io
import re
from pathlib import Path

import pytest

from rdl import errors
from tests.engine.staging import content_of
from tests.engine.test_stream import ranged
from tests.support.origin import Origin, response

PAPER = (Path(__file__).parents[2] / "docs" / "python.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAPER, re.DOTALL)
CONTENT = content_of(300_000)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_an_example_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("no_proxy", "*")
    honest = ranged(CONTENT)

    def answer(connection, number, seen):
        if "-missing" in seen.line:
            return [response(b"", "404 Not Found")]
        return honest(connection, number, seen)

    said = io.StringIO()
    with Origin(answer) as origin, contextlib.redirect_stdout(said):
        names = {"URL": origin.url("/data.bin"), "SHA256": hashlib.sha256(CONTENT).hexdigest()}
        exec(compile(block, "docs/python.md", "exec"), names)
    for name in ("data.bin", "other.bin", "a.bin"):
        if f'"{name}"' in block:
            assert Path(name).read_bytes() == CONTENT
    assert not Path("b.bin").exists()
    assert not list(tmp_path.glob("*.part*"))
    assert said.getvalue() or "print" not in block


def test_the_table_of_errors_is_the_tree():
    rows = re.findall(r"^\| ([A-Z]\w+(?:, \w+)*) \| ([a-z, -]+) \|", PAPER, re.MULTILINE)
    told = {}
    for classes, reasons in rows:
        told.update(zip(classes.split(", "), reasons.split(", "), strict=True))
    tree = {
        name: kind.reason
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.RdlError)
    }
    del tree["RdlError"]
    assert told == tree
