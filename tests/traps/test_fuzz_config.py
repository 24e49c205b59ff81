"""The configuration file: whatever stands there is read, or refused in one harmless line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdl.cli.config_file import OF_HOST, Config, parse_config
from rdl.cli.environment import PREFERENCES
from rdl.errors import UsageError
from tests.support.timing import seconds
from tests.traps.fuzzing import ANY, accepted, bounded, mutated

KiB = 1 << 10
CANARY = "cAnArY"
FILE = f"""\
connections = 4
limit-rate = "8M"
keep-time = false
proxy = "http://u:{CANARY}@h:3128"
[host."files.example.org:8080"]
header = ["X-Token: {CANARY}", "@~/token"]
timeout = 2.5
[host."*.example.net"]
retry = 0x1F
""".encode()
names = st.sampled_from(
    [*(name.replace("_", "-") for name in sorted(PREFERENCES | OF_HOST)), "header", "insecure", "x"]
)
values = st.sampled_from(
    [
        *("1", "0", "-1", "2.5", "1e99", "inf", "true", "'8M'", "''", "'a: b'", "[1]", "['A: b']"),
        *("{}", "1979-05-27", '"\\u0000"', '"\\u001b[31m"', "'@x'", "'auto'", "'h:1'"),
    ]
)
hosts = st.sampled_from(
    ["a", "A", "a.b", "*.b", "*", "[::1]", "a:80", "a:0", "u@a", "", "a\\u0000"]
)


def read(data: bytes) -> Config | None:
    """None where it is refused, in one harmless line."""

    def parse(name: str) -> Config:
        return parse_config(data, Path("folder", name))

    return accepted(parse, "co\x1bnfig")


def harmless(found: Config) -> bool:
    """Whether it holds nothing but what may be set, and what may be shown."""
    every = (found.general, *found.hosts.values())
    known = found.general.keys() <= PREFERENCES
    known = known and all(section.keys() <= OF_HOST for section in found.hosts.values())
    shown = [text for some in every for one in some.values() for text in (one.shown, one.where)]
    return known and all(text.isprintable() for text in shown)


@bounded
@given(
    st.one_of(
        mutated(FILE), st.binary(max_size=80), ANY.map(lambda t: t.encode("utf-8", "replace"))
    )
)
def test_any_file_is_read_or_refused(data: bytes) -> None:
    found = read(data)
    assert found is None or harmless(found)


@bounded
@given(
    st.dictionaries(names, values, max_size=4),
    st.dictionaries(hosts, st.dictionaries(names, values, max_size=3), max_size=3),
)
def test_any_names_and_values_are_read_or_refused(
    general: dict[str, str], sections: dict[str, dict[str, str]]
) -> None:
    lines = [f"{name} = {value}" for name, value in general.items()]
    for host, settings in sections.items():
        lines.append(f'[host."{host}"]')
        lines += [f"{name} = {value}" for name, value in settings.items()]
    found = read("\n".join(lines).encode())
    assert found is None or harmless(found)


@bounded
@given(ANY)
def test_any_url_finds_a_section_or_none(text: str) -> None:
    config = parse_config(b"[host.'*.example.org']\n[host.example]\n", Path("c"))
    assert config.key_of(f"http://example/{text.replace('[', '')}") == (False, "example", None)
    assert config.key_of(f"http://x.example.org/?{text}") == (True, "example.org", None)


@pytest.mark.parametrize(("good", "bad"), [("X-Token:", "X Token:"), ("http:", "ftp:")])
def test_a_refusal_shows_no_secret(good: str, bad: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_config(FILE.decode().replace(good, bad).encode(), Path("c"))
    assert CANARY not in f"{caught.value} {caught.value.hint}"


def test_a_large_file_costs_little() -> None:
    for text in ("#", "a", "a.", "[", "[host.a]\n", "'", "\n", "retry = 1\n", "host.a.b."):
        whole = text * (KiB * 16 // len(text))
        assert seconds(lambda one: read(one.encode()), whole) < 2, text
