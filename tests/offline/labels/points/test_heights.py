"""Ground and roof, where they are seen, decide how high a box stands and reaches."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.samples import Float64s
from offline.labels.points.heights import stood
from offline.labels.points.sweep import Sweep
from tests.offline.labels.points.test_gather import standing

FRAMES = 6


def scene(top_m: float) -> Float64s:
    """Ground at z = -1.6 beside a car at (10, 0), and its rear from 0.4 m up to its top."""
    ground = [[10 + dx, 1.6, -1.6] for dx in np.linspace(-2, 2, 12)]
    rear = [[8.2, y, -1.6 + up] for y in np.linspace(-0.8, 0.8, 9)
            for up in np.linspace(0.5, top_m, 8)]  # fmt: skip
    roof = [[8.6, y, -1.6 + top_m - 0.01] for y in np.linspace(-0.8, 0.8, 9)]
    return np.array([*ground, *rear, *roof])


def told(xyz: Float64s) -> tuple[float, float]:
    """Bottom and height of a box 1.5 m high on z = -1.5."""
    sweeps = {k: Sweep(xyz, np.ones(len(xyz))) for k in range(FRAMES)}
    course = standing(10, 0, FRAMES)
    [after] = stood([course], sweeps, np.zeros((FRAMES, 3)), np.zeros(FRAMES))
    return float(after.z_m[0] - after.size_m[2] / 2), float(after.size_m[2])


def test_ground_and_top_are_taken_from_points() -> None:
    bottom, height = told(scene(1.58))
    assert bottom == pytest.approx(-1.6, abs=0.01)
    assert height == pytest.approx(1.58 + 0.07, abs=0.05)


@pytest.mark.parametrize("top_m", [0.9, 2.0])
def test_half_a_car_or_a_tree_over_it_is_not_its_height(top_m: float) -> None:
    assert told(scene(top_m))[1] == 1.5


def test_nothing_seen_leaves_the_box() -> None:
    assert told(np.zeros((0, 3))) == pytest.approx((-1.5, 1.5))
