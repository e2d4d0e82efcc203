"""A device's stamps as monotonic time: jitter, disorder and clocks that are set."""

from __future__ import annotations

import itertools

from contracts.clock import NS_PER_S
from edge_agent.sources.device_time import LiveTime, RecordedTime


def test_stamps_of_a_live_clock_follow_arrival_without_its_jitter() -> None:
    time = LiveTime()
    jitter = [0, 3_000_000, 1_000_000, 9_000_000]
    arrivals = [1_000_000_000 + i * 10_000_000 + jitter[i % 4] for i in range(100)]
    found = [time.mono_ns(i * 10_000_000, at) for i, at in enumerate(arrivals)]
    steps = [b - a for a, b in itertools.pairwise(found)]
    assert min(steps) > 9_990_000 and max(steps) < 10_010_000
    # two hours back and forth again: time goes on, both are told
    late = time.mono_ns(-7_200 * NS_PER_S, arrivals[-1] + 10_000_000)
    again = time.mono_ns(0, arrivals[-1] + 20_000_000)
    assert found[-1] < late < again and time.jumps == 2


def test_small_disorder_of_a_recording_is_straightened() -> None:
    time = RecordedTime()
    assert [time.mono_ns(t) for t in (5, 9, 7, 10)] == [5, 9, 9, 10]
    assert (time.jumps, time.disordered) == (0, 1)


def test_one_wrong_stamp_does_not_move_all_that_come_after() -> None:
    time = RecordedTime(slack_ns=100)
    assert [time.mono_ns(t) for t in (5000, 5010, 0, 5020, 5030)] == [5000, 5010, 5010, 5020, 5030]
    assert [time.mono_ns(t) for t in (100, 110, 120)] == [5030, 5040, 5050]  # a clock that was set
    assert time.jumps == 2
