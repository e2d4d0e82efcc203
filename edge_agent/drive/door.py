"""The door: what a sample must satisfy before anything else of the agent sees it.

A value that is not finite, out of its catalogued range, or out of order in time is turned
away and counted by channel and reason; the drive goes on. So is a name that no clip could be
written with: the sample would cost every clip that it is in. Nothing is repaired in silence.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np

from contracts.channels import signal_channel
from contracts.clock import NS_PER_S
from contracts.samples import (
    CalibrationSample,
    FixSample,
    Float64s,
    ImageSample,
    LidarSample,
    MountSample,
    PlanSample,
    PoseSample,
    RadarSample,
    Sample,
    SignalSample,
)
from contracts.signals import CATALOGUE, SIGNAL_INDEX

MAX_IMAGE_BYTES = 64 * 1024 * 1024
MAX_POINTS = 4_000_000
MAX_PIXELS = 65_535
"""JPEG's own limit."""
NUMBERS = "fiu"
"""numpy's kinds of real numbers."""
MAX_NAME = 255
"""Characters of a channel's name, or a frame's."""
MOST_NAMES = 4096
"""So many are remembered as good; others are looked at each time."""
MOST_COUNTED = 4096
"""So many channels and reasons are counted apart: names may be made up without end."""
OTHERS = ("others", "too many to count apart")
MAX_DISORDER_NS = NS_PER_S
"""A sample this much older than the newest one is late beyond use."""
_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,), "Literal": (str,), "int": (int, np.integer), "float": (int, float, np.number),
    "bytes": (bytes, bytearray, memoryview), "Float": (np.ndarray,), "NDArray": (np.ndarray,),
}  # fmt: skip
"""By how the types of `contracts.samples` are written."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A sample that was turned away. `count` is how often this channel and reason so far."""

    channel: str
    mono_ns: int
    reason: str
    count: int


def channel_of(sample: Sample) -> str:
    """The channel that a sample belongs to, as people know it."""
    match sample:
        case SignalSample(name=name):
            return signal_channel(name)
        case PoseSample():
            return "/pose"
        case FixSample():
            return "/gnss/fix"
        case PlanSample():
            return "/planner/trajectory"
        case MountSample():
            return "/tf"
    return sample.channel


def _names(sample: Sample) -> tuple[object, ...]:
    """All that a sample is called by, but a signal, whose name the catalogue has or has not."""
    match sample:
        case ImageSample() | LidarSample() | CalibrationSample():
            return sample.channel, sample.frame_id
        case RadarSample(channel=channel):
            return (channel,)
        case MountSample(frame_id=frame_id):
            return (frame_id,)
    return ()


def _is_named(sample: Sample) -> bool:
    return not isinstance(sample, SignalSample) or isinstance(sample.name, str)


class Door:
    """Checks samples in the order in which they arrive."""

    def __init__(self) -> None:
        self.rejections: Counter[tuple[str, str]] = Counter()
        self._newest_ns: int | None = None
        self._good_names: set[object] = set()

    def check(self, sample: Sample) -> Rejection | None:
        """None when the sample may pass."""
        reason = None if type(sample) is SignalSample else self._unnamed(sample)
        if reason is not None:
            channel = type(sample).__name__
        else:
            reason = self._late(sample) or _fault_told(sample)
            if reason is None:
                return None
            channel = channel_of(sample)[:MAX_NAME] if _is_named(sample) else type(sample).__name__
        key = channel, reason
        if key not in self.rejections and len(self.rejections) >= MOST_COUNTED:
            key = OTHERS
        self.rejections[key] += 1
        return Rejection(channel, sample.mono_ns, reason, self.rejections[key])

    def _unnamed(self, sample: Sample) -> str | None:
        for name in _names(sample):
            if type(name) is str and name in self._good_names:
                continue
            if not (isinstance(name, str) and len(name) <= MAX_NAME and name.isprintable()):
                return "a name that cannot be written"
            if len(self._good_names) < MOST_NAMES:
                self._good_names.add(name)
        return None

    def _late(self, sample: Sample) -> str | None:
        newest = self._newest_ns
        if newest is not None and sample.mono_ns < newest - MAX_DISORDER_NS:
            return "older than the newest sample by more than 1 s"
        self._newest_ns = sample.mono_ns if newest is None else max(newest, sample.mono_ns)
        return None


def _fault_told(sample: Sample) -> str | None:
    try:
        return _fault(sample)
    except (TypeError, ValueError, AttributeError, OverflowError):
        wrong = ", ".join(_wrong_types(sample))
        return f"a field of a wrong type: {wrong}" if wrong else "a field of a wrong type"


