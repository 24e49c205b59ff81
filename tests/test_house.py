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
PAPERS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


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


@pytest.mark.parametrize("paper", ["README.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_papers_name_only_targets_that_exist(paper: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^(\w+):", makefile, re.MULTILINE))
    assert {"demo", "test", "lint", "type", "bench", "nightly", "clean"} <= targets
    assert set(re.findall(r"\bmake ([a-z]+)", (ROOT / paper).read_text())) <= targets


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


def test_the_readmes_transcript_is_one_that_is_played() -> None:
    (shown,) = re.findall(r"^```console\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    played = (ROOT / "tests" / "cli" / "transcripts" / "readme.txt").read_text()
    shown = re.sub(
        r"in under \d\.\d s", "in TIME", shown.replace("https://example.org", "http://HOST")
    )
    assert shown == played


def test_the_readme_compares_by_what_was_measured() -> None:
    """Its rows are those of the records, and each cell says where it is from."""
    rows = [line for line in README.splitlines() if line.count("|") == 8 and "[figures]" in line]
    rows += [line for line in README.splitlines() if line.count("|") == 8 and "[board]" in line]
    assert len(rows) > 10
    measured = "".join((ROOT / "docs" / name).read_text() for name in RECORDS)
    records = {re.sub(r" +", " ", line) for line in measured.splitlines()}
    for row in rows:
        cells = [cell.strip() for cell in row.split("|")[2:-1]]
        assert all(re.fullmatch(r"(\[[^]]+\]\[(test|board|figures)\])?", cell) for cell in cells)
        assert re.sub(r" +", " ", re.sub(r"\]\[\w+\]|\[", "", row)) in records


RECORDS = ("reliability.md", "performance.md")
LINKS = re.compile(r"\]\(([^)\s]+)\)|^\[[^]]+\]: (\S+)$", re.MULTILINE)


@cache
def anchors(paper: Path) -> set[str]:
    """What links can name of it: its headings, as GitHub makes anchors of them."""
    heads = re.findall(r"^#+ (.*)$", paper.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("paper", PAPERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_papers_lead_somewhere(paper: Path) -> None:
    text = re.sub(r"^```.*?^```", "", paper.read_text(), flags=re.MULTILINE | re.DOTALL)
    links = [one or other for one, other in LINKS.findall(text)]
    for link in [link for link in links if not re.match(r"https?:", link)]:
        name, _, anchor = link.partition("#")
        target = paper.parent / name if name else paper
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link
    assert set(re.findall(r"\]\[(\w+)\]", text)) <= set(re.findall(r"^\[(\w+)\]: ", text, re.M))


@cache
def names_of_tests() -> str:
    """All functions and files, one a line."""
    files = sorted((ROOT / "tests").rglob("*.py"))
    functions = [re.findall(r"def (test_\w+)", path.read_text()) for path in files]
    return "\n".join([path.stem for path in files] + [name for some in functions for name in some])


@pytest.mark.parametrize("paper", PAPERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_tests_that_papers_name_exist(paper: Path) -> None:
    for name, rest in set(re.findall(r"\b(test_[a-z0-9_]+)\b(\*?)", paper.read_text())):
        end = "" if rest else r"(_\w+)?$"
        assert re.search(f"^{name}{end}", names_of_tests(), re.MULTILINE), name
    for path in re.findall(r"`(tests/[a-z0-9_/.]+)`", paper.read_text()):
        assert (ROOT / path).exists(), path


def test_the_house_is_drawn_with_all_its_modules() -> None:
    """Each stands in the rows of its folder, or in those of none."""
    _, begin, rest = (ROOT / "docs" / "design.md").read_text().partition("errors  options ")
    drawn = dict[str, set[str]]()
    for row in re.split(r"^(?=\S)", begin + rest.partition("```")[0], flags=re.MULTILINE):
        folder, _ = re.findall(r"^(?:(\w+)/)?()", row)[0]
        drawn.setdefault(folder, set()).update(re.findall(r"\w+", row))
    house = ROOT / "src" / "rdl"
    modules = [one.relative_to(house).with_suffix("").parts for one in house.rglob("[a-z]*.py")]
    assert len(modules) > 200
    assert [one for one in modules if one[-1] not in drawn[one[0] if one[1:] else ""]] == []


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


def test_every_test_that_shows_what_may_go_wrong_is_there() -> None:
    files = list((ROOT / "tests").rglob("*.py"))
    there = {name for file in files for name in re.findall(r"def (test_\w+)", file.read_text())}
    there |= {file.stem for file in files}
    paper = (ROOT / "docs" / "reliability.md").read_text()
    for name, star in re.findall(r"\b(test_[a-z0-9_]+)\b(\*?)", paper):
        found = any(one.startswith(name) for one in there) if star else name in there
        assert found, f"{name}{star}"
