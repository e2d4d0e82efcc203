"""sensor_msgs/PointCloud2 as sweeps: fields by name and type, in any order, with any padding.

| ours | fields known |
|---|---|
| `xyz_m` | `x`, `y`, `z` |
| `intensity` | `intensity`, `i`, `reflectivity`, `signal` |
| `ring` | `ring`, `channel`, `line` |
| `time_offset_ns` | `t`, `time`, `timestamp`, `time_stamp`, `offset_time`, `timeoffset` |

Whole numbers of time are nanoseconds, others seconds; either counts from the message's stamp or
from 1970. A sweep is stamped at its last point, as `contracts.samples` has it. Points without a
return (not finite) are left out. Rings count from the top, whichever way the driver counts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.clock import NS_PER_S
from contracts.errors import InputError
from contracts.samples import LidarSample
from contracts.signals import nearest_name
from edge_agent.sources.ros2.frames import clean
from edge_agent.sources.ros2.mapping import LidarRule

_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}
_INTENSITY = ("intensity", "i", "reflectivity", "signal")
_RING = ("ring", "channel", "line")
_TIME = ("t", "time", "timestamp", "time_stamp", "offset_time", "timeoffset")
_ABSOLUTE_S, _ABSOLUTE_NS = 1e8, 1e15
MAX_SWEEP_NS = NS_PER_S
MAX_RINGS = 1024
_BEAMS = (1, 2, 4, 8, 16, 32, 40, 64, 80, 96, 128, 192, 256)


def columns(message: Any) -> NDArray[np.void]:
    """All points as a structured array [n]. Raises `InputError` where sizes do not fit."""
    order = ">" if message.is_bigendian else "<"
    names, formats, offsets = [], [], []
    for field in message.fields:
        if field.datatype not in _TYPES:
            raise InputError(f"field {field.name!r} has datatype {field.datatype}, which is none")
        code = order + _TYPES[field.datatype]
        if field.name in names or field.offset + np.dtype(code).itemsize > message.point_step:
            raise InputError(f"field {field.name!r} is there twice or beyond its point")
        names.append(field.name)
        formats.append(code)
        offsets.append(field.offset)
    missing = [name for name in "xyz" if name not in names]
    if missing:
        hint = nearest_name(missing[0], names)
        raise InputError(f"the cloud has no field {missing[0]!r}{hint}; it has {', '.join(names)}")
    width, height, step = message.width, message.height, message.point_step
    data = np.ascontiguousarray(message.data, np.uint8)
    row_step = message.row_step or width * step
    if step == 0 or row_step < width * step or data.size < row_step * height:
        raise InputError(f"{data.size} bytes do not hold {height} rows of {width} points of {step}")
    rows = data[: row_step * height].reshape(height, row_step)[:, : width * step]
    layout = np.dtype(
        {"names": names, "formats": formats, "offsets": offsets, "itemsize": step}
    )  # fmt: skip
    return np.ascontiguousarray(rows).reshape(-1).view(layout)


class CloudReader:
    """Sweeps of one topic. The way rings count is seen once, so that it never changes."""

    def __init__(self, rule: LidarRule, channel: str) -> None:
        self._rule = rule
        self._channel = channel
        self._from_bottom: bool | None = None if rule.ring_from is None else (
            rule.ring_from == "bottom"
        )  # fmt: skip
        self._rings = rule.rings

    def sweep(self, message: Any, stamp_ns: int, mono_ns: int) -> LidarSample:
        """Args:
            stamp_ns: the message's own stamp, that times from 1970 are compared with.
            mono_ns: the same instant on the drive's clock.

        Raises `InputError`.
        """
        points = columns(message)
        names = points.dtype.names or ()
        xyz = np.empty((len(points), 3), np.float32)
        for axis, name in enumerate("xyz"):
            xyz[:, axis] = points[name]
        offset_ns = _offsets(points, names, stamp_ns)
        intensity, ring = self._intensity(points, names), _ring(points, names)
        keep = np.isfinite(xyz).all(axis=1)
        if not keep.all():
            xyz, intensity = xyz[keep], intensity[keep]
            ring = ring[keep] if ring is not None else None
            offset_ns = offset_ns[keep] if offset_ns is not None else None
        end_ns = int(offset_ns.max()) if offset_ns is not None and offset_ns.size else 0
        times = (offset_ns - end_ns).astype(np.int32) if offset_ns is not None else None
        if times is not None and (times[1:] < times[:-1]).any():
            turn = np.argsort(times, kind="stable")
            xyz, intensity, times = xyz[turn], intensity[turn], times[turn]
            ring = ring[turn] if ring is not None else None
        frame_id = clean(message.header.frame_id) or self._channel.removeprefix("/lidar/")
        return LidarSample(
            self._channel, mono_ns + end_ns, xyz, intensity, frame_id,
            self._from_top(ring, xyz) if ring is not None else None, times,
        )  # fmt: skip

    def _intensity(self, points: NDArray[np.void], names: tuple[str, ...]) -> NDArray[np.uint8]:
        name = next((n for n in _INTENSITY if n in names), None)
        if name is None:
            return np.zeros(len(points), np.uint8)
        values = points[name]
        scale = self._rule.intensity_scale
        if scale is None:
            scale = 1 / 256 if values.dtype.itemsize == 2 else 1.0
        if scale == 1.0 and values.dtype == np.uint8:
            return np.ascontiguousarray(values)
        scaled = values.astype(np.float32) * np.float32(scale)
        np.nan_to_num(scaled, copy=False, posinf=255.0)
        return np.asarray(np.rint(np.clip(scaled, 0, 255)), np.uint8)

    def _from_top(self, ring: NDArray[np.uint16], xyz: NDArray[np.float32]) -> NDArray[np.uint16]:
        if ring.size == 0:
            return ring
        highest = int(ring.max())
        if self._rings is None:
            self._rings = next(n for n in (*_BEAMS, MAX_RINGS) if n > highest)
        if self._from_bottom is None:
            self._from_bottom = _rises_with_ring(ring, xyz)
        if highest >= self._rings:
            raise InputError(f"ring {highest} of {self._rings}: tell `rings` in the mapping")
        return np.uint16(self._rings - 1) - ring if self._from_bottom else ring


def _ring(points: NDArray[np.void], names: tuple[str, ...]) -> NDArray[np.uint16] | None:
    """As the driver counts; None where there is no such field or it holds something else."""
    name = next((n for n in _RING if n in names), None)
    if name is None or points[name].dtype.kind not in "iu":
        return None
    ring = points[name]
    if ring.size and (ring.min() < 0 or ring.max() >= MAX_RINGS):
        return None
    return ring.astype(np.uint16)


def _rises_with_ring(ring: NDArray[np.uint16], xyz: NDArray[np.float32]) -> bool:
    """Whether higher rings look higher."""
    elevation = np.arctan2(xyz[:, 2], np.hypot(xyz[:, 0], xyz[:, 1]))
    centred = ring - ring.mean()
    return bool((centred * (elevation - elevation.mean())).sum() > 0)


def _offsets(
    points: NDArray[np.void], names: tuple[str, ...], stamp_ns: int
) -> NDArray[np.int64] | None:
    """Nanoseconds of each point from the stamp; None where there are none that make sense."""
    name = next((n for n in _TIME if n in names), None)
    if name is None or len(points) == 0:
        return None
    values = points[name]
    if values.dtype.kind in "iu":
        offset_ns = values.astype(np.int64)
    else:
        seconds = values.astype(np.float64)
        if not np.isfinite(seconds).all():
            return None
        newest = float(seconds.max())
        if newest > _ABSOLUTE_NS:
            offset_ns = seconds.astype(np.int64) - stamp_ns
        elif newest > _ABSOLUTE_S:
            whole_s = stamp_ns // NS_PER_S
            offset_ns = np.rint((seconds - whole_s) * NS_PER_S).astype(np.int64)
            offset_ns -= stamp_ns - whole_s * NS_PER_S
        else:
            offset_ns = np.rint(seconds * NS_PER_S).astype(np.int64)
    if int(np.abs(offset_ns).max()) > MAX_SWEEP_NS:
        return None
    return offset_ns
