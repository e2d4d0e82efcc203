"""A vehicle's days as a pure function of the seed: when it drives, where, in what weather.

A day has a few trips, more of them when people commute; each is one start of the vehicle (one
boot) and one scenario: mostly ordinary driving in the vehicle's own regions, sometimes a story
of the library. Time of day and weather follow the hour; all vehicles of a region have the same
weather. Between trips the vehicle stands in the street, at work, or in its garage, where every
day ends. Of a real day's driving `drive_minutes_per_day` are simulated; parked time costs
nothing.

Times are seconds since `EPOCH_UTC_NS`, the midnight before the first day.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from contracts.clock import NS_PER_S
from contracts.errors import InputError
from sim_fleet.classes import Kind
from sim_fleet.drives import SingleDrive
from sim_fleet.scenarios.library import built_in
from sim_fleet.scenarios.spec import ScenarioSpec, WeatherSpec
from sim_fleet.seeds import generator
from sim_fleet.world.conditions import TimeOfDay, Weather

EPOCH_UTC_NS = 1_748_822_400 * NS_PER_S
"""2025-06-02T00:00:00Z, a Monday."""

START_HOUR = 6.0
"""When the first day begins: with everybody in the garage."""

DAY_S = 86_400.0
SHORTEST_TRIP_S = 15.0
USUAL_TRIP_S = 75.0
SHORTEST_PARKING_S = 120.0
STORY_RATIO = 0.2
"""The share of trips that meet a story of the library."""

Place = Literal["garage", "work", "street"]
REGIONS = ("city", "suburb", "country", "motorway")
_NEAR = {"city": "suburb", "suburb": "city", "country": "motorway", "motorway": "country"}
_BLIND: tuple[tuple[Kind, ...], ...] = (
    (), (Kind.ANIMAL, Kind.DEBRIS), (), (Kind.PEDESTRIAN, Kind.CYCLIST),
)  # fmt: skip
# How much is driven in each hour of the day, to any scale.
_HOURLY = np.array(
    [1, 0.5, 0.5, 0.5, 1, 3, 7, 11, 9, 5, 4, 5, 6, 5, 5, 7, 10, 11, 8, 6, 4, 3, 3, 2], float
)


class Plain(BaseModel):
    """Base of what crosses from the conductor to a vehicle's process."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Trip(Plain):
    """One start of the vehicle. `drive_s` 0: it wakes where it stands, to send what waits.

    `parked_s` is how long it stands at `then` afterwards, at least; `awake_s` of a wake-up how long
    it stays awake to take orders, beyond what it has to send. `scenario`, `tod` and `weather`
    say what is driven, or `drive` does, to the letter.
    """

    index: int
    start_s: float
    drive_s: float
    scenario: str
    seed: int
    tod: TimeOfDay
    weather: Weather
    then: Place
    parked_s: float
    drive: SingleDrive | None = None
    awake_s: float = 0.0

    @property
    def end_s(self) -> float:
        return self.start_s + self.drive_s


class VehiclePlan(Plain):
    """What one vehicle is and does. `blind_to` are classes that its planner does not see."""

    vehicle_id: str
    home: str
    vehicle_type: str
    blind_to: tuple[str, ...]
    trips: tuple[Trip, ...]

    @property
    def drive_s(self) -> float:
        return sum(trip.drive_s for trip in self.trips)


def plan_vehicle(seed: int, number: int, hours: float, drive_minutes_per_day: float) -> VehiclePlan:
    """The plan of vehicle `number` from `START_HOUR` on.

    Raises `InputError` when there is nothing to drive, or no time to park between.
    """
    if hours <= 0 or drive_minutes_per_day <= 0:
        raise InputError("hours and minutes of driving must be above 0", "sim run")
    if drive_minutes_per_day > 0.9 * 1440:
        raise InputError("a day has room for 1296 minutes of driving at most", "sim run")
    rng = generator(seed, "schedule", number)
    home = REGIONS[number % len(REGIONS)]
    begin_s = START_HOUR * 3600.0
    trips: list[Trip] = []
    while (at_s := begin_s + len(_days(trips)) * DAY_S) < begin_s + hours * 3600.0:
        length_s = min(DAY_S, begin_s + hours * 3600.0 - at_s)
        drive_s = drive_minutes_per_day * 60.0 * length_s / DAY_S
        trips += _day(seed, rng, home, len(trips), at_s, length_s, drive_s)
    kind = str(rng.choice(("car", "car", "car", "van")))
    blind = tuple(kind.name for kind in _BLIND[number % len(_BLIND)])
    return VehiclePlan(
        vehicle_id=f"sim-{number + 1:03d}", home=home, vehicle_type=kind, blind_to=blind,
        trips=tuple(trips),
    )  # fmt: skip


def _days(trips: list[Trip]) -> list[Trip]:
    """The last start of each day so far: the one that only wakes."""
    return [trip for trip in trips if trip.drive_s == 0]


