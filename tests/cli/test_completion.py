"""Completion scripts, and what rdl answers to them."""

import subprocess
from pathlib import Path

import pytest

from tests.support import program


def rdl(*arguments, **variables):
    return program.rdl(Path(), *arguments, PYTHONUNBUFFERED="1", **variables)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell(shell):
    ended = rdl("completion", shell)
    assert ended.returncode == 0
    assert f"_RDL_COMPLETE={shell}_complete" in ended.stdout
    assert ended.stderr == ""


@pytest.mark.parametrize("arguments", [["completion"], ["completion", "tcsh"]])
def test_other_shells_are_refused(arguments):
    ended = rdl(*arguments)
    assert (ended.returncode, ended.stdout) == (2, "")


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("rdl g", {"get"}),
        (
            "rdl ",
            {
                "cache",
                "cat",
                "clean",
                "completion",
                "config",
                "get",
                "info",
                "lock",
                "ls",
                "manifest",
                "serve",
                "status",
                "sync",
                "verify",
            },
        ),
        ("rdl get --on-change r", {"restart"}),
        ("rdl get --connect", {"--connect-timeout"}),
        ("rdl verify --su", {"--sums"}),
        ("rdl completion z", {"zsh"}),
        ("rdl manifest ", {"make", "show"}),
    ],
)
def test_what_bash_is_offered(words, offered):
    count = len(words.split()) - (not words.endswith(" "))
    ended = rdl(_RDL_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(count))
    assert ended.returncode == 0
    names = {line.partition(",")[2] for line in ended.stdout.split("\n") if line}
    assert offered <= names
    assert all(name.startswith(words.split(" ")[-1]) for name in names)


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("rdl verify fi", "file"),
        ("rdl verify --sums fi", "file"),
        ("rdl verify --manifest fi", "file"),
        ("rdl manifest make fi", "file"),
        ("rdl status fi", "file"),
        ("rdl get -o fi", "file"),
        ("rdl get --resume fi", "file"),
        ("rdl get --checksum fi", "file"),
        ("rdl get --cacert fi", "file"),
        ("rdl get --locked fi", "file"),
        ("rdl sync --seed fi", "file"),
        ("rdl lock fi", "file"),
        ("rdl get -d fi", "dir"),
        ("rdl clean fi", "dir"),
    ],
)
def test_paths_are_left_to_the_shell(words, kind):
    count = len(words.split()) - 1
    ended = rdl(_RDL_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(count))
    assert ended.stdout.strip() == f"{kind},fi"


def test_bash_reads_the_script():
    line = "source /dev/stdin && complete -p rdl"
    script = rdl("completion", "bash").stdout
    ended = subprocess.run(
        ["bash", "-c", line], input=script, capture_output=True, text=True, timeout=30, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "_rdl_completion" in ended.stdout
