"""Clouds for the lidar codec's tests: a random one, and one as a spinning sensor lists it."""

from __future__ import annotations

import numpy as np

from kernels.lidar_codec import LidarPoints


def cloud(count: int, seed: int, reach_m: float = 60.0) -> LidarPoints:
    rng = np.random.default_rng(seed)
    xyz = rng.uniform(-reach_m, reach_m, (count, 3)).astype(np.float32)
    return LidarPoints(xyz, rng.integers(0, 256, count, dtype=np.uint8))


def spinning(
    beams: int = 8, firings: int = 600, seed: int = 3, *, turn: float = 1.0
) -> LidarPoints:
    """Beam after beam, as HDL-64 scans are listed; offsets off the axis as real lasers have."""
    rng = np.random.default_rng(seed)
    azimuth = turn * np.sort(rng.choice(4000, (beams, firings)), axis=1) / 4000 * 2 * np.pi
    rho = 8.0 + np.cumsum(rng.normal(0, 0.02, (beams, firings)), axis=1)
    slope = np.linspace(0.05, -0.4, beams)[:, None]
    z = 0.2 + slope * rho + rng.normal(0, 0.0004, (beams, firings))
    xyz = np.stack([rho * np.cos(azimuth), rho * np.sin(azimuth), z], axis=-1)
    intensity = rng.integers(0, 101, beams * firings).astype(np.uint8)
    return LidarPoints(xyz.reshape(-1, 3).astype(np.float32), intensity)
