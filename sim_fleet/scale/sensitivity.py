"""What the main rates do to a plan, each changed alone."""

from __future__ import annotations

from dataclasses import dataclass

from sim_fleet.scale.events import REQUESTS, Kind
from sim_fleet.scale.rates import ScaleRates
from sim_fleet.scale.stream import Stream, StreamOptions
from sim_fleet.scale.totals import Totals, totals_of

SENSITIVE: tuple[tuple[str, tuple[str, ...], float], ...] = (
    ("driving.trips_per_day", ("driving", "trips_per_day"), 2.0),
    ("clip_size_ratio", ("clip_size_ratio",), 2.0),
    ("moments.random.per_driving_hour", ("moments", "random", "per_driving_hour"), 2.0),
    ("moments.rare-object.per_driving_hour", ("moments", "rare-object", "per_driving_hour"), 2.0),
    ("links.garage_wifi_share", ("links", "garage_wifi_share"), 0.5),
    ("links.wifi_mbit_s", ("links", "wifi_mbit_s"), 0.5),
    ("cellular.bytes_per_day", ("cellular", "bytes_per_day"), 2.0),
    ("polling.poll_s", ("polling", "poll_s"), 2.0),
)
"""Rates whose effect is told: name, path, and the factor by which each is changed alone."""


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What one rate times `factor` does, as ratios to the plan without the change."""

    rate: str
    factor: float
    requests: float
    delivered_clips: float
    delivered_bytes: float
    cellular_bytes: float


def sensitivities(rates: ScaleRates, vehicles: int = 400, seed: int = 0) -> list[Sensitivity]:
    """Each of `SENSITIVE` changed alone, on a small fleet over one day after one unseen."""
    options = StreamOptions(vehicles, 24.0, seed, warm_up_h=24.0, batch_s=1800)
    base = _figures(totals_of(Stream(rates, options)))
    rows = []
    for name, path, factor in SENSITIVE:
        other = _scaled(rates, path, factor)
        if other is not None:
            found = _figures(totals_of(Stream(other, options)))
            ratios = [
                now / before if before else 1.0 for now, before in zip(found, base, strict=True)
            ]
            rows.append(Sensitivity(name, factor, *ratios))
    return rows


def _scaled(rates: ScaleRates, path: tuple[str, ...], factor: float) -> ScaleRates | None:
    """One number times `factor`; None where these rates have no such number, or zero."""
    values = rates.model_dump()
    inner = values
    for step in path[:-1]:
        if step not in inner:
            return None
        inner = inner[step]
    inner[path[-1]] = type(inner[path[-1]])(inner[path[-1]] * factor)
    return ScaleRates.model_validate(values)


def _figures(totals: Totals) -> tuple[float, float, float, float]:
    requests = sum(totals.count(kind) * REQUESTS[kind] for kind in Kind)
    return (
        float(requests), float(totals.delivered_clips), float(totals.delivered_bytes),
        float(totals.cellular_bytes.sum()),
    )  # fmt: skip
