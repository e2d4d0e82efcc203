"""What a scenario file may say.

A file states only what differs: `extends` names the scenario that it builds on, `with` names
fragments that are laid over that in turn, and its own keys come last. Actors add up. A number
may be a range `[low, high]`, from which each seed draws.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from contracts.ids import Name
from sim_fleet.classes import KIND_NAMES, Shape
from sim_fleet.world.conditions import TimeOfDay, Weather

SHAPE_NAMES = tuple(shape.name.lower() for shape in Shape)


def _rising(value: float | tuple[float, float]) -> float | tuple[float, float]:
    if isinstance(value, tuple) and value[0] > value[1]:
        raise ValueError(f"the range [{value[0]:g}, {value[1]:g}] falls")
    return value


def _shape(name: str) -> str:
    if name not in SHAPE_NAMES:
        raise ValueError(f"no shape {name!r}; known: {', '.join(SHAPE_NAMES)}")
    return name


def _kind(name: str) -> str:
    if name not in KIND_NAMES:
        raise ValueError(f"no class {name!r}; known: {', '.join(KIND_NAMES)}")
    return name


Range = Annotated[float | tuple[float, float], AfterValidator(_rising)]
ShapeName = Annotated[str, AfterValidator(_shape)]
ClassName = Annotated[str, AfterValidator(_kind)]


class Strict(BaseModel):
    """Base of hand-written parts: unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class WeatherSpec(Strict):
    """The sky. What is left out follows from the kind of weather."""

    kind: Weather | None = None
    rain_mm_h: Range | None = None
    visibility_m: Range | None = None


class TrafficSpec(Strict):
    """How busy it is; see `world.populate.Traffic`."""

    vehicles_per_km: Range | None = None
    cyclists_per_km: Range | None = None
    people_per_km: Range | None = None
    parked_ratio: Range | None = None
    motorcycle_ratio: Range | None = None


class EgoSpec(Strict):
    """Where and how the ego starts. `before_junction_m` puts it that far before a junction;
    `speed_mps` is its first and wished speed; `turn` its way at the first junction; `lane`
    counts from the right.
    """

    speed_mps: Range | None = None
    before_junction_m: Range | None = None
    turn: Literal["left", "straight", "right"] | None = None
    lane: int | None = Field(None, ge=0, le=4)
    autonomy: bool | None = None


class StartSpec(Strict):
    """When a scripted actor begins to move: not before `after_s`, and once the ego is near in
    metres or in seconds of its own driving.
    """

    after_s: Range = 0.0
    ego_within_m: Range | None = None
    ego_within_s: Range | None = None


class MotionSpec(Strict):
    """How an actor moves. `lane` follows the lanes as traffic does; `path` goes along way
    points [ahead, left] in metres from its place, along the road there; `still` does not move.
    """

    kind: Literal["still", "lane", "path"] = "still"
    speed_mps: Range = 0.0
    accel_mps2: Range = 2.5
    path: tuple[tuple[Range, Range], ...] = ()
    start: StartSpec = StartSpec()
    hold_s: Range = 0.0
    ignores_lights: bool = False

    @model_validator(mode="after")
    def _path_has_points(self) -> MotionSpec:
        if self.kind == "path" and not self.path:
            raise ValueError("motion of kind 'path' needs a path of way points")
        return self


class ActorSpec(Strict):
    """One actor of the story. `ahead_m` along the ego's route, `left_m` from the middle of its
    lane, `turned_deg` against the road (180: towards the ego); `count` copies stand
    `spacing_m` apart.
    """

    name: Name
    shape: ShapeName
    ahead_m: Range
    left_m: Range = 0.0
    turned_deg: Range = 0.0
    size_m: tuple[Range, Range, Range] | None = None
    colour: tuple[float, float, float] | None = None
    count: int = Field(1, ge=1, le=24)
    spacing_m: Range = 6.0
    spread_left_m: Range = 0.0
    motion: MotionSpec = MotionSpec()
    beacon: bool = False
    braking: bool = False


class ExpectSpec(Strict):
    """What the scenario promises to hold: a class within a distance within the first seconds,
    and, where it matters, that something keeps it out of sight at first.
    """

    class_name: ClassName = Field(alias="class")
    within_m: float = Field(gt=0)
    count: int = Field(1, ge=1)
    hidden_at_first: bool = False


class ScenarioSpec(Strict):
    """One scenario file, or a fragment of one; every key may be left to what it extends."""

    version: Literal["longtail/sim/v1"] = Field(alias="apiVersion")
    id: Name
    title: str | None = None
    hard: str | None = Field(None, description="one sentence on what is hard")
    tags: tuple[Name, ...] = ()
    extends: Name | None = None
    with_: tuple[Name, ...] = Field((), alias="with")
    region: Literal["city", "suburb", "motorway", "country"] | None = None
    season: Literal["spring", "summer", "autumn", "winter"] | None = None
    tod: TimeOfDay | None = None
    sun_ahead_deg: Range | None = None
    weather: WeatherSpec = WeatherSpec()
    traffic: TrafficSpec = TrafficSpec()
    ego: EgoSpec = EgoSpec()
    clear_m: Range | None = None
    actors: tuple[ActorSpec, ...] = ()
    expect: tuple[ExpectSpec, ...] = ()


def merged(base: ScenarioSpec, over: ScenarioSpec) -> ScenarioSpec:
    """`over` laid over `base`: its own values win, actors, tags and expectations add up."""
    changes: dict[str, object] = {}
    for name in over.model_fields_set:
        value = getattr(over, name)
        if name in {"actors", "expect", "tags"}:
            known = getattr(base, name)
            changes[name] = (*known, *(item for item in value if item not in known))
        elif isinstance(value, WeatherSpec | TrafficSpec | EgoSpec):
            own = {key: getattr(value, key) for key in value.model_fields_set}
            changes[name] = getattr(base, name).model_copy(update=own)
        elif name not in {"extends", "with_"}:
            changes[name] = value
    return base.model_copy(update=changes)
