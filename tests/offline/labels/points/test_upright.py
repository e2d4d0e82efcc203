"""People are placed by the middle of what is seen of them."""

from __future__ import annotations

import numpy as np
import pytest

from offline.labels.auto.parameters import read_parameters
from offline.labels.auto.planar import turned
from offline.labels.auto.tracks import Course, Sightings
from offline.labels.points.gather import ObjectPoints
from offline.labels.points.refinement import Evidence, improved
from offline.labels.points.registration import BODIES, upright

FRAMES = 30
PARAMETERS = read_parameters()["Pedestrian"]
SIZE = np.array([0.5, 0.6, 1.7])
TRUE_XY = np.column_stack([np.full(FRAMES, 12.0), 0.12 * np.arange(FRAMES) - 2])


def points(seed: int, per_frame: int = 30) -> ObjectPoints:
    """The near half of a body wider than deep, from a viewer in the world's origin."""
    rng = np.random.default_rng(seed)
    frame = np.repeat(np.arange(FRAMES), per_frame)
    bearing = np.arctan2(TRUE_XY[frame, 1], TRUE_XY[frame, 0])
    turn = np.arcsin(rng.uniform(-1, 1, frame.size))
    near, aside = -0.14 * np.cos(turn), 0.27 * np.sin(turn)
    xy = TRUE_XY[frame] + turned(np.column_stack([near, aside]), bearing)
    xy += rng.normal(0, 0.01, xy.shape)
    n = frame.size
    return ObjectPoints(frame, xy, rng.uniform(0.4, 1.6, n), np.zeros((n, 2)), np.ones(n))


def course(off: np.ndarray) -> Course:
    none = np.zeros(FRAMES)
    return Course(
        0, TRUE_XY + off, none + 0.85, none + np.pi / 2, SIZE, np.tile([0.0, 0.12], (FRAMES, 1)),
        np.ones(FRAMES, dtype=np.bool_), none, False, PARAMETERS.motion,
    )  # fmt: skip


def test_a_body_is_placed_from_any_start_near_it() -> None:
    depth = BODIES["Pedestrian"].depth
    assert depth is not None
    told = upright(points(0), course(np.array([0.15, -0.2])), depth)
    off = told.xy_m - TRUE_XY
    assert np.abs(off.mean(axis=0)) == pytest.approx(np.zeros(2), abs=0.03)
    assert np.abs(off[:, 1]).max() < 0.08 and (told.xy_info[:, 0, 0] > 0).all()
    assert not told.yaw_info.any()
    few = upright(points(0, per_frame=3), course(np.zeros(2)), depth)
    assert not few.xy_info.any()
    np.testing.assert_array_equal(few.xy_m, TRUE_XY)


def test_points_place_people_better_than_their_boxes() -> None:
    rng = np.random.default_rng(1)
    off = np.array([0.05, 0.12]) + rng.normal(0, 0.03, (FRAMES, 2))
    before = course(off)
    track = Sightings(
        np.arange(FRAMES), TRUE_XY + off, np.full(FRAMES, 0.85), np.tile(SIZE, (FRAMES, 1)),
        np.full(FRAMES, np.pi / 2), np.full(FRAMES, 0.8), np.full(FRAMES, 12.0),
        np.zeros(FRAMES),
    )  # fmt: skip
    after = improved(Evidence(track, before, points(2)), PARAMETERS, np.zeros((FRAMES, 3)), True)
    error = np.hypot(*(after.xy_m - TRUE_XY).T)
    assert error.mean() < 0.5 * np.hypot(*off.T).mean()
    np.testing.assert_array_equal(after.size_m, SIZE)
