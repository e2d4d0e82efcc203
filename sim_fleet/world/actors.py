"""The state of all actors at one instant, as two tables that kernels step.

`floats` [n, 24] and `ints` [n, 16], whose columns are named here. Row 0 is the ego. The
position is the middle of the footprint on the ground; for the ego too.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from contracts.samples import Float64s
from sim_fleet.classes import SHAPE_KIND, SHAPE_SIZE_M, Shape
from sim_fleet.shapes.assemble import Placed
from sim_fleet.shapes.bodies import STRIDES
from sim_fleet.shapes.primitives import Rgb
from sim_fleet.shapes.templates import templates
from sim_fleet.world import palette

Int64s = NDArray[np.int64]

(
    X, Y, YAW, SPEED, ACCEL, VX, VY, LENGTH, WIDTH, HEIGHT, WANTED, S, D, D_WANTED, GAP_S, R1, G1,
    B1, R2, G2, B2, WALKED, WAITED, HOLD,
) = range(24)  # fmt: skip
FLOAT_COLUMNS = 24
KIND, SHAPE, MODE, LANE, SALT, LAMPS, TRACK, NODE, NEXT, HOPS, BOLD, SCRIPT, FLAGS, LANE_WISH = (
    range(14)
)
INT_COLUMNS = 14
EGO = 0

WAIT_FOR_GAP, IGNORES_LIGHTS, ENTERED = 1, 2, 4
"""Bits of `FLAGS`."""


class Mode(IntEnum):
    """What moves an actor. One that is parked beside the lanes is in nobody's way."""

    STILL = 0
    LANE = 1
    WALK = 2
    SCRIPT = 3
    EGO = 4
    PARKED = 5


@dataclass(frozen=True, slots=True)
class Actors:
    """All actors; see the module for the columns."""

    floats: Float64s
    ints: Int64s

    @property
    def count(self) -> int:
        return int(self.ints.shape[0])


@dataclass(slots=True)
class ActorRow:
    """One actor as it is put into the world."""

    shape: Shape
    x: float
    y: float
    yaw: float
    mode: Mode = Mode.STILL
    speed_mps: float = 0.0
    wanted_mps: float = 0.0
    lane: int = -1
    s_m: float = 0.0
    d_m: float = 0.0
    colour: Rgb = (0.5, 0.5, 0.5)
    second: Rgb = (0.2, 0.2, 0.2)
    size_m: tuple[float, float, float] | None = None
    gap_s: float = 1.4
    salt: int = 0
    node: int = -1
    goal: int = -1
    bold: int = 0
    script: int = -1
    flags: int = 0
    lamps: int = 0


def dressed(row: ActorRow, rng: np.random.Generator) -> ActorRow:
    """The row in colours that suit its shape."""
    match row.shape:
        case Shape.TRUCK:
            row.colour = palette.varied(palette.pick(palette.TRUCK_PAINTS, rng), rng)
            row.second = palette.varied(palette.pick(palette.TRUCK_PAINTS, rng), rng)
        case Shape.BUS:
            row.colour = palette.varied(palette.pick(palette.BUS_PAINTS, rng), rng)
        case Shape.AMBULANCE | Shape.MATTRESS:
            row.colour, row.second = (0.78, 0.78, 0.76), (0.45, 0.50, 0.62)
        case Shape.DEER | Shape.COW:
            row.colour, row.second = (0.26, 0.16, 0.09), (0.20, 0.13, 0.08)
        case Shape.DOG:
            row.colour, row.second = (0.30, 0.22, 0.13), (0.15, 0.10, 0.06)
        case Shape.BALL:
            row.colour, row.second = (0.75, 0.10, 0.06), (0.8, 0.8, 0.8)
        case Shape.CAR | Shape.SUV | Shape.VAN | Shape.MOTORCYCLE:
            row.colour = palette.varied(palette.pick(palette.CAR_PAINTS, rng), rng)
            row.second = palette.varied(palette.pick(palette.CLOTHES, rng), rng)
        case _:
            row.colour = palette.varied(palette.pick(palette.CLOTHES, rng), rng)
            row.second = palette.varied(palette.pick(palette.TROUSERS, rng), rng)
    return row


def actors_of(rows: list[ActorRow]) -> Actors:
    """Rows as tables; track ids are counted from 1, the ego's is 0."""
    floats = np.zeros((len(rows), FLOAT_COLUMNS))
    ints = np.full((len(rows), INT_COLUMNS), -1, dtype=np.int64)
    for i, row in enumerate(rows):
        size = row.size_m or SHAPE_SIZE_M[row.shape]
        floats[i, [X, Y, YAW, SPEED]] = row.x, row.y, row.yaw, row.speed_mps
        floats[i, [LENGTH, WIDTH, HEIGHT]] = size
        floats[i, [WANTED, S, D, D_WANTED]] = row.wanted_mps, row.s_m, row.d_m, row.d_m
        floats[i, [R1, G1, B1]] = row.colour
        floats[i, [R2, G2, B2]] = row.second
        floats[i, GAP_S] = row.gap_s
        floats[i, VX] = row.speed_mps * np.cos(row.yaw)
        floats[i, VY] = row.speed_mps * np.sin(row.yaw)
        ints[i, [KIND, SHAPE, MODE, LANE]] = SHAPE_KIND[row.shape], row.shape, row.mode, row.lane
        ints[i, [SALT, LAMPS, TRACK, NODE, NEXT]] = row.salt, row.lamps, i, row.node, row.goal
        ints[i, [HOPS, BOLD, SCRIPT, FLAGS, LANE_WISH]] = 0, row.bold, row.script, row.flags, 0
    return Actors(floats, ints)


def bodies_of(actors: Actors, rows: Int64s) -> Placed:
    """The chosen actors as bodies to put into a scene."""
    floats, ints = actors.floats[rows], actors.ints[rows]
    stride = np.floor(floats[:, WALKED] / 0.36).astype(np.int64) % STRIDES
    pose = np.column_stack([floats[:, X], floats[:, Y], np.zeros(rows.size), floats[:, YAW]])
    return Placed(
        templates().of_shape[ints[:, SHAPE], stride],
        pose,
        floats[:, [LENGTH, WIDTH, HEIGHT]],
        floats[:, [R1, G1, B1, R2, G2, B2]],
        floats[:, [VX, VY]],
        ints[:, LAMPS],
        rows,
    )
