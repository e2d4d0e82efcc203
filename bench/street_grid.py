"""A simulated organised sweep of a street, for measuring the lidar codec.

128 beams from −25° to +15°, 2048 columns, 1.8 m above a flat road between two house fronts
with parked cars, poles and pedestrians. Ranges beyond 120 m and 1 % at random are no-returns;
range noise is Gaussian with σ = 5 mm; intensity is a level for each surface, with σ = 3 of
noise. Real surfaces are rougher, real sensors drop more: this is a best case that is stated.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.lidar_codec import LidarGrid

SENSOR_HEIGHT_M = 1.8
REACH_M = 120.0
RANGE_SIGMA_M = 0.005
INTENSITY_SIGMA = 3.0
DROPPED_RATIO = 0.01

Float64s = NDArray[np.float64]


def street_grid(rings: int = 128, columns: int = 2048, seed: int = 7) -> LidarGrid:
    """One sweep; the same seed gives the same sweep."""
    rng = np.random.default_rng(seed)
    elevation = np.deg2rad(np.linspace(15.0, -25.0, rings))
    azimuth = (np.arange(columns) + 0.5) * (2.0 * np.pi / columns)
    rays = np.stack(
        [
            np.cos(elevation)[:, None] * np.cos(azimuth)[None, :],
            np.cos(elevation)[:, None] * np.sin(azimuth)[None, :],
            np.broadcast_to(np.sin(elevation)[:, None], (rings, columns)),
        ],
        axis=-1,
    ).reshape(-1, 3)
    down = rays[:, 2] < -1e-6
    range_m = np.where(down, -SENSOR_HEIGHT_M / np.where(down, rays[:, 2], -1.0), np.inf)
    level = np.full(range_m.shape, 12.0)
    for low, high, surface in _boxes(rng):
        hit = _box_range(rays, low, high)
        nearer = hit < range_m
        range_m[nearer] = hit[nearer]
        level[nearer] = surface
    range_m += rng.normal(0.0, RANGE_SIGMA_M, range_m.shape)
    range_m[(range_m > REACH_M) | (rng.random(range_m.shape) < DROPPED_RATIO)] = 0.0
    level += rng.normal(0.0, INTENSITY_SIGMA, level.shape)
    level[range_m == 0.0] = 0.0
    return LidarGrid(
        range_m.astype(np.float32).reshape(rings, columns),
        np.clip(np.rint(level), 0, 255).astype(np.uint8).reshape(rings, columns),
        azimuth.astype(np.float32),
        elevation.astype(np.float32),
    )


def _boxes(rng: np.random.Generator) -> list[tuple[Float64s, Float64s, float]]:
    """Corners, relative to the sensor, and intensity level of house fronts, cars and poles."""
    ground = -SENSOR_HEIGHT_M
    boxes = [
        (np.array([-90.0, 11.0, ground]), np.array([90.0, 20.0, 9.0]), 40.0),
        (np.array([-90.0, -23.0, ground]), np.array([70.0, -14.0, 12.0]), 55.0),
    ]
    for side, start in ((6.0, -60.0), (-9.0, -55.0)):
        for index in range(10):
            x, y = start + 11.0 * index + rng.uniform(-1, 1), side + rng.uniform(-0.2, 0.2)
            low = np.array([x, y - 0.9, ground + 0.2])
            boxes.append((low, low + np.array([4.4, 1.8, 1.3]), rng.uniform(20, 90)))
    for _ in range(14):
        x, y = rng.uniform(-50, 50), rng.choice([-10.5, 9.0]) + rng.uniform(-0.5, 0.5)
        low = np.array([x, y, ground])
        boxes.append((low, low + np.array([0.3, 0.4, rng.uniform(1.6, 5.0)]), 70.0))
    return boxes


def _box_range(rays: Float64s, low: Float64s, high: Float64s) -> Float64s:
    """Range at which each ray from the origin enters the box, infinite where it misses."""
    with np.errstate(divide="ignore", invalid="ignore"):
        near_far = np.sort(np.stack([low / rays, high / rays]), axis=0)
    enter = np.nanmax(near_far[0], axis=1)
    leave = np.nanmin(near_far[1], axis=1)
    return np.where((enter <= leave) & (enter > 0.0), enter, np.inf)
