"""All bodies as one table of parts, so that a kernel can put them into a scene."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from contracts.samples import Float64s
from sim_fleet.classes import Shape
from sim_fleet.shapes import bodies, vehicles
from sim_fleet.shapes.bodies import STRIDES
from sim_fleet.shapes.primitives import Part, table
from sim_fleet.shapes.scenery import PROP_PARTS, Prop

Int64s = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Templates:
    """`values` float64 [p, 14] and `codes` int64 [p, 2] as `primitives.table` has them;
    `first`, `count` int64 [t] the rows of each template.

    `of_shape` int64 [shapes, strides] and `of_prop` int64 [props] name the template of a body.
    """

    values: Float64s
    codes: Int64s
    first: Int64s
    count: Int64s
    of_shape: Int64s
    of_prop: Int64s


def _walking(shape: Shape, stride: int) -> list[Part]:
    match shape:
        case Shape.PEDESTRIAN:
            return bodies.pedestrian(stride)
        case Shape.WORKER:
            return bodies.worker(stride)
        case Shape.STROLLER_PUSHER:
            return bodies.stroller_pusher(stride)
        case Shape.DEER:
            return bodies.quadruped(stride, leg=0.48, neck=0.5, antlers=True)
        case Shape.DOG:
            return bodies.quadruped(stride, leg=0.40, neck=0.3, antlers=False)
        case _:
            return bodies.quadruped(stride, leg=0.42, neck=0.05, antlers=False)


_STILL = {
    Shape.CAR: vehicles.car, Shape.SUV: vehicles.suv, Shape.VAN: vehicles.van,
    Shape.TRUCK: vehicles.truck, Shape.BUS: vehicles.bus, Shape.AMBULANCE: vehicles.ambulance,
    Shape.CYCLIST: vehicles.cyclist, Shape.SCOOTER_RIDER: vehicles.scooter_rider,
    Shape.MOTORCYCLE: vehicles.motorcycle, Shape.WHEELCHAIR_USER: bodies.wheelchair_user,
    Shape.MATTRESS: bodies.mattress, Shape.TYRE: bodies.tyre, Shape.CARTON: bodies.carton,
    Shape.BALL: bodies.ball, Shape.BRANCH: bodies.branch, Shape.PALLET: bodies.pallet,
    Shape.CONE: bodies.cone,
}  # fmt: skip


@cache
def templates() -> Templates:
    """The table, made once."""
    parts: list[list[Part]] = []
    of_shape = np.zeros((len(Shape), STRIDES), dtype=np.int64)
    for shape in Shape:
        if shape in _STILL:
            of_shape[shape, :] = len(parts)
            parts.append(_STILL[shape]())
            continue
        for stride in range(STRIDES):
            of_shape[shape, stride] = len(parts)
            parts.append(_walking(shape, stride))
    of_prop = np.zeros(len(Prop), dtype=np.int64)
    for prop in Prop:
        of_prop[prop] = len(parts)
        parts.append(PROP_PARTS[prop])
    tables = [table(each) for each in parts]
    count = np.array([len(each) for each in parts], dtype=np.int64)
    first = np.concatenate(([0], np.cumsum(count)[:-1])).astype(np.int64)
    return Templates(
        np.concatenate([values for values, _ in tables]),
        np.concatenate([codes for _, codes in tables]),
        first, count, of_shape, of_prop,
    )  # fmt: skip
