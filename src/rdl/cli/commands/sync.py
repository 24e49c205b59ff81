"""`rdl sync URL -o FILE [--seed OLD]...`: fetch only what FILE and other files do not hold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rdl.cli.arguments import lone
from rdl.cli.console import Console
from rdl.cli.environment import warn_of_unknown
from rdl.cli.frame import framed
from rdl.cli.input_list import Entry
from rdl.cli.layers import Layers
from rdl.cli.options import get_parameters, text_value
from rdl.cli.single import make_one
from rdl.cli.targets import downloads_from, make_directories
from rdl.cli.values import Value, parse_size
from rdl.core.events import Result, Teller
from rdl.errors import UsageError
from rdl.options import ChunkCache

if TYPE_CHECKING:
    from rdl.api import Session, Target

_NOT_HERE = frozenset(
    (
        *("program", "engine", "scheduler"),
        *("urls", "input_file", "base_url", "parallel", "locked", "resume", "ranges", "offset"),
        *("member", "dry_run", "no_clobber"),
    )
)


def sync(console: Console, given: dict[str, Any]) -> int:
    """Run the command; returns the exit code. Raises RdlError before anything is fetched."""
    layers = Layers(console, given)
    given = layers.given
    if given["url"] is None:
        hint = "rdl sync URL -o FILE --seed OLD; rdl sync --help tells more"
        raise UsageError("sync", "no URL given", hint=hint)
    if given["output"] in ("-", "/dev/stdout", "/dev/null"):
        raise UsageError(f"-o {given['output']}", "a file is brought up to date, and no stream")
    whole = given | {"ranges": (), "no_clobber": False, "dry_run": False}
    entries = [Entry(given["url"])]
    options_for = layers.options_for(whole)
    download = downloads_from(whole, entries, options_for)[0]
    warn_of_unknown(console.messages, given)
    make_directories(given, entries)
    seeds, cache = [Path(seed) for seed in given["seeds"]], _cache(given)

    def make(session: Session, target: Target, tell: Teller) -> Result:
        from rdl.syncing import sync_with

        return sync_with(session, target, seeds, given["manifest"], tell, cache=cache)

    return make_one(console, given, download, make)


def parameters() -> list[click.Parameter]:
    """The URL, the seeds, and those options of `get` that make sense here."""
    shared = [one for one in get_parameters() if one.name not in _NOT_HERE]
    return [
        lone("url", "sync", "URL"),
        click.Option(
            ["--seed", "seeds"],
            type=text_value("OLD"),
            multiple=True,
            help="A file, or a folder of files, that may hold parts of the new one. FILE itself "
            "is one, and so is what an earlier run left. None is changed but FILE.",
        ),
        click.Option(
            ["--manifest"],
            type=text_value("M"),
            help="Path or URL of the manifest, or of a .zsync or .caibx file; default: URL.rdlm. "
            "A file of yours, or one pinned by M#sha256=HEX, decides what is right; what a server "
            "says only helps, and all is fetched where it does not fit.",
        ),
        click.Option(
            ["--cache-size"],
            type=Value("SIZE", parse_size),
            help="Keep at most so much of what is fetched, for later runs, which fetch none of it "
            "again; what was not used for the longest time goes (rdl cache).",
        ),
        click.Option(
            ["--cache"],
            type=text_value("DIR"),
            help="Where it is kept; default: rdl/chunks in your folder for caches.",
        ),
        *shared,
    ]


def _cache(given: dict[str, Any]) -> ChunkCache | None:
    """Where chunks are kept, if they are. Raises UsageError."""
    if given["cache_size"] is None:
        if given["cache"] is not None:
            raise UsageError("--cache", "useless without --cache-size")
        return None
    from rdl.storage.packs import default_folder

    folder = given["cache"]
    return ChunkCache(Path(folder) if folder else default_folder(), given["cache_size"])


def command() -> click.Command:
    """The click command of `sync`."""
    return framed(
        "sync",
        sync,
        parameters(),
        help="Bring FILE up to date: parts that FILE or a seed holds are copied, the rest is "
        "fetched. Where there is no manifest, or one of another version, all of it is. The final "
        "name appears only when the file is complete and verified; until then FILE stays, so there "
        "is to be room for both. Finding parts in old files needs the extra: "
        "pip install 'rdl-get[sync]'."
        "\n\n\b\n"
        "rdl sync URL -o FILE                        by URL.rdlm (see 'rdl manifest')\n"
        "rdl sync URL -o NEW --seed OLD --seed DIR   from other files too\n"
        "rdl sync URL -o FILE --manifest URL.zsync   by what zsyncmake wrote\n"
        "rdl sync STORE.castr -o FILE --manifest FILE.caibx",
        short_help="Download only what local files do not hold.",
    )
