"""Puts bodies into the world: rows of primitives and the bounds of each body.

A `Scene` is what the ray caster takes. It is made anew for each instant from what moves, and
joined with what stands.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.samples import Float64s
from sim_fleet.jit import kernel
from sim_fleet.shapes.primitives import (
    BLUE,
    CODE_COLUMNS,
    COS,
    CX,
    CY,
    CYLINDER,
    FRUSTUM,
    GLOW,
    GREEN,
    HX,
    HY,
    MATERIAL,
    OWNER,
    RED,
    SIN,
    SOLID,
    SPAN,
    SX,
    TX,
    TY,
    VALUE_COLUMNS,
    Z0,
    Z1,
)
from sim_fleet.shapes.templates import Templates, templates

Int64s = NDArray[np.int64]

BX, BY, RADIUS, BZ0, BZ1, BVX, BVY, BYAW = range(8)
"""Columns of `bounds`: an upright cylinder around the body, its velocity and yaw."""

HEAD_ON, BRAKING, BLINK_LEFT, BLINK_RIGHT, BEACON_ON = 1, 2, 4, 8, 16
RED_ON, AMBER_ON, GREEN_ON = 32, 64, 128
"""Bits of `lamps`: which lamps of a body are lit."""


@dataclass(frozen=True, slots=True)
class Placed:
    """Bodies to put into the world, columns over bodies.

    `template` int64 [n]; `pose` float64 [n, 4] x, y, z, yaw; `size_m` [n, 3]; `colours` [n, 6]
    first and second RGB 0..1; `velocity_mps` [n, 2]; `lamps` int64 [n]; `actor` int64 [n] the
    actor's row, or -1 for scenery.
    """

    template: Int64s
    pose: Float64s
    size_m: Float64s
    colours: Float64s
    velocity_mps: Float64s
    lamps: Int64s
    actor: Int64s


@dataclass(frozen=True, slots=True)
class Scene:
    """Primitives of all bodies (`values` [m, 16], `codes` [m, 3]), and of each body its
    `bounds` [n, 8], rows (`first`, `count`), `lamps` and `actor`.
    """

    values: Float64s
    codes: Int64s
    bounds: Float64s
    first: Int64s
    count: Int64s
    lamps: Int64s
    actor: Int64s


@kernel
def _assemble(
    t_values: Float64s,
    t_codes: Int64s,
    t_first: Int64s,
    t_count: Int64s,
    template: Int64s,
    pose: Float64s,
    size_m: Float64s,
    colours: Float64s,
    velocity: Float64s,
    values: Float64s,
    codes: Int64s,
    bounds: Float64s,
    first: Int64s,
    count: Int64s,
) -> None:
    row = 0
    for i in range(template.size):
        tid = template[i]
        length, width, height = size_m[i, 0], size_m[i, 1], size_m[i, 2]
        cos, sin = np.cos(pose[i, 3]), np.sin(pose[i, 3])
        first[i], count[i] = row, t_count[tid]
        reach, top = 0.0, 0.0
        for p in range(t_first[tid], t_first[tid] + t_count[tid]):
            part = t_values[p]
            x = (part[0] + part[1]) * 0.5 * length
            y = (part[2] + part[3]) * 0.5 * width
            hx, hy = (part[1] - part[0]) * 0.5 * length, (part[3] - part[2]) * 0.5 * width
            tx, ty = (part[7] - part[6]) * 0.5 * length, (part[9] - part[8]) * 0.5 * width
            shift = (part[6] + part[7]) * 0.5 * length - x
            solid = t_codes[p, 0]
            values[row, CX] = pose[i, 0] + cos * x - sin * y
            values[row, CY] = pose[i, 1] + sin * x + cos * y
            values[row, COS], values[row, SIN] = cos, sin
            values[row, HX], values[row, HY] = hx, hy
            values[row, Z0] = pose[i, 2] + part[4] * height
            values[row, Z1] = pose[i, 2] + part[5] * height
            values[row, TX], values[row, TY], values[row, SX] = tx, ty, shift
            for k in range(3):
                colour = part[10 + k]
                if colour == -1.0:
                    colour = colours[i, k]
                elif colour == -2.0:
                    colour = colours[i, 3 + k]
                values[row, RED + k] = colour
            values[row, GLOW] = part[13]
            wide = max(hx, abs(shift) + tx) if solid == FRUSTUM else hx
            across = max(hy, ty) if solid == FRUSTUM else hy
            span = hx if solid == CYLINDER else np.sqrt(wide * wide + across * across)
            values[row, SPAN] = span
            reach = max(reach, np.sqrt(x * x + y * y) + span)
            top = max(top, part[5] * height)
            codes[row, SOLID], codes[row, MATERIAL] = solid, t_codes[p, 1]
            codes[row, OWNER] = i
            row += 1
        bounds[i, BX], bounds[i, BY] = pose[i, 0], pose[i, 1]
        bounds[i, RADIUS] = reach
        bounds[i, BZ0], bounds[i, BZ1] = pose[i, 2], pose[i, 2] + top
        bounds[i, BVX], bounds[i, BVY] = velocity[i, 0], velocity[i, 1]
        bounds[i, BYAW] = pose[i, 3]


def assemble(placed: Placed) -> Scene:
    """The scene of these bodies alone."""
    known: Templates = templates()
    size = placed.template.size
    total = int(known.count[placed.template].sum())
    values = np.empty((total, VALUE_COLUMNS))
    codes = np.empty((total, CODE_COLUMNS), dtype=np.int64)
    bounds = np.empty((size, 8))
    first, count = np.empty(size, dtype=np.int64), np.empty(size, dtype=np.int64)
    _assemble(
        known.values, known.codes, known.first, known.count, placed.template, placed.pose,
        placed.size_m, placed.colours, placed.velocity_mps, values, codes, bounds, first, count,
    )  # fmt: skip
    return Scene(values, codes, bounds, first, count, placed.lamps, placed.actor)


@kernel
def _rows(first: Int64s, count: Int64s, chosen: Int64s) -> Int64s:
    total = 0
    for i in chosen:
        total += count[i]
    rows = np.empty(total, dtype=np.int64)
    at = 0
    for i in chosen:
        for k in range(count[i]):
            rows[at] = first[i] + k
            at += 1
    return rows


def subset(scene: Scene, chosen: Int64s) -> Scene:
    """The chosen bodies of a scene, int64 [k], in that order."""
    rows = _rows(scene.first, scene.count, chosen)
    count = scene.count[chosen]
    codes = scene.codes[rows]
    codes[:, OWNER] = np.repeat(np.arange(chosen.size), count)
    first = np.concatenate(([0], np.cumsum(count)[:-1])).astype(np.int64)
    return Scene(
        scene.values[rows], codes, scene.bounds[chosen], first[: chosen.size], count,
        scene.lamps[chosen], scene.actor[chosen],
    )  # fmt: skip


def join(one: Scene, other: Scene) -> Scene:
    """Both scenes as one, `one` first."""
    codes = np.concatenate([one.codes, other.codes])
    codes[one.codes.shape[0] :, OWNER] += one.first.size
    return Scene(
        np.concatenate([one.values, other.values]),
        codes,
        np.concatenate([one.bounds, other.bounds]),
        np.concatenate([one.first, other.first + one.values.shape[0]]),
        np.concatenate([one.count, other.count]),
        np.concatenate([one.lamps, other.lamps]),
        np.concatenate([one.actor, other.actor]),
    )


__all__ = [
    "AMBER_ON", "BEACON_ON", "BLINK_LEFT", "BLINK_RIGHT", "BLUE", "BRAKING", "BVX", "BVY", "BX",
    "BY", "BYAW", "BZ0", "BZ1", "GREEN", "GREEN_ON", "HEAD_ON", "RADIUS", "RED_ON", "Placed",
    "Scene", "assemble", "join", "subset",
]  # fmt: skip
