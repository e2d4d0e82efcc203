"""A stamp far ahead costs its own sample and no other; a drive that truly paused loses nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.clock import NS_PER_DAY, NS_PER_S, ClockQuality, VirtualClock
from contracts.samples import PoseSample, RadarSample, Sample, SignalSample
from edge_agent.app import Agent
from edge_agent.config import AgentConfig
from edge_agent.ports import SensorSource, SourceDescription
from edge_agent.sources.leaps import AHEAD, AHEAD_OF_CLOCK, MOST_WAITING, NO_TIME, plausible_samples
from edge_agent.sources.merged_parts import MergedSource, Part
from edge_agent.sources.registry import open_source
from tests.edge_agent.agent_drives import OFTEN

MS = 1_000_000
CLOCK = VirtualClock(500 * NS_PER_S)
ON_CLOCK = CLOCK.utc_ns() - CLOCK.mono_ns()


class Recorded:
    """A recording of given samples."""

    def __init__(self, samples: Iterable[Sample], utc_minus_mono_ns: int = 0) -> None:
        self._samples = samples
        clock = ClockQuality(synchronised=True, source="system")
        self._told = SourceDescription("drive", "boot", utc_minus_mono_ns, clock, frozenset())

    def describe(self) -> SourceDescription:
        return self._told

    def samples(self) -> Iterator[Sample]:
        yield from self._samples


class Live(Recorded):
    def stop(self) -> None:
        pass


def at(*times_ms: int, name: str = "ego.speed_mps") -> list[Sample]:
    return [SignalSample(name, ms * MS, 0.0) for ms in times_ms]


def seen(source: SensorSource) -> tuple[list[Sample], list[tuple[Sample, str]]]:
    """What passes, and what is turned away."""
    wrong: list[tuple[Sample, str]] = []
    passed = plausible_samples(
        source.samples(), source, source.describe(), CLOCK, lambda *each: wrong.append(each)
    )
    return list(passed), wrong


@given(st.lists(st.sampled_from([0, 1, 10, 999, 1001, 5_000, 7_200_000]), max_size=60))
def test_time_that_only_goes_on_loses_nothing(steps_ms: list[int]) -> None:
    times = np.cumsum([100, *steps_ms]).tolist()
    samples = at(*times)
    assert seen(Recorded(samples)) == (samples, [])


@given(
    st.integers(0, 30), st.integers(1, 4), st.sampled_from([1_500, 60_000, 90_000_000]),
    st.integers(8, 15), st.sampled_from([5, 20, 200]),
)  # fmt: skip
def test_a_stamp_far_ahead_costs_its_samples_alone(
    before: int, alike: int, ahead_ms: int, after: int, period_ms: int
) -> None:
    """At any place of a drive, at its beginning too; several signals of one message alike."""
    head = at(*(1000 + n * period_ms for n in range(before)))
    here_ms = 1000 + before * period_ms
    wrong = at(*[here_ms + ahead_ms + 2 * period_ms] * alike)
    tail = at(*(here_ms + n * period_ms for n in range(after)))
    passed, told = seen(Recorded([*head, *wrong, *tail]))
    assert passed == [*head, *tail]
    assert told == [(sample, AHEAD) for sample in wrong]


@given(st.lists(st.integers(0, 40), max_size=80))
def test_nothing_is_lost_or_doubled(tenths: list[int]) -> None:
    samples = at(*(100 * each for each in tenths))
    passed, told = seen(Recorded(samples))
    wrong = [sample for sample, _ in told]
    assert sorted(map(id, [*passed, *wrong])) == sorted(map(id, samples))


def test_a_silence_with_a_wrong_stamp_at_its_end_is_still_a_silence() -> None:
    head, wrong = at(*range(0, 200, 10)), at(90_000_000)
    tail = at(*range(65_000, 65_400, 10))
    passed, told = seen(Recorded([*head, *tail[:1], *wrong, *tail[1:]]))
    assert (passed, told) == ([*head, *tail], [(wrong[0], AHEAD)])


def test_of_sensors_that_disagree_for_good_the_more_frequent_is_believed() -> None:
    """The door turns away what is left behind then, as it always did."""
    fast = at(*range(10_000, 12_000, 10))
    slow = at(*range(8_500, 10_500, 33), name="driver.gas_pressed")
    mixed: list[Sample] = []
    for number, sample in enumerate(slow):
        mixed += [sample, *fast[3 * number : 3 * number + 3]]
    passed, told = seen(Recorded(mixed))
    assert not told and len(passed) == len(mixed)
    assert [each for each in passed if each in fast] == fast[: 3 * len(slow)]


def test_a_source_whose_time_stands_still_is_not_kept_for_ever() -> None:
    head, still = at(*range(0, 200, 10)), at(*[90_000_000] * (MOST_WAITING + 2))
    source = plausible_samples(
        iter([*head, *still]), Recorded([]), Recorded([]).describe(), CLOCK, lambda *_: None
    )
    for _ in range(len(head) + MOST_WAITING):
        next(source)


def test_live_sensors_are_not_ahead_of_the_machines_clock() -> None:
    now_ms = CLOCK.mono_ns() // MS
    good, wrong = at(now_ms - 20, now_ms, now_ms + 900), at(now_ms + 1001)
    assert seen(Live([*good, *wrong], ON_CLOCK)) == (good, [(wrong[0], AHEAD_OF_CLOCK)])
    # of a device's own clock nothing is known, and nothing waits
    assert seen(Live([*good, *wrong], ON_CLOCK + 2 * NS_PER_DAY)) == ([*good, *wrong], [])


@pytest.mark.parametrize("time", [None, 1.5, "12", float("nan")])
def test_what_has_no_time_is_turned_away(time: object) -> None:
    bad = RadarSample("/radar/a", time, np.zeros((0, 4)))  # type: ignore[arg-type]
    good = at(0, 10, 20)
    assert seen(Recorded([bad, *good])) == (good, [(bad, NO_TIME)])


def test_in_a_merged_drive_a_stamp_far_ahead_keeps_no_other_back() -> None:
    told = Recorded([]).describe()
    one = at(*range(0, 500, 10))
    two: list[Sample] = [
        PoseSample(ms * MS, np.zeros(3), np.array([0, 0, 0, 1.0])) for ms in range(5, 500, 10)
    ]
    wrong = at(90_000_000)
    parts = [
        Part("one:here", Recorded([*one[:20], *wrong, *one[20:]]), told, frozenset(), 0),
        Part("two:here", Recorded(two), told, frozenset(), 0),
    ]
    merged = MergedSource(parts, told)
    times = [sample.mono_ns for sample in merged.samples()]
    assert times == sorted(sample.mono_ns for sample in [*one, *two])
    assert merged.counts == {f"one:here: {AHEAD}": 1}


class Leaping:
    """A drive in which these stamps are a day ahead."""

    def __init__(self, source: SensorSource, wrong: Sequence[int]) -> None:
        self._source, self._wrong = source, wrong

    def describe(self) -> SourceDescription:
        return self._source.describe()

    def samples(self) -> Iterator[Sample]:
        for number, sample in enumerate(self._source.samples()):
            yield sample
            if number in self._wrong:
                yield SignalSample("ego.speed_mps", sample.mono_ns + NS_PER_DAY, 10.0)


def test_a_drive_goes_on_behind_a_stamp_of_another_day(tmp_path: Path) -> None:
    spec = tmp_path / "often.yaml"
    spec.write_text(OFTEN)
    whole = open_source("sim:seed=7,duration_s=12,camera=0,lidar=0")
    reports = []
    for name, source in (("whole", whole), ("leaping", Leaping(whole, (0, 900, 901, 3000)))):
        values = {"state": tmp_path / name, "specs": (spec,), "vehicle_id": "car"}
        agent = Agent(AgentConfig.model_validate(values), source, "sim")
        reports.append(asyncio.run(agent.run(stay=False)))
    there, here = reports
    assert here.rejected == {f"/signals/ego.speed_mps: {AHEAD}": 4}
    assert here.samples == there.samples
    assert (here.drive_s, len(here.clips)) == (there.drive_s, len(there.clips))
    assert len(here.clips) > 2
