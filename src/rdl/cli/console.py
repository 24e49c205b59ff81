"""What a command is given by main: the two streams, the signals, and how much to say."""

from __future__ import annotations

from msgspec import Struct, field

from rdl.cli.display.json_lines import encode, result_object
from rdl.cli.display.summary import remote_text
from rdl.cli.signals import Signals
from rdl.cli.streams import Messages, Output, standard_streams
from rdl.core.events import Result, failed
from rdl.errors import RdlError, exit_code_of


class Console(Struct):
    """`json`: stderr carries JSON events only; `results`: stdout carries result objects."""

    streams: tuple[Output, Messages] = field(default_factory=standard_streams)
    signals: Signals = field(default_factory=Signals)
    json: bool = False
    results: bool = False
    verbose: int = 0

    @property
    def output(self) -> Output:
        return self.streams[0]

    @property
    def messages(self) -> Messages:
        return self.streams[1]

    def error(self, error: RdlError) -> int:
        """Print an error that ended the command; returns its exit code."""
        code = exit_code_of(error)
        line = encode(result_object(failed(Result("", ""), error)))
        if self.results:
            self.output.line(line)
        if self.json:
            self.messages.line(line)
            return code
        self.messages.line(f"rdl: {remote_text(str(error))}")
        if error.hint:
            self.messages.line(f"rdl: hint: {remote_text(error.hint)}")
        return code
