"""Where the ego was, and from there to where it is now: the compensation of ego motion.

Positions run straight between two poses, orientations by the shortest turn (slerp). Past the
newest pose the last motion goes on, but not further than `MAX_REACH_NS`: older poses say
nothing of now, and an answer would be a guess.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from contracts.errors import InputError
from contracts.geometry import SE3_of_quaternion, inverse_SE3
from contracts.samples import Float64s, PoseSample

MAX_REACH_NS = 150_000_000
_NEARLY_EQUAL = 0.9995


class UnknownMotionError(InputError):
    """No pose is near enough: what the sensors saw cannot be brought to now."""


class PoseTrack:
    """The ego's poses over a while, in the order of time.

    Raises `InputError` when there are none, when times do not rise or a value is not finite.
    """

    def __init__(self, poses: Sequence[PoseSample]) -> None:
        if not poses:
            raise UnknownMotionError("no pose at all: ego motion is unknown")
        self._mono_ns = np.array([pose.mono_ns for pose in poses], dtype=np.int64)
        self._position_m = np.array([pose.position_m for pose in poses], dtype=np.float64)
        self._turn = np.array([pose.orientation_xyzw for pose in poses], dtype=np.float64)
        if (np.diff(self._mono_ns) <= 0).any():
            raise InputError("the poses' times do not rise")
        if not (np.isfinite(self._position_m).all() and np.isfinite(self._turn).all()):
            raise InputError("a pose is not finite")
        # One answer asks for the same few times again and again.
        self._known: dict[int, Float64s] = {}

    def world_SE3_ego(self, mono_ns: int) -> Float64s:  # noqa: N802
        """The ego's pose float64 [4, 4]. Raises `InputError` too far from any pose."""
        if mono_ns not in self._known:
            self._known[mono_ns] = self._pose(mono_ns)
        return self._known[mono_ns]

    def _pose(self, mono_ns: int) -> Float64s:
        times = self._mono_ns
        beyond = max(int(times[0]) - mono_ns, mono_ns - int(times[-1]))
        if beyond > MAX_REACH_NS:
            raise UnknownMotionError(f"the nearest pose is {beyond / 1e9:.3f} s away", "pose")
        if times.size == 1:
            return SE3_of_quaternion(self._position_m[0], self._turn[0])
        high = min(max(int(np.searchsorted(times, mono_ns)), 1), times.size - 1)
        low = high - 1
        part = (mono_ns - int(times[low])) / int(times[high] - times[low])
        position = (1 - part) * self._position_m[low] + part * self._position_m[high]
        return SE3_of_quaternion(position, slerp(self._turn[low], self._turn[high], part))

    def now_SE3_then(self, now_ns: int, then_ns: int) -> Float64s:  # noqa: N802
        """Maps the ego frame of `then_ns` to that of `now_ns`."""
        return inverse_SE3(self.world_SE3_ego(now_ns)) @ self.world_SE3_ego(then_ns)

    def speed_mps(self, mono_ns: int) -> float:
        """Speed over ground along the ego's x axis, from the poses about that time; 0 when
        there is one pose only.
        """
        times = self._mono_ns
        if times.size == 1:
            return 0.0
        high = min(max(int(np.searchsorted(times, mono_ns)), 1), times.size - 1)
        span_s = int(times[high] - times[high - 1]) * 1e-9
        moved = self._position_m[high] - self._position_m[high - 1]
        return float(moved @ self.world_SE3_ego(mono_ns)[:3, 0]) / span_s


def slerp(first: Float64s, second: Float64s, part: float) -> Float64s:
    """The unit quaternion [4] at `part` of the shortest turn from first to second."""
    cosine = float(first @ second)
    if cosine < 0:
        second, cosine = -second, -cosine
    if cosine > _NEARLY_EQUAL:
        mixed = first + part * (second - first)
    else:
        angle = float(np.arccos(cosine))
        mixed = np.sin((1 - part) * angle) * first + np.sin(part * angle) * second
    return np.asarray(mixed / np.linalg.norm(mixed))
