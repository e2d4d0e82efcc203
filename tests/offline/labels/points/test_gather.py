"""Points are given to the object that they are of; the ground is nobody's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from contracts.errors import InputError
from kernels.lidar.objects import crop
from offline.labels.auto.parameters import read_parameters
from offline.labels.auto.tracks import Course
from offline.labels.points.gather import gathered
from offline.labels.points.sweep import Sweep

MOTION = read_parameters()["Car"].motion


def standing(x: float, y: float, frames: int = 2, size: tuple[float, ...] = (4, 2, 1.5)) -> Course:
    """A car on ground at z = -1.5 under the sensor."""
    size_m = np.array(size)
    return Course(
        0, np.tile([x, y], (frames, 1)), np.full(frames, -1.5 + size_m[2] / 2), np.zeros(frames),
        size_m, np.zeros((frames, 2)), np.ones(frames, dtype=np.bool_), np.zeros(frames), True,
        MOTION,
    )  # fmt: skip


def test_points_go_to_the_box_that_they_lie_deepest_in() -> None:
    one, two = standing(10, 0), standing(10, 2.3)
    xyz = np.array([
        [8.1, 0.9, -1.0], [8.1, 1.4, -1.0], [8.1, 1.1, -1.45], [30.0, 0.0, -1.0], [8.1, 1.08, -0.9],
    ])  # fmt: skip
    sweep = Sweep(xyz, np.linspace(0, 1, 5))
    poses = np.zeros((2, 3))
    first, second = gathered([one, two], {1: sweep}, poses, [np.zeros(2)] * 2)
    assert first.frame.tolist() == [1, 1]
    np.testing.assert_allclose(first.xy_m, xyz[[0, 4], :2])
    np.testing.assert_allclose(first.up_m, [0.5, 0.6])
    np.testing.assert_allclose(second.xy_m, xyz[[1], :2])
    np.testing.assert_allclose(second.intensity, [0.25])


def test_points_are_told_in_the_world() -> None:
    pose = np.array([3.0, -2.0, np.pi / 2])
    course = standing(3.0, 8.0)
    sweep = Sweep(np.array([[9.0, 0.5, -0.8]]), np.ones(1))
    [told] = gathered([course], {0: sweep}, np.tile(pose, (2, 1)), [np.zeros(2)])
    np.testing.assert_allclose(told.xy_m, [[2.5, 7.0]])
    np.testing.assert_allclose(told.viewer_m, [[3.0, -2.0]])


def test_crop_agrees_with_asking_each_box() -> None:
    rng = np.random.default_rng(0)
    xyz = rng.uniform(-30, 30, (4000, 3)) * (1, 1, 0.1)
    centre = rng.uniform(-25, 25, (12, 3)) * (1, 1, 0.05)
    yaw, half = rng.uniform(-4, 4, 12), rng.uniform(0.4, 4, (12, 3))
    away = xyz[None] - centre[:, None]
    cos, sin = np.cos(yaw)[:, None], np.sin(yaw)[:, None]
    along = cos * away[..., 0] + sin * away[..., 1]
    across = cos * away[..., 1] - sin * away[..., 0]
    local = np.stack([along, across, away[..., 2]], axis=-1)
    inside = (np.abs(local) <= half[:, None]).all(axis=-1)
    box, point = crop(xyz, centre, yaw, half)
    assert set(zip(box.tolist(), point.tolist(), strict=True)) == set(
        zip(*(each.tolist() for each in np.nonzero(inside)), strict=True)
    )


def test_a_sweep_is_whole() -> None:
    with pytest.raises(InputError, match="xyz_m"):
        Sweep(np.zeros((3, 2)), np.zeros(3))


def test_what_moves_is_where_the_beam_met_it_and_told_where_it_is_now() -> None:
    still = standing(10, 0)
    moves = replace(still, velocity_m=np.tile([2.0, 0.0], (2, 1)), is_static=False)
    # Met a frame before, 2 m behind where it is.
    xyz = np.array([[6.1, 0.0, -1.0], [6.1, 0.3, -1.0]])
    sweep = Sweep(xyz, np.ones(2), np.full(2, -1.0))
    [told] = gathered([moves], {0: sweep}, np.zeros((2, 3)), [np.zeros(2)])
    np.testing.assert_allclose(told.xy_m, xyz[:, :2] + (2.0, 0.0))
    [none] = gathered([still], {0: sweep}, np.zeros((2, 3)), [np.zeros(2)])
    assert not len(none)


def test_a_sweep_needs_a_time_for_each_point() -> None:
    with pytest.raises(InputError, match="late"):
        Sweep(np.zeros((3, 3)), np.zeros(3), np.zeros(2))
