"""How a list is divided: every target once, and no origin is asked for more than its budget."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from rdl.api import Target
from rdl.batch.shards import MOST, Group, divided, packed, share_of, sharing
from rdl.options import HostLimits, NetworkOptions, Options, SessionOptions, TransferOptions
from rdl.sources import ORIGIN_BUDGET


def targets(*hosts: str, **options: object) -> list[Target]:
    return [
        Target(f"http://{host}/{number}", Path(str(number)), Options(**options))
        for number, host in enumerate(hosts)
    ]


@given(
    st.lists(st.sampled_from("abcdef"), min_size=1, max_size=1200),
    st.integers(1, 40),
    st.integers(1, 64),
)
def test_every_target_is_in_one_shard_and_every_host_in_one_group(
    hosts: list[str], workers: int, parallel: int
) -> None:
    groups = divided(targets(*hosts), workers, parallel)
    numbers = [number for group in groups for shard in group.shards for number in shard]
    assert sorted(numbers) == list(range(len(hosts)))
    assert all(1 <= len(shard) <= max(MOST, 64) for group in groups for shard in group.shards)
    homes = Counter(
        host for group in groups for host in {hosts[n] for s in group.shards for n in s}
    )
    assert set(homes.values()) == {1}
    session = SessionOptions(parallel=parallel, limit_requests=5, limit_rate=1000)
    for group in groups:
        assert 1 <= group.abreast <= min(workers, len(group.shards))
        own = share_of(session, group.abreast, workers)
        one = sharing(Options(), session, group.abreast).transfer.ceiling
        assert group.abreast * own.parallel * one <= max(ORIGIN_BUDGET, parallel)
        assert group.abreast * (own.limit_requests or 0) <= 5.0001
        assert workers * (own.limit_rate or 0) <= 1000


def test_as_many_shards_as_keep_all_busy_and_none_too_large() -> None:
    (group,) = divided(targets(*["h"] * 10_000), 2, 4)
    assert group.abreast == 2
    assert {len(shard) for shard in group.shards[:-1]} == {MOST}
    (group,) = divided(targets(*["h"] * 100), 2, 4)
    assert [len(shard) for shard in group.shards] == [13] * 7 + [9]
    (group,) = divided(targets(*["h"] * 4), 2, 4)
    assert [len(shard) for shard in group.shards] == [2, 2], "each worker has some"


def test_small_hosts_share_a_shard_with_whole_budgets() -> None:
    groups = divided(targets(*(f"h{number}" for number in range(1000))), 2, 4)
    assert {group.abreast for group in groups} == {1}
    assert len(groups) == 8
    groups = divided(targets(*"abcabcabcabc"), 1, 6)
    assert groups == [
        Group([[0, 3, 6, 9]], 1),
        Group([[1, 4, 7, 10]], 1),
        Group([[2, 5, 8, 11]], 1),
    ]


def test_what_shares_a_mirror_or_a_limit_is_one_group() -> None:
    mirrored = targets("a", "b", mirrors=("http://m/x",)) + targets("c", "m")
    (group,) = divided([*mirrored[:2], mirrored[3]] * 50, 2, 4)
    assert group.abreast == 2
    limits = HostLimits("[host]", 100, 4.0)
    limited = targets(*(f"h{number}" for number in range(100)), limits=limits)
    (group,) = divided(limited, 2, 4)
    assert group.abreast == 2
    own = sharing(limited[0].options, SessionOptions(), 2)
    assert own.limits == HostLimits("[host]", 50, 2.0)
    assert sharing(limited[0].options, SessionOptions(), 1).limits is limits


def test_what_was_asked_for_counts() -> None:
    given_options = Options(transfer=TransferOptions(connections=6))
    assert sharing(given_options, SessionOptions(), 16).transfer.connections == 6


def test_a_shard_shows_nothing_of_what_is_in_it() -> None:
    secret = Options(network=NetworkOptions(headers=(("X-Key", "hunter2"),), password="pass"))
    shard = packed("rdl-1", [Target("http://h/?token=t0ken", Path("a"), secret)], SessionOptions())
    assert repr(shard) == "Shard(1 files)"
    assert shard.unpacked()[0][0].options == secret
