"""From results and exceptions to the one exit code; the table is docs/exit-codes.md."""

from __future__ import annotations

from collections.abc import Sequence

from rdl.core.events import Result
from rdl.errors import ExitCode

SIGNALS = (ExitCode.HANGUP, ExitCode.INTERRUPTED, ExitCode.TERMINATED)


def overall(results: Sequence[Result]) -> int:
    """0 when all went well; a signal's code when one came; the code that all failures share;
    else 20."""
    failures = [result.exit_code for result in results if result.exit_code]
    if not failures:
        return ExitCode.OK
    for code in failures:
        if code in SIGNALS:
            return code
    return failures[0] if len(set(failures)) == 1 else ExitCode.SEVERAL
