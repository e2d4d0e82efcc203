"""Smoothing of places that are known better in one direction than in another."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest

from offline.labels.auto.smoothing import smoothed
from offline.labels.points.fusion import fused


@pytest.mark.parametrize("walk", ["place", "speed"])
@pytest.mark.parametrize("count", [1, 2, 3, 40])
def test_alike_in_all_directions_it_is_the_plain_smoother(
    walk: Literal["place", "speed"], count: int
) -> None:
    rng = np.random.default_rng(count)
    place, noise = rng.normal(0, 1, (count, 2)), rng.uniform(0.2, 0.6, count)
    noise[1::5] = np.inf
    info = np.eye(2) / noise[:, None, None] ** 2
    told = fused([(place, info)], 0.1, walk)
    np.testing.assert_allclose(told, smoothed(place, noise, 0.1, walk), atol=1e-7)


def test_a_side_seen_moves_the_course_across_it_only() -> None:
    count = 30
    boxes = np.column_stack([np.arange(count) * 0.5, np.zeros(count)])
    normal = np.array([0.6, 0.8])
    sides = boxes + 0.2 * normal + 5.0 * np.array([-0.8, 0.6])
    told = fused(
        [
            (boxes, np.tile(np.eye(2), (count, 1, 1))),
            (sides, np.tile(1e4 * np.outer(normal, normal), (count, 1, 1))),
        ],
        0.1, "speed",
    )  # fmt: skip
    np.testing.assert_allclose((told - boxes) @ normal, 0.2, atol=0.01)
    np.testing.assert_allclose((told - boxes) @ (-0.8, 0.6), 0.0, atol=0.01)