def _wrong_types(sample: Sample) -> Iterator[str]:
    """Fields that hold another type than they should; names alone, that few reasons are counted."""
    for field in fields(sample):
        value, told = getattr(sample, field.name), str(field.type)
        wanted = next(types for start, types in _TYPES.items() if told.startswith(start))
        if not (isinstance(value, wanted) or (value is None and told.endswith("None"))):
            yield f"{field.name} is {type(value).__name__}"


def _fault(sample: Sample) -> str | None:
    match sample:
        case SignalSample(name=name, value=value):
            return _signal_fault(name, value)
        case ImageSample(content=content, encoding=encoding):
            if encoding not in ("jpeg", "png", "rgb8"):
                return "its encoding is none of jpeg, png and rgb8"
            if memoryview(content).nbytes > MAX_IMAGE_BYTES:
                return "image larger than 64 MiB"
            return _size_fault(sample)
        case LidarSample():
            return _sweep_fault(sample)
        case RadarSample(tracks=tracks):
            return _fault_of_all(tracks, (len(tracks), 4), "a track")
        case PoseSample(position_m=position, orientation_xyzw=orientation):
            return _pose_fault(position, orientation)
        case FixSample(lat_deg=lat, lon_deg=lon, alt_m=alt):
            math.isnan(alt)  # not known is allowed, no number is not
            inside = abs(lat) <= 90.0 and abs(lon) <= 180.0
            return None if inside else "the position is not on Earth"
        case PlanSample(t_s=t, xy_m=xy):
            return _plan_fault(t, xy)
        case MountSample(ego_SE3_sensor=mount):
            return _fault_of_all(mount, (4, 4), "the mount")
        case CalibrationSample():
            return _calibration_fault(sample)
    return None


def _signal_fault(name: str, value: float) -> str | None:
    row = SIGNAL_INDEX.get(name)
    if row is None:
        return "not in the signal catalogue"
    if not math.isfinite(value):
        return "not a finite number"
    signal = CATALOGUE[row]
    if not signal.low <= value <= signal.high:
        return f"outside {signal.low:g} to {signal.high:g} {signal.unit}".rstrip()
    return None


def _pose_fault(position: Float64s, orientation: Float64s) -> str | None:
    if position.shape != (3,) or orientation.shape != (4,):
        return f"the pose has shapes {position.shape} and {orientation.shape}, not (3,) and (4,)"
    # Of all samples the most but one: numpy's own look would take several times as long.
    finite = math.isfinite(sum(position.tolist()) + sum(orientation.tolist()))
    return None if finite else "the pose is not finite"


def _size_fault(sample: ImageSample | CalibrationSample) -> str | None:
    least = 1 if isinstance(sample, CalibrationSample) else 0
    for pixels in (sample.width, sample.height):
        if not (isinstance(pixels, int | np.integer) and least <= pixels <= MAX_PIXELS):
            return "its width or height is none"
    return None


def _sweep_fault(sweep: LidarSample) -> str | None:
    shape = sweep.xyz_m.shape
    if len(shape) != 2 or shape[1] != 3:
        return f"points have shape {shape}, not (n, 3)"
    for each in (sweep.intensity, sweep.ring, sweep.time_offset_ns):
        if each is not None and each.shape != shape[:1]:
            return "not one intensity, ring or time for each point"
    if sweep.intensity is None:
        return "points without intensity"
    return "more than 4 M points" if shape[0] > MAX_POINTS else None


def _calibration_fault(sample: CalibrationSample) -> str | None:
    return (
        _size_fault(sample)
        or _fault_of_all(sample.intrinsics, (3, 3), "the matrix of intrinsics")
        or _fault_of_all(sample.ego_SE3_camera, (4, 4), "the camera's mount")
    )


def _fault_of_all(array: Float64s, shape: tuple[int, int], what: str) -> str | None:
    if array.shape != shape:
        return f"{what} has shape {array.shape}, not {shape}"
    if array.dtype.kind not in NUMBERS:
        return f"{what} is of {array.dtype}"
    return None if np.isfinite(array).all() else f"{what} is not finite"


def _plan_fault(t_s: Float64s, xy_m: Float64s) -> str | None:
    if t_s.ndim != 1 or xy_m.shape != (len(t_s), 2) or len(t_s) < 2:
        return "a plan needs two points or more, with a time for each"
    if t_s.dtype.kind not in NUMBERS or xy_m.dtype.kind not in NUMBERS:
        return f"the plan is of {t_s.dtype} and {xy_m.dtype}"
    # Times that rise from a finite one to a finite one are finite; what is not a number rises not.
    rise = bool((t_s[1:] > t_s[:-1]).all())
    ends = math.isfinite(t_s[0]) and math.isfinite(t_s[-1])
    if not (ends and (rise or np.isfinite(t_s).all()) and np.isfinite(xy_m).all()):
        return "the plan is not finite"
    return None if rise else "the plan's times do not rise"
