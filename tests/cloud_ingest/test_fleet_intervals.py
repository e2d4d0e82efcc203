"""From counters to intervals: nothing twice, nothing negative, nothing of two digests."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from cloud_ingest.fleet.counting import COUNTED, totals_after
from cloud_ingest.fleet.intervals import (
    HISTORY_NS,
    MOST_AT_ONCE,
    Mark,
    closed_bounds,
    grace_ns,
    intervals_of,
)
from contracts.clock import NS_PER_DAY, NS_PER_S

counters = st.fixed_dictionaries(
    {name: st.integers(min_value=0, max_value=10**9).map(float) for name in COUNTED}
)


@given(st.lists(counters, min_size=1, max_size=12))
def test_totals_never_fall_and_count_each_growth_once(told: list[dict[str, float]]) -> None:
    totals = totals_after({}, told[0], told[0])
    assert set(totals.values()) == {0.0}
    expected = dict.fromkeys(COUNTED, 0.0)
    for before, now in pairwise(told):
        after = totals_after(totals, before, now)
        assert all(after[name] >= totals[name] for name in COUNTED)
        if all(now[name] >= before[name] for name in COUNTED):
            expected = {name: expected[name] + now[name] - before[name] for name in COUNTED}
        totals = after
    assert totals == expected


def mark(vehicle: str, place: int, driven_m: float, digest: str = "a", steady: bool = True) -> Mark:
    totals = dict.fromkeys(COUNTED, 0.0) | {"driven_m": driven_m, "fires": driven_m / 1000}
    return Mark(vehicle, place, totals, digest, steady)


BOUNDS = tuple(day * NS_PER_DAY for day in range(5))


def test_an_interval_counts_from_the_last_reading_before_it() -> None:
    marks = [
        mark("parked", 0, 1000), mark("parked", 4, 9000),
        mark("new", 2, 500), mark("new", 3, 2500),
        mark("idle", 0, 0), mark("idle", 1, 0),
    ]  # fmt: skip
    intervals = intervals_of(marks, BOUNDS, ["fires"])
    told = [dict(zip(i.vehicle_ids, i.driven_km.tolist(), strict=True)) for i in intervals]
    assert told == [{}, {}, {"new": 2.0}, {"parked": 8.0}]
    assert intervals[3].events["fires"].tolist() == [8.0]
    assert [(i.start_utc_ns, i.end_utc_ns) for i in intervals] == list(pairwise(BOUNDS))
    assert all(set(i.events) == {"fires"} for i in intervals)


def test_an_interval_of_a_change_is_dropped() -> None:
    marks = [
        mark("car", 0, 0, "a"), mark("car", 1, 1000, "a"), mark("car", 2, 2000, "b"),
        mark("car", 3, 3000, "b"), mark("car", 4, 4000, "b", steady=False),
    ]  # fmt: skip
    intervals = intervals_of(marks, BOUNDS, ["fires"])
    assert [i.installed_digests for i in intervals] == [("a",), (), ("b",), ()]


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 10**6), st.booleans()),
        max_size=5,
        unique_by=lambda row: row[0],
    )
)
def test_a_vehicle_is_counted_once_over_all_intervals(rows: list[tuple[int, int, bool]]) -> None:
    driven, marks = 0.0, []
    for place, grown, steady in sorted(rows):
        driven += grown
        marks.append(mark("car", place, driven, steady=steady))
    read = sum(i.driven_km.sum() for i in intervals_of(marks, BOUNDS, ["fires"]))
    counted = sum(grown for _, grown, steady in sorted(rows)[1:] if steady)
    assert abs(read * 1000 - counted) < 1e-6


def closed(read_until: int, created: int, now: int, length: int) -> Sequence[int]:
    return closed_bounds(read_until, created, now, length)


def test_an_interval_is_closed_when_its_end_and_the_grace_have_passed() -> None:
    created = 100 * NS_PER_DAY + 5
    grace = grace_ns(NS_PER_DAY)
    start = closed(0, created, created, NS_PER_DAY)[0]
    assert start == 71 * NS_PER_DAY
    assert created - HISTORY_NS <= start < created - HISTORY_NS + NS_PER_DAY
    read = 100 * NS_PER_DAY
    assert closed(read, created, read + NS_PER_DAY + grace - 1, NS_PER_DAY) == (read,)
    over = closed(read, created, read + NS_PER_DAY + grace, NS_PER_DAY)
    assert over == (read, read + NS_PER_DAY)
    # Another length was set: the first interval reaches to the new grid.
    hour = 3600 * NS_PER_S
    other = closed(read + 7, created, read + 3 * hour, hour)
    assert other == (read + 7, read + hour, read + 2 * hour)


@given(
    st.integers(1, 10**6), st.integers(0, 10**7), st.integers(0, 10**7), st.integers(1, 10**5)
)  # fmt: skip
def test_closed_intervals_follow_each_other_up_to_the_watermark(
    created_s: int, waited_s: int, read_s: int, length_s: int
) -> None:
    created, length = created_s * NS_PER_S, length_s * NS_PER_S
    now = created + waited_s * NS_PER_S
    until = min(read_s * NS_PER_S, now)
    bounds = closed(until, created, now, length)
    assert len(bounds) <= MOST_AT_ONCE + 1
    assert list(bounds) == sorted(set(bounds))
    if until:
        assert bounds[0] == until
    assert all(bound % length == 0 for bound in bounds[1:])
    assert all(bound + grace_ns(length) <= now for bound in bounds[1:])
    if len(bounds) <= MOST_AT_ONCE:
        # Nothing that is closed was left out.
        nxt = (bounds[-1] // length + 1) * length
        assert nxt + grace_ns(length) > now
