"""Planner against human: how far the planned trajectory and the path driven since part.

Both are known only after the horizon. When it has passed, the driven path is brought into the
frame of the moment at which the plan was made and compared at equal times: the mean distance
(ADE) and the distance at the horizon (FDE), in metres.
"""

from __future__ import annotations

from array import array
from collections import deque
from dataclasses import dataclass
from math import atan2

import numpy as np
from numba import njit
from numpy.typing import NDArray

from contracts.clock import NS_PER_S
from contracts.samples import PlanSample, PoseSample

MAX_POSE_GAP_NS = 300_000_000
"""Poses further apart than this do not make a path."""

Float64s = NDArray[np.float64]

HISTORY_NS = 20 * NS_PER_S
LATE_NS = 2 * NS_PER_S
"""A plan may come so long after one that was made later; the door lets half of it in."""


@dataclass(frozen=True, slots=True)
class Divergence:
    """Measured at `mono_ns` over the plan made `horizon_s` before."""

    mono_ns: int
    ade_m: float
    fde_m: float
    horizon_s: float


def yaw_of(orientation_xyzw: Float64s) -> float:
    """Heading in radians of a unit quaternion, about z."""
    x, y, z, w = orientation_xyzw.tolist()
    return atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))


class PlanMatcher:
    """Holds plans until their horizon has passed, and the poses driven meanwhile."""

    def __init__(self) -> None:
        self._plans: deque[PlanSample] = deque()
        self._poses = array("d")
        """Mono ns, x, y, yaw of each, one behind the other."""

    def put_plan(self, plan: PlanSample) -> None:
        self._plans.append(plan)

    def put_pose(self, pose: PoseSample) -> list[Divergence]:
        """Take the newest pose; gives the divergence of every plan whose horizon it ends."""
        x, y, _ = pose.position_m.tolist()
        self._poses.extend((pose.mono_ns, x, y, yaw_of(pose.orientation_xyzw)))
        wanted_ns = self._plans[0].mono_ns if self._plans else pose.mono_ns
        while self._poses[0] < max(wanted_ns - LATE_NS, pose.mono_ns - HISTORY_NS):
            del self._poses[:4]
        found = []
        while self._plans and _end_ns(self._plans[0]) <= pose.mono_ns:
            divergence = self._match(self._plans.popleft())
            if divergence is not None:
                found.append(divergence)
        return found

    def _match(self, plan: PlanSample) -> Divergence | None:
        """None when poses are missing: without a driven path nothing is claimed."""
        # Copies have one layout, for which the kernel is compiled before the drive.
        t_s = np.array(plan.t_s, np.float64)
        xy_m = np.array(plan.xy_m, np.float64, order="C")
        poses = np.array(self._poses).reshape(-1, 4)
        ade_m, fde_m = parted_m(poses, plan.mono_ns, t_s, xy_m)
        if np.isnan(ade_m):
            return None
        return Divergence(_end_ns(plan), ade_m, fde_m, float(plan.t_s[-1]))


@njit(nogil=True, cache=True, error_model="numpy")
def parted_m(
    poses: Float64s, plan_ns: int, t_s: Float64s, plan_xy_m: Float64s
) -> tuple[float, float]:
    """Mean distance between plan and driven path, and the one at the end; NaN where poses miss.

    Args:
        poses: mono ns, x, y (m), yaw (rad) of the driven path, [n, 4], by time.
        plan_ns: when the plan was made.
        t_s: the plan's times after that, rising, [m].
        plan_xy_m: where it then wants to be, in the frame of the vehicle at `plan_ns`, [m, 2].
    """
    times_ns = poses[:, 0]
    first = np.searchsorted(times_ns, plan_ns, side="right") - 1
    last = np.searchsorted(times_ns, plan_ns + t_s[-1] * NS_PER_S, side="left")
    if first < 0 or last >= times_ns.size:
        return np.nan, np.nan
    for i in range(first, last):
        if times_ns[i + 1] - times_ns[i] > MAX_POSE_GAP_NS:
            return np.nan, np.nan
    x0, y0, yaw = _pose_at(poses, plan_ns)
    c, s = np.cos(yaw), np.sin(yaw)
    total_m = distance_m = 0.0
    for i in range(t_s.size):
        x, y, _ = _pose_at(poses, plan_ns + t_s[i] * NS_PER_S)
        ahead_m = c * (x - x0) + s * (y - y0)
        left_m = c * (y - y0) - s * (x - x0)
        distance_m = np.hypot(ahead_m - plan_xy_m[i, 0], left_m - plan_xy_m[i, 1])
        total_m += distance_m
    return total_m / t_s.size, distance_m


@njit(nogil=True, cache=True, error_model="numpy")
def _pose_at(poses: Float64s, at_ns: float) -> tuple[float, float, float]:
    """x, y and yaw between two poses, the shorter way round; beyond the ends that of the end."""
    row = max(int(np.searchsorted(poses[:, 0], at_ns, side="right")) - 1, 0)
    after = min(row + 1, poses.shape[0] - 1)
    span_ns = poses[after, 0] - poses[row, 0]
    share = min(max((at_ns - poses[row, 0]) / span_ns, 0.0), 1.0) if span_ns > 0 else 0.0
    turn = poses[after, 3] - poses[row, 3]
    turn -= 2 * np.pi * np.rint(turn / (2 * np.pi))
    return (
        poses[row, 1] + share * (poses[after, 1] - poses[row, 1]),
        poses[row, 2] + share * (poses[after, 2] - poses[row, 2]),
        poses[row, 3] + share * turn,
    )


def _end_ns(plan: PlanSample) -> int:
    return plan.mono_ns + round(float(plan.t_s[-1]) * NS_PER_S)
