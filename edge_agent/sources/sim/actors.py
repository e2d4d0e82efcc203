"""Everything beside the ego car: lead, oncoming and parked cars, trucks, people, buildings.

Each actor moves at constant speed along the road, and may walk across it from a given time;
the lead (row 0) alone follows the story. Stored as columns, so that what is near at one
instant is one vector expression.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.samples import Float64s

CAR, TRUCK, PEDESTRIAN, BUILDING = 0, 1, 2, 3
CLASS_NAMES = ("car", "truck", "pedestrian")
"""Names of the kinds that carry truth boxes; buildings are scenery."""

_SIZES_M = {
    CAR: (4.5, 1.8, 1.5),
    TRUCK: (8.5, 2.5, 3.3),
    PEDESTRIAN: (0.45, 0.6, 1.75),
    BUILDING: (16.0, 8.0, 8.0),
}
_CAR_COLOURS = np.array(
    [
        [200, 200, 205], [35, 35, 40], [120, 122, 128], [150, 25, 30],
        [25, 60, 130], [235, 235, 230], [60, 85, 60], [170, 140, 60],
    ],
    dtype=np.float64,
)  # fmt: skip
_TRUCK_COLOURS = np.array([[220, 220, 215], [190, 150, 40], [60, 100, 160], [150, 60, 50]], float)
_CLOTHES = np.array(
    [[180, 40, 40], [40, 60, 150], [210, 190, 60], [60, 120, 70], [150, 90, 150], [90, 90, 95]],
    float,
)
_WALLS = np.array([[150, 120, 100], [170, 165, 155], [120, 125, 135], [140, 95, 80]], float)


@dataclass(frozen=True, slots=True)
class Actors:
    """Columns over actors: `kind` [n]; `size_m` [n, 3] length, width, height; `colour` [n, 3]
    RGB 0..255; start `s_m`, speed along the road `along_mps`, offset `d_m`, crossing speed
    `across_mps` from `across_from_s` on until the offset reaches `d_end_m`; `yaw_rad` against
    the road.
    """

    kind: NDArray[np.int64]
    size_m: Float64s
    colour: Float64s
    s_m: Float64s
    along_mps: Float64s
    d_m: Float64s
    across_mps: Float64s
    across_from_s: Float64s
    d_end_m: Float64s
    yaw_rad: Float64s

    def road_positions(self, t_s: float) -> tuple[Float64s, Float64s]:
        """Arc lengths [n] and offsets [n] at `t_s`; row 0 (the lead) is not told here."""
        walked = np.abs(self.across_mps) * np.maximum(0.0, t_s - self.across_from_s)
        way = self.d_end_m - self.d_m
        d_m = self.d_m + np.sign(way) * np.minimum(walked, np.abs(way))
        return self.s_m + self.along_mps * t_s, d_m


_Row = tuple[int, Float64s, Float64s, float, float, float, float, float, float, float]


def _row(
    kind: int,
    rng: np.random.Generator,
    s_m: float,
    d_m: float,
    *,
    along_mps: float = 0.0,
    yaw_rad: float = 0.0,
) -> _Row:
    palette = {CAR: _CAR_COLOURS, TRUCK: _TRUCK_COLOURS, PEDESTRIAN: _CLOTHES, BUILDING: _WALLS}
    size = np.array(_SIZES_M[kind]) * rng.uniform(0.92, 1.1, 3)
    if kind == BUILDING:
        size *= rng.uniform((0.7, 0.8, 0.5), (1.2, 1.0, 1.5))
    colour = palette[kind][rng.integers(len(palette[kind]))] * rng.uniform(0.85, 1.1)
    return kind, size, colour, s_m, along_mps, d_m, 0.0, 0.0, d_m, yaw_rad


def furnish(
    length_m: float,
    duration_s: float,
    crossings: list[tuple[float, float]],
    rng: np.random.Generator,
) -> Actors:
    """All actors of a drive; `crossings` are the times and places where someone steps out."""
    lead = (
        CAR, np.array(_SIZES_M[CAR]), _CAR_COLOURS[3] * 1.0, 0.0, 0.0, -1.75, 0.0, 0.0, -1.75, 0.0
    )  # fmt: skip
    traffic = [*_parked(length_m, rng), *_oncoming(length_m, duration_s, rng)]
    rows: list[_Row] = [lead, *(row for row in traffic if not _in_the_way(row, crossings))]
    rows += _walkers(length_m, rng)
    rows += _buildings(length_m, rng)
    for at_s, s_m in crossings:
        kind, size, colour, *_ = _row(PEDESTRIAN, rng, s_m, -5.0)
        rows.append((kind, size, colour, s_m, 0.0, -5.0, 1.6, at_s - 0.8, 5.0, np.pi / 2))
    return Actors(*(np.array(column) for column in zip(*rows, strict=True)))


def _in_the_way(row: _Row, crossings: list[tuple[float, float]]) -> bool:
    """Whether a vehicle stands where someone crosses, or would pass there meanwhile."""
    s_m, along_mps = row[3], row[4]
    for at_s, crossing_m in crossings:
        if along_mps == 0.0 and abs(s_m - crossing_m) < 9.0:
            return True
        if along_mps != 0.0 and -2.5 < (crossing_m - s_m) / along_mps - at_s < 8.0:
            return True
    return False


def _parked(length_m: float, rng: np.random.Generator) -> list[_Row]:
    rows = []
    for side, yaw in ((-1.0, 0.0), (1.0, np.pi)):
        s_m = float(rng.uniform(15.0, 40.0))
        while s_m < length_m + 80.0:
            kind = TRUCK if rng.random() < 0.12 else CAR
            d_m = side * float(rng.uniform(4.75, 5.0) + (0.4 if kind == TRUCK else 0.0))
            turned = yaw + float(rng.normal(0, 0.03))
            rows.append(_row(kind, rng, s_m, d_m, yaw_rad=turned))
            s_m += float(rng.uniform(11.0, 60.0))
    return rows


def _oncoming(length_m: float, duration_s: float, rng: np.random.Generator) -> list[_Row]:
    rows, s_m = [], float(rng.uniform(80.0, 140.0))
    speed_mps = -float(rng.uniform(11.5, 13.5))
    while s_m < length_m + 14.0 * duration_s:
        kind = TRUCK if rng.random() < 0.22 else CAR
        rows.append(_row(kind, rng, s_m, 1.75, along_mps=speed_mps, yaw_rad=np.pi))
        s_m += float(rng.uniform(30.0, 130.0))
    return rows


def _walkers(length_m: float, rng: np.random.Generator) -> list[_Row]:
    rows, s_m = [], float(rng.uniform(20.0, 50.0))
    while s_m < length_m + 80.0:
        side = float(rng.choice((-1.0, 1.0)))
        way = float(rng.choice((-1.0, 1.0)))
        rows.append(
            _row(
                PEDESTRIAN,
                rng,
                s_m,
                side * float(rng.uniform(6.2, 7.6)),
                along_mps=way * float(rng.uniform(0.0, 1.5)),
                yaw_rad=0.0 if way > 0 else np.pi,
            )
        )
        s_m += float(rng.uniform(8.0, 45.0))
    return rows


def _buildings(length_m: float, rng: np.random.Generator) -> list[_Row]:
    rows = []
    for side in (-1.0, 1.0):
        s_m = float(rng.uniform(-20.0, 0.0))
        while s_m < length_m + 150.0:
            rows.append(_row(BUILDING, rng, s_m, side * float(rng.uniform(13.5, 17.0))))
            s_m += float(rng.uniform(20.0, 42.0))
    return rows
