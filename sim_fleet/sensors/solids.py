"""A column of rays against one upright solid: box, cylinder or frustum.

What the column's plane meets of a solid (where it enters and leaves it) is computed once; each ray
of it then costs a few multiplications. A hit that is nearer than the one known takes its place.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contracts.samples import Float32s, Float64s
from sim_fleet.jit import inlined, kernel
from sim_fleet.shapes.primitives import (
    BOX,
    COS,
    CX,
    CY,
    CYLINDER,
    HX,
    HY,
    SIN,
    SPAN,
    SX,
    TX,
    TY,
    Z0,
    Z1,
)

Int32s = NDArray[np.int32]
Int8s = NDArray[np.int8]

FRONT, BACK, LEFT, RIGHT, TOP, BOTTOM, ROUND = range(7)
"""What of a primitive was hit: a side (of its own axes), top, bottom, or a cylinder's wall."""
NEAR_M = 0.05
"""Nothing nearer is met: the sensor's own housing."""


@inlined
def _first_at_most(slopes: Float64s, bound: float) -> int:
    """Index of the first of falling `slopes` that is at most `bound`."""
    low, high = 0, slopes.size
    while low < high:
        middle = (low + high) >> 1
        if slopes[middle] <= bound:
            high = middle
        else:
            low = middle + 1
    return low


@inlined
def window(
    slopes: Float64s, z0: float, z1: float, oz: float, near: float, far: float
) -> tuple[int, int]:
    """First ray, and the one after the last, that can meet heights z0 to z1 from near to far."""
    up = (z1 - oz) / (near if z1 > oz else far)
    down = (z0 - oz) / (near if z0 < oz else far)
    return _first_at_most(slopes, up + 1e-9), _first_at_most(slopes, down - 1e-9)


@kernel
def _prism(
    slopes: Float64s,
    oz: float,
    z0: float,
    z1: float,
    enter: float,
    leave: float,
    side: int,
    row: int,
    flat: Float32s,
    primitive: Int32s,
    face: Int8s,
) -> None:
    """Meet all rays of a column with an upright solid that it crosses from enter to leave."""
    near = max(enter, NEAR_M)
    first, after = window(slopes, z0, z1, oz, near, leave)
    for k in range(first, after):
        if flat[k] <= near:
            continue
        slope = slopes[k]
        z = oz + slope * near
        if z > z1:
            reach, found = (z1 - oz) / slope if slope < 0.0 else 1e9, TOP
        elif z < z0:
            reach, found = (z0 - oz) / slope if slope > 0.0 else 1e9, BOTTOM
        elif enter > NEAR_M:
            reach, found = enter, side
        else:
            continue
        if reach <= leave and reach < flat[k]:
            flat[k] = reach
            primitive[k] = row
            face[k] = found


@kernel
def _frustum(  # noqa: PLR0912
    slopes: Float64s,
    oz: float,
    px: float,
    py: float,
    dx: float,
    dy: float,
    p: Float64s,
    row: int,
    flat: Float32s,
    primitive: Int32s,
    face: Int8s,
    near: float,
    far: float,
) -> None:
    """Meet all rays of a column with a frustum; px, py, dx, dy in its own axes."""
    z0, height = p[Z0], p[Z1] - p[Z0]
    first, after = window(slopes, z0, p[Z1], oz, near, far)
    narrow_x, narrow_y, shift = p[TX] - p[HX], p[TY] - p[HY], p[SX]
    h0 = (oz - z0) / height
    for k in range(first, after):
        if flat[k] <= near:
            continue
        rise = slopes[k] / height
        enter, leave, found = NEAR_M, far, -1
        for side in range(6):
            if side == FRONT:
                a = px - p[HX] - (shift + narrow_x) * h0
                b = dx - (shift + narrow_x) * rise
            elif side == BACK:
                a = -px - p[HX] + (shift - narrow_x) * h0
                b = -dx + (shift - narrow_x) * rise
            elif side == LEFT:
                a, b = py - p[HY] - narrow_y * h0, dy - narrow_y * rise
            elif side == RIGHT:
                a, b = -py - p[HY] - narrow_y * h0, -dy - narrow_y * rise
            elif side == TOP:
                a, b = h0 - 1.0, rise
            else:
                a, b = -h0, -rise
            if b > 0.0:
                leave = min(leave, -a / b)
            elif b < 0.0:
                reach = -a / b
                if reach > enter:
                    enter, found = reach, side
            elif a > 0.0:
                leave = -1.0
        if found >= 0 and enter <= leave and enter < flat[k]:
            flat[k] = enter
            primitive[k] = row
            face[k] = found


@kernel
def meet(  # noqa: PLR0912
    p: Float64s,
    solid: int,
    row: int,
    ox: float,
    oy: float,
    oz: float,
    ux: float,
    uy: float,
    slopes: Float64s,
    flat: Float32s,
    primitive: Int32s,
    face: Int8s,
) -> None:
    """Meet a column with one primitive."""
    gx, gy = p[CX] - ox, p[CY] - oy
    span = p[SPAN] + (abs(p[SX]) if solid > CYLINDER else 0.0)
    if abs(ux * gy - uy * gx) > span or ux * gx + uy * gy < -span:
        return
    if solid == CYLINDER:
        along, across = ux * gx + uy * gy, ux * gy - uy * gx
        half = p[HX] * p[HX] - across * across
        if half <= 0.0:
            return
        half = np.sqrt(half)
        if along + half > NEAR_M:
            _prism(
                slopes,
                oz,
                p[Z0],
                p[Z1],
                along - half,
                along + half,
                ROUND,
                row,
                flat,
                primitive,
                face,
            )
        return
    px, py = -(p[COS] * gx + p[SIN] * gy), p[SIN] * gx - p[COS] * gy
    dx, dy = p[COS] * ux + p[SIN] * uy, p[COS] * uy - p[SIN] * ux
    hx0, hx1, hy = -p[HX], p[HX], p[HY]
    if solid > CYLINDER:
        hx0, hx1 = min(hx0, p[SX] - p[TX]), max(hx1, p[SX] + p[TX])
        hy = max(hy, p[TY])
    enter, leave, side = -1e9, 1e9, FRONT
    if abs(dx) < 1e-12:
        if px < hx0 or px > hx1:
            return
    else:
        turn = 1.0 / dx
        a, b = (hx0 - px) * turn, (hx1 - px) * turn
        if a > b:
            a, b = b, a
        enter, leave, side = a, b, BACK if dx > 0.0 else FRONT
    if abs(dy) < 1e-12:
        if abs(py) > hy:
            return
    else:
        turn = 1.0 / dy
        a, b = (-hy - py) * turn, (hy - py) * turn
        if a > b:
            a, b = b, a
        if a > enter:
            enter, side = a, RIGHT if dy > 0.0 else LEFT
        leave = min(leave, b)
    if leave <= enter or leave <= NEAR_M:
        return
    if solid == BOX:
        _prism(slopes, oz, p[Z0], p[Z1], enter, leave, side, row, flat, primitive, face)
    else:
        _frustum(
            slopes, oz, px, py, dx, dy, p, row, flat, primitive, face, max(enter, NEAR_M), leave
        )
