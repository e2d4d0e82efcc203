"""Many constant-velocity Kalman filters at once, in the plane of an estimated world.

x and y of a track share one covariance [2, 2] over place and speed, since the noise of both is
alike; time runs in frames. Height, size and heading are running means: they have no dynamics
that an association would need.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from contracts.geometry import Bools, Int64s, wrapped
from contracts.samples import Float64s
from offline.labels.auto.parameters import Association

_FASTEST_MEAN = 0.2


@dataclass(frozen=True, slots=True)
class WorldBoxes:
    """Boxes of one frame in the world: `xy_m` float64 [n, 2], `z_m` [n], `size_m` [n, 3],
    `yaw_rad` [n], `probability` [n], `range_m` [n] from the sensor.
    """

    xy_m: Float64s
    z_m: Float64s
    size_m: Float64s
    yaw_rad: Float64s
    probability: Float64s
    range_m: Float64s


@dataclass(slots=True)
class Bank:
    """Columns over k live tracks: `xy_m`, `velocity_m` float64 [k, 2] (m a frame), `spread`
    [k, 2, 2], `z_m`, `yaw_rad`, `probability` [k], `size_m` [k, 3]; `track` int64 [k], `hits`,
    `misses`.
    """

    xy_m: Float64s
    velocity_m: Float64s
    spread: Float64s
    z_m: Float64s
    size_m: Float64s
    yaw_rad: Float64s
    probability: Float64s
    track: Int64s
    hits: Int64s
    misses: Int64s

    @classmethod
    def empty(cls) -> Bank:
        none: Int64s = np.zeros(0, dtype=np.int64)
        return cls(
            np.zeros((0, 2)), np.zeros((0, 2)), np.zeros((0, 2, 2)), np.zeros(0),
            np.zeros((0, 3)), np.zeros(0), np.zeros(0), none, none, none,
        )  # fmt: skip

    def __len__(self) -> int:
        return int(self.track.shape[0])

    def predict(self, settings: Association) -> None:
        """One frame on."""
        step = np.array([[1.0, 1.0], [0.0, 1.0]])
        noise = settings.acceleration_m**2 * np.array([[0.25, 0.5], [0.5, 1.0]])
        self.xy_m = self.xy_m + self.velocity_m
        self.spread = step @ self.spread @ step.T + noise

    def update(self, rows: Int64s, seen: WorldBoxes, boxes: Int64s, settings: Association) -> None:
        """Tracks `rows` [m] met `boxes` [m]; all others missed."""
        self.misses = self.misses + 1
        if not rows.size:
            return
        self.misses[rows] = 0
        self.hits[rows] += 1
        noise = settings.place_noise_m + settings.place_noise_per_m * seen.range_m[boxes]
        spread = self.spread[rows]
        gain = spread[:, :, 0] / (spread[:, 0, 0] + noise**2)[:, None]
        gap = seen.xy_m[boxes] - self.xy_m[rows]
        self.xy_m[rows] += gain[:, :1] * gap
        self.velocity_m[rows] += gain[:, 1:] * gap
        self.spread[rows] = spread - gain[:, :, None] * spread[:, :1, :]
        part = np.maximum(1 / self.hits[rows], _FASTEST_MEAN)
        self.z_m[rows] += np.maximum(part, 0.4) * (seen.z_m[boxes] - self.z_m[rows])
        self.size_m[rows] += part[:, None] * (seen.size_m[boxes] - self.size_m[rows])
        self.probability[rows] += part * (seen.probability[boxes] - self.probability[rows])
        turn = wrapped(seen.yaw_rad[boxes] - self.yaw_rad[rows])
        # A box turned about is the same box: detectors confuse front and back.
        turn = np.where(np.abs(turn) > np.pi / 2, wrapped(turn + np.pi), turn)
        self.yaw_rad[rows] = wrapped(self.yaw_rad[rows] + np.maximum(part, 0.5) * turn)

    def begin(self, seen: WorldBoxes, boxes: Int64s, first: int, settings: Association) -> None:
        """New tracks, numbered from `first` on."""
        n = boxes.size
        if not n:
            return
        noise = settings.place_noise_m + settings.place_noise_per_m * seen.range_m[boxes]
        spread = np.zeros((n, 2, 2))
        spread[:, 0, 0], spread[:, 1, 1] = noise**2, settings.first_speed_m**2
        more = Bank(
            seen.xy_m[boxes], np.zeros((n, 2)), spread, seen.z_m[boxes], seen.size_m[boxes],
            seen.yaw_rad[boxes], seen.probability[boxes], np.arange(first, first + n),
            np.ones(n, dtype=np.int64), np.zeros(n, dtype=np.int64),
        )  # fmt: skip
        for field in fields(Bank):
            both = getattr(self, field.name), getattr(more, field.name)
            setattr(self, field.name, np.concatenate(both))

    def keep(self, rows: Bools) -> None:
        """Forget all others."""
        if rows.all():
            return
        for field in fields(Bank):
            setattr(self, field.name, getattr(self, field.name)[rows])
