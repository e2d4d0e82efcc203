"""When vehicles are where: trips on cellular, then the garage's wifi, day after local day.

Guarantees: periods of one vehicle never overlap; a trip is as long as it was drawn (one that is
still under way pushes the next back), so the driving hours of a fleet are trips times length.

A vehicle without trips today sleeps, one without garage wifi sleeps whenever it is parked, and
parked between two trips all sleep.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim_fleet.scale.fleet import Bools, Floats, Ints, Vehicles
from sim_fleet.scale.rates import Driving, ScaleRates
from sim_fleet.seeds import generator

DAY_S = 86_400
GAP_S = 60.0
"""At least this long between two trips, so that they are two."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Vehicles that share a kind of period within a slice of time, rows in order of vehicle.

    Attributes:
        vehicle: int64 [s].
        from_s, until_s: the period's part within the slice.
        begins: whether the period itself begins in it.
        ends_s: when the period ends.
        free: True on the garage's wifi, False on the road's cellular.
    """

    vehicle: Ints
    from_s: Floats
    until_s: Floats
    begins: Bools
    ends_s: Floats
    free: bool


class Calendar:
    """The periods of a local day of each vehicle, drawn as the days begin.

    Columns of trips: one that is carried over from the day before, then today's in order. Of
    garages: the one carried over, then today's.
    """

    def __init__(self, rates: ScaleRates, vehicles: Vehicles, seed: int, start_s: float) -> None:
        self._driving = rates.driving
        self._awake_s = rates.links.garage_awake_s
        self._ratio = np.array([region.trips_ratio for region in rates.regions])
        self._vehicles = vehicles
        self._seed = seed
        count, most = len(vehicles), rates.driving.most_trips
        self._trips = _nothing(count, most + 1)
        self._garages = _nothing(count, 2)
        self._midnights = np.unique(vehicles.midnight_s)
        self._drawn: dict[float, int] = {}
        first = int(start_s // DAY_S) - 1
        for midnight in self._midnights.tolist():
            # The day before the first, for what is carried over from it.
            self._draw(midnight, first)

    def segments(self, t0_s: float, t1_s: float) -> list[Segment]:
        """What goes on in [t0, t1), in each vehicle's order of time.

        A local day must not begin within the slice but at its start.
        """
        for midnight in self._midnights.tolist():
            day = int((t0_s - midnight) // DAY_S)
            while self._drawn[midnight] < day:
                self._draw(midnight, self._drawn[midnight] + 1)
        trips = [(self._trips, column, False) for column in range(self._trips.shape[2])]
        columns = [trips[0], (self._garages, 0, True), *trips[1:], (self._garages, 1, True)]
        found = (_within(table[:, :, at], free, t0_s, t1_s) for table, at, free in columns)
        return [segment for segment in found if len(segment.vehicle)]

    def _draw(self, midnight_s: float, day: int) -> None:
        """Begin a local day for the vehicles whose midnight this is."""
        self._drawn[midnight_s] = day
        rows = np.flatnonzero(self._vehicles.midnight_s == midnight_s)
        rng = generator(self._seed, "scale", "day", int(midnight_s), day)
        zero_s = midnight_s + day * DAY_S
        ratio = self._ratio[self._vehicles.region[rows]]
        start, length = draw_trips(self._driving, ratio, rng)
        before = self._trips[:, rows]
        last = np.where(np.isfinite(before[1]), before[1], -np.inf).argmax(axis=1)
        last_s = before[1, np.arange(len(rows)), last]
        last_s = np.where(np.isfinite(last_s), last_s, -np.inf)
        carried = last_s > zero_s
        start, end = spaced(start + zero_s, length, last_s)
        trips = np.full_like(before, np.inf)
        trips[0, :, 0] = np.where(carried, before[0, np.arange(len(rows)), last], np.inf)
        trips[1, :, 0] = np.where(carried, last_s, np.inf)
        trips[:, :, 1:] = start, end
        self._trips[:, rows] = trips
        self._draw_garages(rows, zero_s, trips)

    def _draw_garages(self, rows: Ints, zero_s: float, trips: Floats) -> None:
        first_s = trips[0, :, 1:].min(axis=1)
        ends = np.where(np.isfinite(trips[1]), trips[1], -np.inf)
        home_s = ends.max(axis=1)
        is_home = np.isfinite(home_s) & self._vehicles.has_wifi[rows]
        before_from, before_until = self._garages[0, rows, 1], self._garages[1, rows, 1]
        goes_on = np.isfinite(before_from) & (before_until > zero_s)
        kept = np.array([before_from, np.minimum(before_until, first_s)])
        self._garages[:, rows, 0] = np.where(goes_on, kept, np.inf)
        now = np.array([home_s, home_s + self._awake_s])
        self._garages[:, rows, 1] = np.where(is_home, now, np.inf)


def draw_trips(driving: Driving, ratio: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Starts and lengths of a day's trips in local seconds, [n, most trips], by start.

    Trips that are not are infinite, after all others. `ratio` [n]: of the fleet's trips a day.
    """
    most = driving.most_trips
    shape = (len(ratio), most)
    number = rng.binomial(most, ratio * driving.trips_per_day / most)
    weights = np.cumsum(driving.hours) / sum(driving.hours)
    draw = rng.random(shape)
    hour = np.searchsorted(weights, draw, side="right")
    hour = np.minimum(hour, len(weights) - 1)
    start = (hour + rng.random(shape)) * 3600.0
    spread = driving.trip_spread
    length = driving.trip_s * np.exp(spread * rng.standard_normal(shape) - spread**2 / 2)
    start[np.arange(most) >= number[:, None]] = np.inf
    start.sort(axis=1)
    return start, length


def spaced(start: Floats, length: Floats, busy_until: Floats) -> tuple[Floats, Floats]:
    """Push trips back until none begins before the one before it has ended; starts and ends.

    Args:
        start, length: [n, trips], by start. busy_until: end of the day before's last trip, [n].
    """
    begin, end = np.empty_like(start), np.empty_like(start)
    free_s = busy_until + GAP_S
    for at in range(start.shape[1]):
        begin[:, at] = np.maximum(start[:, at], free_s)
        is_trip = np.isfinite(start[:, at])
        end[:, at] = np.where(is_trip, begin[:, at] + length[:, at], np.inf)
        free_s = np.where(is_trip, end[:, at] + GAP_S, free_s)
    return begin, end


def _within(period: Floats, free: bool, t0_s: float, t1_s: float) -> Segment:
    begin, end = period
    rows = np.flatnonzero((begin < t1_s) & (end > t0_s))
    begin, end = begin[rows], end[rows]
    return Segment(
        vehicle=rows,
        from_s=np.maximum(begin, t0_s),
        until_s=np.minimum(end, t1_s),
        begins=begin >= t0_s,
        ends_s=end,
        free=free,
    )


def _nothing(count: int, columns: int) -> NDArray[np.float64]:
    return np.full((2, count, columns), np.inf)
