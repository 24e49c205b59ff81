"""`rdl lock LIST`: read every file of a list once, and write down what it was."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import click

from rdl.cli.arguments import lone
from rdl.cli.commands.cat import CHUNK
from rdl.cli.console import Console
from rdl.cli.display.choose import display_for
from rdl.cli.display.plain import Style
from rdl.cli.display.summary import counted, locating
from rdl.cli.environment import warn_of_unknown
from rdl.cli.frame import framed
from rdl.cli.input_list import Entry
from rdl.cli.layers import Layers
from rdl.cli.options import get_parameters, text_value
from rdl.cli.settings import session_options_from
from rdl.cli.single import open_session
from rdl.cli.targets import Download, downloads_from, entries_from
from rdl.core.events import Teller
from rdl.core.file_url import is_file_url
from rdl.core.lock import Locked, encode_lock, path_fault
from rdl.core.names import name_from_url
from rdl.core.text import is_redacted, redact_url, safe_text
from rdl.errors import UsageError

if TYPE_CHECKING:
    from rdl.api import Session

_NOT_HERE = frozenset(
    (
        *("program", "on_complete", "join", "engine", "scheduler"),
        *("urls", "directory", "input_file", "parallel", "min_split_size", "adopt", "ranges"),
        *("offset", "restart", "no_clobber", "on_change", "block_size", "preallocate", "sha256"),
        *("keep_time", "json", "dry_run", "resume", "checksum", "locked", "url_command", "mirrors"),
        "member",
    )
)


def lock(console: Console, given: dict[str, Any]) -> int:
    """Run the command; returns the exit code. Raises RdlError, and writes nothing then."""
    from rdl.storage.whole import write_whole  # not at every start of rdl

    layers = Layers(console, given)
    given = layers.given
    if given["list"] is None:
        raise UsageError("lock", "no LIST given", hint="rdl lock LIST; rdl lock --help tells more")
    if given["list"] == "-" and given["output"] is None:
        raise UsageError("lock", "where to is not known for a list from stdin", hint="-o LOCK")
    output = Path(given["output"] or f"{given['list']}.lock")
    listed = given | {"input_file": given["list"], "urls": (), "resume": (), "locked": None}
    listed |= {"directory": None, "ranges": ()}
    entries = entries_from(listed)
    paths = [_path(entry) for entry in entries]
    placed = listed | {"output": None, "checksum": (), "sha256": None}
    options_for = layers.options_for(placed)
    downloads = downloads_from(placed, entries, options_for)
    warn_of_unknown(console.messages, given)
    style = Style(given["verbose"], given["quiet"], tries=given["retry"])
    display = display_for(given["progress"], console.messages, style)
    files = []
    try:
        with open_session(session_options_from(given)) as session:
            console.signals.watch(session, display.abandon)
            for path, download in zip(paths, downloads, strict=True):
                files.append(_read(session, path, download, display.tell))
            console.signals.watch(None, display.abandon)
    finally:
        display.close()
    write_whole(output, [encode_lock(files)])
    if not given["quiet"] and given["progress"] != "json":
        total = sum(one.size for one in files)
        shown = f"{counted(total)} in {len(files)} {'file' if len(files) == 1 else 'files'}"
        console.messages.line(f"rdl: {safe_text(str(output))}: {shown}")
    return 0


def _path(entry: Entry) -> str:
    """Where it goes, below the folder of a later -d."""
    path = str(PurePosixPath(entry.dir or "") / (entry.out or name_from_url(entry.url)))
    if fault := path_fault(path):
        raise UsageError(f"{entry.where}: '{safe_text(path)}'", f"cannot be locked: {fault}")
    if is_file_url(entry.url):
        raise UsageError(entry.where, "a file:// URL is of this machine, and a lock for others too")
    if is_redacted(redact_url(entry.url)):
        why = "the URL holds a secret, and a lock is for others too"
        raise UsageError(entry.where, why, hint="lock a URL that needs none")
    return path


def _read(session: Session, path: str, download: Download, tell: Teller) -> Locked:
    digest, size = hashlib.sha256(), 0
    with (
        locating(download.url, download.options.network.user),
        session.stream(download.url, download.options, tell) as stream,
    ):
        for chunk in stream.chunks(CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return Locked(path, digest.hexdigest(), size, download.url.partition("#")[0])


def parameters() -> list[click.Parameter]:
    """The list, where to, and those options of `get` that make sense here."""
    shared = [one for one in get_parameters() if one.name not in _NOT_HERE]
    for one in shared:
        if one.name == "output" and isinstance(one, click.Option):
            one.help = "The lock file.  [default: LIST.lock]"
    return [lone("list", "lock", "LIST", text_value("LIST")), *shared]


def command() -> click.Command:
    """The click command of `lock`."""
    return framed(
        "lock",
        lock,
        parameters(),
        help="Read every file of LIST once and write URLs, sizes and digests into a lock file, "
        "which 'rdl get --locked LOCK' honours. No file is kept.",
        short_help="Pin the files of a list by size and digest.",
    )
