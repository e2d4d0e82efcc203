"""Motion, position, plans and calibrations out of ROS messages.

Poses are those of the ego frame: an odometry of another frame is moved there by the static
transforms. Plans are told in the ego frame at their own time, from 0 on: what lies in the past is
cut off, and a plan that begins later begins at the vehicle.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np

from contracts.clock import NS_PER_S
from contracts.errors import InputError
from contracts.geometry import apply_SE3, inverse_SE3
from contracts.samples import (
    CalibrationSample,
    FixSample,
    Float64s,
    PlanSample,
    PoseSample,
    SignalSample,
)
from edge_agent.sources.geodesy import quaternions_of
from edge_agent.sources.ros2.frames import StaticFrames, clean, se3_of

MAX_POSE_AGE_NS = 200_000_000
_HISTORY = 512
_TWIST_SIGNALS = ("ego.speed_mps", "ego.yaw_rate_radps")


def time_ns(stamp: Any) -> int:
    """A builtin_interfaces Time or Duration."""
    return int(stamp.sec) * NS_PER_S + int(stamp.nanosec)


def imu_signals(message: Any, mono_ns: int) -> Iterator[SignalSample]:
    """Axes as mounted (REP 103 has x forward, y left, z up, as ours); absent parts left out."""
    parts = (
        ("imu.accel_{}_mps2", message.linear_acceleration, message.linear_acceleration_covariance),
        ("imu.gyro_{}_radps", message.angular_velocity, message.angular_velocity_covariance),
    )
    for name, vector, covariance in parts:
        if covariance[0] == -1:  # the message's way to say: not measured
            continue
        for axis in "xyz":
            yield SignalSample(name.format(axis), mono_ns, float(getattr(vector, axis)))


def fix(message: Any, mono_ns: int) -> FixSample | None:
    """None while the receiver has no fix."""
    if message.status.status < 0:
        return None
    return FixSample(
        mono_ns, float(message.latitude), float(message.longitude), float(message.altitude)
    )


def calibration(
    message: Any, channel: str, mono_ns: int, ego_SE3_camera: Float64s, *, rectified: bool
) -> CalibrationSample:
    """A CameraInfo: P of rectified pictures, K of others. Raises `InputError` for an empty one."""
    matrix = getattr(message, "p", None) if rectified else getattr(message, "k", None)
    if matrix is None:  # ROS 1 writes them large
        matrix = message.P if rectified else message.K
    table = np.asarray(matrix, np.float64).reshape(3, -1)[:, :3].copy()
    if not (table[0, 0] > 0 and table[1, 1] > 0 and message.width and message.height):
        raise InputError("the camera is not calibrated: its camera_info is empty")
    return CalibrationSample(
        channel, mono_ns, int(message.width), int(message.height), table, ego_SE3_camera,
        clean(message.header.frame_id) or channel.removeprefix("/camera/"),
    )  # fmt: skip


class Poses:
    """Odometry as poses of the ego frame, and where the vehicle was at a time."""

    def __init__(self, ego_frame: str, frames: StaticFrames) -> None:
        self._ego = clean(ego_frame)
        self._frames = frames
        self._recent: deque[tuple[int, Float64s]] = deque(maxlen=_HISTORY)
        self.world_frame: str | None = None

    def _child_SE3_ego(self, child: str) -> Float64s:  # noqa: N802
        if child in ("", self._ego):
            return np.eye(4)
        ego_SE3_child = self._frames.ego_SE3(child)
        if ego_SE3_child is None:
            raise InputError(f"no static transform joins {child!r} and {self._ego!r}")
        return inverse_SE3(ego_SE3_child)

    def take(
        self, message: Any, mono_ns: int, signals: frozenset[str]
    ) -> Iterator[PoseSample | SignalSample]:
        """The pose, and those of `signals` that the message's twist tells.

        Raises `InputError` for a rotation that is none or a frame that nothing joins.
        """
        child_SE3_ego = self._child_SE3_ego(clean(message.child_frame_id))
        pose = message.pose.pose
        world_SE3_ego = se3_of(pose.position, pose.orientation) @ child_SE3_ego
        self.world_frame = clean(message.header.frame_id)
        self._recent.append((mono_ns, world_SE3_ego))
        yield PoseSample(
            mono_ns, world_SE3_ego[:3, 3].copy(), quaternions_of(world_SE3_ego[None, :3, :3])[0]
        )
        twist = message.twist.twist
        turn = child_SE3_ego[:3, :3].T
        forward = turn @ (twist.linear.x, twist.linear.y, twist.linear.z)
        rates = turn @ (twist.angular.x, twist.angular.y, twist.angular.z)
        for name, value in zip(_TWIST_SIGNALS, (forward[0], rates[2]), strict=True):
            if name in signals:
                yield SignalSample(name, mono_ns, float(value))

    def at(self, mono_ns: int) -> Float64s | None:
        """`world_SE3_ego` nearest in time; None where none is near."""
        near = min(self._recent, key=lambda known: abs(known[0] - mono_ns), default=None)
        if near is None or abs(near[0] - mono_ns) > MAX_POSE_AGE_NS:
            return None
        return near[1]


def has_twist(odometry: list[Any]) -> bool:
    """Whether these odometry messages fill in their twist: some leave it at zero while driving."""
    if not odometry:
        return False
    places = np.array([[o.pose.pose.position.x, o.pose.pose.position.y] for o in odometry])
    moved = bool(np.ptp(places, axis=0).max() > 1.0)
    speeds = [abs(o.twist.twist.linear.x) + abs(o.twist.twist.linear.y) for o in odometry]
    return not moved or max(speeds) > 0.0


def plan(
    message: Any, stamp_ns: int, mono_ns: int, spacing_ns: int | None, poses: Poses, ego_frame: str,
    frames: StaticFrames,
) -> PlanSample:  # fmt: skip
    """A Path or a message with `points` in time, in the ego frame from its stamp on.

    Raises `InputError` where times or place cannot be known.
    """
    xyz, t_s = _points(message, stamp_ns, spacing_ns)
    if len(xyz) < 2:
        raise InputError(f"a plan of {len(xyz)} points")
    frame = clean(message.header.frame_id)
    if frame not in ("", clean(ego_frame)):
        ego_SE3_frame = frames.ego_SE3(frame)
        if ego_SE3_frame is None:
            world_SE3_ego = poses.at(mono_ns) if frame == poses.world_frame else None
            if world_SE3_ego is None:
                raise InputError(f"no pose at the plan's time joins {frame!r} to the ego frame")
            ego_SE3_frame = inverse_SE3(world_SE3_ego)
        xyz = apply_SE3(ego_SE3_frame, xyz)
    return PlanSample(mono_ns, *_from_now(t_s, xyz[:, :2]))


def _points(message: Any, stamp_ns: int, spacing_ns: int | None) -> tuple[Float64s, Float64s]:
    """Places [n, 3] and times [n] from the stamp, in seconds."""
    items = getattr(message, "poses", None)
    if items is None:
        items = getattr(message, "points", None)
    if items is None:
        raise InputError("the message has neither poses nor points")
    places = np.array([_place(item) for item in items], np.float64).reshape(-1, 3)
    if spacing_ns is not None:
        numbers = np.arange(len(places), dtype=np.float64)
        return places, np.asarray(numbers * (spacing_ns / NS_PER_S))
    if items and hasattr(items[0], "time_from_start"):
        times = [time_ns(item.time_from_start) for item in items]
    elif items and hasattr(items[0], "header"):
        times = [time_ns(item.header.stamp) - stamp_ns for item in items]
    else:
        raise InputError("the plan's points have no times: give spacing in the mapping")
    t_s = np.array(times, np.float64) / NS_PER_S
    if t_s.size > 1 and t_s[-1] <= t_s[0]:
        raise InputError("the plan's points have no times of their own: give spacing")
    return places, t_s


def _place(item: Any) -> tuple[float, float, float]:
    transforms = getattr(item, "transforms", None)
    if transforms is not None:
        at = transforms[0].translation
    else:
        pose = item.pose
        at = getattr(pose, "pose", pose).position
    return at.x, at.y, at.z


def _from_now(t_s: Float64s, xy_m: Float64s) -> tuple[Float64s, Float64s]:
    """Times that rise strictly from 0. Raises `InputError` where too little is left."""
    newest: Float64s = np.maximum.accumulate(t_s)
    rising = np.concatenate(([True], t_s[1:] > newest[:-1]))
    t_s, xy_m = t_s[rising], xy_m[rising]
    if t_s[-1] <= 0:
        raise InputError("the plan lies in the past")
    if t_s[0] > 0:
        start = np.zeros((1, 2))
        return np.concatenate(([0.0], t_s)), np.concatenate((start, xy_m))
    ahead = t_s > 0
    now = np.array([[np.interp(0.0, t_s, xy_m[:, i]) for i in (0, 1)]], np.float64)
    return np.concatenate(([0.0], t_s[ahead])), np.concatenate((now, xy_m[ahead]))
