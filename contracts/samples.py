"""Decoded messages: what a source yields and what a clip reader gives back.

Each is stamped with `mono_ns`, the vehicle's monotonic time at which the sensor measured
(the end of a sweep, the middle of an exposure). Frames follow ISO 8855: x forward, y left,
z up, in metres, unless a docstring says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Float64s = NDArray[np.float64]
Float32s = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SignalSample:
    """One value of a catalogued signal (`contracts.signals`), in its unit."""

    name: str
    mono_ns: int
    value: float


@dataclass(frozen=True, slots=True)
class ImageSample:
    """A camera frame, encoded (`jpeg`, `png`) or raw (`rgb8`, row-major h x w x 3 bytes).

    `width` and `height` in pixels are 0 where only the encoded picture knows them.
    """

    channel: str
    mono_ns: int
    encoding: Literal["jpeg", "png", "rgb8"]
    content: bytes | memoryview
    width: int
    height: int
    frame_id: str


@dataclass(frozen=True, slots=True)
class LidarSample:
    """One sweep in the sensor's frame, points in the order in which they were measured.

    `xyz_m` float32 [n, 3]; `intensity` uint8 [n]; `ring` uint16 [n] beam index from the top,
    or None; `time_offset_ns` int32 [n] from `mono_ns`, or None.
    """

    channel: str
    mono_ns: int
    xyz_m: Float32s
    intensity: NDArray[np.uint8]
    frame_id: str
    ring: NDArray[np.uint16] | None = None
    time_offset_ns: NDArray[np.int32] | None = None


@dataclass(frozen=True, slots=True)
class RadarSample:
    """Radar tracks in the ego frame: `tracks` float64 [n, 4] = id, x_m, y_m, closing_mps.

    `closing_mps` is positive when the object comes nearer.
    """

    channel: str
    mono_ns: int
    tracks: Float64s


@dataclass(frozen=True, slots=True)
class PoseSample:
    """Pose of the ego vehicle in a local world frame that stays fixed over the drive.

    `position_m` float64 [3]; `orientation_xyzw` float64 [4] unit quaternion, world from ego.
    """

    mono_ns: int
    position_m: Float64s
    orientation_xyzw: Float64s


@dataclass(frozen=True, slots=True)
class FixSample:
    """A GNSS fix on WGS 84. `utc_ns` is the receiver's own time when it gives one."""

    mono_ns: int
    lat_deg: float
    lon_deg: float
    alt_m: float
    utc_ns: int | None = None


@dataclass(frozen=True, slots=True)
class PlanSample:
    """A planned trajectory in the ego frame at `mono_ns`.

    `t_s` float64 [n], strictly rising from 0; `xy_m` float64 [n, 2], rear axle.
    """

    mono_ns: int
    t_s: Float64s
    xy_m: Float64s


@dataclass(frozen=True, slots=True)
class CalibrationSample:
    """Pinhole calibration of a camera: latched, repeated at the head of each clip.

    `intrinsics` float64 [3, 3]; `ego_SE3_camera` float64 [4, 4] maps camera to ego points
    (camera: x right, y down, z forward).
    """

    channel: str
    mono_ns: int
    width: int
    height: int
    intrinsics: Float64s
    ego_SE3_camera: Float64s
    frame_id: str


@dataclass(frozen=True, slots=True)
class MountSample:
    """Where a sensor sits: `ego_SE3_sensor` float64 [4, 4] maps its points to ego. Latched."""

    mono_ns: int
    frame_id: str
    ego_SE3_sensor: Float64s


Sample = (
    SignalSample | ImageSample | LidarSample | RadarSample | PoseSample | FixSample | PlanSample
    | CalibrationSample
    | MountSample
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cuboid:
    """A box in the ego frame: geometric middle, length, width and height, yaw to the left, and
    velocity over ground along the ego's axes.
    """

    centre_m: tuple[float, float, float]
    size_m: tuple[float, float, float]
    yaw_rad: float
    velocity_mps: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Detection:
    """One object, in an image or in the ego frame or in both.

    `box_px` = x0, y0, x1, y1 in pixels of the full image, None where no image was looked at
    alone; `cuboid` is None where a model knows no third dimension. `probability` is calibrated;
    `distribution` float32 [classes] sums to at most 1.
    """

    box_px: tuple[float, float, float, float] | None
    class_name: str
    probability: float
    distribution: Float32s
    cuboid: Cuboid | None = None


@dataclass(frozen=True, slots=True)
class PerceptionFrame:
    """What the model saw in one camera frame, or in one instant of all sensors.

    `channel` is the camera's, or `contracts.channels.BEV` for a bird's-eye model. `uncertainty`
    and `margin` are defined in the signal catalogue; `embedding` float32 [d]. Of a bird's-eye
    model only: `light` float32 [states] the calibrated probability of each of
    `contracts.labels.LIGHT_STATES`; `present` float32 [3] the share of cameras, and 1 or 0 for
    lidar and radar, that the frame was made of.
    """

    channel: str
    mono_ns: int
    model_digest: str
    detections: tuple[Detection, ...]
    uncertainty: float
    margin: float
    embedding: Float32s | None = None
    light: Float32s | None = None
    present: Float32s | None = None
