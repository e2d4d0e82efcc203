"""Draws what happens on the road: moments of vehicles that drive, as columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sim_fleet.scale.days import Segment
from sim_fleet.scale.fleet import Floats, Ints, MomentRules, Vehicles


@dataclass(frozen=True, slots=True)
class Happened:
    """Moments in order of vehicle, then time: [h] each."""

    vehicle: Ints
    time_s: Floats
    moment: Ints
    clip_bytes: Ints

    def turns(self) -> Iterator[Ints]:
        """Rows by turn: every vehicle's first moment, then every second one, and so on."""
        is_first = np.ones(len(self.vehicle), np.bool_)
        is_first[1:] = self.vehicle[1:] != self.vehicle[:-1]
        starts = np.flatnonzero(is_first)
        turn = np.arange(len(self.vehicle)) - np.repeat(
            starts, np.diff(np.append(starts, len(self.vehicle)))
        )
        for number in range(int(turn.max(initial=-1)) + 1):
            yield np.flatnonzero(turn == number)


def draw_moments(
    rules: MomentRules, vehicles: Vehicles, trips: list[Segment], rng: np.random.Generator
) -> Happened:
    """Poisson moments over the trips' seconds; sizes are lognormal about their means.

    A random stream keeps each slot with a small chance, which is Poisson but for one clip a slot.
    """
    who = np.concatenate([trip.vehicle for trip in trips])
    from_s = np.concatenate([trip.from_s for trip in trips])
    length_s = np.concatenate([trip.until_s for trip in trips]) - from_s
    found = []
    for varies in (True, False):
        kinds = np.flatnonzero(rules.varies == varies)
        total = rules.per_hour[kinds].sum()
        if total == 0:
            continue
        mean = total / 3600 * length_s * (vehicles.rate[who] if varies else 1.0)
        rows = np.repeat(np.arange(len(who)), rng.poisson(mean))
        time_s = from_s[rows] + rng.random(len(rows)) * length_s[rows]
        moment = rng.choice(kinds, size=len(rows), p=rules.per_hour[kinds] / total)
        found.append((who[rows], time_s, moment))
    if not found:
        none = np.zeros(0, np.int64)
        return Happened(none, np.zeros(0), none, none)
    vehicle, time_s, moment = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.lexsort((time_s, vehicle))
    vehicle, time_s, moment = vehicle[order], time_s[order], moment[order]
    spread = rules.clip_spread[moment]
    size = rules.clip_bytes[moment] * np.exp(
        spread * rng.standard_normal(len(moment)) - spread**2 / 2
    )
    return Happened(vehicle, time_s, moment, np.maximum(1, size).astype(np.int64))
