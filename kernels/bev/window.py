"""The last moments of all sensors, and what a bird's-eye model is fed of them.

Samples go in as they come; `tensors` makes the model's inputs for one instant. Training and
vehicle use this same object, so a model meets on the road what it was trained on.

Rules: a camera is present when its calibration is known and its newest picture is no older
than `CAMERA_MAX_AGE_NS`; the lidar when its newest sweep falls into the first slot of age and
its mount is known; the radar when any frame lies in its window. What is absent has zeros, and
no entry of the gather table. What lies after the instant asked for is not used. Each sweep and
radar frame is moved by the ego's poses; without poses near enough there is no answer but an
error, since uncompensated sweeps would look like moving walls.

A model that runs long after the fact may look ahead: with `ahead_s` the lidar's slots begin that
much after the instant asked for, and ages count from there. Pictures and radar stay as they are.

Buffers are reused: the arrays of one answer hold until the next, and an object serves one
thread. Decoding a picture is the caller's.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.model_manifest import BevInputs, ImageInput
from contracts.samples import (
    CalibrationSample,
    Float32s,
    Float64s,
    LidarSample,
    MountSample,
    PoseSample,
    RadarSample,
)
from kernels.bev.lift import CameraView, LiftTable, empty_table, lift_table, view_of
from kernels.bev.motion import PoseTrack
from kernels.bev.pattern import Tensors
from kernels.bev.radar import RADAR_CHANNELS, RadarTracks, fill_radar
from kernels.bev.raster import LidarRaster, Sweep
from kernels.input_tensor import fill_input, fit_image

CAMERA_MAX_AGE_NS = 150_000_000
_POSES, _FRAMES_OVER_SLOTS = 256, 2
_SHORTEST_SPAN_S = 1e-3

BevSample = LidarSample | RadarSample | PoseSample | CalibrationSample | MountSample
U8s = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class BevTensors:
    """Inputs of one instant. `images` float32 [cameras, 3, h, w]; rasters float32; `table`;
    `cameras_present` bool [cameras].
    """

    images: Float32s
    table: LiftTable
    lidar: Float32s
    radar: Float32s
    cameras_present: NDArray[np.bool_]
    lidar_present: bool
    radar_present: bool

    def present(self) -> Float32s:
        """Share of cameras, lidar, radar: float32 [3]."""
        share = float(self.cameras_present.mean())
        return np.array([share, self.lidar_present, self.radar_present], dtype=np.float32)

    def feed(self, image: ImageInput, bev: BevInputs) -> Tensors:
        """All inputs of the model by tensor name, as the manifest names them."""
        return {
            image.tensor: self.images,
            bev.lift.pixel_tensor: self.table.pixel[None],
            bev.lift.depth_tensor: self.table.depth[None],
            bev.lidar.tensor: self.lidar[None],
            bev.radar.tensor: self.radar[None],
            bev.present_tensor: self.present()[None],
        }


class BevWindow:
    """Keeps the last sweeps, tracks, poses and pictures of one vehicle.

    Args:
        ahead_s: how far the lidar looks ahead; a whole number of its slots.
    """

    def __init__(self, image: ImageInput, bev: BevInputs, ahead_s: float = 0.0) -> None:
        self._image, self._bev = image, bev
        self._ahead_ns = round(ahead_s * 1e9)
        self._raster = LidarRaster(bev.lidar)
        kept = bev.lidar.slots + _FRAMES_OVER_SLOTS
        self._sweeps: deque[LidarSample] = deque(maxlen=kept)
        self._tracks: deque[RadarSample] = deque(maxlen=16)
        self._poses: deque[PoseSample] = deque(maxlen=_POSES)
        self._mounts: dict[str, Float64s] = {}
        self._views: dict[str, CameraView] = {}
        self._pictures: dict[str, deque[tuple[int, U8s]]] = {}
        self._pictures_kept = 1 + round(ahead_s / bev.lidar.slot_s)
        self._tables: dict[tuple[bool, ...], LiftTable] = {}
        shape = (len(bev.cameras), 3, image.height, image.width)
        self._images: Float32s = np.zeros(shape, dtype=np.float32)
        self._lidar: Float32s = np.zeros(self._raster.shape, dtype=np.float32)
        grid = bev.radar.grid
        self._radar: Float32s = np.zeros((len(RADAR_CHANNELS), grid.rows, grid.columns), np.float32)

    def add(self, sample: BevSample) -> None:
        """Take a sample, in the order of time within its channel."""
        match sample:
            case LidarSample():
                self._sweeps.append(sample)
            case RadarSample():
                self._tracks.append(sample)
            case PoseSample():
                self._poses.append(sample)
            case MountSample():
                self._mounts[sample.frame_id] = sample.ego_SE3_sensor
            case CalibrationSample():
                if sample.channel in self._bev.cameras:
                    view = view_of(sample, self._image.width, self._image.height)
                    self._views[sample.channel] = view
                    self._tables.clear()

    def add_pixels(self, channel: str, mono_ns: int, pixels: U8s) -> None:
        """Take a decoded picture uint8 [h, w, 3] RGB; other cameras' are not kept."""
        if channel in self._bev.cameras:
            kept = self._pictures.setdefault(channel, deque(maxlen=self._pictures_kept))
            kept.append((mono_ns, pixels))

    def tensors(self, now_ns: int) -> BevTensors:
        """The inputs of the instant. Raises `InputError` when ego motion is unknown."""
        return self.with_pictures(now_ns, self.fill_points(now_ns))

    def with_pictures(self, now_ns: int, points: tuple[bool, bool]) -> BevTensors:
        """The inputs of an instant whose points are filled already: `points` is the answer."""
        present = self._fill_images(now_ns)
        lidar_present, radar_present = points
        return BevTensors(
            self._images, self._table(present), self._lidar, self._radar, present,
            lidar_present, radar_present,
        )  # fmt: skip

    def fill_points(self, now_ns: int, beside: Executor | None = None) -> tuple[bool, bool]:
        """Fill lidar and radar of an instant; whether each is present. Needs no picture.

        Half of the lidar's work is done by `beside`, if there is one. Raises `InputError` when ego
        motion is unknown.
        """
        sweeps = [one for one in self._sweeps if one.mono_ns <= now_ns + self._ahead_ns]
        tracks = [one for one in self._tracks if one.mono_ns <= now_ns]
        motion = PoseTrack(list(self._poses)) if sweeps or tracks else None
        lidar_present = self._fill_lidar(now_ns, sweeps, motion, beside)
        return lidar_present, self._fill_radar(now_ns, tracks, motion)

    def _fill_images(self, now_ns: int) -> NDArray[np.bool_]:
        how = self._image
        present = np.zeros(len(self._bev.cameras), dtype=np.bool_)
        for number, channel in enumerate(self._bev.cameras):
            pixels = self._picture(channel, now_ns)
            if pixels is None or channel not in self._views:
                self._images[number] = 0
                continue
            fit = fit_image(pixels.shape[1], pixels.shape[0], how.width, how.height, "stretch")
            fill_input(
                pixels, fit, self._images[number : number + 1], bgr=how.colour == "bgr",
                scale=how.scale, offset=how.offset,
            )  # fmt: skip
            present[number] = True
        return present

    def _picture(self, channel: str, now_ns: int) -> U8s | None:
        """The newest picture that is neither of the future nor too old."""
        for taken_ns, pixels in reversed(self._pictures.get(channel, ())):
            if 0 <= now_ns - taken_ns <= CAMERA_MAX_AGE_NS:
                return pixels
        return None

    def _table(self, present: NDArray[np.bool_]) -> LiftTable:
        key = tuple(present.tolist())
        if key not in self._tables:
            how, lift = self._image, self._bev.lift
            views = [
                self._views[channel] if here else None
                for channel, here in zip(self._bev.cameras, key, strict=True)
            ]
            self._tables[key] = (
                lift_table(lift, views)
                if any(key)
                else empty_table(lift, len(key), how.width, how.height)
            )
        return self._tables[key]

    def _fill_lidar(
        self, now_ns: int, sweeps: list[LidarSample], motion: PoseTrack | None,
        beside: Executor | None,
    ) -> bool:  # fmt: skip
        spec = self._bev.lidar
        oldest_ns = now_ns + self._ahead_ns - round((spec.slots - 0.5) * spec.slot_s * 1e9)
        used = [s for s in sweeps if s.frame_id in self._mounts and s.mono_ns > oldest_ns]
        fresh = any(0 <= (now_ns - s.mono_ns) * 1e-9 < 0.5 * spec.slot_s for s in used)
        if motion is None or not fresh:
            self._lidar[:] = 0
            return False
        self._raster.fill([self._sweep(s, now_ns, motion) for s in used], self._lidar, beside)
        return True

    def _sweep(self, sample: LidarSample, now_ns: int, motion: PoseTrack) -> Sweep:
        mount = self._mounts[sample.frame_id]
        end = motion.now_SE3_then(now_ns, sample.mono_ns) @ mount
        age_s = (now_ns + self._ahead_ns - sample.mono_ns) * 1e-9
        offsets = sample.time_offset_ns
        if offsets is None or not offsets.size:
            return Sweep(sample.xyz_m, sample.intensity, age_s, end)
        span_s = max(-float(offsets.min()) * 1e-9, _SHORTEST_SPAN_S)
        begun_ns = sample.mono_ns - round(span_s * 1e9)
        start = motion.now_SE3_then(now_ns, begun_ns) @ mount
        return Sweep(sample.xyz_m, sample.intensity, age_s, end, start, offsets, span_s)

    def _fill_radar(self, now_ns: int, tracks: list[RadarSample], motion: PoseTrack | None) -> bool:
        oldest_ns = now_ns - round(self._bev.radar.window_s * 1e9)
        used = [one for one in tracks if one.mono_ns >= oldest_ns]
        if motion is None or not used:
            self._radar[:] = 0
            return False
        frames = [
            RadarTracks(
                one.tracks, (now_ns - one.mono_ns) * 1e-9,
                motion.now_SE3_then(now_ns, one.mono_ns), motion.speed_mps(one.mono_ns),
            )
            for one in used
        ]  # fmt: skip
        fill_radar(self._bev.radar, frames, self._radar)
        return True
