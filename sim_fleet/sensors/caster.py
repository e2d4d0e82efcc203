"""The ray caster that all sensors share.

Rays come in *columns*: all rays of a column leave one point at one instant in one vertical
plane and differ only in their slope. A spinning lidar fires in columns, and so does a level
pinhole camera. What a column meets in the plane (where it enters and leaves each upright
solid) is computed once for all of its rays; a ray then costs a few multiplications. Bodies
are listed by sector of azimuth from near to far, and one whose rays are all blocked already
is skipped.

Guarantees: the nearest hit of each ray, exact for boxes, cylinders and frusta; the ground is
the plane z = 0. Moving bodies and a moving origin are taken at the time of each column.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.samples import Float32s, Float64s
from sim_fleet.jit import kernel
from sim_fleet.sensors.solids import NEAR_M, TOP, Int8s, Int32s, meet, window
from sim_fleet.shapes.assemble import BVX, BVY, BX, BY, BZ0, BZ1, RADIUS, Scene
from sim_fleet.shapes.primitives import SOLID

Int64s = NDArray[np.int64]

GROUND = -1
NOTHING = -2
SECTORS = 180


@dataclass(frozen=True, slots=True)
class Columns:
    """`origin_m` float64 [c, 3]; `toward` float64 [c, 2] unit vectors in the plane; `slopes`
    float64 [c, r], rise for each metre along the plane, falling within a column; `age_s`
    float64 [c], the column's time against the scene's, negative before it.
    """

    origin_m: Float64s
    toward: Float64s
    slopes: Float64s
    age_s: Float64s


@dataclass(frozen=True, slots=True)
class Hits:
    """`flat_m` float32 [c, r] distance along the plane; `primitive` int32 [c, r] row of the
    scene, `GROUND` or `NOTHING`; `face` int8 [c, r].
    """

    flat_m: Float32s
    primitive: Int32s
    face: Int8s


@kernel
def list_sectors(
    bounds: Float64s, order: Int64s, x: float, y: float, slack_m: float
) -> tuple[Int64s, Int64s]:
    """Bodies by sector of azimuth as seen from x, y: `start` [sectors + 1] and `bodies`.

    `slack_m` widens each body by what it and the origin may move.
    """
    size = order.size
    low, high = np.empty(size, dtype=np.int64), np.empty(size, dtype=np.int64)
    start = np.zeros(SECTORS + 1, dtype=np.int64)
    scale = SECTORS / (2 * np.pi)
    for n in range(size):
        i = order[n]
        dx, dy = bounds[i, BX] - x, bounds[i, BY] - y
        radius = bounds[i, RADIUS] + slack_m
        away = np.sqrt(dx * dx + dy * dy)
        if away <= radius * 1.001:
            low[n], high[n] = 0, SECTORS - 1
        else:
            half = np.arcsin(radius / away)
            middle = np.arctan2(dy, dx) + np.pi
            low[n] = int(np.floor((middle - half) * scale))
            high[n] = int(np.floor((middle + half) * scale))
            if high[n] - low[n] >= SECTORS:
                low[n], high[n] = 0, SECTORS - 1
        for s in range(low[n], high[n] + 1):
            start[s % SECTORS + 1] += 1
    for s in range(SECTORS):
        start[s + 1] += start[s]
    bodies = np.empty(start[SECTORS], dtype=np.int64)
    filled = start[:-1].copy()
    for n in range(size):
        for s in range(low[n], high[n] + 1):
            bodies[filled[s % SECTORS]] = order[n]
            filled[s % SECTORS] += 1
    return start, bodies


@kernel
def cast_into(
    values: Float64s,
    codes: Int64s,
    bounds: Float64s,
    first: Int64s,
    count: Int64s,
    start: Int64s,
    bodies: Int64s,
    origin: Float64s,
    toward: Float64s,
    slopes: Float64s,
    age_s: Float64s,
    max_m: float,
    flat: Float32s,
    primitive: Int32s,
    face: Int8s,
) -> None:
    """Fill the hits of all columns [c, r]."""
    columns, rays = slopes.shape
    for j in range(columns):
        oz, ux, uy = origin[j, 2], toward[j, 0], toward[j, 1]
        column, mine, kinds, sides = slopes[j], flat[j], primitive[j], face[j]
        for k in range(rays):
            reach = -oz / column[k] if column[k] < 0.0 else max_m
            if reach < max_m:
                mine[k], kinds[k], sides[k] = reach, GROUND, TOP
            else:
                mine[k], kinds[k], sides[k] = max_m, NOTHING, TOP
        sector = int((np.arctan2(uy, ux) + np.pi) * (SECTORS / (2 * np.pi)))
        sector = min(max(sector, 0), SECTORS - 1)
        for n in range(start[sector], start[sector + 1]):
            i = bodies[n]
            ox = origin[j, 0] - bounds[i, BVX] * age_s[j]
            oy = origin[j, 1] - bounds[i, BVY] * age_s[j]
            gx, gy, radius = bounds[i, BX] - ox, bounds[i, BY] - oy, bounds[i, RADIUS]
            along, across = ux * gx + uy * gy, ux * gy - uy * gx
            half = radius * radius - across * across
            if half <= 0.0:
                continue
            half = np.sqrt(half)
            far = along + half
            if far <= NEAR_M:
                continue
            near = max(along - half, NEAR_M)
            low, after = window(column, bounds[i, BZ0], bounds[i, BZ1], oz, near, far)
            open_ray = False
            for k in range(low, after):
                if mine[k] > near:
                    open_ray = True
                    break
            if not open_ray:
                continue
            for row in range(first[i], first[i] + count[i]):
                meet(
                    values[row],
                    codes[row, SOLID],
                    row,
                    ox,
                    oy,
                    oz,
                    ux,
                    uy,
                    column,
                    mine,
                    kinds,
                    sides,
                )


@kernel
def _cast_own(
    values: Float64s,
    codes: Int64s,
    first: Int64s,
    count: Int64s,
    each: int,
    origin: Float64s,
    toward: Float64s,
    slopes: Float64s,
    flat: Float32s,
    primitive: Int32s,
    face: Int8s,
) -> None:
    """Meet columns with one body alone: `each` columns for every body in turn."""
    for j in range(slopes.shape[0]):
        i = j // each
        for row in range(first[i], first[i] + count[i]):
            meet(
                values[row], codes[row, SOLID], row, origin[j, 0], origin[j, 1], origin[j, 2],
                toward[j, 0], toward[j, 1], slopes[j], flat[j], primitive[j], face[j],
            )  # fmt: skip


def cast_each_alone(scene: Scene, columns: Columns, each: int, max_m: float) -> Hits:
    """As `cast`, but each body sees only its own columns, `each` of them, and stands alone.

    There is no ground, and bodies stand still.
    """
    shape = columns.slopes.shape
    hits = Hits(
        np.full(shape, max_m, dtype=np.float32),
        np.full(shape, NOTHING, dtype=np.int32),
        np.full(shape, TOP, dtype=np.int8),
    )
    _cast_own(
        scene.values, scene.codes, scene.first, scene.count, each, columns.origin_m,
        columns.toward, columns.slopes, hits.flat_m, hits.primitive, hits.face,
    )  # fmt: skip
    return hits


@kernel
def _within(
    values: Float64s,
    codes: Int64s,
    bounds: Float64s,
    first: Int64s,
    count: Int64s,
    start: Int64s,
    bodies: Int64s,
    origin: Float64s,
    toward: Float64s,
    slopes: Float64s,
    flat: Float32s,
    primitive: Int32s,
    face: Int8s,
) -> None:
    """Fill the hits that are nearer than `flat` has it already. One origin, all at rest."""
    for j in range(slopes.shape[0]):
        ox, oy, oz, ux, uy = origin[j, 0], origin[j, 1], origin[j, 2], toward[j, 0], toward[j, 1]
        column, mine, kinds, sides = slopes[j], flat[j], primitive[j], face[j]
        farthest = mine.max()
        sector = int((np.arctan2(uy, ux) + np.pi) * (SECTORS / (2 * np.pi)))
        sector = min(max(sector, 0), SECTORS - 1)
        for n in range(start[sector], start[sector + 1]):
            i = bodies[n]
            gx, gy, radius = bounds[i, BX] - ox, bounds[i, BY] - oy, bounds[i, RADIUS]
            along, across = ux * gx + uy * gy, ux * gy - uy * gx
            if np.sqrt(gx * gx + gy * gy) - radius > farthest + NEAR_M:
                break  # they are listed from near to far
            half = radius * radius - across * across
            if half <= 0.0:
                continue
            half = np.sqrt(half)
            far = along + half
            if far <= NEAR_M:
                continue
            near = max(along - half, NEAR_M)
            low, after = window(column, bounds[i, BZ0], bounds[i, BZ1], oz, near, far)
            for k in range(low, after):
                if mine[k] > near:
                    for row in range(first[i], first[i] + count[i]):
                        meet(
                            values[row], codes[row, SOLID], row, ox, oy, oz, ux, uy, column,
                            mine, kinds, sides,
                        )  # fmt: skip
                    break


def cast_within(scene: Scene, columns: Columns, limit_m: Float32s) -> Hits:
    """As `cast`, for rays from one point at one instant, up to each ray's own limit [c, r].

    What is not nearer than its limit is `NOTHING`, and costs next to nothing; there is no ground.
    """
    shape = columns.slopes.shape
    hits = Hits(
        limit_m.copy(), np.full(shape, NOTHING, dtype=np.int32), np.full(shape, TOP, dtype=np.int8)
    )
    eye = columns.origin_m.mean(axis=0)
    away = np.hypot(scene.bounds[:, BX] - eye[0], scene.bounds[:, BY] - eye[1])
    order = np.argsort(away - scene.bounds[:, RADIUS], kind="stable")
    start, bodies = list_sectors(scene.bounds, order, float(eye[0]), float(eye[1]), 0.0)
    _within(
        scene.values, scene.codes, scene.bounds, scene.first, scene.count, start, bodies,
        columns.origin_m, columns.toward, columns.slopes, hits.flat_m, hits.primitive, hits.face,
    )  # fmt: skip
    return hits


def cast(scene: Scene, columns: Columns, max_m: float, slack_m: float = 0.0) -> Hits:
    """The nearest hit of each ray.

    Args:
        slack_m: what bodies and origin may move, together, between the columns.
    """
    shape = columns.slopes.shape
    hits = Hits(
        np.empty(shape, dtype=np.float32),
        np.empty(shape, dtype=np.int32),
        np.empty(shape, dtype=np.int8),
    )
    middle = columns.origin_m.mean(axis=0)
    away = np.hypot(scene.bounds[:, BX] - middle[0], scene.bounds[:, BY] - middle[1])
    order = np.argsort(away - scene.bounds[:, RADIUS], kind="stable")
    start, bodies = list_sectors(scene.bounds, order, float(middle[0]), float(middle[1]), slack_m)
    cast_into(
        scene.values, scene.codes, scene.bounds, scene.first, scene.count, start, bodies,
        columns.origin_m, columns.toward, columns.slopes, columns.age_s, max_m, hits.flat_m,
        hits.primitive, hits.face,
    )  # fmt: skip
    return hits
