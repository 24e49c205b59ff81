"""Man pages and completion scripts, made from the commands: `make manual` writes them.

A test compares what is committed with what the commands say now.
"""

from __future__ import annotations

import re
from pathlib import Path

import click

from rdl import __version__
from rdl.cli.commands.completion import SHELLS, script
from rdl.cli.front import group
from rdl.cli.sections import OWN, records

ROOT = Path(__file__).parents[1]
EXAMPLES = {
    "get": [
        ("rdl get https://example.org/image.iso --checksum SHA256SUMS", "complete and verified"),
        ("rdl get -i list.txt -j 4 -d downloads", "the URLs of a list, four at a time"),
        ("rdl get URL -r 0-499 -o head.bin", "the first 500 bytes"),
        ("rdl get URL -o - | tar x", "to a program; no file is left"),
        ("rdl get --resume downloads/image.iso", "finish it, without its URL"),
    ],
    "cat": [("rdl cat URL -r 0-99 -r -100 | xxd", "the first and the last 100 bytes")],
    "verify": [
        ("rdl verify image.iso sha256:HEX", "against a digest"),
        ("rdl verify --sums SHA256SUMS", "every file that a sums file names"),
        ("rdl verify image.iso -r 0-499 -r -500 HEX1 HEX2", "two ranges of it"),
        ("rdl verify image.iso sha256:HEX --repair URL", "and fetch what is not right"),
        ("rdl verify image.iso --manifest image.iso.rdlm", "and where it differs"),
        ("rdl verify image.iso --manifest M --repair URL", "and fetch only what is wrong"),
    ],
    "info": [("rdl info --json URL", "for a script")],
    "ls": [
        ("rdl ls https://example.org/a.zip", "its members"),
        ("rdl cat https://example.org/a.zip --member docs/README", "one of them"),
        ("rdl get https://example.org/a.tar.gz --member docs/README", "to the file README"),
    ],
    "status": [("rdl status downloads", "the unfinished downloads of a folder")],
    "clean": [("rdl clean --yes downloads", "remove them without asking")],
    "lock": [
        ("rdl lock files.txt", "read every file once, and write files.txt.lock"),
        ("rdl get --locked files.txt.lock -d downloads", "exactly these, or an error"),
    ],
    "manifest": [
        ("rdl manifest make image.iso", "write image.iso.rdlm, to be served beside it"),
        ("rdl manifest show https://example.org/image.iso.rdlm", "what is in one"),
    ],
    "sync": [
        ("rdl sync URL -o image.iso", "bring image.iso up to date, by the manifest URL.rdlm"),
        ("rdl sync URL -o new.iso --seed old.iso --seed isos", "from other files, and of a folder"),
        ("rdl sync URL -o image.iso --manifest URL.zsync", "by what zsyncmake wrote"),
        ("rdl sync URL -o image.iso --cache-size 2G", "what is fetched is kept for later runs"),
    ],
    "serve": [
        ("rdl serve downloads", "for this machine, at http://127.0.0.1:8080/"),
        ("rdl serve --bind 0.0.0.0:8080 --token @token.txt", "for others, who know the token"),
    ],
    "cache": [
        ("rdl cache", "what 'rdl sync --cache-size' keeps, and how much of it is in use"),
        ("rdl cache clear --cache served", "empty the cache of 'rdl serve --upstream'"),
    ],
    "config": [
        ("rdl config show URL", "what goes for the host of the URL, and who says so"),
        ("rdl config path", "the file that is read"),
    ],
    "completion": [("source <(rdl completion bash)", "in ~/.bashrc")],
}
FILES = [
    ("FILE.part", "The data of an incomplete download, readable by its owner alone."),
    ("FILE.part.index", "Which bytes of it are here, and of which version."),
    ("FILE.part.bad", "Data that did not have the digest that was asked for."),
    ("FILE.rdlm", "The manifest of a file: the digests of its chunks."),
    (
        "~/.config/rdl/config.toml",
        "Preferences by the long names of their options, and sections for single hosts: "
        "docs/configuration.md.",
    ),
]
OWN_VARIABLES = (
    "Each stands for the option of its name: RDL_VERBOSE=1 is --verbose. An option that is given "
    "wins; an empty variable is as if it was not set. Of one that is none of rdl's a warning is "
    "printed."
)
WHICH_VARIABLES = (
    " Not every option has one: rdl-get(1) and docs/environment.md list those that have."
)
SIZES = (
    "SIZE is in bytes; K, M, G and T (also KiB, MiB, GiB and TiB) are powers of 1024: 512K, 1.5G. "
    "In RANGE both ends are included."
)
LISTS = [
    (
        "One URL a line",
        "What belongs to it follows on lines that are indented, or on its own line after tabs. "
        "Blank lines are skipped, and comments: lines that begin with #. The list is UTF-8; - is "
        "stdin. A file:///PATH names a local file, but not in a list from stdin or a metalink.",
    ),
    ("out=NAME", "The name of the file; without it, the URL's last segment."),
    ("dir=DIR", "Its directory, made when missing; it replaces that of -d, and is not below it."),
    (
        "checksum=SPEC",
        "As --checksum: a digest, or the path of a sums file. It may stand more than once.",
    ),
    ("mirror=URL", "As --mirror, for this file. It may stand more than once, the best first."),
    (
        "header=NAME: VALUE",
        "As --header, for the requests of this URL alone. It may stand more than once.",
    ),
    (
        "A metalink",
        "A list that begins as XML does, or is called .meta4, is a metalink (RFC 5854). Each of "
        "its files is taken below -d, with its size, digests and mirrors.",
    ),
]
SAMPLE_LIST = """\
# two files
https://example.org/image.iso
    out=new.iso
    dir=isos
    checksum=sha256:HEX
https://example.org/notes.txt"""


