"""Counts what happens on one drive, instant by instant."""

from __future__ import annotations

from collections import Counter

import numpy as np

from contracts.geometry import Boxes, Int64s
from contracts.samples import Float64s
from models.evaluation.overlap import footprint_overlaps_m2
from sim_fleet.classes import KIND_NAMES
from sim_fleet.drive import PLAN_EVERY, Tick
from sim_fleet.drivers.ego import AXLE_TO_MIDDLE_M
from sim_fleet.drivers.policy import EGO_LENGTH_M, EGO_WIDTH_M, path_in_ego
from sim_fleet.drivers.ports import Moment, Perceived, Perceiver
from sim_fleet.trials.criticality import judge
from sim_fleet.trials.report import DriveCounts
from sim_fleet.world.oracle import OracleFrame
from sim_fleet.world.world import STEP_S

JUDGED_TICKS = 5 * PLAN_EVERY
"""Two instants a second are judged; a model has looked back by the first."""
FIRST_JUDGED_S = 1.0

HARD_MPS2 = 3.0
"""What drivers keep below in ordinary traffic (`trigger_specs/hard-brake.yaml`)."""
_OVER_MPS2 = 2.0
"""A brake is over when less than this is asked for: one that wavers is not two."""


class Overheard:
    """A perceiver that remembers what it told the planner."""

    def __init__(self, perceiver: Perceiver) -> None:
        self._perceiver = perceiver
        self.told: Perceived | None = None

    @property
    def wants_samples(self) -> bool:
        return self._perceiver.wants_samples

    def perceive(self, moment: Moment) -> Perceived:
        self.told = self._perceiver.perceive(moment)
        return self.told


class Counting:
    """Sees each instant of a drive (`SimFleetSource`'s `on_tick`); `counts` tells what it found."""

    def __init__(self, overheard: Overheard) -> None:
        self._overheard = overheard
        self._ticks = self._engaged_ticks = self._instants = 0
        self._driven_m = 0.0
        self._engaged = False
        self._reasons: Counter[str] = Counter()
        self._critical: Counter[str] = Counter()
        self._missed: Counter[str] = Counter()
        self._misnamed: Counter[str] = Counter()
        self._phantoms: Counter[str] = Counter()
        self._brakes = _Brakes()
        self._touched: set[int] = set()
        self._contacts = 0

    def see(self, tick: Tick) -> None:
        self._ticks += 1
        self._driven_m += tick.ego.speed_mps * STEP_S
        self._engaged_ticks += tick.wheel.engaged
        if self._engaged and not tick.wheel.engaged:
            self._reasons[tick.wheel.why] += 1
        self._engaged = tick.wheel.engaged
        if tick.truth is None or tick.route is None or self._overheard.told is None:
            return
        self._brakes.see(tick)
        touching = set(tick.truth.track_id[touched(tick.truth)].tolist())
        self._contacts += len(touching - self._touched)
        self._touched = touching
        if tick.index % JUDGED_TICKS == 0 and tick.t_s >= FIRST_JUDGED_S:
            path = path_in_ego(tick.route.path, tick.ego)
            self._judge(path, tick.truth, self._overheard.told)

    def _judge(self, path: Float64s, truth: OracleFrame, told: Perceived) -> None:
        self._instants += 1
        found = judge(path, truth, told)
        kinds = truth.kind[found.critical]
        self._critical.update(_names(kinds))
        self._missed.update(_names(kinds[found.missed]))
        self._misnamed.update(_names(kinds[found.misnamed]))
        self._phantoms.update(_names(told.kind[found.phantoms]))

    def counts(self) -> DriveCounts:
        return DriveCounts(
            driven_s=round(self._ticks * STEP_S, 3), driven_m=round(self._driven_m, 3),
            engaged_s=round(self._engaged_ticks * STEP_S, 3), disengagements=_sorted(self._reasons),
            hard_brakes=self._brakes.hard, false_hard_brakes=self._brakes.false,
            contacts=self._contacts, instants=self._instants, critical=_sorted(self._critical),
            missed=_sorted(self._missed), misnamed=_sorted(self._misnamed),
            phantoms=_sorted(self._phantoms),
        )  # fmt: skip


class _Brakes:
    """Episodes in which the planner, at the wheel, brakes hard; false ones told apart."""

    def __init__(self) -> None:
        self.hard = self.false = 0
        self._braking = False
        self._meant = False

    def see(self, tick: Tick) -> None:
        if tick.plan is None or tick.own is None:
            return
        asked = -tick.plan.accel_mps2 if tick.wheel.engaged else 0.0
        if not self._braking and asked >= HARD_MPS2:
            self._braking, self._meant = True, False
            self.hard += 1
            self.false += 1
        if self._braking and not self._meant and -tick.own.accel_mps2 >= HARD_MPS2 / 2:
            self._meant = True
            self.false -= 1
        if asked < _OVER_MPS2:
            self._braking = False


def touched(truth: OracleFrame) -> Int64s:
    """Rows of the truth whose footprint overlaps the ego's."""
    size = np.array([[EGO_LENGTH_M, EGO_WIDTH_M, 1.0]])
    ego = _footprints(np.array([[AXLE_TO_MIDDLE_M, 0.0]]), size, np.zeros(1))
    near = np.hypot(truth.centre_ego_m[:, 0], truth.centre_ego_m[:, 1]) < 0.6 * (
        truth.size_m[:, 0] + truth.size_m[:, 1] + EGO_LENGTH_M
    )
    rows = np.flatnonzero(near)
    if not rows.size:
        return rows
    others = _footprints(truth.centre_ego_m[rows, :2], truth.size_m[rows], truth.yaw_ego_rad[rows])
    areas = footprint_overlaps_m2(np.repeat(ego, rows.size, axis=0), others)
    return rows[areas > 0.0]


def _footprints(xy_m: Float64s, size_m: Float64s, yaw_rad: Float64s) -> Float64s:
    """Corners [n, 4, 2], told against the clock."""
    count = yaw_rad.size
    centre = np.column_stack([xy_m, np.zeros(count)])
    boxes = Boxes(centre, size_m, yaw_rad, np.zeros((count, 2)), np.zeros(count, np.int64),
                  np.arange(count))  # fmt: skip
    return boxes.corners_m()


def _names(kinds: Int64s) -> list[str]:
    return [KIND_NAMES[kind] for kind in kinds.tolist()]


def _sorted(counter: Counter[str]) -> dict[str, int]:
    return dict(sorted(counter.items()))
