"""A recording of a real road as a bird's-eye model meets it on a vehicle: sweeps and poses in an
ego frame that stands on the ground, and labels at some of the sweeps' instants.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from contracts.errors import InputError
from contracts.geometry import Bools
from contracts.labels import FrameLabels
from contracts.samples import Float64s, LidarSample, MountSample, PoseSample
from offline.health.ground_tilt import Tilt, ground_tilt

if TYPE_CHECKING:
    from models.data.drives import LabelledFrame
    from models.student.config import StudentConfig

LIDAR = "lidar"
_INTENSITY = 255.0


class View(Protocol):
    """Where people labelled."""

    def counts(self, mono_ns: int, centre_m: Float64s) -> Bools:
        """Which places [n, 3] of the ego frame were looked at in a frame: bool [n]."""
        ...


class Everywhere:
    """All around was labelled."""

    def counts(self, mono_ns: int, centre_m: Float64s) -> Bools:
        return np.ones(len(centre_m), dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class Recorded:
    """`sweeps` hold points of the ego frame; these, `poses` and `labels` in the order of time."""

    name: str
    sweeps: tuple[LidarSample, ...]
    poses: tuple[PoseSample, ...]
    labels: tuple[FrameLabels, ...]
    view: View
    notes: tuple[str, ...] = ()


def frames_of(recorded: Recorded, config: StudentConfig) -> Iterator[LabelledFrame]:
    """The labelled instants, by the very window that vehicles use."""
    from kernels.bev.window import BevWindow
    from models.data.drives import LabelledFrame
    from models.student.inputs import frame_of

    window = BevWindow(config.image_input(), config.bev_inputs(), config.ahead_s)
    window.add(MountSample(0, LIDAR, np.eye(4)))
    waiting: list[LidarSample | PoseSample] = [*recorded.sweeps, *recorded.poses]
    waiting.sort(key=lambda sample: sample.mono_ns)
    done = 0
    for labels in recorded.labels:
        now_ns = labels.record.mono_ns
        while done < len(waiting) and waiting[done].mono_ns <= now_ns:
            window.add(waiting[done])
            done += 1
        yield LabelledFrame(frame_of(window.tensors(now_ns)), labels)


def sweep_of(mono_ns: int, ego_xyz_m: Float64s, intensity: Float64s) -> LidarSample:
    """Points [n, 3] of the ego frame, their motion taken out or unknown; intensity 0..1 [n]."""
    level = np.clip(np.rint(intensity * _INTENSITY), 0, _INTENSITY).astype(np.uint8)
    return LidarSample(f"/lidar/{LIDAR}", mono_ns, ego_xyz_m.astype(np.float32), level, LIDAR)


def pose_of(mono_ns: int, world_SE2_ego: Float64s) -> PoseSample:
    """A pose (x, y, yaw) [3] in the plane."""
    x, y, yaw = world_SE2_ego.tolist()
    turn = np.array([0.0, 0.0, np.sin(yaw / 2), np.cos(yaw / 2)])
    return PoseSample(mono_ns, np.array([x, y, 0.0]), turn)


def placed_SE3(place_m: Float64s) -> Float64s:  # noqa: N802
    """A motion without a turn, float64 [4, 4]."""
    result = np.eye(4)
    result[:3, 3] = place_m
    return result


def common_tilt(ego_sweeps_m: Sequence[Float64s], lidar_m: Float64s) -> Tilt:
    """How a declared mount is off by the ground that its sweeps show, the median over them.

    Raises `InputError` where none shows enough road.
    """
    found = [tilt for each in ego_sweeps_m if (tilt := ground_tilt(each, lidar_m)) is not None]
    if not found:
        raise InputError("no sweep shows enough road to stand on")
    table = np.array([(each.roll_rad, each.pitch_rad, each.height_m) for each in found])
    return Tilt(*np.median(table, axis=0).tolist())
