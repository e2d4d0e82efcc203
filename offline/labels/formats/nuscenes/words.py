"""nuScenes' names for classes, attributes, visibility and sensors, and ours."""

from __future__ import annotations

import math

from contracts.errors import InputError
from contracts.labels import LabelledBox

CATEGORY_OF = {
    "car": "vehicle.car",
    "truck": "vehicle.truck",
    "bus": "vehicle.bus.rigid",
    "pedestrian": "human.pedestrian.adult",
    "cyclist": "vehicle.bicycle",
    "motorcycle": "vehicle.motorcycle",
    "animal": "animal",
    "debris": "movable_object.debris",
    "road_worker": "human.pedestrian.construction_worker",
}
"""nuScenes' category of each class of the taxonomy."""

CLASS_OF = {category: name for name, category in CATEGORY_OF.items()} | {
    "human.pedestrian.child": "pedestrian",
    "human.pedestrian.police_officer": "pedestrian",
    "vehicle.bus.bendy": "bus",
    "vehicle.emergency.police": "car",
    "vehicle.emergency.ambulance": "truck",
}
"""Back again, with categories that are a kind of these. Others are no object of the taxonomy."""

MOVING_MPS = 0.5
WITH_RIDER = "cycle.with_rider"
ATTRIBUTES = {
    "vehicle.moving": "Vehicle is moving.",
    "vehicle.stopped": "Vehicle stands and means to go on.",
    "vehicle.parked": "Vehicle stands and does not mean to go on.",
    WITH_RIDER: "There is a rider on it.",
    "cycle.without_rider": "There is no rider on it.",
    "pedestrian.moving": "The person is moving.",
    "pedestrian.standing": "The person is standing.",
    "pedestrian.sitting_lying_down": "The person sits or lies.",
}
_MOVING_OF = {
    "car": "vehicle.moving", "truck": "vehicle.moving", "bus": "vehicle.moving",
    "pedestrian": "pedestrian.moving", "road_worker": "pedestrian.moving",
}  # fmt: skip

VISIBILITIES = {"1": "v0-40", "2": "v40-60", "3": "v60-80", "4": "v80-100"}
_VISIBILITY_FROM = (("4", 0.8), ("3", 0.6), ("2", 0.4), ("1", 0.0))
VISIBILITY_MIDDLE = {"1": 0.2, "2": 0.5, "3": 0.7, "4": 0.9}
"""The share in sight that a step stands for, where nothing finer is told."""

_ABBREVIATIONS = {"camera": "CAM", "lidar": "LIDAR"}


def category_of(class_name: str) -> str:
    """nuScenes' category of a class. Raises `InputError` for one that it has none of."""
    if class_name not in CATEGORY_OF:
        raise InputError(f"nuScenes has no category of {class_name!r}")
    return CATEGORY_OF[class_name]


def attribute_of(labelled: LabelledBox) -> str | None:
    """What is known of it in nuScenes' words: that it moves, or has a rider.

    Of what stands nobody knows whether it is parked, so nothing is said.
    """
    box = labelled.box
    if box.class_name == "cyclist":
        return WITH_RIDER
    if box.velocity_mps is None or math.hypot(*box.velocity_mps) < MOVING_MPS:
        return None
    return _MOVING_OF.get(box.class_name)


def visibility_token(share: float | None) -> str:
    """The step of a share in sight; empty where nobody knows it."""
    if share is None:
        return ""
    return next(token for token, least in _VISIBILITY_FROM if share >= least)


def channel_name(channel: str) -> str:
    """`/camera/front_left` as `CAM_FRONT_LEFT`; what looks back is `BACK` there."""
    kind, _, name = channel.strip("/").partition("/")
    words = name.replace("/", "_").replace("-", "_").upper().split("_")
    told = ["BACK" if word == "REAR" else word for word in words if word]
    return "_".join([_ABBREVIATIONS.get(kind, kind.upper()), *told])
