"""The ray caster written plainly in numpy, as a peer to measure against and to check with.

Every ray is met with every primitive, all rays of one primitive at once; general 3D slabs and
planes, with none of the simulator's tricks and none of its code.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim_fleet.sensors.caster import Columns
from sim_fleet.shapes.assemble import Scene
from sim_fleet.shapes.primitives import (
    BOX,
    COS,
    CX,
    CY,
    CYLINDER,
    HX,
    HY,
    SIN,
    SOLID,
    SX,
    TX,
    TY,
    Z0,
    Z1,
)

Float64s = NDArray[np.float64]
_NEAR_M = 0.05


def cast_plainly(
    scene: Scene, columns: Columns, max_m: float
) -> tuple[Float64s, NDArray[np.int64]]:
    """Distance along the plane and the primitive of each ray, both [c, r]; -1 ground, -2 nothing.

    Bodies stand still.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return _cast(scene, columns, max_m)


def _cast(scene: Scene, columns: Columns, max_m: float) -> tuple[Float64s, NDArray[np.int64]]:
    shape = columns.slopes.shape
    ux = np.broadcast_to(columns.toward[:, :1], shape)
    uy = np.broadcast_to(columns.toward[:, 1:], shape)
    slope = columns.slopes
    ox, oy, oz = (np.broadcast_to(columns.origin_m[:, k, None], shape) for k in range(3))
    ground = np.where(slope < 0, -oz / slope, np.inf)
    best = np.where(ground < max_m, ground, max_m)
    found = np.where(ground < max_m, -1, -2)
    for row in range(scene.values.shape[0]):
        p, solid = scene.values[row], scene.codes[row, SOLID]
        gx, gy = ox - p[CX], oy - p[CY]
        px, py = p[COS] * gx + p[SIN] * gy, p[COS] * gy - p[SIN] * gx
        dx, dy = p[COS] * ux + p[SIN] * uy, p[COS] * uy - p[SIN] * ux
        planes = [(oz - p[Z1], slope), (p[Z0] - oz, -slope)]
        if solid == CYLINDER:
            enter, leave = _round(px, py, dx, dy, float(p[HX]))
        else:
            enter, leave = np.full(shape, -np.inf), np.full(shape, np.inf)
            planes += _sides(p, px, py, oz, dx, dy, slope, solid)
        for a, b in planes:
            cut = -a / b
            leave = np.where(b > 0, np.minimum(leave, cut), leave)
            enter = np.where(b < 0, np.maximum(enter, cut), enter)
            leave = np.where((b == 0) & (a > 0), -np.inf, leave)
        hit = (enter <= leave) & (enter > _NEAR_M) & (enter < best)
        best, found = np.where(hit, enter, best), np.where(hit, row, found)
    return best, found


def _round(
    px: Float64s, py: Float64s, dx: Float64s, dy: Float64s, radius: float
) -> tuple[Float64s, Float64s]:
    along, across = -(px * dx + py * dy), px * dy - py * dx
    half = np.sqrt(radius * radius - across * across)
    missed = ~(np.abs(across) < radius)
    return np.where(missed, np.inf, along - half), np.where(missed, -np.inf, along + half)


def _sides(
    p: Float64s, px: Float64s, py: Float64s, oz: Float64s, dx: Float64s, dy: Float64s,
    slope: Float64s, solid: int,
) -> list[tuple[Float64s, Float64s]]:  # fmt: skip
    """Planes a + b t <= 0 of the four walls."""
    if solid == BOX:
        return [(px - p[HX], dx), (-px - p[HX], -dx), (py - p[HY], dy), (-py - p[HY], -dy)]
    height = p[Z1] - p[Z0]
    part, rise = (oz - p[Z0]) / height, slope / height
    half_x, more_x = p[HX] + (p[TX] - p[HX]) * part, (p[TX] - p[HX]) * rise
    half_y, more_y = p[HY] + (p[TY] - p[HY]) * part, (p[TY] - p[HY]) * rise
    mid, more = p[SX] * part, p[SX] * rise
    return [
        (px - mid - half_x, dx - more - more_x), (mid - px - half_x, more - dx - more_x),
        (py - half_y, dy - more_y), (-py - half_y, -dy - more_y),
    ]  # fmt: skip
