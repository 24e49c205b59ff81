"""The entry point of `rdl`. Imports next to nothing: --version answers before click is here."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence

BROKEN_PIPE = 141
"""As a system's own commands end, by SIGPIPE."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line (default: sys.argv) and return its exit code."""
    from rdl.cli.streams import claim_standard_files

    claim_standard_files()
    gc.set_threshold(20_000)  # else a tenth of the start goes into looking for garbage,
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments == ["--version"]:
        return print_version()
    try:
        from rdl.cli.front import run
    except KeyboardInterrupt:
        return 130
    code = run(arguments)
    gc.freeze()  # and as much at the end into looking through what goes with the process
    return code


def print_version() -> int:
    """Print the version on stdout; returns the exit code."""
    from rdl import __version__
    from rdl.cli.streams import standard_streams

    output, messages = standard_streams()
    output.line(f"rdl {__version__}")
    if output.unread:
        return BROKEN_PIPE
    if output.trouble:
        messages.line(f"rdl: {output.trouble}")
        return output.trouble.exit_code
    return 0
