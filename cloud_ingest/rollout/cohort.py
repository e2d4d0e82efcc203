"""Who gets a release, and who first.

Guarantees: the order of vehicles is a hash salted per rollout, so it is the same on every
machine, independent of anything that a vehicle does, and another one for the next rollout.
Stages are prefixes of that order, so a vehicle of one stage is in all later ones; once admitted
it stays admitted, also when the fleet grows or shrinks, and no stage admits more than its limit.
That the order is random and blind is what lets treated and control be compared.

Not here: whether an admitted vehicle took the release.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from cloud_ingest.rollout.observation import VehicleView
from contracts.errors import InputError

_RANKS = 131_072
"""More than the largest fleet of one machine (100,000): asked for in turn, a smaller store would
forget each rank before it is asked for again.
"""


@dataclass(frozen=True, slots=True)
class Selector:
    """Labels that a vehicle must have, each with the values that will do; empty takes all."""

    labels: Mapping[str, frozenset[str]]

    def __post_init__(self) -> None:
        for label, values in self.labels.items():
            if not values:
                raise InputError("no value is allowed, so no vehicle would match", label)

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(labels.get(label) in values for label, values in self.labels.items())


EVERY_VEHICLE = Selector(labels={})


@dataclass(frozen=True, slots=True)
class Cohort:
    """The vehicles that a rollout speaks of; both in ascending order of their id.

    Those that were never in contact are shown, and are no part of any denominator.
    """

    contacted: tuple[str, ...]
    never_contacted: tuple[str, ...]


def cohort_of(selector: Selector, fleet: Iterable[VehicleView]) -> Cohort:
    matching = [view for view in fleet if selector.matches(view.labels)]
    return Cohort(
        contacted=tuple(
            sorted(view.vehicle_id for view in matching if view.first_contact_ns is not None)
        ),
        never_contacted=tuple(
            sorted(view.vehicle_id for view in matching if view.first_contact_ns is None)
        ),
    )


@lru_cache(maxsize=_RANKS)
def rank_of(salt: str, vehicle_id: str) -> bytes:
    """The vehicle's place in the rollout's order, as 32 bytes to compare."""
    return hashlib.sha256(f"{len(salt)}:{salt}{vehicle_id}".encode()).digest()


def stage_limit(fraction: float, contacted: int, min_canary: int) -> int:
    """How many of `contacted` vehicles a stage may hold: its share rounded up, never fewer than
    the canary, never more than there are."""
    if not 0.0 < fraction <= 1.0:
        raise InputError(f"a stage is a share in (0, 1], not {fraction}", "fraction")
    if min_canary < 1:
        raise InputError(f"a canary has at least one vehicle, not {min_canary}", "min_canary")
    share = math.ceil(Fraction(str(fraction)) * contacted)
    return min(contacted, max(min_canary, share))


def admitted(
    salt: str, contacted: Collection[str], already: Collection[str], limit: int
) -> tuple[str, ...]:
    """The vehicles to admit on top of `already` so that at most `limit` are in, best rank first."""
    room = limit - len(already)
    if room <= 0:
        return ()
    held = frozenset(already)
    waiting = sorted((rank_of(salt, v), v) for v in contacted if v not in held)
    return tuple(vehicle_id for _, vehicle_id in waiting[:room])
