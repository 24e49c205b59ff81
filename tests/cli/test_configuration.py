"""The configuration file: what it says, who wins over it, and how its faults are told."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from rdl.cli.config_file import MAX_CONFIG, OF_HOST, parse_config
from rdl.cli.environment import PREFERENCES
from rdl.options import HostLimits, NetworkOptions, Options
from tests.cli.conftest import Answer, Rdl

DOCS = Path(__file__).parents[2] / "docs"
U = "http://ok/f.iso"
MiB = 1 << 20


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that is not there yet, which rdl will read."""
    for name in [name for name in os.environ if name.startswith("RDL_")]:
        monkeypatch.delenv(name)
    folder = tmp_path_factory.mktemp("config")
    (folder / "rdl").mkdir()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
    return folder / "rdl" / "config.toml"


def write(config: Path, text: str) -> None:
    config.write_text(text)
    config.chmod(0o600)


def options_of(answer: Answer, number: int = 0) -> Options:
    assert answer.session is not None, answer.err
    return answer.session.targets[number].options


def network_of(answer: Answer, number: int = 0) -> NetworkOptions:
    return options_of(answer, number).network


# Where it is


def test_an_absent_file_says_nothing(rdl: Rdl, config: Path) -> None:
    assert (rdl("get", U).code, config.exists()) == (0, False)


