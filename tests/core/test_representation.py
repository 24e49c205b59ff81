"""Two heads are the same file only when a total and a strong validator say so."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdl.core.representation import Match, Representation, Trust

SAME, DIFFERENT, UNKNOWN = Match.SAME, Match.DIFFERENT, Match.UNKNOWN
STRONG, OTHER = Representation(10, '"a"'), Representation(10, '"b"')
WEAK = Representation(10, 'W/"a"')
DATED = Representation(10, None, "Mon", True)
LOOSE = Representation(10, None, "Mon", False)
BARE = Representation(10)


@pytest.mark.parametrize(
    ("one", "other", "match"),
    [
        (STRONG, STRONG, SAME),
        (STRONG, OTHER, DIFFERENT),
        (STRONG, Representation(11, '"a"'), DIFFERENT),
        (STRONG, Representation(None, '"a"'), SAME),
        (STRONG, WEAK, UNKNOWN),
        (STRONG, BARE, UNKNOWN),
        (WEAK, STRONG, UNKNOWN),
        (WEAK, WEAK, UNKNOWN),
        (WEAK, Representation(10, 'W/"b"'), DIFFERENT),
        (DATED, DATED, SAME),
        (DATED, Representation(10, None, "Tue", True), DIFFERENT),
        (DATED, BARE, UNKNOWN),
        (LOOSE, LOOSE, UNKNOWN),
        (BARE, BARE, UNKNOWN),
        (BARE, Representation(9), DIFFERENT),
        (Representation(10, '"a"', "Mon", True), Representation(10, '"a"', "Tue", True), SAME),
    ],
)
def test_what_two_representations_say_of_each_other(one, other, match):
    assert one.compare(other) is match


TAGS = st.sampled_from([None, '"a"', '"b"', 'W/"a"', 'W/"b"'])
DATES = st.sampled_from([None, "Mon", "Tue"])
ANY = st.builds(Representation, st.sampled_from([None, 1, 2]), TAGS, DATES, st.booleans())


@given(ANY, ANY)
def test_same_needs_a_strong_validator_in_common(one, other):
    if one.compare(other) is SAME:
        tags = one.strong_etag is not None and one.strong_etag == other.strong_etag
        dates = one.modified_strong and one.last_modified == other.last_modified is not None
        assert tags or dates
        assert one.total == other.total or None in (one.total, other.total)


@given(ANY)
def test_trust_needs_a_total_and_a_strong_validator(one):
    if one.trust is not Trust.T0:
        assert one.total is not None
        assert one.compare(one) is SAME