def _day(
    seed: int, rng: np.random.Generator, home: str, first: int, begin_s: float, length_s: float,
    drive_s: float,
) -> list[Trip]:  # fmt: skip
    """Trips of one day, and the wake-up in the garage that ends it."""
    count = int(np.clip(round(drive_s / USUAL_TRIP_S), 1, 12))
    lengths = _lengths(rng, count, drive_s)
    starts = _starts(rng, begin_s, length_s, lengths)
    ends = [*starts[1:], begin_s + length_s]
    trips = []
    for i, (start_s, trip_s, next_s) in enumerate(zip(starts, lengths, ends, strict=True)):
        last = i == count - 1
        then: Place = "garage" if last else str(rng.choice(("garage", "work", "street")))  # type: ignore[assignment]
        region = home if rng.random() < 0.7 else _NEAR[home]
        trips.append(
            _trip(seed, rng, first + i, start_s, trip_s, region, then, next_s - start_s - trip_s)
        )
    wake_s = begin_s + length_s
    trips.append(
        Trip(index=first + count, start_s=wake_s, drive_s=0.0, scenario=f"everyday-{home}",
             seed=0, tod=_tod(rng, wake_s), weather="clear", then="garage", parked_s=600.0)
    )  # fmt: skip
    return trips


def _lengths(rng: np.random.Generator, count: int, drive_s: float) -> list[float]:
    """Uneven shares of the day's driving, on the planner's grid of 0.1 s."""
    shares = rng.uniform(0.6, 1.4, count)
    lengths = np.maximum(SHORTEST_TRIP_S, shares / shares.sum() * drive_s)
    return [float(s) for s in lengths.round(1)]


def _starts(
    rng: np.random.Generator, begin_s: float, length_s: float, lengths: list[float]
) -> list[float]:
    """Start times by the hours' weights, in order, with parking between.

    Raises `InputError` when driving and parking do not fit into the day.
    """
    edges = np.linspace(begin_s, begin_s + length_s, 97)
    weight = _HOURLY[((edges[:-1] / 3600.0).astype(int)) % 24]
    passed: NDArray[np.float64] = np.concatenate([[0.0], np.cumsum(weight)]) / weight.sum()
    drawn = (np.arange(len(lengths)) + rng.uniform(0.2, 0.8, len(lengths))) / len(lengths)
    starts = np.interp(drawn, passed, edges).round(1).tolist()
    pause_s = min(SHORTEST_PARKING_S, 0.5 * (length_s - sum(lengths)) / len(lengths))
    if pause_s < 1.0:
        raise InputError(
            f"{sum(lengths):.0f} s of driving do not fit into {length_s:.0f} s", "sim run"
        )
    for i in range(1, len(starts)):
        starts[i] = max(starts[i], starts[i - 1] + lengths[i - 1] + pause_s)
    latest_s = begin_s + length_s
    for i in reversed(range(len(starts))):
        starts[i] = round(min(starts[i], latest_s - pause_s - lengths[i]), 1)
        latest_s = starts[i]
    return [float(s) for s in starts]


def _trip(
    seed: int, rng: np.random.Generator, index: int, start_s: float, drive_s: float, region: str,
    then: Place, parked_s: float,
) -> Trip:  # fmt: skip
    tod = _tod(rng, start_s)
    scenario = f"everyday-{region}"
    if rng.random() < STORY_RATIO:
        stories = [name for name in built_in().names if _suits(name, region, tod)]
        scenario = str(rng.choice(stories)) if stories else scenario
    return Trip(
        index=index, start_s=start_s, drive_s=drive_s, scenario=scenario,
        seed=int(rng.integers(1, 2**31)), tod=tod, weather=weather_at(seed, region, start_s),
        then=then, parked_s=parked_s,
    )  # fmt: skip


def _suits(name: str, region: str, tod: str) -> bool:
    spec = built_in().scenario(name)
    return not name.startswith("everyday-") and spec.region == region and spec.tod == tod


def _tod(rng: np.random.Generator, at_s: float) -> TimeOfDay:
    """Light by the hour, with a low sun for some in the morning and in the evening."""
    hour, low_sun = at_s / 3600.0 % 24.0, rng.random() < 0.3
    if 8.0 <= hour < 18.0:
        return "day"
    if 6.0 <= hour < 8.0 or 18.0 <= hour < 20.0:
        return "glare" if low_sun else "day"
    return "dusk" if 5.0 <= hour < 6.0 or 20.0 <= hour < 21.5 else "night"


def weather_at(seed: int, region: str, at_s: float) -> Weather:
    """The region's weather in that quarter of the day."""
    draw = generator(seed, "weather", region, int(at_s // (DAY_S / 4))).random()
    return "clear" if draw < 0.7 else "rain" if draw < 0.9 else "fog"


def scenario_of(trip: Trip) -> ScenarioSpec:
    """What is driven: a story as it is written, ordinary driving in the hour's conditions."""
    if trip.drive is not None:
        return trip.drive.scenario
    spec = built_in().scenario(trip.scenario)
    if not trip.scenario.startswith("everyday-"):
        return spec
    return spec.model_copy(update={"tod": trip.tod, "weather": WeatherSpec(kind=trip.weather)})