def exit_status() -> list[tuple[str, str]]:
    """The table of docs/exit-codes.md."""
    text = (ROOT / "docs" / "exit-codes.md").read_text()
    rows = re.findall(r"^\| (\d+) \| [^|]* \| ([^|]*) \|", text, re.MULTILINE)
    return [(code, meaning.replace("`", "").strip()) for code, meaning in rows]


def environment(command: click.Command) -> list[tuple[str, str]]:
    """The variables that a command heeds, from docs/environment.md."""
    own = [str(one.envvar) for one in command.params if one.envvar]
    rows = [(", ".join(own), OWN_VARIABLES)] if own else []
    if isinstance(command, click.Group):
        rows = [("RDL_*", OWN_VARIABLES + WHICH_VARIABLES)]
    if rows or command.name == "config":
        rows += variables("Configuration")
    if isinstance(command, click.Group) or any(one.name == "proxy" for one in command.params):
        rows += variables("Network")
    return rows + variables("Terminal")


def trust_levels() -> list[tuple[str, str]]:
    """The table of docs/reliability.md, without what follows for parts."""
    text = (ROOT / "docs" / "reliability.md").read_text()
    rows = re.findall(r"^\| (T[0-4]) \| ([^|]*) \|", text, re.MULTILINE)
    return [(level, f"{rests.replace('`', '').strip()}.") for level, rests in rows]


def of_get() -> list[str]:
    """The sections that only the page of get has."""
    level = "What the bytes rest on; the last line and the JSON say the level."
    sample = [_escaped(line, keep=True) for line in SAMPLE_LIST.splitlines()]
    return [
        *_section("SIZES AND RANGES", [_escaped(SIZES)]),
        *_section("TRUST LEVELS", [_escaped(level), *_terms(trust_levels())]),
        *_section("LISTS", ["The file that \\-i names:", *_terms(LISTS), ".PP", ".nf"]),
        *sample,
        ".fi",
    ]


def variables(section: str) -> list[tuple[str, str]]:
    """A table of docs/environment.md: variables, and what they say."""
    text = (ROOT / "docs" / "environment.md").read_text()
    table = text.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \| (.*) \|$", table, re.MULTILINE)
    plain = [(names.replace("`", ""), says.replace("`", "")) for names, says in rows]
    return [(names, re.sub(r"\[(.*?)\]\(.*?\)", r"\1", says)) for names, says in plain]


def page(name: str, command: click.Command, tree: click.Group) -> str:
    """The page of one command, or of rdl itself, in man(7)."""
    title = name.replace(" ", "-")
    context = click.Context(command, info_name=name, max_content_width=100)
    lines = [
        f'.TH {title.upper()} 1 "" "rdl {__version__}" "User Commands"',
        *_section("NAME", [f"{title} \\- {_escaped(command.get_short_help_str(200))}"]),
        *_section(
            "SYNOPSIS", [f".B {name}", _escaped(" ".join(command.collect_usage_pieces(context)))]
        ),
        *_section("DESCRIPTION", [_escaped((command.help or "").partition("\b")[0])]),
    ]
    lines += [".SH OPTIONS"]
    for heading, options in records(command.get_params(context), context):
        lines += [] if heading == OWN else [f".SS {heading}"]
        lines += _terms(options)
    if command is tree:
        pages = [
            (f"rdl-{one}(1)", tree.commands[one].get_short_help_str(200))
            for one in sorted(tree.commands)
        ]
        lines += _section("COMMANDS", _terms(pages))
    if name == "rdl get":
        lines += of_get()
    lines += _section("EXIT STATUS", _terms(exit_status()))
    lines += _section("FILES", _terms(FILES)) + _section(
        "ENVIRONMENT", _terms(environment(command))
    )
    lines += _section("EXAMPLES", _terms(EXAMPLES.get(name.rpartition(" ")[2], EXAMPLES["get"])))
    others = ["rdl", *(f"rdl-{one}" for one in sorted(tree.commands))]
    also = ", ".join(f"{one}(1)" for one in others if one != title)
    return "\n".join([*lines, *_section("SEE ALSO", [_escaped(also)])]) + "\n"


def _section(title: str, lines: list[str]) -> list[str]:
    return [f".SH {title}", *lines]


def _terms(rows: list[tuple[str, str]]) -> list[str]:
    return [line for term, text in rows for line in (".TP", f".B {_escaped(term)}", _escaped(text))]


def _escaped(text: str, *, keep: bool = False) -> str:
    """`text` as it is to stand in a page; `keep`: its spaces too."""
    text = (text if keep else " ".join(text.split())).replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text[:1] in (".", "'") else text


def everything() -> dict[str, str]:
    """Paths from the root, and what stands there."""
    tree = group()
    made = {"man/rdl.1": page("rdl", tree, tree)}
    for name, command in tree.commands.items():
        made[f"man/rdl-{name}.1"] = page(f"rdl {name}", command, tree)
    for shell in SHELLS:
        made[f"completions/rdl.{shell}"] = script(tree, shell) + "\n"
    return made


def main() -> None:
    """Write them all."""
    for place, text in everything().items():
        (ROOT / place).write_text(text)


if __name__ == "__main__":
    main()
