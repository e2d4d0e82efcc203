"""What the model assumes of a fleet: every rate, frozen, with a default and where it is from.

Guarantees: what a person writes (`--rates FILE.yaml`) is checked as a whole, and every complaint
names `file:line:column`. Rules that the agent has (budgets, cooldowns, priorities, caps, polling)
are not repeated here: they come from the published trigger specs and the agent's own defaults.

A file gives what differs. A section that it names is laid over the default key by key; lists and
`moments` are replaced as a whole.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from pydantic import Field, ValidationError, model_validator

from contracts.clock import NS_PER_S
from contracts.errors import InputError
from contracts.ids import Name
from contracts.spec_yaml import parse_yaml, read_text, validate_located
from contracts.trigger_spec import LoadedSpec, RandomBaselineSpec, Strict, load_specs
from edge_agent.config import AgentConfig
from sim_fleet.scale.plan_rates import Labels, Prices, Store

_AGENT = AgentConfig()
HOURS = 24


class Region(Strict):
    """Part of the fleet that shares a clock and a way of driving."""

    name: Name
    share: float = Field(gt=0, description="of the fleet; shares need not sum to one")
    utc_offset_h: float = Field(ge=-12, le=14, multiple_of=0.5)
    trips_ratio: float = Field(1.0, ge=0, le=4, description="of the fleet's trips a day")
    moments_ratio: float = Field(1.0, ge=0, description="of the fleet's moments an hour")


class Driving(Strict):
    """When vehicles drive, in local time."""

    trips_per_day: float = Field(3.0, gt=0, le=8)
    most_trips: int = Field(8, ge=1, le=12, description="trips of a day are binomial out of these")
    trip_s: float = Field(1500.0, gt=0, le=14_400, description="mean length")
    trip_spread: float = Field(0.6, ge=0, le=2, description="standard deviation of its logarithm")
    hours: tuple[float, ...] = Field(
        (0.3, 0.2, 0.1, 0.1, 0.3, 1.0, 3.0, 6.5, 7.0, 5.0, 4.5, 5.0,
         5.5, 5.2, 5.5, 6.2, 7.5, 8.5, 7.0, 5.0, 3.5, 2.5, 1.5, 0.8),
        min_length=HOURS, max_length=HOURS,
        description="weight of each local hour as a trip's start: two commuting peaks",
    )  # fmt: skip


class Moment(Strict):
    """Something on the road that makes triggers fire together, and the one clip of it."""

    per_driving_hour: float = Field(ge=0, le=360)
    triggers: tuple[Name, ...] = Field(min_length=1, max_length=8)
    clip_mb: float = Field(gt=0, le=4000, description="mean size")
    clip_spread: float = Field(0.25, ge=0, le=2, description="sd of the size's logarithm")
    varies: bool = Field(True, description="whether the rate differs between vehicles and regions")


class Links(Strict):
    """Connections, as a vehicle finds them."""

    garage_wifi_share: float = Field(0.8, ge=0, le=1)
    garage_awake_s: float = Field(10_800.0, ge=0, le=86_400, description="after the last trip")
    wifi_mbit_s: float = Field(40.0, gt=0, description="median upload rate")
    cellular_mbit_s: float = Field(8.0, gt=0, description="median upload rate")
    rate_spread: float = Field(0.7, ge=0, le=2, description="sd of a rate's logarithm")
    wifi_request_s: float = Field(0.06, gt=0, le=60, description="a request without its body")
    cellular_request_s: float = Field(0.15, gt=0, le=60)


class Sizes(Strict):
    """Wire bytes of the small requests, both ways, as the agent's own meter counts them."""

    check_in_bytes: int = Field(4800, ge=0)
    authenticate_bytes: int = Field(2550, ge=0, description="challenge and token, two requests")
    event_bytes: int = Field(1600, ge=0)
    small_bytes: int = Field(2300, ge=0, description="declaration, offset and status, each")


class Cellular(Strict):
    """Caps on metered wire bytes."""

    bytes_per_day: int = Field(_AGENT.upload.cellular_bytes_per_day, ge=0)
    bytes_per_month: int = Field(_AGENT.upload.cellular_bytes_per_month, ge=0)


class Polling(Strict):
    """How often vehicles check in, before jitter."""

    poll_s: float = Field(_AGENT.ota.poll / NS_PER_S, ge=1, le=86_400)
    metered_poll_s: float = Field(_AGENT.ota.metered_poll / NS_PER_S, ge=1, le=86_400)
    token_s: float = Field(870.0, ge=30, description="a token's life, less the vehicle's margin")


