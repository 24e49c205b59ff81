"""How many examples the fuzzers try: NIGHTLY_FUZZ sets another number (the nightly run does)."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from rdl.errors import UsageError

T = TypeVar("T")
FUZZ = int(os.environ.get("NIGHTLY_FUZZ", "60"))
bounded = settings(
    max_examples=FUZZ,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
MiB = 1 << 20
ANY = st.text(alphabet=st.characters(codec=None), max_size=120)
"""Any text, lone surrogates included."""


def accepted(parse: Callable[[str], T], text: str) -> T | None:
    """What a reader makes of it; None for a usage error, which is one harmless line."""
    try:
        return parse(text)
    except UsageError as caught:
        said = f"{caught} {caught.hint}"
    assert said.isprintable(), said
    return None


@st.composite
def mutated(draw: st.DrawFn, data: bytes) -> bytes:
    """`data` after one to four changes: bytes set, cut out, put in, repeated, or a cut end."""
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        until = draw(st.integers(at, min(len(data), at + 40)))
        what = draw(st.sampled_from(["set", "out", "in", "twice", "end"]))
        some = draw(st.binary(min_size=1, max_size=12))
        if what == "set":
            data = data[:at] + some + data[at + len(some) :]
        elif what == "out":
            data = data[:at] + data[until:]
        elif what == "in":
            data = data[:at] + some + data[at:]
        elif what == "twice":
            data = data[:until] + data[at:]
        else:
            data = data[:at]
    return data
