"""A forward radar that tells tracks: position and closing speed, with misses and ghosts.

It sees what at least a sliver of shows, by its cross section: metal well, people less,
animals and debris badly. Range and closing speed are good, the angle is not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.samples import Float64s
from sim_fleet.classes import Kind
from sim_fleet.world.oracle import OracleFrame

_SEEN_RATIO = {
    Kind.CAR: 0.97, Kind.TRUCK: 0.985, Kind.BUS: 0.985, Kind.MOTORCYCLE: 0.88,
    Kind.CYCLIST: 0.75, Kind.PEDESTRIAN: 0.6, Kind.ROAD_WORKER: 0.6, Kind.ANIMAL: 0.35,
    Kind.DEBRIS: 0.12, Kind.CONE: 0.05,
}  # fmt: skip
_GHOST_RATIO = 0.03
_RANGE_SIGMA_M, _ANGLE_SIGMA_RAD, _SPEED_SIGMA_MPS = 0.25, 0.012, 0.12
_GHOST_ID = 5_000


@dataclass(frozen=True, slots=True)
class RadarSpec:
    """One forward radar."""

    name: str = "front"
    max_m: float = 100.0
    half_fov_rad: float = 0.79
    rate_hz: int = 10

    @property
    def channel(self) -> str:
        return f"/radar/{self.name}"


def tracks_of(spec: RadarSpec, truth: OracleFrame, rng: np.random.Generator) -> Float64s:
    """Tracks [n, 4] as `contracts.samples.RadarSample` has them."""
    x, y = truth.centre_ego_m[:, 0], truth.centre_ego_m[:, 1]
    away = np.maximum(np.hypot(x, y), 0.5)
    relative = truth.velocity_ego_mps.copy()
    yaw_rate = truth.ego.yaw_rate_radps
    relative[:, 0] -= truth.ego.speed_mps - yaw_rate * y
    relative[:, 1] -= yaw_rate * x
    closing = -(relative[:, 0] * x + relative[:, 1] * y) / away
    angle = np.arctan2(y, x)
    seen = np.array([_SEEN_RATIO[Kind(kind)] for kind in truth.kind.tolist()])
    shown = np.nan_to_num(truth.visibility, nan=1.0)
    draws = rng.random((away.size, 2))
    keep = (
        (away < spec.max_m) & (np.abs(angle) < spec.half_fov_rad) & (x > 0)
        & (shown > 0.02) & (draws[:, 0] < seen * np.minimum(1.0, 0.3 + 2.0 * shown))
    )  # fmt: skip
    noise = rng.standard_normal((away.size, 3))
    far = away + noise[:, 0] * _RANGE_SIGMA_M - truth.size_m[:, 0] * 0.35
    turned = angle + noise[:, 1] * _ANGLE_SIGMA_RAD
    speed = closing + noise[:, 2] * _SPEED_SIGMA_MPS
    found = np.column_stack(
        [truth.track_id, far * np.cos(turned), far * np.sin(turned), speed]
    )[keep]  # fmt: skip
    # A second bounce between the ego and what is ahead: twice as far, closing twice as fast.
    again = (draws[keep, 1] < _GHOST_RATIO) & (far[keep] < spec.max_m / 2)
    ghosts = found[again] * (1.0, 2.0, 2.0, 2.0) + (_GHOST_ID, 0.0, 0.0, 0.0)
    return np.concatenate([found, ghosts]).astype(np.float64)
