"""Boxes and the beams about them: every return is counted as if all were looked at for each box."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.samples import Float32s, Float64s
from kernels.sightlines import Int64s, by_sector, looked_through


def plainly(
    xyz: Float32s, pose: Float64s, boxes: Float64s, step: int, margin_m: Float64s
) -> Float64s:
    """The counts by their definition, all returns against each box."""
    counts = np.zeros((4, len(boxes)), np.int64)
    places = xyz[::step].astype(np.float64) @ pose[:3, :3].T + pose[:3, 3]
    places = places[np.isfinite(places).all(axis=1)]
    eye = pose[:3, 3]
    for k, (x, y, z, length, width, height, yaw) in enumerate(boxes):
        away = float(np.hypot(x - eye[0], y - eye[1]))
        if away < 1.0:
            continue
        ahead = np.array([x - eye[0], y - eye[1]]) / away
        flat = places[:, :2] - eye[:2]
        along, across = flat @ ahead, flat @ np.array([-ahead[1], ahead[0]])
        turned = np.array([[np.cos(yaw), np.sin(yaw)], [-np.sin(yaw), np.cos(yaw)]])
        local = np.abs((places[:, :2] - [x, y]) @ turned.T)
        low, high = z - height / 2, z + height / 2
        ahead_of = along >= 1.0
        inside = ahead_of & (local[:, 0] <= length / 2 + margin_m[k, 0])
        inside &= local[:, 1] <= width / 2 + margin_m[k, 1]
        inside &= (places[:, 2] > low + 0.15) & (places[:, 2] < high + 0.4)
        with np.errstate(divide="ignore", invalid="ignore"):
            crossed = np.abs(across * away / along) <= 0.25 * width
            at = eye[2] + (places[:, 2] - eye[2]) * away / along
        towards = ahead_of & ~inside & crossed
        middle = towards & (at > low + 0.3 * height) & (at < high - 0.2 * height)
        radius = 0.5 * np.hypot(length, width)
        counts[:, k] = (
            inside.sum(), (middle & (along > away + radius + 1.0)).sum(),
            (middle & (along < away - radius - 0.5)).sum(), towards.sum(),
        )  # fmt: skip
    return counts


def pose(yaw: float) -> Float64s:
    turned = np.eye(4)
    turned[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    turned[:3, 3] = 1.2, -0.3, 1.8
    return turned


@given(st.integers(0, 10_000), st.integers(1, 4), st.floats(-3.2, 3.2))
def test_counts_are_those_of_the_definition(seed: int, step: int, yaw: float) -> None:
    rng = np.random.default_rng(seed)
    at = rng.uniform(-np.pi, np.pi, 3000)
    far = rng.uniform(0.5, 40.0, 3000)
    xyz = np.stack([far * np.cos(at), far * np.sin(at), rng.uniform(-2, 1, 3000)], 1)
    cloud = xyz.astype(np.float32)
    cloud[rng.integers(0, 3000, 5)] = np.nan, np.inf, 0.0
    boxes = np.concatenate([
        rng.uniform(-20, 20, (12, 2)), rng.uniform(0, 1.5, (12, 1)),
        rng.uniform(0.3, 9.0, (12, 3)), rng.uniform(-4, 4, (12, 1)),
    ], axis=1)  # fmt: skip
    boxes[0, :2] = 1.2, -0.3  # upon the sensor
    boxes[1, :2] = 1.2 - 15.0, -0.3  # straight behind it, where sectors begin and end
    margin_m = rng.uniform(0, 1.0, (12, 2))
    returns, first = by_sector(cloud, pose(yaw), step)
    found = looked_through(returns, first, pose(yaw), boxes, margin_m)
    np.testing.assert_array_equal(found, plainly(cloud, pose(yaw), boxes, step, margin_m))


@pytest.mark.parametrize("angle", np.linspace(-np.pi, np.pi, 17))
def test_a_box_is_found_in_every_direction(angle: float) -> None:
    spread = angle + np.linspace(-0.01, 0.01, 5)
    ahead = np.stack([20 * np.cos(spread), 20 * np.sin(spread), np.full(5, -1.0)], 1)
    eye = np.eye(4)
    eye[2, 3] = 1.8
    box = np.array([[20 * np.cos(angle), 20 * np.sin(angle), 0.8, 4.0, 2.0, 1.6, angle]])

    def counted(cloud: Float32s) -> Int64s:
        returns, first = by_sector(cloud, eye, 1)
        return looked_through(returns, first, eye, box, np.zeros((1, 2)))

    counts = counted(ahead.astype(np.float32))
    assert counts[:, 0].tolist() == [5, 0, 0, 0]
    behind = counted((1.6 * ahead).astype(np.float32))
    assert behind[:, 0].tolist() == [0, 5, 0, 5]
    assert not counted(np.empty((0, 3), np.float32)).any()