def test_the_place(rdl: Rdl, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rdl("config", "path").out == f"{config}\n"
    monkeypatch.setenv("HOME", "/home/me")
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_CONFIG_HOME", value)
        assert rdl("config", "path").out == "/home/me/.config/rdl/config.toml\n"
    monkeypatch.setenv("RDL_CONFIG", "other.toml")
    assert rdl("config", "path").out == "other.toml\n"
    gone = "rdl: RDL_CONFIG: other.toml: No such file or directory\n"
    assert (rdl("get", U).code, rdl("get", U).err) == (2, gone)
    Path("other.toml").write_text("retry = 3")
    answer = rdl("get", U)
    assert options_of(answer).transfer.retry == 3
    assert "no such variable" not in answer.err
    monkeypatch.setenv("RDL_CONFIG", "/dev/null")
    assert options_of(rdl("get", U)).transfer.retry == 10


# Values

GOOD = [
    ("connections = 3", "transfer.connections", 3),
    ("retry = '0'", "transfer.retry", 0),
    ("retry-max-time = 1.5", "transfer.retry_max_time", 1.5),
    ("max-time = 9", "transfer.max_time", 9.0),
    ("min-split-size = '1M'", "transfer.min_split", MiB),
    ("max-filesize = 1000", "transfer.max_filesize", 1000),
    ("block-size = '1M'", "transfer.block_size", MiB),
    ("strict = true", "transfer.strict", True),
    ("strict = false", "transfer.strict", False),
    ("on-change = 'fail'", "transfer.on_change", "fail"),
    ("preallocate = 'none'", "file.preallocate", "none"),
    ("keep-time = false", "file.keep_time", False),
    ("timeout = 7", "network.timeout", 7.0),
    ("connect-timeout = 8", "network.connect_timeout", 8.0),
    ("user-agent = 'me/1'", "network.user_agent", "me/1"),
    ("proxy = 'h:3128'", "network.proxy", "http://h:3128"),
    ("noproxy = 'a,b'", "network.noproxy", ("a", "b")),
    (f"cacert = '{__file__}'", "network.cacert", Path(__file__)),
    (f"netrc-file = '{__file__}'", "network.netrc_file", Path(__file__)),
]


@pytest.mark.parametrize("section", ["", "[host.ok]\n", "[host.'*.ok']\n"])
@pytest.mark.parametrize("case", GOOD, ids=lambda case: str(case[0])[:20])
def test_a_line_is_the_option(
    rdl: Rdl, config: Path, case: tuple[str, str, object], section: str
) -> None:
    line, place, value = case
    write(config, f"{section}{line}\n")
    host = "a.ok" if "*" in section else "ok"
    found: Any = options_of(rdl("get", f"http://{host}/f.iso"))
    for part in place.split("."):
        found = getattr(found, part)
    assert found == value


def test_what_a_session_shares(rdl: Rdl, config: Path) -> None:
    write(config, "limit-rate = '2M'\nlimit-requests = 3\nparallel = 2\n")
    session = rdl("get", U).session
    assert session is not None
    asked = session.asked
    assert (asked.limit_rate, asked.limit_requests, asked.parallel) == (2 * MiB, 3.0, 2)


def test_limits_of_a_host_are_shared_by_its_downloads(rdl: Rdl, config: Path) -> None:
    write(config, "limit-rate = 9\n[host.ok]\nlimit-rate = '1K'\n")
    answer = rdl("get", U, "http://ok/g", "http://else/h")
    limits = [options_of(answer, n).limits for n in range(3)]
    assert limits == [HostLimits(f"{config}: host.ok", 1024), limits[0], None]
    assert options_of(rdl("get", U, "--limit-rate", "5")).limits is None


def test_paths_begin_at_the_folder_of_the_file_or_at_home(
    rdl: Rdl, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (config.parent / "ca").touch()
    write(config, "cacert = 'ca'\n")
    assert network_of(rdl("get", U)).cacert == config.parent / "ca"
    monkeypatch.setenv("HOME", str(config.parent))
    write(config, "cacert = '~/ca'\n")
    assert network_of(rdl("get", U)).cacert == config.parent / "ca"
    write(config, "cacert = 'gone'\n")
    line = f"rdl: {config}: cacert {config.parent}/gone: no such file\n"
    assert rdl("get", U).err == line
    assert rdl("get", U, "--cacert", __file__).code == 0
    write(config, "cacert = '~nobody-of-this-name/ca'\n")
    line = f"rdl: {config}: cacert {config.parent}/~nobody-of-this-name/ca: no such file\n"
    assert rdl("get", U).err == line
    write(config, "[host.'a:1']\ncookies = 'gone'\n")
    assert rdl("get", U).code == 0
    assert rdl("get", "http://a:1/f").code == 2


def test_what_may_be_said_is_what_says_how() -> None:
    for name in ("insecure", "user", "url_command", "cert", "key", "output", "checksum", "verify"):
        assert name not in PREFERENCES | OF_HOST
    assert "headers" not in PREFERENCES
    assert not {"parallel", "quiet", "verbose", "progress"} & OF_HOST


# Which section

SECTIONS = """
[host."example.org"]
retry = 1
[host."example.org:8080"]
retry = 2
[host."*.example.org"]
retry = 3
[host."*.A.example.org"]
retry = 4
[host."*.example.org:8080"]
retry = 5
[host."[::1]:81"]
retry = 6
"""


@pytest.mark.parametrize(
    ("url", "retry"),
    [
        ("http://example.org/f", 1),
        ("https://EXAMPLE.org/f", 1),
        ("https://example.org:443/f", 1),
        ("https://u:p@example.org/f", 1),
        ("https://example.org:80/f", 10),
        ("http://example.org:8080/f", 2),
        ("https://example.org:8080/f", 2),
        ("http://b.example.org/f", 3),
        ("http://a.example.org/f", 3),
        ("http://c.b.example.org/f", 3),
        ("http://b.a.example.org/f", 4),
        ("http://b.a.example.org:8080/f", 5),
        ("http://xexample.org/f", 10),
        ("http://example.org.evil/f", 10),
        ("http://example.org@evil/f", 10),
        ("http://evil/example.org/f", 10),
        ("http://[::1]:81/f", 6),
        ("http://[::1]/f", 10),
    ],
)
def test_the_section_that_names_the_host_most_exactly(
    rdl: Rdl, config: Path, url: str, retry: int
) -> None:
    write(config, SECTIONS)
    assert options_of(rdl("get", url)).transfer.retry == retry


def test_each_url_of_a_list_goes_by_its_own_host(rdl: Rdl, config: Path) -> None:
    write(config, "retry = 1\n[host.ok]\nretry = 2\nheader = 'X-A: own'\n")
    Path("list").write_text(
        f"http://else/a\n{U}\n  header=X-B: b\nhttp://ok/c\n  header=x-a: list\n"
    )
    answer = rdl("get", "-i", "list", "-H", "X-C: all")
    assert [options_of(answer, n).transfer.retry for n in range(3)] == [1, 2, 2]
    assert [network_of(answer, n).headers for n in range(3)] == [
        (("X-C", "all"),),
        (("X-C", "all"), ("X-B", "b"), ("X-A", "own")),
        (("X-C", "all"), ("x-a", "list")),
    ]


# Who wins


def test_every_layer_wins_over_those_below(
    rdl: Rdl, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def retry() -> int:
        return options_of(rdl("get", U)).transfer.retry

    assert retry() == 10
    write(config, "retry = 1\n")
    assert retry() == 1
    write(config, "retry = 1\n[host.ok]\nretry = 2\n")
    assert retry() == 2
    monkeypatch.setenv("RDL_RETRY", "3")
    assert retry() == 3
    assert options_of(rdl("get", U, "--retry", "4")).transfer.retry == 4
    monkeypatch.setenv("RDL_RETRY", "")
    assert retry() == 2


def test_a_contradiction_wins_too(rdl: Rdl, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(config, "quiet = true\nnetrc-file = '/gone'\n")
    assert rdl("get", U).err.endswith("netrc-file /gone: no such file\n")
    assert rdl("get", U, "--no-netrc").err == ""
    assert "parallel" in rdl("get", U, "--no-netrc", "-v").err
    monkeypatch.setenv("RDL_VERBOSE", "1")
    assert "parallel" in rdl("get", U, "--no-netrc").err


def test_a_login_takes_the_place_of_the_sections(rdl: Rdl, config: Path) -> None:
    write(config, "[host.ok]\nheader = ['Authorization: one', 'X-A: b']\n")
    assert len(network_of(rdl("get", U)).headers) == 2
    for words in ([U, "-u", "me:secret"], ["http://me:secret@ok/f"]):
        network = network_of(rdl("get", *words))
        assert (network.user, network.headers) == ("me", (("X-A", "b"),))
    assert network_of(rdl("get", U, "-H", "authorization: two")).headers == (
        ("authorization", "two"),
        ("X-A", "b"),
    )


def test_other_values_leave_what_was_typed(rdl: Rdl, config: Path) -> None:
    """The options are made anew for a host: nothing of the command line is lost or asked twice."""
    write(config, "[host.ok]\ntimeout = 3\n")
    Path("headers").write_text("X-A: b\n")
    digest = "a" * 64
    words = ["-u", "me:x", "-H", "@headers", "-r", "0-9", "--sha256", digest, "--restart", "-4"]
    plain = options_of(rdl("get", "http://else/f.iso", *words))
    own = options_of(rdl("get", U, *words))
    assert own.network.timeout == 3
    assert plain.transfer == own.transfer
    assert plain.file == own.file
    assert plain.network.headers == own.network.headers == (("X-A", "b"),)
    assert (own.network.user, own.network.password, own.network.family) == ("me", "x", 4)


def test_events_by_the_file(rdl: Rdl, config: Path) -> None:
    write(config, "progress = 'json'\n")
    answer = rdl("get", "gone")
    assert json.loads(answer.err)["exit_code"] == 2
    assert all(json.loads(line) for line in rdl("get", U, "-q").err.splitlines())
    assert rdl("get", "gone", "--progress", "none").err.startswith("rdl: gone: ")


# Secrets


def timeless(text: str) -> str:
    """Without how long it took."""
    return re.sub(r" in (under )?[0-9.]+ s.*", "", text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[host.a]\nheader = 'Authorization: x'\n", True),
        ("[host.a]\nheader = 'Cookie: x'\n", True),
        ("[host.a]\nheader = 'Private-Token: x'\n", True),
        ("proxy = 'http://u:p@h:1'\n", True),
        ("proxy = 'http://h:1'\n[host.a]\nheader = 'Accept-Language: de'\n", False),
    ],
)
def test_secrets_that_others_may_read_are_told_once(
    rdl: Rdl, config: Path, text: str, told: bool
) -> None:
    write(config, text)
    plain = timeless(rdl("get", U, "http://ok/g").err)
    assert "warning" not in plain
    config.chmod(0o640)
    line = f"rdl: warning: {config}: others may read the secrets in it; chmod 600 {config}\n"
    assert timeless(rdl("get", U, "http://ok/g").err) == line * told + plain
    assert rdl("get", U, "-q").err == ""


def test_a_file_of_headers_that_others_may_read_is_told_where_it_is_used(
    rdl: Rdl, config: Path
) -> None:
    token = config.parent / "token"
    token.write_text("X-Token: canary\n\nX-B: c\n")
    write(config, "[host.ok]\nheader = '@token'\n")
    for mode, lines in ((0o644, 1), (0o600, 0)):
        token.chmod(mode)
        answer = rdl("get", U, "http://ok/g")
        assert network_of(answer).headers == (("X-Token", "canary"), ("X-B", "c"))
        assert answer.err.count(f"{token}: others may read the secrets in it") == lines
        assert "warning" not in rdl("get", "http://else/f").err
    token.write_text("canary without a name\n")
    assert rdl("get", U).err == f"rdl: {token}:1: not 'Name: value'\n"
    token.unlink()
    assert rdl("get", U).err == (
        f"rdl: {config}: host.ok: header @{token}: No such file or directory\n"
    )


# config show


def shown(rdl: Rdl, *words: str) -> dict[str, tuple[str | None, str, str | None]]:
    answer = rdl("config", "show", "--json", *words)
    assert (answer.code, answer.err) == (0, "")
    rows = [json.loads(line) for line in answer.out.splitlines()]
    assert [row["name"] for row in rows] == sorted({row["name"] for row in rows})
    return {row["name"]: (row["value"], row["source"], row["where"]) for row in rows}


def test_who_says_what(rdl: Rdl, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        config,
        "retry = 1\nproxy = 'http://u:canary@h:1/?token=canary'\nstrict = true\nquiet = true\n"
        "[host.ok]\ntimeout = 3\nheader = ['Authorization: canary', '@token']\nretry = 2\n",
    )
    monkeypatch.setenv("RDL_RETRY_MAX_TIME", "7")
    monkeypatch.setenv("RDL_STRICT", "0")
    monkeypatch.setenv("RDL_VERBOSE", "1")
    monkeypatch.setenv("RDL_USER_AGENT", "me")
    general, host = shown(rdl), shown(rdl, U)
    assert general.keys() == {name.replace("_", "-") for name in PREFERENCES}
    assert host.keys() == general.keys() | {"header", "cookies"}
    place = f"{config}: host.ok"
    assert general["retry"] == ("1", "general", str(config))
    assert host["retry"] == ("2", "host", place)
    assert host["timeout"] == ("3", "host", place)
    assert host["header"] == (f"Authorization, @{config.parent}/token", "host", place)
    assert host["proxy"] == ("http://h:1/?token=***", "general", str(config))
    assert host["strict"] == ("no", "environment", "RDL_STRICT")
    assert host["retry-max-time"] == ("7", "environment", "RDL_RETRY_MAX_TIME")
    assert host["user-agent"] == ("me", "environment", "RDL_USER_AGENT")
    assert host["quiet"] == ("no", "built-in", None)
    assert host["min-split-size"] == ("8M", "built-in", None)
    assert host["connections"] == (None, "built-in", None)
    text = rdl("config", "show", U)
    assert re.search(rf"^retry +2 +{place}$", text.out, re.M)
    assert re.search(r"^connections +- +built-in$", text.out, re.M)
    assert "canary" not in text.out + json.dumps(host)


def test_a_proxy_of_the_environment_is_shown_without_its_login(
    rdl: Rdl, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RDL_PROXY", "u:canary@h:3128")
    assert shown(rdl)["proxy"] == ("http://h:3128", "environment", "RDL_PROXY")


def test_a_hostile_file_is_shown_harmlessly(rdl: Rdl, config: Path) -> None:
    write(config, 'noproxy = "a\\u001b[31m\\u202e"\n')
    assert shown(rdl)["noproxy"][0] == "a\\x1b[31m\\u{202e}"
    write(config, '"\\u001b]0;x" = 1\n')
    assert rdl("config", "show").err == f'rdl: {config}: "\\x1b]0;x": no such name\n'


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["config"], "config: show, or path?"),
        (["config", "set"], "action: 'set' is not one of 'show', 'path'"),
        (["config", "path", U], "config path: takes neither URL nor --json"),
        (["config", "show", U, U], "config show: one URL, not 2"),
        (["config", "show", "ok"], "ok: not an http, https or file URL"),
    ],
)
def test_wrong_words(rdl: Rdl, config: Path, words: list[str], line: str) -> None:
    answer = rdl(*words)
    assert (answer.code, answer.out, answer.err.splitlines()[0]) == (2, "", f"rdl: {line}")


# Faults

FAULTS = [
    ("retry = ", ": not TOML: Invalid value (at "),
    ("a = " + "[" * 5000, ": nested too deeply"),
    ("retry = " + "9" * 5000, ": a number in it is too long"),
    ("retry = 0x" + "f" * 5000, ": retry: too large"),
    ("retry = 1\nretry = 2", ": not TOML: Cannot overwrite a value (at "),
    ("retrie = 1", ": retrie: no such name"),
    ("output = 'f'", ": output: only an option of the command line"),
    ("insecure = true", ": insecure: only an option of the command line"),
    ("header = 'A: b'", ': header: only for one host: in a section [host."example.org"]'),
    ("[host.a]\nparallel = 3", ": host.a: parallel: it is for all hosts: at the top of the file"),
    ("[host.a]\nurl = 'x'", ": host.a: url: no such name"),
    ("host = 3", ': host: a section for one host is [host."example.org"]'),
    ("[host]\na = 3", ': host.a: a section for one host is [host."example.org"]'),
    ("[[host.a]]", ': host.a: a section for one host is [host."example.org"]'),
    ("[defaults]\nretry = 3", ": defaults: no such name"),
    ("[host.'https://a']", ': host."https://a": not a host'),
    ("[host.'a/b']", ': host."a/b": not a host'),
    ("[host.'a.*']", ': host."a.*": not a host'),
    ("[host.'*']", ': host."*": not a host'),
    ("[host.'a:0']", ': host."a:0": not a host'),
    ("[host.'a:99999']", ': host."a:99999": not a host'),
    ("[host.'u@a']", ': host."u@a": not a host'),
    ("[host.'']", ': host."": not a host'),
    ("[host.'[1:2]']", ': host."[1:2]": not a host'),
    ("[host.'[1.2.3]:80']", ': host."[1.2.3]:80": not a host'),
    ("[host.'a\u2100b']", ': host."a\u2100b": not a host'),
    ("[host.a]\n[host.A]", ": host.A: a second section for this host"),
    ("retry = 'many'", ": retry many: not a whole number from 0 to 1000000"),
    ("retry = 1.5", ": retry 1.5: not a whole number from 0 to 1000000"),
    ("retry = true", ": retry: a number is wanted"),
    ("retry = [1]", ": retry: a number is wanted"),
    ("timeout = inf", ": timeout: too large"),
    ("timeout = nan", ": timeout nan: not a plain number (like 30 or 2.5)"),
    ("timeout = 2025-01-01", ": timeout: a number is wanted"),
    ("strict = 1", ": strict: true or false is wanted"),
    ("user-agent = 5", ": user-agent: text in quotes is wanted"),
    ("on-change = 'ask'", ": on-change: 'ask' is not one of 'restart', 'fail'"),
    ("proxy = 'ftp://u:canary@h'", ": proxy: not an http or https proxy (like http://host:3128)"),
    ("[host.a]\nheader = 'canary'", ": host.a: header: not 'Name: value'"),
    ("[host.a]\nheader = {A='b'}", ": host.a: header: 'Name: value' is wanted, or a list of them"),
    ("[host.a]\nheader = ['A: b', 3]", ": host.a: header: 'Name: value' is wanted, or a list"),
    ("[host.a]\nheader = 'Range: x'", ": host.a: header: Range is rdl's own (see -r)"),
]


@pytest.mark.parametrize(("text", "fault"), FAULTS, ids=[text[:30] for text, _ in FAULTS])
def test_a_fault_is_one_line_and_exit_2(rdl: Rdl, config: Path, text: str, fault: str) -> None:
    write(config, text)
    answer = rdl("get", U)
    assert (answer.code, answer.out, answer.session) == (2, "", None)
    first, *rest = answer.err.splitlines()
    assert first.startswith(f"rdl: {config}{fault}")
    assert not rest or (len(rest) == 1 and rest[0].startswith("rdl: hint: "))
    assert "canary" not in answer.err


def test_a_name_that_is_nearly_one_has_a_hint(rdl: Rdl, config: Path) -> None:
    write(config, "limit_rate = 1\n")
    assert rdl("get", U).err.endswith("rdl: hint: did you mean limit-rate?\n")


def test_files_that_are_none(rdl: Rdl, config: Path) -> None:
    config.write_bytes(b"retry = 1 # \xff")
    assert rdl("get", U).err == f"rdl: {config}: not UTF-8\n"
    config.write_bytes(b"#" * MAX_CONFIG)
    assert rdl("get", U).code == 0
    config.write_bytes(b"#" * (MAX_CONFIG + 1))
    assert rdl("get", U).err == f"rdl: {config}: larger than 1 MiB\n"
    config.unlink()
    config.mkdir()
    assert rdl("get", U).err == f"rdl: {config}: Is a directory\n"
    config.rmdir()
    config.symlink_to("gone")
    assert rdl("get", U).err == f"rdl: {config}: No such file or directory\n"


def test_the_example_of_a_fault_in_the_paper(rdl: Rdl, config: Path) -> None:
    write(config, "[host.'files.example.org']\nretry = 'many'\n")
    line = rdl("get", U).err.replace(str(config), "/home/me/.config/rdl/config.toml")
    assert line in (DOCS / "configuration.md").read_text()


def test_a_setting_shows_no_secret() -> None:
    found = parse_config(b"[host.a]\nheader = 'Authorization: canary'\n", Path("c"))
    assert "canary" not in repr(found)
