"""What the papers say about the program is what the program does."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

import rdl

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAPERS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


@cache
def help_of(*command: str) -> str:
    """The help text of a command."""
    ended = subprocess.run(
        [sys.executable, "-m", "rdl", *command, "--help"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def shell_lines(text: str) -> list[str]:
    """Lines of fenced `sh` blocks, without comments."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line.partition("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def test_one_version_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == rdl.__version__
    said = subprocess.run(
        [sys.executable, "-m", "rdl", "--version"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    assert rdl.__version__ in said


def test_the_licence_is_the_one_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (ROOT / "LICENSE").read_text().startswith(f"{project['license']} License")


@pytest.mark.parametrize(
    "words", ["pip install", "rdl get", "make demo", "make test", "make bench", "exit-codes.md"]
)
def test_the_readme_names_what_a_user_needs(words: str) -> None:
    assert words in README


def test_the_readme_names_only_targets_that_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^(\w+):", makefile, re.MULTILINE))
    assert {"demo", "test", "lint", "type", "bench", "nightly", "clean"} <= targets
    assert set(re.findall(r"\bmake (\w+)", README)) <= targets


def test_commands_of_the_readme_exist() -> None:
    lines = [line for line in shell_lines(README) if line.startswith("rdl ")]
    commands = {line.split()[1] for line in lines}
    assert "get" in commands
    for command in commands:
        assert help_of(command)


def test_options_of_the_readme_exist() -> None:
    lines = [line for line in shell_lines(README) if line.startswith("rdl ")]
    assert lines
    for line in lines:
        command, rest = line.split()[1], line.split()[2:]
        for option in [word for word in rest if re.fullmatch(r"-\w|--[\w-]+", word)]:
            assert re.search(rf"(?<![\w-]){option}(?![\w-])", help_of(command)), line


@pytest.mark.parametrize("option", sorted(set(re.findall(r"`(--[a-z][\w-]+)", README))))
def test_options_named_in_the_readmes_text_exist(option: str) -> None:
    assert option in help_of("get")


@pytest.mark.parametrize("paper", PAPERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_papers_lead_somewhere(paper: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", paper.read_text())
    assert [link for link in links if not (paper.parent / link).exists()] == []


def python_blocks(text: str) -> list[str]:
    """Fenced `python` blocks."""
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_the_python_example_uses_names_that_exist() -> None:
    blocks = python_blocks(README)
    assert blocks
    for block in blocks:
        compile(block, "README.md", "exec")
        for name in re.findall(r"\brdl\.(\w+)", block):
            assert hasattr(rdl, name)
