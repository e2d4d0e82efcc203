"""A day of given drives instead of chance: which vehicle drives which, and when. Pure.

Drives are dealt in turn to the vehicles of their type. Each is a trip at an hour that has its
light; between trips the vehicle stands somewhere, and in its garage when all is driven.
"""

from __future__ import annotations

from collections.abc import Sequence

from contracts.errors import InputError
from sim_fleet.drives import SingleDrive
from sim_fleet.fleet.schedule import (
    DAY_S,
    SHORTEST_PARKING_S,
    START_HOUR,
    Place,
    Trip,
    VehiclePlan,
)
from sim_fleet.seeds import generator
from sim_fleet.trials.recipe import TrialsSpec
from sim_fleet.world.conditions import TimeOfDay

HOURS: dict[TimeOfDay, tuple[float, float]] = {
    "glare": (6.0, 8.0), "day": (8.0, 18.0), "dusk": (20.0, 21.5), "night": (21.5, 29.0),
}  # fmt: skip
"""When it is light like that, in hours since the first midnight, after which the day begins."""
_HOME_S = (24.0 + START_HOUR) * 3600.0


AWAKE_S = 120.0
"""How long a vehicle that takes orders stays awake for them."""
_FIRST_WAKE_S = 900.0
_SHORTEST_REST_S = 600.0
TRIPS_A_DAY = 1000
"""Trips of a later day are numbered from this many times the day on."""


def plan_tour(spec: TrialsSpec, vehicles: int, seed: int, day: int = 0) -> tuple[VehiclePlan, ...]:
    """All vehicles' plans; those to whom nothing is dealt are left out.

    Args:
        day: which day of the fleet it is, from 0 on.

    Raises `InputError` when there are fewer vehicles than types, or too few for the hours.
    """
    drives = [drive for _, drive in spec.single()]
    types = list(dict.fromkeys(drive.vehicle_type for drive in drives))
    if vehicles < len(types):
        raise InputError(
            f"drives of {len(types)} types of vehicle need as many vehicles", "--vehicles"
        )
    dealt: list[list[SingleDrive]] = [[] for _ in range(vehicles)]
    for number, kind in enumerate(types):
        mine = range(number, vehicles, len(types))
        for turn, drive in enumerate(d for d in drives if d.vehicle_type == kind):
            dealt[mine[turn % len(mine)]].append(drive)
    plans = (_plan(number, given, seed, day) for number, given in enumerate(dealt) if given)
    return tuple(_on_day(plan, day) for plan in plans)


def with_wakes(plan: VehiclePlan) -> VehiclePlan:
    """The plan of a vehicle that takes orders: it wakes for them before the first trip, and between
    trips where it stands at a wifi for long enough.
    """
    first = plan.trips[0]
    early_s = first.start_s - _FIRST_WAKE_S
    trips = [_wake(first, early_s, "garage", _FIRST_WAKE_S)]
    for trip in plan.trips:
        if trip.drive_s == 0:
            trips.append(trip.model_copy(update={"awake_s": AWAKE_S}))
        elif trip.parked_s < 2 * _SHORTEST_REST_S or trip.then == "street" or trip is _last(plan):
            trips.append(trip)
        else:
            half_s = round(trip.parked_s / 2, 1)
            trips.append(trip.model_copy(update={"parked_s": half_s}))
            trips.append(_wake(trip, trip.end_s + half_s, trip.then, trip.parked_s - half_s))
    numbered = (trip.model_copy(update={"index": first.index + n}) for n, trip in enumerate(trips))
    return plan.model_copy(update={"trips": tuple(numbered)})


def _last(plan: VehiclePlan) -> Trip:
    """The last trip that is driven: the wake-up that ends the day follows it."""
    return [trip for trip in plan.trips if trip.drive_s > 0][-1]


def _wake(trip: Trip, at_s: float, where: Place, parked_s: float) -> Trip:
    return trip.model_copy(update={
        "start_s": at_s, "drive_s": 0.0, "then": where, "parked_s": parked_s - AWAKE_S,
        "drive": None, "awake_s": AWAKE_S,
    })  # fmt: skip


def _on_day(plan: VehiclePlan, day: int) -> VehiclePlan:
    trips = (
        trip.model_copy(update={
            "start_s": trip.start_s + day * DAY_S, "index": trip.index + day * TRIPS_A_DAY,
        })
        for trip in plan.trips
    )  # fmt: skip
    return plan.model_copy(update={"trips": tuple(trips)})


def _plan(number: int, drives: Sequence[SingleDrive], seed: int, day: int) -> VehiclePlan:
    vehicle_id = f"sim-{number + 1:03d}"
    rng = generator(seed, "tour", vehicle_id, *([day] if day else []))
    timed: list[tuple[float, SingleDrive]] = []
    for tod, (first, last) in HOURS.items():
        mine = [drive for drive in drives if drive.scenario.tod == tod]
        each_s = (last - first) * 3600.0 / max(1, len(mine))
        for turn, drive in enumerate(mine):
            free_s = each_s - drive.seconds - SHORTEST_PARKING_S
            if free_s < 0:
                raise InputError(
                    f"{len(mine)} drives by {tod} are too many for {vehicle_id}", "--vehicles"
                )
            at_s = first * 3600.0 + turn * each_s + free_s * float(rng.uniform(0.1, 0.9))
            timed.append((round(at_s, 1), drive))
    timed.sort(key=lambda one: one[0])
    ends = [*(at_s for at_s, _ in timed[1:]), _HOME_S]
    trips = []
    for index, ((at_s, drive), next_s) in enumerate(zip(timed, ends, strict=True)):
        places: tuple[Place, ...] = ("garage", "work", "street")
        then = "garage" if index == len(timed) - 1 else places[int(rng.integers(3))]
        trips.append(_trip(index, at_s, drive, then, next_s - at_s - drive.seconds))
    home = str(timed[0][1].scenario.region)
    trips.append(Trip(
        index=len(trips), start_s=_HOME_S, drive_s=0.0, scenario=f"everyday-{home}", seed=0,
        tod="day", weather="clear", then="garage", parked_s=600.0,
    ))  # fmt: skip
    return VehiclePlan(
        vehicle_id=vehicle_id, home=home, vehicle_type=drives[0].vehicle_type, blind_to=(),
        trips=tuple(trips),
    )  # fmt: skip


def _trip(index: int, at_s: float, drive: SingleDrive, then: Place, parked_s: float) -> Trip:
    scenario = drive.scenario
    if scenario.tod is None:
        raise InputError("no time of day", scenario.id)  # the library lets no scenario lack it
    return Trip(
        index=index, start_s=at_s, drive_s=drive.seconds, scenario=scenario.id, seed=drive.seed,
        tod=scenario.tod, weather=scenario.weather.kind or "clear", then=then, parked_s=parked_s,
        drive=drive,
    )  # fmt: skip
