"""How many parts a request brings: more while they go fast, fewer as soon as they do not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.upload.request_size import LONGEST_S, MOST_PARTS, RequestSize


def test_it_doubles_on_a_fast_link_and_stays_at_one_on_a_slow_one() -> None:
    fast, slow = RequestSize(), RequestSize()
    seen = []
    for _ in range(6):
        seen.append(fast.parts)
        fast.took(fast.parts, 0.01 * fast.parts)
        slow.took(slow.parts, 8.0)
        assert slow.parts == 1
    assert seen == [1, 2, 4, MOST_PARTS, MOST_PARTS, MOST_PARTS]


@given(st.floats(0.01, 20.0), st.floats(0.01, 20.0), st.integers(1, 30))
def test_on_a_steady_link_no_request_takes_longer_than_its_bound_or_one_part(
    before_s: float, part_s: float, requests: int
) -> None:
    """The link may be another one from some request on; the first of those finds it out."""
    size = RequestSize()
    for _ in range(requests):
        size.took(size.parts, before_s * size.parts)
    for _ in range(4):
        size.took(size.parts, part_s * size.parts)
    for _ in range(requests):
        assert size.parts == 1 or size.parts * part_s <= LONGEST_S
        size.took(size.parts, part_s * size.parts)


def test_what_takes_no_large_body_gets_none_again() -> None:
    size = RequestSize()
    size.took(1, 0.0)
    size.was_too_large()
    for _ in range(5):
        assert size.parts == 1
        size.took(1, 0.0)
