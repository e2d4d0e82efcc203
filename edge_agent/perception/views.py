"""What a model looks at, and looking: one image, or one instant of all sensors."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from contracts.channels import BEV
from contracts.errors import CorruptError, InputError, LongtailError
from contracts.samples import (
    CalibrationSample,
    Detection,
    ImageSample,
    LidarSample,
    MountSample,
    PerceptionFrame,
    PoseSample,
    RadarSample,
)
from edge_agent.perception.frames import BevFrames
from edge_agent.ports import BevModel, ImageModel, PerceptionModel

_TRIAL_SIDE = 64
_TRIAL_NS = 1_000_000_000
_OPTICAL = np.array([[0, 0, 1.0, 1.5], [-1.0, 0, 0, 0], [0, -1.0, 0, 1.5], [0, 0, 0, 1.0]])


@dataclass(frozen=True, slots=True)
class ImageView:
    """An image with its `pixels` uint8 [h, w, 3] RGB."""

    image: ImageSample
    pixels: NDArray[np.uint8]

    @property
    def channel(self) -> str:
        return self.image.channel


@dataclass(frozen=True, slots=True)
class BevView:
    """One instant of a drive's sensors."""

    mono_ns: int
    frames: BevFrames

    @property
    def channel(self) -> str:
        return BEV


View = ImageView | BevView


def look(model: PerceptionModel, view: View) -> PerceptionFrame:
    """Run a model on a view of its kind. Raises `LongtailError` for whatever goes wrong in it."""
    try:
        return _checked(_looked(model, view))
    except LongtailError:
        raise
    except Exception as error:
        kind = type(error).__name__
        raise CorruptError(f"the model failed: {kind}: {error}", view.channel) from error


def _looked(model: PerceptionModel, view: View) -> PerceptionFrame:
    match view:
        case ImageView() if isinstance(model, ImageModel):
            return model.detect(view.image, view.pixels)
        case BevView() if isinstance(model, BevModel):
            return model.perceive(view.frames.tensors(model.spec, view.mono_ns), view.mono_ns)
    raise InputError("the model is not made for such a view", view.channel)


def _checked(frame: PerceptionFrame) -> PerceptionFrame:
    """The frame, when all that triggers read of it is finite. Raises `CorruptError`."""
    finite = isfinite(frame.uncertainty) and isfinite(frame.margin)
    if not (finite and all(_is_finite(found) for found in frame.detections)):
        raise CorruptError("the model's output is not finite", frame.channel)
    return frame


def _is_finite(found: Detection) -> bool:
    box, cuboid = found.box_px or (), found.cuboid
    values = [found.probability, *box]
    if cuboid is not None:
        values += [*cuboid.centre_m, *cuboid.size_m, cuboid.yaw_rad, *cuboid.velocity_mps]
    return all(map(isfinite, values))


def trial_view(model: PerceptionModel) -> View:
    """A made-up view of the model's kind, which has all sensors: to load its kernels, and to
    see that it runs.
    """
    side = _TRIAL_SIDE
    blank = np.zeros((side, side, 3), np.uint8)
    if not isinstance(model, BevModel):
        return ImageView(_blank("/camera/trial", blank), blank)
    frames = BevFrames()
    intrinsics = np.array([[side, 0, side / 2], [0, side, side / 2], [0, 0, 1.0]])
    for channel in model.spec.bev.cameras:
        frames.add(CalibrationSample(channel, 0, side, side, intrinsics, _OPTICAL, channel))
        frames.add(_blank(channel, blank))
    frames.add(MountSample(0, "trial", np.eye(4)))
    frames.add(PoseSample(_TRIAL_NS, np.zeros(3), np.array([0, 0, 0, 1.0])))
    x = np.linspace(2.0, 20.0, 64, dtype=np.float32)
    xyz = np.stack([x, 0 * x, 0 * x], axis=1)
    offsets = np.linspace(-1e8, 0, 64).astype(np.int32)
    for times in (None, offsets):
        frames.add(LidarSample("/lidar/trial", _TRIAL_NS, xyz, np.zeros(64, np.uint8), "trial",
                               None, times))  # fmt: skip
    frames.add(RadarSample("/radar/trial", _TRIAL_NS, np.array([[1.0, 10.0, 0.0, 1.0]])))
    return BevView(_TRIAL_NS, frames)


def _blank(channel: str, pixels: NDArray[np.uint8]) -> ImageSample:
    height, width = pixels.shape[:2]
    return ImageSample(channel, _TRIAL_NS, "rgb8", pixels.tobytes(), width, height, channel)
