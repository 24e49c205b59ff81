"""Text for people: harmless, without secrets, of bounded length."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdl.core.text import (
    format_size,
    format_time,
    is_secret_name,
    redact_text,
    redact_url,
    safe_text,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain name.iso", "plain name.iso"),
        ("größe 文件", "größe 文件"),
        ("a\x1b[31mred", "a\\x1b[31mred"),
        ("line\nbreak\r\t", "line\\x0abreak\\x0d\\x09"),
        ("\x7f\x80\x9b", "\\x7f\\x80\\x9b"),
        ("\x00", "\\x00"),
        ("gpj\u202eexe", "gpj\\u{202e}exe"),
        ("\u2066\u2069\u200b\ufeff", "\\u{2066}\\u{2069}\\u{200b}\\u{feff}"),
        ("\u2028\u2029", "\\u{2028}\\u{2029}"),
        ("\u3164\u034f\ufe0f", "\\u{3164}\\u{34f}\\u{fe0f}"),
        ("\udcff", "\\u{dcff}"),
        ("\xa0", "\\xa0"),
        ("\U000e0041", "\\u{e0041}"),
        ("a[/red].bin [link=x]", "a[/red].bin [link=x]"),
        ("", ""),
    ],
)
def test_only_printable_characters_are_shown(text: str, shown: str) -> None:
    assert safe_text(text) == shown


@given(st.text(alphabet=st.characters(codec=None), max_size=400), st.integers(1, 300))
def test_safe_text_is_printable_and_bounded(text: str, limit: int) -> None:
    shown = safe_text(text, limit)
    assert shown.isprintable()
    assert len(shown) <= limit


def test_what_is_too_long_ends_with_an_ellipsis_and_no_half_form() -> None:
    assert safe_text("x" * 300) == "x" * 199 + "…"
    assert safe_text("x" * 200) == "x" * 200
    assert safe_text("\x1b" * 100, 10) == "\\x1b\\x1b…"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://h/a.iso", "https://h/a.iso"),
        ("https://u:canary@h/a", "https://h/a"),
        ("https://u:can@ary@h:8443/a", "https://h:8443/a"),
        ("https://h/@scope/a@2", "https://h/@scope/a@2"),
        ("https://h/a#canary", "https://h/a"),
        ("https://u:can#ary@h/a", "https://***"),
        ("https://u:can/ary@h/a", "https://***"),
        ("https://h/a?token=canary&b=2", "https://h/a?token=***&b=2"),
        ("https://h/a?X-Amz-Signature=canary;x=1", "https://h/a?X-Amz-Signature=***;x=1"),
        ("https://h/a?X-Goog-Credential=canary", "https://h/a?X-Goog-Credential=***"),
        ("https://h/a?sv=2020&sr=b&sp=r&se=2030&sig=canary", None),
        ("https://h/a?access%5Ftoken=canary", "https://h/a?access%5Ftoken=***"),
        ("https://h/a?Key-Pair-Id=canary&Policy=canary", None),
        ("https://h/a?user_password=canary=canary", "https://h/a?user_password=***"),
        ("https://h/a?author=me&v=1&page=3", "https://h/a?author=me&v=1&page=3"),
        ("https://[::1]:80/a?", "https://[::1]:80/a?"),
        ("https://h?token=canary", "https://h?token=***"),
        ("https://[broken/a", "https://***"),
        ("a?token=canary", "a?token=***"),
        ("https://h/a?token=", "https://h/a?token="),
    ],
)
def test_no_secret_of_a_url_is_shown(url: str, shown: str | None) -> None:
    redacted = redact_url(url)
    assert "canary" not in redacted
    assert shown is None or redacted == shown
    assert redact_url(redacted) == redacted


@given(st.text(max_size=80))
def test_redaction_never_fails_and_is_stable(text: str) -> None:
    once = redact_url("http://" + text)
    assert redact_url(once) == once


@given(st.sampled_from(["token", "sig", "X-Amz-Security-Token", "api_key"]), st.text(max_size=20))
def test_the_value_of_a_secret_name_is_never_shown(name: str, rest: str) -> None:
    assert "cAnArY" not in redact_url(f"http://h/p?a={rest.replace('#', '')}&{name}=cAnArY")


def test_urls_inside_of_text_are_redacted() -> None:
    text = "GET https://u:canary@h/x?sig=canary failed, then HTTP://h/y"
    assert redact_text(text) == "GET https://h/x?sig=*** failed, then HTTP://h/y"


@pytest.mark.parametrize("name", ["token", "Signature", "x-amz-date", "AWSAccessKeyId", "pwd"])
def test_names_of_secrets(name: str) -> None:
    assert is_secret_name(name)
    assert not is_secret_name("page")


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (10188, "9.9 KiB"),
        (10240, "10 KiB"),
        (1024 * 1023.7, "1.0 MiB"),
        (300 << 20, "300 MiB"),
        (1288490188, "1.2 GiB"),
        (3 << 50, "3.0 PiB"),
        (1 << 80, "1048576 EiB"),
    ],
)
def test_sizes(size: float, text: str) -> None:
    assert format_size(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (12.34, "12.3 s"),
        (59.96, "1m00s"),
        (125, "2m05s"),
        (3599.9, "1h00m"),
        (11240, "3h07m"),
        (190800, "2d05h"),
    ],
)
def test_times(seconds: float, text: str) -> None:
    assert format_time(seconds) == text
