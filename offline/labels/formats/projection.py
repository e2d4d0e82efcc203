"""Cuboids in a camera's image: their lines, and the 2D box around what is in the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.geometry import Box3D, apply_SE3, inverse_SE3
from contracts.samples import CalibrationSample, Float64s

NEAR_M = 0.4
"""Nothing nearer to the camera than this is drawn."""
LEAST_PX = 1.0
"""A box narrower or lower than this in the picture is not in it."""

_GROUND = ((0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5), (0.5, -0.5))
_CORNERS = np.array([[x, y, z] for z in (-0.5, 0.5) for x, y in _GROUND])
_RING = ((0, 1), (1, 2), (2, 3), (3, 0))
_EDGES = (*_RING, *((a + 4, b + 4) for a, b in _RING), *((a, a + 4) for a in range(4)))

Px = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A cuboid in a picture: `edges_px` float64 [k, 2, 2], and the 2D box within the picture."""

    edges_px: Float64s
    box_px: Px
    truncation: float
    """The share of the whole 2D box that lies outside of the picture."""


def corners_m(box: Box3D) -> Float64s:
    """[8, 3]: the lower four against the clock from front left on, then the upper four."""
    local = _CORNERS * np.array(box.size_m)
    cos, sin = np.cos(box.yaw_rad), np.sin(box.yaw_rad)
    x = cos * local[:, 0] - sin * local[:, 1]
    y = sin * local[:, 0] + cos * local[:, 1]
    return np.asarray(np.stack([x, y, local[:, 2]], axis=1) + np.array(box.centre_m))


def shown_in(box: Box3D, camera: CalibrationSample) -> Shown | None:
    """How a cuboid of the ego frame shows in a picture; None when it does not."""
    corners = apply_SE3(inverse_SE3(camera.ego_SE3_camera), corners_m(box))
    lines = [line for a, b in _EDGES if (line := _clipped(corners[a], corners[b])) is not None]
    if not lines:
        return None
    pixels = np.stack(lines) @ camera.intrinsics.T
    edges = pixels[..., :2] / pixels[..., 2:]
    low, high = edges.min(axis=(0, 1)), edges.max(axis=(0, 1))
    inner_low = np.clip(low, 0, (camera.width, camera.height))
    inner_high = np.clip(high, 0, (camera.width, camera.height))
    if (inner_high - inner_low < LEAST_PX).any():
        return None
    whole, inner = np.prod(high - low), np.prod(inner_high - inner_low)
    left, top = float(inner_low[0]), float(inner_low[1])
    right, bottom = float(inner_high[0]), float(inner_high[1])
    return Shown(edges, (left, top, right, bottom), float(1.0 - inner / whole))


def _clipped(a: Float64s, b: Float64s) -> Float64s | None:
    """The part [2, 3] of an edge in front of the camera."""
    if a[2] < NEAR_M and b[2] < NEAR_M:
        return None
    if a[2] < NEAR_M:
        a = b + (a - b) * (b[2] - NEAR_M) / (b[2] - a[2])
    elif b[2] < NEAR_M:
        b = a + (b - a) * (a[2] - NEAR_M) / (a[2] - b[2])
    return np.stack([a, b])