def _default_moments() -> dict[str, Moment]:
    """Sizes: what the published specs measured on simulated drives. Rates: see docs/scale.md."""

    def moment(per_hour: float, mb: float, *triggers: str, varies: bool = True) -> Moment:
        return Moment(per_driving_hour=per_hour, triggers=triggers, clip_mb=mb, varies=varies)

    random = next(each.spec for each in published_specs() if each.spec.kind == "random_baseline")
    assert isinstance(random, RandomBaselineSpec)
    slots_per_hour = 3600 / random.when.slot_s
    return {
        "emergency": moment(
            0.05, 13.5, "time-to-collision", "hard-brake", "jerk", "planner-divergence",
            "disengagement",
        ),
        "takeover": moment(0.1, 13.0, "disengagement", "planner-divergence"),
        "harsh-brake": moment(0.1, 13.0, "hard-brake", "jerk"),
        "swerve": moment(0.03, 13.0, "swerve"),
        "hard-accel": moment(0.05, 10.0, "hard-accel"),
        "rare-object": moment(4.0, 4.0, "rare-class"),
        "unsure": moment(1.0, 5.0, "low-confidence"),
        "random": moment(
            random.when.probability * slots_per_hour, 5.0, "random-baseline", varies=False
        ),
    }  # fmt: skip


def published_specs() -> list[LoadedSpec]:
    """The trigger specs that vehicles keep clips by when nobody says otherwise."""
    found = load_specs(Path(str(files("trigger_specs"))))
    return [each for each in found if not each.spec.target.shadow]


class ScaleRates(Strict):
    """All assumptions of the model; `docs/scale.md` tells how each default was obtained."""

    regions: tuple[Region, ...] = Field(
        (
            Region(name="west", share=0.3, utc_offset_h=-8.0),
            Region(name="east", share=0.3, utc_offset_h=-5.0),
            Region(name="europe", share=0.25, utc_offset_h=1.0, trips_ratio=0.9),
            Region(name="asia", share=0.15, utc_offset_h=9.0, moments_ratio=1.3),
        ),
        min_length=1, max_length=64,
    )  # fmt: skip
    driving: Driving = Driving()
    moments: dict[Name, Moment] = Field(
        default_factory=_default_moments, min_length=1, max_length=64
    )
    vehicle_shape: float = Field(
        1.5, gt=0, description="shape of the gamma by which vehicles' rates differ; mean 1"
    )
    clip_size_ratio: float = Field(
        1.0, gt=0, le=1000, description="of the clips that the vehicles make to simulated ones"
    )
    pack_s: float = Field(15.0, ge=0, le=600, description="from a fire to its clip in the spool")
    links: Links = Links()
    cellular: Cellular = Cellular()
    polling: Polling = Polling()
    sizes: Sizes = Sizes()
    store: Store = Store()
    labels: Labels = Labels()
    prices: Prices = Prices()
    not_wanted_share: float = Field(
        0.0, ge=0, le=1, description="of clips that are neither safety nor random, declined unsent"
    )

    @model_validator(mode="after")
    def _check(self) -> ScaleRates:
        known = {each.spec.id for each in published_specs()}
        for name, moment in self.moments.items():
            for trigger in moment.triggers:
                if trigger not in known:
                    raise ValueError(f"moment {name!r}: no published trigger {trigger!r}")
        if min(self.driving.hours) < 0 or sum(self.driving.hours) == 0:
            raise ValueError("driving.hours must not be negative, nor all zero")
        most = max(region.trips_ratio for region in self.regions) * self.driving.trips_per_day
        if most > self.driving.most_trips:
            raise ValueError(f"{most:g} trips a day are more than driving.most_trips")
        if len({region.name for region in self.regions}) < len(self.regions):
            raise ValueError("two regions have one name")
        return self


def load_rates(path: Path) -> ScaleRates:
    """Defaults with the file laid over them. Raises `InputError` with `file:line:column`."""
    located = parse_yaml(read_text(path), str(path))
    if not isinstance(located.value, dict):
        raise InputError("rates are a mapping of keys", located.place(()))
    located.value = {
        key: _laid_over(key, value) if isinstance(value, dict) else value
        for key, value in located.value.items()
    }
    return validate_located(ScaleRates, located)


def changed(rates: ScaleRates, **changes: object) -> ScaleRates:
    """The rates with `section__key=value` or `key=value`, checked. Raises `InputError`."""
    values = rates.model_dump()
    for name, value in changes.items():
        *sections, key = name.split("__")
        inner = values
        for section in sections:
            inner = inner[section]
        inner[key] = value
    try:
        return ScaleRates.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"]) or "rates"
        raise InputError(first["msg"].removeprefix("Value error, "), place) from error


def _laid_over(section: str, given: dict[str, object]) -> dict[str, object]:
    default = ScaleRates.model_fields.get(section)
    if default is None or not isinstance(default.default, Strict):
        return given
    return {**default.default.model_dump(), **given}
