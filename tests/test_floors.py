"""The house's own rules, held by the machine: floors, late imports, sizes, words."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src" / "rdl").rglob("*.py"))
PROGRAMS = sorted(
    path for folder in ("demo", "bench", "scoreboard") for path in (ROOT / folder).glob("*.py")
)
LONGEST_FILE = 400
LONGEST_FUNCTION = 70
LONGEST_RULE = 5
OTHER_WORDS = {"task", "job", "manager", "helper", "util", "piece"}

every_module = pytest.mark.parametrize(
    "path", SOURCES + PROGRAMS, ids=lambda path: str(path.relative_to(ROOT))
)
every_source = pytest.mark.parametrize(
    "path", SOURCES, ids=lambda path: str(path.relative_to(ROOT))
)


def test_a_floor_imports_only_floors_below_it() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    ended = subprocess.run(
        [str(program), "--no-cache"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def imported_by(*arguments: str) -> set[str]:
    """Top-level modules in sys.modules after `rdl ARGUMENTS` has ended, in a fresh process."""
    code = (
        "import atexit, json, sys\n"
        "atexit.register(lambda: sys.stderr.write('\\n' + json.dumps(sorted(sys.modules))))\n"
        "from rdl.cli.main import main\n"
        "sys.exit(main())\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return {name.partition(".")[0] for name in json.loads(ended.stderr.splitlines()[-1])}


def test_version_answers_before_click_is_imported() -> None:
    heavy = {"click", "httpx", "rich", "ssl", "asyncio"}
    assert not heavy & imported_by("--version")


@pytest.mark.parametrize("arguments", [("--help",), ("get", "--help")], ids=" ".join)
def test_help_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    assert not {"httpx", "rich", "ssl", "asyncio"} & imported_by(*arguments)


def test_the_package_imports_nothing_heavy() -> None:
    code = "import rdl, sys; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert not {"click", "httpx", "rich", "ssl", "asyncio", "pyroaring"} & set(said.split())


@every_module
def test_a_module_opens_with_its_rule(path: Path) -> None:
    rule = ast.get_docstring(ast.parse(path.read_text()))
    assert rule, "no docstring"
    assert len(rule.splitlines()) <= LONGEST_RULE


@every_module
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= LONGEST_FILE
    functions = [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    long = [f.name for f in functions if (f.end_lineno or 0) - f.lineno >= LONGEST_FUNCTION]
    assert long == []


def names_given(tree: ast.AST) -> Iterator[str]:
    """Every identifier that a module itself gives; names of other libraries are not ours."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.ClassDef(name=name) | ast.ExceptHandler(name=str(name)):
                yield name
            case ast.arg(arg=name) | ast.alias(asname=str(name)):
                yield name
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name


def words(identifier: str) -> set[str]:
    """`fetchSome_parts` and `FetchPart` as lower-case words, without a plural's s."""
    found = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", identifier)
    return {word.lower().removesuffix("s") for word in found}


@every_source
def test_names_are_in_field_terms(path: Path) -> None:
    given = {path.stem, *names_given(ast.parse(path.read_text()))}
    assert sorted(name for name in given if words(name) & OTHER_WORDS) == []


def test_the_word_rule_sees_words() -> None:
    seen = set(names_given(ast.parse("def f(a):\n  self.jobs = b = 1\nclass TaskManager: ...")))
    assert seen == {"f", "a", "jobs", "b", "TaskManager"}
    assert words("TaskManager") == {"task", "manager"}
    assert words("jobs") == {"job"}
    assert words("contextmanager") == {"contextmanager"}
