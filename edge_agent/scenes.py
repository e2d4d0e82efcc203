"""Which scenes are known: the same place, seen the same way, with nothing in it that is new. Pure.

Two scenes are one when trigger, model and direction agree, they lie within `PLACE_M`, their key
frames look alike, and every object of the new one was there before, at about its place. So debris
on a known ramp is a new scene as soon as the model, or the lidar beside it, sees it; and a scene
whose place is unknown is never a known one.

A scene weighs one at each clip that was kept of it and half as much every `HALF_LIFE_DAYS`; with a
weight of a trigger's `clips_per_scene` there are enough clips of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import cos, hypot, pi, radians

from pydantic import BaseModel, ConfigDict, Field

from kernels.phash import hamming_distance

PLACE_M = 20.0
TURN_RAD = pi / 8
HASH_BITS = 20
APART_M = 3.0
APART_RATIO = 0.1
"""How far an object may lie from where it was, in metres and as a share of its distance."""
APART_PICTURE = 0.08
"""The same in a picture, as a share of its width."""
HALF_LIFE_DAYS = 14.0
MOST_SCENES = 1000
_DEGREE_M = 111_320.0


class SceneObject(BaseModel):
    """What was seen, and where: metres ahead and to the left, or shares of a picture."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str = Field(max_length=128)
    x: float
    y: float
    in_picture: bool = False

    def is_at(self, other: SceneObject) -> bool:
        """Whether both can be one thing."""
        if self.name != other.name or self.in_picture != other.in_picture:
            return False
        apart = hypot(self.x - other.x, self.y - other.y)
        if self.in_picture:
            return apart <= APART_PICTURE
        return apart <= APART_M + APART_RATIO * hypot(self.x, self.y)


class Scene(BaseModel):
    """One scene as a trigger met it. `objects` are those that were surely there, `maybe` those
    that some frame near it showed.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    trigger_id: str = Field(max_length=128)
    model_digest: str | None = None
    lat_deg: float
    lon_deg: float
    bearing_rad: float
    picture: int = Field(ge=0, lt=2**64)
    objects: tuple[SceneObject, ...] = Field((), max_length=64)
    maybe: tuple[SceneObject, ...] = Field((), max_length=128)

    def is_known_from(self, known: Scene) -> bool:
        """Whether this scene shows nothing that `known` does not."""
        if (self.trigger_id, self.model_digest) != (known.trigger_id, known.model_digest):
            return False
        north = (self.lat_deg - known.lat_deg) * _DEGREE_M
        east = (self.lon_deg - known.lon_deg) * _DEGREE_M * cos(radians(self.lat_deg))
        turned = abs((self.bearing_rad - known.bearing_rad + pi) % (2 * pi) - pi)
        if hypot(north, east) > PLACE_M or turned > TURN_RAD:
            return False
        if hamming_distance(self.picture, known.picture) > HASH_BITS:
            return False
        return all(any(thing.is_at(old) for old in known.maybe) for thing in self.objects)


class Known(BaseModel):
    """A scene of which a clip was kept on a day of budget time."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    scene: Scene
    day: int
    weight: float = 1.0

    def weight_on(self, day: int) -> float:
        halvings = max(0, day - self.day) / HALF_LIFE_DAYS
        return float(self.weight * 0.5**halvings)


class SceneBook:
    """The scenes that are known: the vehicle's own, and those that the fleet tells of.

    Args:
        own: kept by this vehicle before, oldest first.
        fleet: kept by others.
    """

    def __init__(self, own: Iterable[Known] = (), fleet: Sequence[Known] = ()) -> None:
        self.own = list(own)
        self._fleet = tuple(fleet)

    def weight(self, scene: Scene, day: int) -> float:
        """How much is known of a scene."""
        return sum(
            known.weight_on(day)
            for known in (*self.own, *self._fleet)
            if scene.is_known_from(known.scene)
        )

    def is_enough(self, scene: Scene, day: int, clips_per_scene: int) -> bool:
        # Clips of some days ago weigh a little less than one each: half a clip is left for that.
        return self.weight(scene, day) >= clips_per_scene - 0.5

    def add(self, scene: Scene, day: int) -> None:
        """A clip of a scene was kept."""
        self.own.append(Known(scene=scene, day=day))
        del self.own[: max(0, len(self.own) - MOST_SCENES)]
