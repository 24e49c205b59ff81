"""URLs, names and what people see: nothing leaks, nothing is misread, nothing fails oddly."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote, urlsplit

from hypothesis import example, given
from hypothesis import strategies as st

from rdl.cli.values import parse_url as read_url
from rdl.core.names import name_fault, name_from_url
from rdl.core.text import is_redacted, redact_text, redact_url, safe_text
from rdl.errors import UsageError
from rdl.transport.urls import parse_url, split_userinfo
from tests.traps.fuzzing import ANY, accepted, bounded

CANARY = "cAnArY"
HOSTS = st.sampled_from(
    ["h", "h:8080", "[::1]", "[::1]:81", "a.example.", "127.0.0.1", "b\xfccher"]
)
WORDS = st.text(alphabet="ab:@/?#&=;%.[]\\ \t\u202e0%2", max_size=24)
USERS = st.text(alphabet="ab:@&=;%. \u202e0%2", max_size=12)
SECRETS = st.sampled_from(["token", "sig", "X-Amz-Signature", "api%5Fkey", "Password", "code"])
NEAR = st.one_of(ANY, WORDS.map("http://".__add__), st.builds("https://{}/{}".format, HOSTS, WORDS))


@bounded
@given(NEAR)
def test_redaction_is_stable_and_total(text: str) -> None:
    once = redact_url(text)
    assert redact_url(once) == once
    assert "#" not in once
    said = redact_text(text)
    assert redact_text(said) == said


@bounded
@given(USERS, WORDS, HOSTS, WORDS)
@example("u", "", "h", "")
@example("", "@", "h", "/?a=b")
def test_no_password_is_shown(user: str, end: str, host: str, rest: str) -> None:
    url = f"http://{user}:{CANARY}{end}@{host}/{rest}"
    assert CANARY not in redact_url(url)
    assert CANARY not in redact_text(f"GET {url.replace(' ', '')} failed")
    for parse in (read_url, parse_url):
        try:
            said = str(parse(url)) if parse is parse_url else read_url(url).url
        except UsageError as error:
            said = f"{error} {error.hint}"
        assert CANARY not in said


@bounded
@given(SECRETS, WORDS, HOSTS, st.sampled_from(["?", "?a=b&", "?a=b;", "?&&", "?="]))
def test_no_secret_parameter_is_shown(name: str, rest: str, host: str, before: str) -> None:
    url = f"https://{host}/p{before}{name}={CANARY}{rest.replace('#', '')}"
    shown = redact_url(url)
    assert CANARY not in shown
    assert is_redacted(shown)
    assert CANARY not in redact_text(url.replace(" ", ""))


@bounded
@given(NEAR)
def test_a_url_is_itself_after_parsing(text: str) -> None:
    url = accepted(parse_url, text)
    if url is None:
        return
    assert parse_url(str(url)) == url
    assert url.scheme in ("http", "https")
    assert 1 <= url.port <= 65535
    assert "@" not in url.netloc
    assert str(url).isascii()
    assert re.search(r"[\x00-\x20\x7f#\\]", url.host) is None


@bounded
@given(NEAR)
def test_both_readers_of_urls_see_one_host(text: str) -> None:
    """What the command line shows as the host is where the transport connects."""
    address = accepted(read_url, text)
    url = accepted(parse_url, address.url) if address else None
    if address is None or url is None:
        return
    seen = urlsplit(address.url).hostname or ""
    assert seen.isascii() is False or url.host.lower() == seen
    plain, user, password = split_userinfo(text.partition("#")[0])
    assert plain == address.url
    assert (user or None, password) == (address.user or None, address.password or password)


@bounded
@given(NEAR)
def test_a_name_is_plain_or_refused(text: str) -> None:
    name = accepted(name_from_url, text)
    if name is None:
        return
    assert name_fault(name) == ""
    assert name_from_url(f"http://h/d/{quote(name, safe='')}?x=/y#/z") == name


@bounded
@given(st.text(min_size=1, max_size=80))
def test_every_plain_name_can_be_asked_for(name: str) -> None:
    if name_fault(name) == "":
        assert name_from_url(f"http://h/{quote(name, safe='')}") == name


@bounded
@given(ANY, st.integers(1, 200))
def test_what_is_shown_is_harmless_and_stays_so(text: str, limit: int) -> None:
    shown = safe_text(text, limit)
    assert len(shown) <= limit
    assert safe_text(shown, limit) == shown
    kinds = {unicodedata.category(char) for char in shown}
    assert not kinds & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
