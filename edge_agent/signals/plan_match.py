"""Planner against human: how far the planned trajectory and the path driven since part.

Both are known only after the horizon. When it has passed, the driven path is brought into the
frame of the moment at which the plan was made and compared at equal times: the mean distance
(ADE) and the distance at the horizon (FDE), in metres.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.clock import NS_PER_S
from contracts.samples import PlanSample, PoseSample

MAX_POSE_GAP_NS = 300_000_000
"""Poses further apart than this do not make a path."""

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


def yaw_of(orientation_xyzw: NDArray[np.float64]) -> float:
    """Heading in radians of a unit quaternion, about z."""
    x, y, z, w = orientation_xyzw.tolist()
    return float(np.arctan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z)))


class PlanMatcher:
    """Holds plans until their horizon has passed, and the poses driven meanwhile."""

    def __init__(self) -> None:
        self._plans: deque[PlanSample] = deque()
        self._poses: deque[tuple[int, float, float, float]] = deque()

    def put_plan(self, plan: PlanSample) -> None:
        self._plans.append(plan)

    def put_pose(self, pose: PoseSample) -> list[Divergence]:
        """Take the newest pose; gives the divergence of every plan whose horizon it ends."""
        x, y, _ = pose.position_m.tolist()
        self._poses.append((pose.mono_ns, x, y, yaw_of(pose.orientation_xyzw)))
        wanted_ns = self._plans[0].mono_ns if self._plans else pose.mono_ns
        while self._poses[0][0] < max(wanted_ns - LATE_NS, pose.mono_ns - HISTORY_NS):
            self._poses.popleft()
        found = []
        while self._plans and _end_ns(self._plans[0]) <= pose.mono_ns:
            divergence = self._match(self._plans.popleft())
            if divergence is not None:
                found.append(divergence)
        return found

    def _match(self, plan: PlanSample) -> Divergence | None:
        """None when poses are missing: without a driven path nothing is claimed."""
        poses = np.array(self._poses)
        times_ns = poses[:, 0]
        wanted_ns = plan.mono_ns + plan.t_s * NS_PER_S
        first = int(np.searchsorted(times_ns, plan.mono_ns, side="right")) - 1
        last = int(np.searchsorted(times_ns, wanted_ns[-1], side="left"))
        if first < 0 or last >= len(times_ns):
            return None
        if np.diff(times_ns[first : last + 1]).max(initial=0) > MAX_POSE_GAP_NS:
            return None
        x = np.interp(wanted_ns, times_ns, poses[:, 1])
        y = np.interp(wanted_ns, times_ns, poses[:, 2])
        yaw = float(np.interp(plan.mono_ns, times_ns, np.unwrap(poses[:, 3])))
        x0, y0 = (
            np.interp(plan.mono_ns, times_ns, poses[:, 1]),
            np.interp(plan.mono_ns, times_ns, poses[:, 2]),
        )
        c, s = np.cos(yaw), np.sin(yaw)
        driven = np.stack([c * (x - x0) + s * (y - y0), -s * (x - x0) + c * (y - y0)], axis=1)
        distance_m = np.hypot(*(driven - plan.xy_m).T)
        return Divergence(
            _end_ns(plan), float(distance_m.mean()), float(distance_m[-1]), float(plan.t_s[-1])
        )


def _end_ns(plan: PlanSample) -> int:
    return plan.mono_ns + round(float(plan.t_s[-1]) * NS_PER_S)
