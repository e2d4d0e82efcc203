"""Beams that end in a box speak for it, beams that go through it against."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.errors import InputError
from contracts.samples import Float64s
from offline.labels.kitti import CLASSES, TrackedBoxes
from offline.labels.points.beams import occupancy, solidity, told_by_beams, velocities
from offline.labels.points.sweep import Sweep

FRAMES, LIDAR_M = 4, np.array([1.2, 0.0, 1.9])
ZERO = np.zeros((FRAMES, 3))


def boxes(xy: Float64s, frame: Float64s | None = None, track: int = 0) -> TrackedBoxes:
    """Cars on the ground at places [n, 2], along x."""
    n = xy.shape[0]
    none = np.zeros(n)
    return TrackedBoxes(
        frame=np.zeros(n, dtype=np.int64) if frame is None else frame.astype(np.int64),
        kind=np.full(n, CLASSES.index("Car")), track_id=np.full(n, track), truncation=none,
        occlusion=none.astype(np.int64), alpha_rad=none, box_px=np.zeros((n, 4)),
        centre_m=np.column_stack([xy, np.full(n, 0.75)]), size_m=np.tile([4.0, 2.0, 1.5], (n, 1)),
        yaw_rad=none, score=none,
    )  # fmt: skip


def wall(x: float, y: float = 0.0, late: float | None = None) -> Sweep:
    """Low points on a plane across the road, from a lidar that is not where the ego is."""
    aside, up = np.meshgrid(np.linspace(-0.8, 0.8, 20), np.linspace(0.35, 0.9, 12))
    xyz = np.column_stack([np.full(aside.size, x), y + aside.ravel(), up.ravel()])
    n = aside.size
    told = None if late is None else np.full(n, late)
    return Sweep(xyz, np.ones(n), told, np.tile(LIDAR_M, (n, 1)))


def test_what_is_hit_is_there_and_what_is_seen_through_is_not() -> None:
    told = told_by_beams(
        boxes(np.array([[20.0, 0.0], [13.0, 0.0], [30.0, 0.0], [20.0, 9.0]])), np.zeros((4, 2)),
        {0: wall(18.1)}, ZERO,
    )  # fmt: skip
    (hit, before, behind, beside) = told.tolist()
    assert hit[0] > 200 and hit[1] == 0
    assert before[0] == 0 and before[1] > 50
    assert behind == [0, 0] and beside == [0, 0]
    assert not told_by_beams(boxes(np.array([[20.0, 0.0]])), np.zeros((1, 2)), {}, ZERO).any()


def test_beams_come_from_where_the_lidar_was_and_meet_what_moves_where_it_was() -> None:
    # The ego drives ahead by 2 m a frame; half a frame late, it and its lidar were 1 m on.
    poses = np.column_stack([2.0 * np.arange(FRAMES), np.zeros((FRAMES, 2))])
    moving, still = np.array([[4.0, 0.0]]), np.zeros((1, 2))
    car = boxes(np.array([[20.0, 0.0]]), np.array([1.0]))
    late = {1: wall(20.1, late=0.5)}
    assert told_by_beams(car, moving, late, poses)[0, 0] > 200
    assert told_by_beams(boxes(np.array([[22.3, 0.0]]), np.array([1.0])), still, late, poses)[0, 0]
    gone = told_by_beams(boxes(np.array([[22.3, 0.0]]), np.array([1.0])), moving, late, poses)
    assert gone[0, 0] == 0


def test_a_box_that_no_beam_reaches_is_known_by_those_before_and_after() -> None:
    track = np.array([0, 0, 0, 0, 0, 1, 1, 2])
    frame = np.array([0, 1, 2, 3, 4, 0, 1, 0])
    told = np.array([[96, 0], [0, 0], [1, 1], [36, 0], [0, 0], [0, 0], [0, 16], [0, 0]])
    known = occupancy(track, frame, told)
    np.testing.assert_allclose(known, [0.96, 0.9, 0.9, 0.9, 0.9, -0.8, -0.8, 0.0])
    order = np.random.default_rng(0).permutation(track.size)
    np.testing.assert_allclose(occupancy(track[order], frame[order], told[order]), known[order])


def test_a_track_is_as_solid_as_its_sightings_together() -> None:
    told = np.array([[30, 0], [0, 30], [0, 500], [46, 0]])
    seen = np.array([True, True, False, True])
    np.testing.assert_allclose(
        solidity(np.array([0, 0, 0, 1]), told, seen), [0, 0, 0, 0.92], atol=1e-12
    )


def test_velocities_are_over_ground() -> None:
    poses = np.column_stack([2.0 * np.arange(FRAMES), np.zeros(FRAMES), np.zeros(FRAMES)])
    ahead = boxes(np.column_stack([10 + 1.0 * np.arange(FRAMES), np.zeros(FRAMES)]),
                  np.arange(float(FRAMES)))  # fmt: skip
    np.testing.assert_allclose(velocities(ahead, poses), np.tile([3.0, 0.0], (FRAMES, 1)))
    alone = boxes(np.array([[5.0, 1.0]]))
    assert not velocities(alone, poses).any()


def test_each_point_has_its_lidar() -> None:
    with pytest.raises(InputError, match="origin_m"):
        Sweep(np.zeros((3, 3)), np.zeros(3), None, np.zeros((1, 3)))
