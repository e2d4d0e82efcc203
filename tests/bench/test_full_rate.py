"""The full-rate benchmark: what its source hands over, what it drops, and that all adds up."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest

from bench.full_rate import run
from bench.full_rate_source import FullRateSource, recorded
from contracts.clock import NS_PER_S, VirtualClock
from contracts.samples import ImageSample, PoseSample, Sample
from sim_fleet.sensors.rig import sensor_rig

SECONDS = 1.0


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return recorded(SECONDS, sensor_rig("s"))


def passes(clock: VirtualClock, seconds: float) -> None:
    clock.set_mono_ns(clock.mono_ns() + round(seconds * NS_PER_S))


def played(samples: list[Sample], seconds: float, busy_s: float = 0.0) -> FullRateSource:
    """A source that was read by somebody who is busy for some time after each front picture."""
    clock = VirtualClock()
    source = FullRateSource(samples, seconds, clock, partial(passes, clock))
    for sample in source.samples():
        if isinstance(sample, ImageSample) and sample.channel == "/camera/front":
            passes(clock, busy_s)
    return source


def test_one_who_is_in_time_gets_everything(samples: list[Sample]) -> None:
    source = played(samples, 3.0)
    assert set(source.offered.values()) == {30} and not source.counts
    assert max(source.lateness_ns) == 0


def test_one_who_is_late_loses_the_oldest_and_is_told(samples: list[Sample]) -> None:
    source = played(samples, 6.0, busy_s=0.25)
    lost = {name: count for name, count in source.counts.items() if "front" in name}
    assert sum(lost.values()) == pytest.approx(60 * 0.6, abs=4)
    assert all("overwritten" in name for name in source.counts)
    assert 0.4 < max(source.lateness_ns) / NS_PER_S <= 0.5


def test_motion_never_jumps_from_round_to_round(samples: list[Sample]) -> None:
    def places() -> Iterator[np.ndarray]:
        clock = VirtualClock()
        for sample in FullRateSource(samples, 3.2, clock, partial(passes, clock)).samples():
            if isinstance(sample, PoseSample):
                yield np.array([*sample.position_m, sample.mono_ns / NS_PER_S])

    steps = np.diff(list(places()), axis=0)
    speeds = np.linalg.norm(steps[:, :3], axis=1) / steps[:, 3]
    assert speeds.max() < 1.5 * np.median(speeds)


def test_what_was_handed_over_is_judged(samples: list[Sample]) -> None:
    found = {each.name: each for each in run(2.0, samples)}
    (told,) = (each for name, each in found.items() if name.startswith("pictures of the leading"))
    assert told.value == 0 and told.holds
    assert found["time of a frame over the model's"].value > 1
    assert found["clips packed meanwhile"].value >= 1
