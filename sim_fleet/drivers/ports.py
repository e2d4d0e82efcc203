"""Who drives the ego: what a planner is told, and what it answers.

A `Perceiver` turns an instant into perceived objects: the truth, a model over the sensors'
samples, or the truth with something missing. A `Planner` plans from those alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from contracts.samples import Float64s, Sample
from sim_fleet.drivers.ego import EgoState
from sim_fleet.world.oracle import OracleFrame


@dataclass(frozen=True, slots=True)
class Perceived:
    """Objects in the ego frame: `xy_m` [n, 2] middles, `yaw_rad` [n], `size_m` [n, 2] length
    and width, `velocity_mps` [n, 2] over ground along the ego's axes, `kind` int64 [n].

    `red_ahead` is whether the signal that the route obeys next is seen as red or amber.
    """

    xy_m: Float64s
    yaw_rad: Float64s
    size_m: Float64s
    velocity_mps: Float64s
    kind: NDArray[np.int64]
    red_ahead: bool


@dataclass(frozen=True, slots=True)
class Moment:
    """One instant of the drive as a perceiver gets it: the exact oracle, and all samples that
    the sensors gave since the moment before, this instant's included (none when the perceiver
    does not want them).
    """

    truth: OracleFrame
    samples: Sequence[Sample]


class Perceiver(Protocol):
    """What is known of the surroundings. `wants_samples` asks for the sensors' samples."""

    @property
    def wants_samples(self) -> bool: ...

    def perceive(self, moment: Moment) -> Perceived: ...


@dataclass(frozen=True, slots=True)
class Route:
    """The way ahead in the world: `path` [k, 4] x, y, heading, distance every 2 m from the
    middle of the ego; `limit_mps`; `half_width_m` of the lane; `offset_m` of the ego left of
    the lane's middle; `stop_m` from the front to the next stop line or 1e6; `give_way` whether
    traffic with right of way makes it wait there; `left_free`, `right_free` whether a lane
    change to that side is possible; `lane_width_m`.
    """

    path: Float64s
    limit_mps: float
    half_width_m: float
    offset_m: float
    stop_m: float
    has_signal: bool
    give_way: bool
    left_free: bool
    right_free: bool
    lane_width_m: float


@dataclass(frozen=True, slots=True)
class Plan:
    """A trajectory in the ego frame (rear axle): `t_s` [13], `xy_m` [13, 2], `speed_mps` [13];
    the command that follows it, and the lateral offset that it heads for.
    """

    t_s: Float64s
    xy_m: Float64s
    speed_mps: Float64s
    accel_mps2: float
    curvature_per_m: float
    offset_m: float
    change: int = 0


class Planner(Protocol):
    """Plans from what is perceived; called ten times a second."""

    def plan(self, ego: EgoState, route: Route, seen: Perceived) -> Plan: ...
