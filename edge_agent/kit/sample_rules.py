"""What `contracts.samples` promises of each sample, as checks that name what is wrong.

Stricter than the agent's door, which must live with bad sensors: an adapter under test is given
good input and has no excuse.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from contracts.errors import CorruptError, LongtailError
from contracts.geometry import checked_SE3
from contracts.samples import (
    CalibrationSample,
    FixSample,
    ImageSample,
    LidarSample,
    MountSample,
    PlanSample,
    PoseSample,
    RadarSample,
    Sample,
    SignalSample,
)
from edge_agent.drive.door import Door, channel_of
from edge_agent.ports import SourceDescription
from edge_agent.sources.png_header import png_header
from kernels.clip.encoding import encode_sample
from kernels.jpeg import jpeg_size

_TYPES = (
    SignalSample, ImageSample, LidarSample, RadarSample, PoseSample, FixSample, PlanSample,
    CalibrationSample, MountSample,
)  # fmt: skip


def faults(sample: object, told: SourceDescription) -> Iterator[str]:
    """Every promise that this sample breaks, with its channel."""
    if not isinstance(sample, _TYPES):
        yield f"{type(sample).__name__} is no sample of contracts.samples"
        return
    where = channel_of(sample)
    if type(sample.mono_ns) is not int:
        yield f"{where}: mono_ns is {type(sample.mono_ns).__name__}, not int"
        return
    found = [f"{where}: {fault}" for fault in (*_own(sample), *_described(sample, told))]
    if not found:
        found = [f"{where}: {fault}" for fault in _usable(sample)]
    yield from found


def _own(sample: Sample) -> Iterator[str]:
    match sample:
        case SignalSample(value=value):
            if type(value) is not float:
                yield f"value is {type(value).__name__}, not float"
        case ImageSample():
            yield from _image(sample)
        case LidarSample():
            yield from _lidar(sample)
        case RadarSample(tracks=tracks):
            yield from _array("tracks", tracks, np.float64, (None, 4))
        case PoseSample(position_m=position, orientation_xyzw=turn):
            yield from _array("position_m", position, np.float64, (3,))
            yield from _array("orientation_xyzw", turn, np.float64, (4,))
            if turn.shape == (4,) and not abs(float(np.linalg.norm(turn)) - 1.0) < 1e-3:
                yield "orientation_xyzw is no unit quaternion"
        case PlanSample(t_s=t_s, xy_m=xy_m):
            yield from _array("t_s", t_s, np.float64, (None,))
            yield from _array("xy_m", xy_m, np.float64, (None, 2))
            if t_s.size and t_s[0] != 0.0:
                yield f"t_s starts at {t_s[0]:g}, not at 0"
        case CalibrationSample():
            yield from _calibration(sample)
        case MountSample(ego_SE3_sensor=mount):
            yield from _rigid("ego_SE3_sensor", mount)


def _array(
    name: str, array: NDArray[np.generic], dtype: type[np.generic], shape: tuple[int | None, ...]
) -> Iterator[str]:
    if not isinstance(array, np.ndarray):
        yield f"{name} is {type(array).__name__}, not an array"
    elif array.dtype != np.dtype(dtype):
        yield f"{name} is {array.dtype}, not {np.dtype(dtype)}"
    elif len(array.shape) != len(shape) or any(
        want is not None and want != have for want, have in zip(shape, array.shape, strict=True)
    ):
        wanted = ", ".join("n" if size is None else str(size) for size in shape)
        yield f"{name} has shape {list(array.shape)}, not [{wanted}]"


def _rigid(name: str, matrix: NDArray[np.float64]) -> Iterator[str]:
    yield from _array(name, matrix, np.float64, (4, 4))
    try:
        checked_SE3(matrix)
    except LongtailError as error:
        yield f"{name}: {error}"


def _image(sample: ImageSample) -> Iterator[str]:
    if not isinstance(sample.content, bytes | memoryview):
        yield f"content is {type(sample.content).__name__}, not bytes or memoryview"
        return
    size = (sample.width, sample.height)
    match sample.encoding:
        case "rgb8":
            if len(sample.content) != size[0] * size[1] * 3 or 0 in size:
                yield f"{len(sample.content)} bytes do not make {size[0]} x {size[1]} pixels rgb8"
            return
        case "jpeg":
            try:
                height, width = jpeg_size(sample.content)
            except CorruptError as error:
                yield f"content is no JPEG: {error.message}"
                return
        case "png":
            try:
                header = png_header(sample.content, "content")
            except LongtailError as error:
                yield str(error)
                return
            width, height = header.width, header.height
        case _:
            yield f"encoding {sample.encoding!r} is not jpeg, png or rgb8"
            return
    if size not in ((0, 0), (width, height)):
        yield f"says {size[0]} x {size[1]} pixels, but the picture has {width} x {height}"


def _lidar(sample: LidarSample) -> Iterator[str]:
    n = len(sample.xyz_m)
    yield from _array("xyz_m", sample.xyz_m, np.float32, (None, 3))
    yield from _array("intensity", sample.intensity, np.uint8, (n,))
    if sample.ring is not None:
        yield from _array("ring", sample.ring, np.uint16, (n,))
    if sample.time_offset_ns is not None:
        yield from _array("time_offset_ns", sample.time_offset_ns, np.int32, (n,))
    if not np.isfinite(sample.xyz_m).all():
        yield "a point is not finite: leave points without return out"


def _calibration(sample: CalibrationSample) -> Iterator[str]:
    yield from _array("intrinsics", sample.intrinsics, np.float64, (3, 3))
    yield from _rigid("ego_SE3_camera", sample.ego_SE3_camera)
    if sample.width <= 0 or sample.height <= 0:
        yield f"is of {sample.width} x {sample.height} pixels"
    if sample.intrinsics.shape == (3, 3) and not (
        sample.intrinsics[0, 0] > 0 and sample.intrinsics[1, 1] > 0
    ):
        yield "focal lengths must be above 0"


def _described(sample: Sample, told: SourceDescription) -> Iterator[str]:
    match sample:
        case SignalSample(name=name):
            missing = name not in told.signals
        case ImageSample(channel=channel) | CalibrationSample(channel=channel):
            missing = channel not in told.camera_channels
        case LidarSample(channel=channel):
            missing = channel not in told.lidar_channels
        case RadarSample():
            missing = not told.has_radar
        case PoseSample():
            missing = not told.has_pose
        case PlanSample():
            missing = not told.has_plan
        case _:
            missing = False
    if missing:
        yield "comes, but describe() does not tell of it"


def _usable(sample: Sample) -> Iterator[str]:
    """What the agent itself would say: at its door, and when it encodes for a clip."""
    rejection = Door().check(sample)
    if rejection is not None:
        yield f"the agent turns it away: {rejection.reason}"
        return
    if isinstance(sample, ImageSample) and sample.encoding == "rgb8":
        return  # the agent compresses it first
    try:
        encode_sample(sample, 0)
    except LongtailError as error:
        yield f"cannot be stored in a clip: {error}"
