"""Boxes fitted to points: exact where sides are exact, silent where points say nothing."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.samples import Float64s
from offline.labels.auto.planar import turned
from offline.labels.points.registration import BODIES, Registered, fitted, unbiased

SIZE = np.array([4.4, 1.8, 1.5])
BODY = BODIES["Car"]
TRUE = np.array([12.0, 5.0, 0.3])
SENSOR = np.zeros(2)


def side(face: str, count: int = 60) -> Float64s:
    """Points on one side of the true box, in the world [n, 2]."""
    along = np.linspace(-0.98, 0.98, count)
    x, y = {
        "back": (np.full(count, -1.0), along), "right": (along, np.full(count, -1.0)),
    }[face]  # fmt: skip
    local = np.column_stack([x * SIZE[0] / 2, y * SIZE[1] / 2])
    return TRUE[:2] + turned(local, np.full(count, TRUE[2]))


@pytest.mark.parametrize("off", [(0.0, 0.0, 0.0), (0.3, -0.2, 0.05), (-0.25, 0.3, -0.08)])
def test_two_sides_tell_the_whole_pose(off: tuple[float, float, float]) -> None:
    points = np.concatenate([side("back"), side("right")])
    told = fitted(points, np.tile(SENSOR, (120, 1)), SIZE, TRUE + off, 1.0, BODY)
    assert told is not None
    (place, info), (yaw, yaw_info) = told
    np.testing.assert_allclose(place, TRUE[:2], atol=0.05)
    assert yaw == pytest.approx(TRUE[2], abs=0.04)
    assert np.linalg.eigvalsh(info).min() > 20
    assert yaw_info > 100


def test_one_side_tells_nothing_along_itself() -> None:
    start = TRUE + np.array([0.1, 0.1, 0.0])
    # Seen from straight ahead of its side, whose ends are out of sight.
    points = side("right")[20:40]
    viewer = TRUE[:2] + turned(np.array([[0.0, -15.0]]), TRUE[2:])
    told = fitted(points, np.tile(viewer, (20, 1)), SIZE, start, 1.0, BODY)
    assert told is not None
    (place, info), _ = told
    along = turned(np.array([1.0, 0.0]), TRUE[2])
    across = turned(np.array([0.0, 1.0]), TRUE[2])
    assert along @ info @ along < 0.02 * (across @ info @ across)
    assert across @ (place - TRUE[:2]) == pytest.approx(0, abs=0.02)
    assert along @ (place - start[:2]) == pytest.approx(0, abs=0.05)


def test_points_of_something_else_are_not_believed() -> None:
    points = side("back") + np.array([30.0, 0.0])
    told = fitted(points, np.tile(SENSOR, (60, 1)), SIZE, TRUE, 1.0, BODY)
    assert told is not None
    (place, info), (yaw, yaw_info) = told
    np.testing.assert_allclose(place, TRUE[:2], atol=1e-6)
    assert (np.abs(info).max(), yaw, yaw_info) == (0, TRUE[2], 0)


def test_what_all_frames_are_off_alike_is_left_to_the_boxes() -> None:
    count = 40
    angle = np.linspace(0, 1, count)
    course = 10 * np.column_stack([np.cos(angle), np.sin(angle)])
    nearer = course * 0.97
    told = Registered(nearer, np.tile(np.eye(2), (count, 1, 1)), angle, np.zeros(count))
    here = np.zeros((count, 2))
    person = unbiased(told, course, here, 0.01, BODIES["Pedestrian"])
    np.testing.assert_allclose(person.xy_m, course, atol=0.002)
    noisy = unbiased(told, course, here, 10.0, BODIES["Pedestrian"])
    np.testing.assert_allclose(noisy.xy_m, nearer, atol=0.002)
