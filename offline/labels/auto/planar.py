"""Motions in the plane as rows (x, y, yaw): `a_SE2_b`, float64 [..., 3], tells b in a."""

from __future__ import annotations

import numpy as np

from contracts.geometry import wrapped
from contracts.samples import Float64s


def turned(xy: Float64s, yaw_rad: Float64s) -> Float64s:
    """Vectors [..., 2] turned to the left."""
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    x, y = xy[..., 0], xy[..., 1]
    return np.stack([cos * x - sin * y, sin * x + cos * y], axis=-1)


def placed(a_SE2_b: Float64s, xy_m: Float64s) -> Float64s:
    """Points of b [..., 2] in a."""
    return np.asarray(turned(xy_m, a_SE2_b[..., 2]) + a_SE2_b[..., :2])


def composed(a_SE2_b: Float64s, b_SE2_c: Float64s) -> Float64s:
    """`a_SE2_c`."""
    yaw = wrapped(a_SE2_b[..., 2] + b_SE2_c[..., 2])
    return np.concatenate([placed(a_SE2_b, b_SE2_c[..., :2]), yaw[..., None]], axis=-1)


def inverse(a_SE2_b: Float64s) -> Float64s:
    """`b_SE2_a`."""
    back = -turned(a_SE2_b[..., :2], -a_SE2_b[..., 2])
    return np.concatenate([back, -a_SE2_b[..., 2:]], axis=-1)
