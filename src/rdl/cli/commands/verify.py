"""`rdl verify FILE [DIGEST]`: check files, or ranges of one, against digests. Changes nothing,
unless --repair is given.
"""

from __future__ import annotations

from typing import Any

import click

from rdl.cli.checks import by_manifest, checks_from, file_of_manifest
from rdl.cli.console import Console
from rdl.cli.display.choose import display_for
from rdl.cli.display.plain import Style
from rdl.cli.environment import warn_of_unknown
from rdl.cli.exit_codes import overall
from rdl.cli.frame import framed
from rdl.cli.layers import Layers
from rdl.cli.manifests import load
from rdl.cli.options import get_parameters, text_value
from rdl.cli.repairs import (
    OF_GET,
    refuse_where_nothing_is_fetched,
    repair,
    repair_options,
    worth_it,
)
from rdl.cli.values import Value, parse_range, refuse_url
from rdl.cli.verdicts import Manner, Verdicts, as_result
from rdl.core.events import Warned
from rdl.core.file_url import decides
from rdl.core.text import is_url

_SHARED = ("checksum", "sha256", "quiet", "verbose", "progress", "json")
"""Options that are those of get."""


def verify(console: Console, given: dict[str, Any]) -> int:
    """Run the command; returns the exit code. Raises RdlError before anything is checked."""
    if given["repair"] is None and not is_url(given["manifest"] or ""):
        refuse_where_nothing_is_fetched("--repair, or a URL as --manifest")
    layers = Layers(console, given)
    given = layers.given
    warn_of_unknown(console.messages, given)
    for name in given["arguments"][:1]:
        refuse_url(name, "verify", "rdl get URL --checksum DIGEST fetches and checks")
    if given["manifest"] is None:
        found = checks_from(given)
    else:
        file = file_of_manifest(given)
        manifest, _ = load(layers, console.messages, given["manifest"])
        found = by_manifest(file, manifest, decides=decides(given["manifest"]))
    mend = repair_options(layers, found.checks) if given["repair"] is not None else None
    from rdl.verification import Verifier

    verifier = Verifier()
    style = Style(given["verbose"], given["quiet"], False, len(found.checks))
    display = display_for(given["progress"], console.messages, style)
    manner = Manner(
        given["json"],
        given["progress"] == "json",
        given["quiet"],
        min(verifier.threads, len(found.checks)),
    )
    verdicts = Verdicts(display, console.output, console.messages, manner)
    for path, message in found.warnings:
        verdicts.tell(Warned(path, message))
    try:
        console.signals.watch(verifier, display.abandon)
        results = verifier.run(found.checks, verdicts.tell, verdicts.done)
        console.signals.watch(None, display.abandon)
        verdicts.end(results)
    finally:
        display.close()
    code = overall([as_result(result) for result in results])
    if mend is not None and worth_it(results):
        code = repair(console, given, found.checks, *mend)
    if not code:
        console.output.settle()
    return code


def verify_parameters() -> list[click.Parameter]:
    """The arguments and options of `verify`."""
    shared = [
        option for option in get_parameters() if option.name in _SHARED or option.name in OF_GET
    ]
    return [
        click.Argument(
            ["arguments"], nargs=-1, metavar="FILE [DIGEST]...", type=text_value("FILE")
        ),
        click.Option(
            ["-r", "--range", "ranges"],
            type=Value("RANGE", parse_range),
            multiple=True,
            help="Only this part: 0-499, 500-, -500 (the last 500), 500+100K. Several ranges "
            "take their digests in the same order.",
        ),
        click.Option(
            ["--sums"],
            type=text_value("SUMS"),
            help="A file as sha256sum or cksum writes it; - is stdin. Without FILE, every file "
            "that it names is checked, in the folder of the sums file.",
        ),
        click.Option(
            ["--manifest"],
            type=text_value("M"),
            help="The manifest of FILE, a path or a URL (see 'rdl manifest'): also says where FILE "
            "differs. M#sha256=HEX must be that one.",
        ),
        click.Option(
            ["--repair"],
            type=text_value("URL"),
            help="When FILE is not right, build a repaired copy, fetching what cannot be kept, and "
            "put it in the place of FILE. The other options say how to fetch.",
        ),
        *shared,
    ]


def command() -> click.Command:
    """The click command of `verify`."""
    return framed(
        "verify",
        verify,
        verify_parameters(),
        help="Check a file, or a range of it, against a digest: sha256:HEX, sha-256=HEX, "
        "sha256-BASE64 or bare hex; as DIGEST, --checksum or --sha256. Changes nothing, unless "
        "--repair is given. "
        "A part file is read by its index: what of it is here can be checked."
        "\n\n\b\n"
        "rdl verify FILE DIGEST\n"
        "rdl verify FILE -r 0-499 -r -500 DIGEST1 DIGEST2\n"
        "rdl verify --sums SHA256SUMS [FILE]...\n"
        "rdl verify FILE --manifest FILE.rdlm\n"
        "rdl verify FILE DIGEST --repair URL",
        short_help="Check files against digests.",
    )
