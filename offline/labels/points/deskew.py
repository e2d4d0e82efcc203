"""A sweep as if all of its points had been taken at once.

A lidar turns while its vehicle drives: each point is seen from another pose. Where the time of
each point and the vehicle's poses are known, every point is moved by the motion between its own
instant and the sweep's. A sweep without times of points is left to the caller as it is.

Poses between two known ones: positions in proportion, turns at an even rate about one axis.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from contracts.errors import InputError
from contracts.geometry import Int64s
from contracts.samples import Float64s


@dataclass(frozen=True, slots=True)
class Trajectory:
    """`stamp_ns` int64 [k], rising; `world_SE3_ego` float64 [k, 4, 4], k >= 2."""

    stamp_ns: Int64s
    world_SE3_ego: Float64s

    def __post_init__(self) -> None:
        k = self.stamp_ns.size
        if k < 2 or self.world_SE3_ego.shape != (k, 4, 4):
            raise InputError("needs two or more poses [k, 4, 4], one a stamp", "world_SE3_ego")
        if (np.diff(self.stamp_ns) <= 0).any():
            raise InputError("does not rise", "stamp_ns")

    def at(self, stamp_ns: Int64s) -> Float64s:
        """Poses [n, 4, 4] at any instants [n] that it covers. Raises `InputError` for others."""
        first, last = int(self.stamp_ns[0]), int(self.stamp_ns[-1])
        if stamp_ns.size and not (first <= stamp_ns.min() and stamp_ns.max() <= last):
            raise InputError(
                f"poses cover {first} to {last} ns, not {stamp_ns.min()} to {stamp_ns.max()}"
            )
        # From the first pose on: whole nanoseconds of a calendar do not fit a double.
        known, asked = ((each - first).astype(np.float64) for each in (self.stamp_ns, stamp_ns))
        result = np.tile(np.eye(4), (stamp_ns.size, 1, 1))
        turns = Slerp(known, Rotation.from_matrix(self.world_SE3_ego[:, :3, :3]))
        result[:, :3, :3] = turns(asked).as_matrix()
        for axis in range(3):
            result[:, axis, 3] = np.interp(asked, known, self.world_SE3_ego[:, axis, 3])
        return result


def deskewed(
    xyz_m: Float64s, point_ns: Int64s, stamp_ns: int, trajectory: Trajectory
) -> Float64s:  # fmt: skip
    """Points [n, 3], each told in the ego frame of its own instant, in that of `stamp_ns`.

    Args:
        xyz_m: float64 [n, 3].
        point_ns: when each was taken, on the trajectory's clock, int64 [n].
        stamp_ns: the instant that all are moved to.
        trajectory: of the ego frame.
    """
    return _apply(_steps(point_ns, stamp_ns, trajectory), xyz_m)


def skewed(
    xyz_m: Float64s, point_ns: Int64s, stamp_ns: int, trajectory: Trajectory
) -> Float64s:  # fmt: skip
    """The inverse: points as a sensor in motion tells them, each from its own instant's pose."""
    ego_SE3_point, place = _steps(point_ns, stamp_ns, trajectory)
    turn = np.swapaxes(ego_SE3_point[:, :3, :3], 1, 2)
    back = ego_SE3_point.copy()
    back[:, :3, :3] = turn
    back[:, :3, 3] = -np.einsum("nij,nj->ni", turn, ego_SE3_point[:, :3, 3])
    return _apply((back, place), xyz_m)


def _steps(
    point_ns: Int64s, stamp_ns: int, trajectory: Trajectory
) -> tuple[Float64s, Int64s]:  # fmt: skip
    """`ego_SE3_point` [m, 4, 4] of each instant there is, and which of them is each point's."""
    instants, place = np.unique(point_ns, return_inverse=True)
    here = np.linalg.inv(trajectory.at(np.array([stamp_ns]))[0])
    return here @ trajectory.at(instants), place


def _apply(steps: tuple[Float64s, Int64s], xyz_m: Float64s) -> Float64s:
    motion, place = steps
    each = motion[place]
    return np.asarray(np.einsum("nij,nj->ni", each[:, :3, :3], xyz_m) + each[:, :3, 3])
