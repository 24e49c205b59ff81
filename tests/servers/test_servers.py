"""rdl against real servers: complete, killed, interrupted, run again, changed underneath."""

from __future__ import annotations

import filecmp
import os
import random
import time
from pathlib import Path

import pytest

from tests.servers.conftest import LONG_AGO, SIZE, Origin, StartOrigin, require
from tests.support.content import MiB, write_seeded
from tests.support.program import Download, Event, download, leftovers
from tests.support.servers import RECIPES, Recipe, nginx

KILLS = int(os.environ.get("NIGHTLY_KILLS", "3"))
RATE = 6 * MiB
"""Bytes a second, all connections together."""
BY_NAME = {recipe.name: recipe for recipe in RECIPES}
every_server = pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)


def parallel(connections: int) -> tuple[str, ...]:
    """Options for so many connections to a small file."""
    return ("-k", "1M", "-x", str(connections))


def rate_of(recipe: Recipe, connections: int) -> int:
    """A throttle that makes a download take two seconds and more, bursts included."""
    return RATE // connections if recipe.ranges and recipe.strong else RATE


def assert_complete(origin: Origin, output: Path) -> None:
    assert filecmp.cmp(origin.source, output, shallow=False)
    assert leftovers(output) == []


@every_server
def test_a_file_arrives_and_is_not_fetched_twice(
    recipe: Recipe, start: StartOrigin, output: Path
) -> None:
    origin = start(recipe)
    with download(origin.url, output, *origin.options, "--sha256", origin.sha256) as first:
        result = first.result()
    assert_complete(origin, output)
    assert result["reason"] == "complete"
    assert result["bytes_downloaded"] == result["bytes_total"] == SIZE
    sent_before = sum(size for _, _, size in origin.server.requests())

    with download(origin.url, output, *origin.options) as second:
        again = second.result()
    assert_complete(origin, output)
    if recipe.unchanged:
        assert again["reason"] == "unchanged"
        assert again["bytes_downloaded"] == 0
        if recipe.logs:
            assert sum(size for _, _, size in origin.server.requests()) == sent_before >= SIZE


@every_server
def test_killed_again_and_again(recipe: Recipe, start: StartOrigin, output: Path) -> None:
    """SIGKILL at seeded times; the last run is left alone. What a kill costs is bounded."""
    origin = start(recipe, rate=rate_of(recipe, 4))
    moments = random.Random(f"kill {recipe.name}")
    reused: list[int] = []
    before: Event | None = None
    for number in range(KILLS + 1):
        if number == KILLS:
            origin.hasten()
        with Download(origin.url, output, *origin.options, *parallel(4)) as run:
            if run.wait_for("start"):
                reused.append(run.events("start")[0]["bytes_reused"])
                if recipe.ranges and recipe.strong:
                    assert_little_was_lost(before, reused[-1])
            if number < KILLS:
                time.sleep(moments.uniform(0.0, 0.6))
                run.kill()
            else:
                run.finish()
            # A kill may come between the publishing and the exit.
            assert output.exists() or run.process.returncode != 0, run.said
            before = run.events("progress")[-1] if run.events("progress") else None
            if run.process.returncode == 0:
                break
    assert run.process.returncode == 0
    assert_complete(origin, output)
    assert not (recipe.ranges and recipe.strong) or max(reused) > 0


def assert_little_was_lost(before: Event | None, reused: int) -> None:
    """At most a MiB of each connection, and one of the index, may be fetched again."""
    if before is not None:
        allowed = (before["connections"] + 1) * MiB
        assert before["bytes_present"] - reused <= allowed


@every_server
def test_interrupted_and_continued(recipe: Recipe, start: StartOrigin, output: Path) -> None:
    origin = start(recipe, rate=rate_of(recipe, 4))
    with Download(origin.url, output, *origin.options, *parallel(4)) as run:
        assert run.wait_for("progress", bytes_present=2 * MiB), run.said
        assert run.interrupt() == 130, run.said
        kept = run.result()
    assert not output.exists()
    assert (kept["exit_code"], kept["reason"]) == (130, "interrupted")
    assert kept["resumable"] == recipe.unchanged  # joined only where versions can be told apart
    assert 2 * MiB <= kept["bytes_present"] < SIZE

    origin.hasten()
    with download(origin.url, output, *origin.options, *parallel(4)) as again:
        result = again.result()
    assert_complete(origin, output)
    assert kept["resumable"] or result["bytes_reused"] == 0
    if recipe.ranges and recipe.strong:
        assert result["bytes_reused"] == kept["bytes_present"]
        rest = SIZE - kept["bytes_present"]
        assert rest <= result["bytes_downloaded"] < SIZE  # the tail may be asked for twice


@pytest.mark.parametrize("name", ["nginx", "lighttpd", "lighttpd-bare", "apache", "python"])
@pytest.mark.parametrize("age", [0, LONG_AGO], ids=["fresh", "old"])
def test_replaced_between_two_runs(
    name: str, age: int, start: StartOrigin, fresh_source: Path, output: Path
) -> None:
    """A file of the same size takes the place of the one that was begun: nothing is joined."""
    if age:
        os.utime(fresh_source, (age, age))
    recipe = BY_NAME[name]
    origin = start(recipe, rate=rate_of(recipe, 2), source=fresh_source)
    with Download(origin.url, output, *parallel(2)) as run:
        assert run.wait_for("progress", bytes_present=2 * MiB), run.said
        run.kill()
    while time.time() < fresh_source.stat().st_mtime + 1:
        time.sleep(0.05)  # nginx makes its ETag from whole seconds and the size
    replacement = fresh_source.with_name("replacement")
    write_seeded(replacement, SIZE, seed=3)
    replacement.chmod(0o644)
    if age:
        os.utime(replacement, (age + 100, age + 100))
    begun = fresh_source.with_name("begun")
    fresh_source.rename(begun)
    replacement.rename(fresh_source)
    if not (recipe.lags and recipe.strong):  # else what it remembers of the old one is in play
        origin.hasten()
    with download(origin.url, output, *parallel(8)):
        pass
    if not (recipe.lags and filecmp.cmp(begun, output, shallow=False)):
        assert_complete(origin, output)


def test_a_weak_etag_becomes_strong(start: StartOrigin, fresh_source: Path, output: Path) -> None:
    """Apache calls a fresh file's ETag weak; a second later the same file has a strong one."""
    origin = start(BY_NAME["apache"], rate=RATE, source=fresh_source)
    os.utime(fresh_source)
    with Download(origin.url, output, *parallel(2)) as run:
        assert run.wait_for("progress", bytes_present=MiB), run.said
        run.kill()
    origin.hasten()
    while time.time() < fresh_source.stat().st_mtime + 1.1:
        time.sleep(0.05)
    with download(origin.url, output, *parallel(2)):
        pass
    assert_complete(origin, output)


def test_a_missing_server_is_skipped_only_where_servers_are_not_required(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    missing = Recipe("missing", "no-such-server", nginx)
    monkeypatch.delenv("REQUIRE_SERVERS", raising=False)
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception):
        require(missing)
    for name, value in (("REQUIRE_SERVERS", "1"), ("CI", "true")):
        monkeypatch.setenv(name, value)
        with pytest.raises(pytest.fail.Exception):
            require(missing)
        monkeypatch.delenv(name)
