"""Seeded disasters of remote files that are read here and there; NIGHTLY_SEEDS sets more of them
(a fifth of that, as each story is of several processes and readers).

One seed is replayed by `python -m tests.engine.lazy_stories SEED`.
"""

import os

import pytest

from tests.engine.lazy_stories import LazyStory, run

SEEDS = int(os.environ.get("NIGHTLY_SEEDS", "225")) // 5
SLICES = 10


@pytest.mark.parametrize("part", range(SLICES))
def test_readers_get_one_version_and_each_read_ends(part):
    served = 0
    for seed in range(part, SEEDS, SLICES):
        served += run(seed).served  # raises AssertionError with the story of the seed
    assert served > SEEDS / SLICES


def test_a_seed_is_one_story():
    logs = []
    for _ in range(2):
        story = LazyStory(11)
        story.tell()
        logs.append(story.world.log)
    assert logs[0] == logs[1]
