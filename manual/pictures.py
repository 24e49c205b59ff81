"""The pictures of the README: what rdl draws while it works; `make pictures` writes them.

The engine downloads from a server without a network, in simulated time, so each run tells the
display the same; what is drawn of it is what a terminal shows. A test draws them again.
"""

from __future__ import annotations

import io
import random
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from pathlib import Path

from msgspec.structs import replace
from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI as THEME
from rich.text import Text

from rdl.cli.display.bar import Bar
from rdl.cli.display.picture import BLOCKS
from rdl.cli.display.plain import Style
from rdl.cli.display.standing import status_lines
from rdl.cli.streams import Messages
from rdl.core.events import Fact, Progress, failed
from rdl.core.fields import ResponseHead
from rdl.core.transfer import Transfer
from rdl.engine.reception import Reception
from rdl.landing import Landing
from rdl.looking import status
from rdl.options import Digest, Options, TransferOptions
from rdl.storage.part_file import PartStore
from rdl.transport.base import Request
from rdl.transport.scripted import Answer, ScriptedTransport
from tests.engine.simulated import Agenda, SimulatedCrew, SimulatedDriver

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"
MiB = 1 << 20
SIZE = 256 * MiB
STEP = MiB // 4
SPEED = 2.5 * MiB
"""Bytes a second of the fastest connection."""
COLUMNS = 104
URL, NAME = "https://example.org/image.iso", "image.iso"
FORMAT = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: monospace; font-size: {char_height}px; \
line-height: {line_height}px; font-variant-east-asian: full-width; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
"""That of rich, without a font from elsewhere."""


class Scene:
    """A server, a clock and chances, as the simulated engine wants them."""

    def __init__(self) -> None:
        self.now = 0.0
        self.random = random.Random(2026)
        self.mirrors: list[str] = []
        self.transport = ScriptedTransport(self._answer)
        self._pattern = self.random.randbytes(MiB)

    def sha256(self) -> str:
        whole = sha256()
        for _ in range(SIZE // MiB):
            whole.update(self._pattern)
        return whole.hexdigest()

    def _answer(self, request: Request) -> Answer:
        """206, from the first byte asked for to the last."""
        first, last = dict(request.headers)["Range"].removeprefix("bytes=").split("-")
        start, stop = int(first), int(last or SIZE - 1) + 1
        fields = (("etag", '"5f3c9d-10000000"'), ("accept-ranges", "bytes"))
        span = ("content-range", f"bytes {start}-{stop - 1}/{SIZE}")
        head = ResponseHead(206, (*fields, span), content_length=stop - start)
        return Answer(head, self._body(start, stop))

    def _body(self, start: int, stop: int) -> Iterator[bytes]:
        while start < stop:
            step = self._pattern[start % MiB :][: stop - start]
            yield step
            start += len(step)


class Crew(SimulatedCrew):
    """Connections of different speeds."""

    def __init__(self, agenda: Agenda) -> None:
        super().__init__(agenda)
        self._view, self._segment = memoryview(bytearray(STEP)), 0

    def _step(self, reception: Reception) -> None:
        self._segment = reception.segment
        super()._step(reception)

    def _delay(self) -> float:
        return STEP / SPEED * (1 + self._segment * 5 % 8 / 10)


class Engine(SimulatedDriver):
    """It tells a display, and has these connections."""

    def __init__(
        self, scene: Scene, transfer: Transfer, store: PartStore, tell: Callable[[Fact], None]
    ) -> None:
        super().__init__(scene, transfer, store)
        self._tell = tell
        self._crew = self._simulated = Crew(self._agenda)


class Screen(Bar):
    """The bar, with a record of what stays on the terminal above it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
        super().__init__(Messages(stream), Style(), force=True, clock=clock)
        self.share, self._lines = 0.0, list[Text]()

    def _new_console(self) -> Console:
        console = super()._new_console()
        console.width, console.height = COLUMNS, 24
        return console

    def progress(self, fact: Progress) -> None:
        super().progress(fact)
        self.share = fact.bytes_present / SIZE

    def line(self, text: str) -> None:
        self.show([f"rdl: {text}"])

    def type(self, command: str) -> None:
        """A command at the prompt."""
        self._lines.append(Text.assemble(("$ ", "bold green"), command))

    def show(self, lines: Iterable[str]) -> None:
        """What a command prints."""
        self._lines += map(Text, lines)

    def picture(self) -> str:
        """The terminal as SVG."""
        page = Console(file=io.StringIO(), record=True, width=COLUMNS, highlight=False)
        page.print(*self._lines, *([self._picture()] if self._rows else ()), sep="\n")
        drawn = page.export_svg(title="", theme=THEME, code_format=FORMAT)
        return re.sub(r"[ \t]+$", "", drawn, flags=re.MULTILINE)


def download(scene: Scene, screen: Screen, folder: Path, given: TransferOptions) -> Iterator[None]:
    """By the engine, to its end; whoever asks for no more has pressed Ctrl-C."""
    path = folder / NAME
    landing, store = Landing(path, URL, Options(transfer=given)), PartStore(path)
    spec = replace(landing.spec_for(URL, store, None, None), seed=2026)
    engine = Engine(scene, Transfer(spec), store, screen.tell)
    try:
        while engine.advance(1):
            yield
    finally:
        engine.signal("SIGINT")
        while engine.advance(1):
            pass
        store.close()
        result, error = engine.ended
        screen.done(failed(result, error) if error else result, ())


def pictures() -> dict[str, str]:
    """Each by the name of its file."""
    scene = Scene()
    screen = Screen(lambda: scene.now)
    with tempfile.TemporaryDirectory(prefix="rdl-pictures-") as name:
        folder = Path(name)
        screen.type(f"rdl {URL}")
        for _ in (running := download(scene, screen, folder, TransferOptions())):
            if screen.share > 0.4:
                break
        flight = screen.picture()
        screen.show(["^C"])  # on a terminal it goes with the bar, beside which it stands
        running.close()
        screen.type(f"rdl status {NAME}")
        found = replace(status(folder / NAME), path=NAME)
        screen.show(status_lines(found, COLUMNS, BLOCKS, wrap=True))
        screen.type(f"rdl {URL} --checksum SHA256SUMS")
        given = TransferOptions(digests=(Digest("sha256", scene.sha256()),))
        for _ in download(scene, screen, folder, given):
            pass
    return {"flight.svg": flight, "session.svg": screen.picture()}


def main() -> None:
    """Write them."""
    FOLDER.mkdir(exist_ok=True)
    for name, drawn in pictures().items():
        (FOLDER / name).write_text(drawn)


if __name__ == "__main__":
    main()
