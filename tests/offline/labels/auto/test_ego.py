"""Poses from detections, against the truth, with others driving in between."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from contracts.samples import Float64s
from offline.labels.auto.parameters import read_parameters
from offline.labels.auto.planar import composed, inverse, placed
from offline.labels.auto.world import estimated_poses, first_poses
from tests.offline.labels.auto.worlds import Street, driving, parked_row, street

FRAMES = 50
SPAN = 10


def drift_m(found: Float64s, truth: Float64s) -> Float64s:
    """How far a place 20 m ahead is off after `SPAN` frames, [frames - SPAN]."""
    ahead = np.tile([20.0, 0.0], (FRAMES - SPAN, 1))
    ends = [
        placed(composed(inverse(poses[:-SPAN]), poses[SPAN:]), ahead) for poses in (found, truth)
    ]
    return np.hypot(*(ends[0] - ends[1]).T)


def busy(seed: int) -> Street:
    ego = driving((0, 0, 0), 0.6, 0.004, FRAMES)
    movers = [
        driving((15, -2, 0), 0.9, 0, FRAMES), driving((60, 2, np.pi), 1.0, 0, FRAMES),
        driving((25, -2, 0), 0.9, 0, FRAMES),
    ]  # fmt: skip
    return street([*parked_row(FRAMES), *movers], ego, seed)


@pytest.mark.parametrize("seed", [0, 1])
def test_parked_cars_tell_the_poses_and_refinement_makes_them_better(seed: int) -> None:
    seen, by_class = busy(seed), read_parameters()
    first = drift_m(first_poses(seen.clip, by_class), seen.poses)
    refined = drift_m(estimated_poses(seen.clip, by_class), seen.poses)
    assert np.median(first) < 1.0
    assert np.median(refined) < 0.35
    assert np.median(refined) < 0.7 * np.median(first)


def test_known_poses_are_taken_as_they_are() -> None:
    seen = busy(0)
    clip = replace(seen.clip, world_SE2_sensor=seen.poses)
    assert np.array_equal(estimated_poses(clip, read_parameters()), seen.poses)


def test_nothing_detected_is_no_motion() -> None:
    seen = busy(0)
    empty = replace(seen.clip, found=seen.clip.found.take(np.zeros(0, dtype=np.int64)))
    assert not estimated_poses(empty, read_parameters()).any()
