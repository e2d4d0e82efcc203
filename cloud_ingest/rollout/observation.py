"""What a rollout is told: how each vehicle stands, and what it counted in an interval.

An `Interval` is columnar, one column a vehicle, since thousands of vehicles times hundreds of
intervals are read; `Interval.from_rows` builds it from rows. Counts are as the vehicle signed
them; who may claim what is checked before they come here.

The caller closes an interval once (its watermark): a row that comes later is not read. Within
one interval a vehicle ran one digest; the caller drops or splits the interval of a change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from contracts.errors import InputError

FloatArray = NDArray[np.float64]


class Exposure(StrEnum):
    """What a guardrail's rate is per."""

    DRIVEN_KM = "driven_km"
    CONNECTED_H = "connected_h"


@dataclass(frozen=True, slots=True)
class InstallFailure:
    """The vehicle's word that it could not install; `attempt` is that of the offer."""

    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class VehicleView:
    """How one vehicle stands now.

    Args:
        first_contact_ns, last_contact_ns: wall time of authenticated requests; None when never.
        installed_digest: as its newest signed manifest told; None when it holds nothing.
        manifest_utc_ns: when that manifest was signed; None when there is none.
        driving_since_applied_ns: connected driving since a manifest first told the rollout's
            digest; 0 before.
        silent_driving_ns: connected driving since the newest signed manifest. A parked car adds
            nothing to it.
    """

    vehicle_id: str
    labels: Mapping[str, str] = field(default_factory=dict)
    first_contact_ns: int | None = None
    last_contact_ns: int | None = None
    installed_digest: str | None = None
    manifest_utc_ns: int | None = None
    driving_since_applied_ns: int = 0
    silent_driving_ns: int = 0
    failure: InstallFailure | None = None

    def __post_init__(self) -> None:
        if self.driving_since_applied_ns < 0 or self.silent_driving_ns < 0:
            raise InputError("driving time is not negative", self.vehicle_id)


@dataclass(frozen=True, slots=True)
class VehicleCounts:
    """One vehicle in one interval: exposures, and events by the name of their guardrail."""

    vehicle_id: str
    installed_digest: str | None
    driven_km: float
    connected_h: float
    events: Mapping[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class Interval:
    """All vehicles in [start, end) of wall time; arrays have shape (vehicles,).

    `events` maps a guardrail to its counts; each guardrail of the rollout must be in it.
    """

    start_utc_ns: int
    end_utc_ns: int
    vehicle_ids: tuple[str, ...]
    installed_digests: tuple[str | None, ...]
    driven_km: FloatArray
    connected_h: FloatArray
    events: Mapping[str, FloatArray]

    def __post_init__(self) -> None:
        if self.end_utc_ns <= self.start_utc_ns:
            raise InputError("it ends before it begins", f"interval {self.start_utc_ns}")
        if len(set(self.vehicle_ids)) != len(self.vehicle_ids):
            raise InputError("a vehicle is in it twice", f"interval {self.start_utc_ns}")
        if len(self.installed_digests) != len(self.vehicle_ids):
            raise InputError("one digest is needed for each vehicle", "installed_digests")
        columns = {"driven_km": self.driven_km, "connected_h": self.connected_h, **self.events}
        for name, column in columns.items():
            if column.shape != (len(self.vehicle_ids),):
                raise InputError(f"one value is needed for each vehicle, not {column.shape}", name)
            if not np.isfinite(column).all() or (column < 0).any():
                raise InputError("counts and exposures are finite and not negative", name)

    def exposure(self, kind: Exposure) -> FloatArray:
        return self.driven_km if kind is Exposure.DRIVEN_KM else self.connected_h

    @classmethod
    def from_rows(
        cls, start_utc_ns: int, end_utc_ns: int, rows: Sequence[VehicleCounts]
    ) -> Interval:
        """Raises `InputError` when rows do not tell the same guardrails: what is not told is
        not zero."""
        names = set(rows[0].events) if rows else set()
        for row in rows:
            if set(row.events) != names:
                raise InputError("it tells other guardrails than the first row", row.vehicle_id)
        return cls(
            start_utc_ns=start_utc_ns,
            end_utc_ns=end_utc_ns,
            vehicle_ids=tuple(row.vehicle_id for row in rows),
            installed_digests=tuple(row.installed_digest for row in rows),
            driven_km=np.array([row.driven_km for row in rows], dtype=np.float64),
            connected_h=np.array([row.connected_h for row in rows], dtype=np.float64),
            events={
                name: np.array([row.events[name] for row in rows], dtype=np.float64)
                for name in sorted(names)
            },
        )
