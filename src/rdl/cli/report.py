"""Facts and results on their way to the display and, where asked for, to stdout."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence

from rdl.cli.display.json_lines import encode, fact_object, result_object
from rdl.cli.display.plain import Display
from rdl.cli.display.summary import plan_lines
from rdl.cli.exit_codes import overall
from rdl.cli.streams import Output
from rdl.core.events import Fact, Planned, Result, Warned


class Report:
    """Hears one fact at a time. `json`: result objects on stdout; `plans`: --dry-run."""

    def __init__(self, display: Display, output: Output, *, json: bool, plans: bool) -> None:
        self._display, self._output = display, output
        self._json, self._plans = json, plans
        self._warnings: dict[str, list[str]] = defaultdict(list)
        self._began = time.monotonic()
        self.results: list[Result] = []
        """Of the downloads that have ended, in this order."""

    def tell(self, fact: Fact) -> None:
        if isinstance(fact, Warned):
            self._warnings[fact.path].append(fact.message)
        self._display.tell(fact)
        if isinstance(fact, Planned) and self._plans:
            lines = [encode(fact_object(fact))] if self._json else plan_lines(fact)
            self._print(lines)

    def done(self, result: Result) -> None:
        self.results.append(result)
        warnings = self._warnings.pop(result.path, [])
        planned = result.reason == "dry-run"
        if not planned:
            self._display.done(result, warnings)
        if self._json and not planned:
            self._print([encode(result_object(result, warnings))])

    def end(self) -> None:
        if not self._plans:
            self._display.end(self.results, time.monotonic() - self._began)
        self._display.close()

    def exit_code(self) -> int:
        """Of all of them. Raises as Output.settle() where nothing else went wrong."""
        code = overall(self.results)
        if not code:
            self._output.settle()
        return code

    def _print(self, lines: Sequence[str]) -> None:
        self._display.aside(lambda: self._output.line("\n".join(lines)))
