"""Scenes: the same place, seen the same way, with the same things in it. Vehicle and cloud compare
them alike.

Two scenes are one when trigger, model and direction agree, they lie within `PLACE_M`, their key
frames look alike, and every object of the new one was there before, at about its place. So debris
on a known ramp is a new scene as soon as the model, or the lidar beside it, sees it; and a scene
whose place is unknown is never a known one.

A known scene weighs one for each clip that was kept of it, and half as much every `HALF_LIFE_DAYS`.
"""

from __future__ import annotations

from math import cos, hypot, pi, radians

from pydantic import BaseModel, ConfigDict, Field

PLACE_M = 20.0
TURN_RAD = pi / 8
HASH_BITS = 20
APART_M = 3.0
APART_RATIO = 0.1
"""How far an object may lie from where it was, in metres and as a share of its distance."""
APART_PICTURE = 0.08
"""The same in a picture, as a share of its width."""
HALF_LIFE_DAYS = 14.0
MOST_LISTED = 1000
"""Scenes in a fleet's list."""
MAX_LIST_BYTES = 2 * 2**20
DEGREE_M = 111_320.0
"""Of latitude."""


class SceneObject(BaseModel):
    """What was seen, and where: metres ahead and to the left, or shares of a picture."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

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
    that some frame near it showed; `picture` is the key frame's perceptual hash.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    trigger_id: str = Field(max_length=128)
    model_digest: str | None = Field(None, max_length=128)
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
        north = (self.lat_deg - known.lat_deg) * DEGREE_M
        east = (self.lon_deg - known.lon_deg) * DEGREE_M * cos(radians(self.lat_deg))
        turned = abs((self.bearing_rad - known.bearing_rad + pi) % (2 * pi) - pi)
        if hypot(north, east) > PLACE_M or turned > TURN_RAD:
            return False
        if (self.picture ^ known.picture).bit_count() > HASH_BITS:
            return False
        return all(any(thing.is_at(old) for old in known.maybe) for thing in self.objects)


class Known(BaseModel):
    """A scene of which clips were kept, weighing `weight` on a day (since 1970, UTC)."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    scene: Scene
    day: int = Field(ge=0, le=10_000_000)
    weight: float = 1.0

    def weight_on(self, day: int) -> float:
        halvings = max(0, day - self.day) / HALF_LIFE_DAYS
        return float(self.weight * 0.5**halvings)
