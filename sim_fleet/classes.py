"""What the simulator's actors are: the labelled classes, and the shapes in which they come."""

from __future__ import annotations

from enum import IntEnum


class Kind(IntEnum):
    """The labelled class of an actor."""

    CAR = 0
    TRUCK = 1
    BUS = 2
    PEDESTRIAN = 3
    CYCLIST = 4
    MOTORCYCLE = 5
    ANIMAL = 6
    DEBRIS = 7
    ROAD_WORKER = 8
    CONE = 9


KIND_NAMES: tuple[str, ...] = tuple(kind.name.lower() for kind in Kind)

VEHICLE_KINDS = frozenset({Kind.CAR, Kind.TRUCK, Kind.BUS, Kind.MOTORCYCLE})
ON_FOOT_KINDS = frozenset({Kind.PEDESTRIAN, Kind.ROAD_WORKER, Kind.ANIMAL})


class Shape(IntEnum):
    """The body that sensors see. Several shapes may share one class."""

    CAR = 0
    VAN = 1
    TRUCK = 2
    BUS = 3
    AMBULANCE = 4
    PEDESTRIAN = 5
    CYCLIST = 6
    SCOOTER_RIDER = 7
    MOTORCYCLE = 8
    DEER = 9
    DOG = 10
    COW = 11
    MATTRESS = 12
    TYRE = 13
    CARTON = 14
    BALL = 15
    BRANCH = 16
    PALLET = 17
    WORKER = 18
    CONE = 19
    WHEELCHAIR_USER = 20
    STROLLER_PUSHER = 21
    SUV = 22


SHAPE_KIND: dict[Shape, Kind] = {
    Shape.CAR: Kind.CAR, Shape.SUV: Kind.CAR, Shape.VAN: Kind.CAR, Shape.TRUCK: Kind.TRUCK,
    Shape.BUS: Kind.BUS, Shape.AMBULANCE: Kind.BUS, Shape.PEDESTRIAN: Kind.PEDESTRIAN,
    Shape.WHEELCHAIR_USER: Kind.PEDESTRIAN, Shape.STROLLER_PUSHER: Kind.PEDESTRIAN,
    Shape.CYCLIST: Kind.CYCLIST, Shape.SCOOTER_RIDER: Kind.CYCLIST,
    Shape.MOTORCYCLE: Kind.MOTORCYCLE, Shape.DEER: Kind.ANIMAL, Shape.DOG: Kind.ANIMAL,
    Shape.COW: Kind.ANIMAL, Shape.MATTRESS: Kind.DEBRIS, Shape.TYRE: Kind.DEBRIS,
    Shape.CARTON: Kind.DEBRIS, Shape.BALL: Kind.DEBRIS, Shape.BRANCH: Kind.DEBRIS,
    Shape.PALLET: Kind.DEBRIS, Shape.WORKER: Kind.ROAD_WORKER, Shape.CONE: Kind.CONE,
}  # fmt: skip

SHAPE_SIZE_M: dict[Shape, tuple[float, float, float]] = {
    Shape.CAR: (4.5, 1.8, 1.46), Shape.SUV: (4.7, 1.9, 1.72), Shape.VAN: (5.6, 2.05, 2.4),
    Shape.TRUCK: (9.5, 2.5, 3.5), Shape.BUS: (12.0, 2.55, 3.1), Shape.AMBULANCE: (6.4, 2.2, 2.7),
    Shape.PEDESTRIAN: (0.5, 0.55, 1.75), Shape.WHEELCHAIR_USER: (1.0, 0.65, 1.3),
    Shape.STROLLER_PUSHER: (1.5, 0.6, 1.72), Shape.CYCLIST: (1.75, 0.6, 1.75),
    Shape.SCOOTER_RIDER: (1.15, 0.55, 1.85), Shape.MOTORCYCLE: (2.15, 0.8, 1.6),
    Shape.DEER: (1.6, 0.5, 1.4), Shape.DOG: (0.95, 0.32, 0.65), Shape.COW: (2.3, 0.8, 1.5),
    Shape.MATTRESS: (2.0, 1.4, 0.28), Shape.TYRE: (0.95, 0.9, 0.25),
    Shape.CARTON: (0.6, 0.5, 0.5), Shape.BALL: (0.3, 0.3, 0.3), Shape.BRANCH: (2.6, 0.9, 0.55),
    Shape.PALLET: (1.2, 0.8, 0.6), Shape.WORKER: (0.5, 0.6, 1.8), Shape.CONE: (0.4, 0.4, 0.75),
}  # fmt: skip
"""Length, width and height of each shape before its own variation."""


def shape_named(name: str) -> Shape:
    """Raises `KeyError` for a name that is none."""
    return Shape[name.upper()]
