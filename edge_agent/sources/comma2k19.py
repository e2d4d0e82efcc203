"""A comma2k19 segment: one minute of a real drive, without its video.

Layout and conventions are the dataset's own README: numpy arrays without extension, times in
seconds of the device's boot clock, IMU axes forward-right-down, poses of the recording camera
in the earth-centred frame. Values are passed on exactly, only units, axes and names change.
`mono_ns` is the boot clock, rounded to the nanosecond.

Frames: the local world is east-north-up at the first pose. The pose is that of the camera,
turned to x forward, y left, z up; the camera looks down by about 3.5 degrees, which is kept.

Does not do: video, raw GNSS measurements, the magnetometer. Signals that come from raw CAN
exist only for the make that `toyota_can` knows; `describe` says which there are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.clock import ClockQuality
from contracts.errors import CorruptError, InputError
from contracts.samples import FixSample, Float64s, PoseSample, RadarSample, Sample
from edge_agent.ports import SourceDescription
from edge_agent.sources import toyota_can
from edge_agent.sources.geodesy import quaternions_of, rotation_to_enu, rotations_of
from edge_agent.sources.streams import (
    Int64s,
    ScalarColumn,
    merge_samples,
    scalar_samples,
    to_ns,
)

RADAR_CHANNEL = "/radar/front"
_IN_PATH_M = 1.5
_RADAR_CYCLE_GAP_S = 0.015
"""The radar reports its tracks in bursts of under 5 ms, every 50 ms."""

_FLU_FROM_FRD = np.array([1.0, -1.0, -1.0])
_WHEELS = ("fl", "fr", "rl", "rr")


def find_segment(path: Path) -> Path:
    """The one segment folder at or below `path`. Raises `InputError` for none or several."""
    if not path.is_dir():
        raise InputError("no such folder; give a comma2k19 segment or a folder above it", str(path))
    found = sorted(p.parent for p in [path / "processed_log", *path.rglob("processed_log")])
    segments = list(dict.fromkeys(p for p in found if (p / "processed_log").is_dir()))
    if not segments:
        raise InputError("no segment here: a segment folder holds `processed_log/`", str(path))
    if len(segments) > 1:
        raise InputError(
            f"{len(segments)} segments here; name one, such as {segments[0].relative_to(path)}",
            str(path),
        )
    return segments[0]


class Comma2k19Source:
    """`SensorSource` over one segment. All arrays are read and checked at construction."""

    def __init__(self, path: Path) -> None:
        self._segment = find_segment(path)
        self._columns = [*self._vehicle(), *self._imu(), *self._can()]
        self._radar_samples = self._radar()
        self._columns += _lead_columns(self._radar_samples)
        self._fixes, fix_columns, self._utc_minus_mono_ns = self._gnss()
        self._columns += fix_columns
        self._pose_ns, self._positions_m, self._orientations = self._poses()

    def describe(self) -> SourceDescription:
        route = self._segment.parent.name
        start = re.search(r"\d{4}-\d\d-\d\d--\d\d-\d\d-\d\d", route)
        return SourceDescription(
            drive_id=_as_name(f"{route}.{self._segment.name}"),
            boot_id=_as_name(start.group() if start else route),
            utc_minus_mono_ns=self._utc_minus_mono_ns,
            clock=ClockQuality(synchronised=bool(self._fixes), source="gnss"),
            signals=frozenset(column.name for column in self._columns if column.mono_ns.size),
            has_pose=self._pose_ns.size > 0,
            has_radar=bool(self._radar_samples),
        )

    def samples(self) -> Iterator[Sample]:
        return merge_samples(
            scalar_samples(self._columns), self._pose_samples(), self._fixes, self._radar_samples
        )

    def _pose_samples(self) -> Iterator[PoseSample]:
        for row, at_ns in enumerate(self._pose_ns.tolist()):
            yield PoseSample(at_ns, self._positions_m[row], self._orientations[row])

    def _vehicle(self) -> list[ScalarColumn]:
        speed_ns, speed = self._series("CAN/speed", 1)
        wheel_ns, wheels = self._series("CAN/wheel_speed", 4)
        steer_ns, steer = self._series("CAN/steering_angle", 1)
        return [
            ScalarColumn("ego.speed_mps", speed_ns, speed[:, 0]),
            *(
                ScalarColumn(f"ego.wheel_{wheel}_mps", wheel_ns, wheels[:, i])
                for i, wheel in enumerate(_WHEELS)
            ),
            ScalarColumn("ego.steering_angle_rad", steer_ns, np.deg2rad(steer[:, 0])),
        ]

    def _imu(self) -> list[ScalarColumn]:
        columns = []
        for folder, quantity in (
            ("IMU/accelerometer", "imu.accel_{}_mps2"),
            ("IMU/gyro", "imu.gyro_{}_radps"),
        ):
            mono_ns, values = self._series(folder, 3)
            turned = values * _FLU_FROM_FRD
            columns += [
                ScalarColumn(quantity.format(axis), mono_ns, turned[:, i])
                for i, axis in enumerate("xyz")
            ]
        return columns

    def _can(self) -> list[ScalarColumn]:
        folder = self._segment / "processed_log" / "CAN" / "raw_can"
        if not folder.is_dir():
            return []
        t_s, bus, address, content = (
            _load(folder / name) for name in ("t", "src", "address", "data")
        )
        frames = toyota_can.frames_from_arrays(to_ns(t_s), bus, address, content, str(folder))
        return toyota_can.decode(frames, str(folder)) if toyota_can.is_toyota(frames) else []

    def _radar(self) -> list[RadarSample]:
        mono_ns, values = self._series("CAN/radar", 7)
        if not mono_ns.size:
            return []
        gap_ns = round(_RADAR_CYCLE_GAP_S * 1e9)
        ends = np.append(np.flatnonzero(np.diff(mono_ns) > gap_ns), mono_ns.size - 1)
        tracks = np.stack([values[:, 5], values[:, 0], values[:, 1], -values[:, 2]], axis=1)
        starts = np.concatenate(([0], ends[:-1] + 1))
        return [
            RadarSample(RADAR_CHANNEL, int(mono_ns[end]), tracks[start : end + 1])
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
        ]

    def _gnss(self) -> tuple[list[FixSample], list[ScalarColumn], int]:
        """Fixes, their scalars, and wall time minus boot time (median over the fixes)."""
        mono_ns, values = self._series("GNSS/live_gnss_ublox", 6)
        if not mono_ns.size:
            return [], [], 0
        utc_ns = np.rint(values[:, 3] * 1e6).astype(
            np.int64
        )  # recorded in ms, whatever README says
        rows = zip(mono_ns.tolist(), utc_ns.tolist(), values.tolist(), strict=True)
        fixes = [FixSample(at_ns, v[0], v[1], v[4], at_utc_ns) for at_ns, at_utc_ns, v in rows]
        names = ("gnss.lat_deg", "gnss.lon_deg", "gnss.alt_m", "gnss.bearing_rad")
        scalars = (values[:, 0], values[:, 1], values[:, 4], np.deg2rad(values[:, 5]))
        columns = [ScalarColumn(n, mono_ns, v) for n, v in zip(names, scalars, strict=True)]
        return fixes, columns, int(np.median(utc_ns - mono_ns))

    def _poses(self) -> tuple[Int64s, Float64s, Float64s]:
        folder = self._segment / "global_pose"
        if not folder.is_dir():
            return np.empty(0, np.int64), np.empty((0, 3)), np.empty((0, 4))
        mono_ns = to_ns(_load(folder / "frame_times"))
        position_m, wxyz = (_load(folder / f"frame_{n}") for n in ("positions", "orientations"))
        if position_m.shape != (mono_ns.size, 3) or wxyz.shape != (mono_ns.size, 4):
            raise InputError(
                f"{mono_ns.size} times, but positions {position_m.shape} (expected [n, 3]) and "
                f"orientations {wxyz.shape} (expected [n, 4])",
                str(folder),
            )
        if not mono_ns.size:
            return mono_ns, position_m, wxyz
        world_R_ecef = rotation_to_enu(position_m[0])
        world_R_ego = world_R_ecef @ rotations_of(wxyz) * _FLU_FROM_FRD
        return (
            mono_ns,
            (position_m - position_m[0]) @ world_R_ecef.T,
            quaternions_of(world_R_ego),
        )

    def _series(self, folder_name: str, width: int) -> tuple[Int64s, Float64s]:
        """Times [n] and values [n, width] of one log folder; empty when there is none."""
        folder = self._segment / "processed_log" / folder_name
        if not folder.is_dir():
            return np.empty(0, np.int64), np.empty((0, width))
        t_s, values = _load(folder / "t"), _load(folder / "value")
        if values.size != t_s.size * width or t_s.ndim != 1:
            raise InputError(
                f"values of shape {values.shape} do not fit {t_s.shape[0]} times; "
                f"expected [{t_s.shape[0]}, {width}]",
                str(folder),
            )
        mono_ns, rows = to_ns(t_s), values.reshape(-1, width)
        if (np.diff(mono_ns) < 0).any():
            order = np.argsort(mono_ns, kind="stable")
            return mono_ns[order], rows[order]
        return mono_ns, rows


def _lead_columns(cycles: list[RadarSample]) -> list[ScalarColumn]:
    """Gap and closing speed of the nearest track in the path; nothing when there is none."""
    found: list[tuple[int, float, float]] = []
    for cycle in cycles:
        ahead = cycle.tracks[(np.abs(cycle.tracks[:, 2]) < _IN_PATH_M) & (cycle.tracks[:, 1] > 0)]
        if ahead.size:
            nearest = ahead[np.argmin(ahead[:, 1])]
            found.append((cycle.mono_ns, float(nearest[1]), float(nearest[3])))
    if not found:
        return []
    at_ns, distance, closing = zip(*found, strict=True)
    mono_ns = np.array(at_ns, dtype=np.int64)
    return [
        ScalarColumn("lead.distance_m", mono_ns, np.array(distance)),
        ScalarColumn("lead.closing_mps", mono_ns, np.array(closing)),
    ]


def _load(path: Path) -> NDArray[Any]:
    """One numpy array file, never pickled."""
    try:
        array: NDArray[Any] = np.load(path, allow_pickle=False)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", str(path)) from error
    except (ValueError, EOFError) as error:
        raise CorruptError(
            f"not a whole numpy array file ({path.stat().st_size} bytes): {error}", str(path)
        ) from error
    return array


def _as_name(text: str) -> str:
    """A text as `contracts.ids.Name`: other characters become dots."""
    return re.sub(r"[^A-Za-z0-9._-]", ".", text).lstrip("._-")[:128] or "segment"
