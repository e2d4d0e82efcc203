"""Watches whether a camera has turned against the lidar since both were calibrated.

One camera, the first whose calibration is known, looked at once a second while the vehicle hardly
turns (a sweep is not taken at one instant, and a turn would show as drift). The surfaces of many
instants (`kernels.extrinsics`) add up with a memory of about a minute and a half; there is no
answer before `LEAST_LOOKS` of them, nor while no shift stands out.
"""

from __future__ import annotations

import numpy as np

from contracts.clock import NS_PER_S
from contracts.geometry import inverse_SE3
from contracts.samples import (
    CalibrationSample,
    Float64s,
    ImageSample,
    LidarSample,
    MountSample,
)
from edge_agent.perception.pixels import decode_pixels
from kernels.extrinsics import best_shift, edge_strength, projected, range_jumps, shift_surface

EVERY_NS = NS_PER_S
LEAST_LOOKS = 12
MEMORY = 0.98
MOST_TURN_RAD = 0.05
STRAIGHT_RADPS = 0.03
TOGETHER_NS = 60_000_000
_WIDEST_PX = 640


class DriftWatch:
    """The drift of one camera."""

    def __init__(self) -> None:
        self._camera: CalibrationSample | None = None
        self._mounts: dict[str, Float64s] = {}
        self._image: ImageSample | None = None
        self._sweep: LidarSample | None = None
        self._looked_ns: int | None = None
        self._surface: Float64s | None = None
        self._looks = 0

    def see(self, sample: ImageSample | LidarSample | MountSample | CalibrationSample) -> None:
        """Take a sample; of one instant the picture or the sweep may come first."""
        match sample:
            case LidarSample():
                self._sweep = sample
            case CalibrationSample():
                self._calibrated(sample)
            case MountSample():
                known = self._mounts.get(sample.frame_id)
                if known is None or not np.array_equal(known, sample.ego_SE3_sensor):
                    self._mounts[sample.frame_id] = sample.ego_SE3_sensor
                    self._surface, self._looks = None, 0
            case ImageSample():
                if self._camera is not None and sample.channel == self._camera.channel:
                    self._image = sample

    def _calibrated(self, sample: CalibrationSample) -> None:
        """Another calibration of the same camera begins anew."""
        known = self._camera
        if known is None:
            self._camera = sample
        elif known.channel == sample.channel and not (
            np.array_equal(known.ego_SE3_camera, sample.ego_SE3_camera)
            and np.array_equal(known.intrinsics, sample.intrinsics)
        ):
            self._camera, self._surface, self._looks = sample, None, 0

    def look(self, yaw_rate_radps: float) -> float | None:
        """Look at the newest picture and sweep; the drift (rad) when there is news of it."""
        camera, image, sweep = self._camera, self._image, self._sweep
        if camera is None or image is None or sweep is None:
            return None
        mount = self._mounts.get(sweep.frame_id)
        recent = self._looked_ns is not None and sweep.mono_ns - self._looked_ns < EVERY_NS
        if mount is None or recent or abs(yaw_rate_radps) > STRAIGHT_RADPS:
            return None
        if abs(image.mono_ns - sweep.mono_ns) > TOGETHER_NS:
            return None
        self._looked_ns = sweep.mono_ns
        pixels = decode_pixels(image)
        step = max(1, pixels.shape[1] // _WIDEST_PX)
        focal_px = float(camera.intrinsics[0, 0]) / step
        reach = max(4, int(np.ceil(MOST_TURN_RAD * focal_px)))
        points = projected(
            range_jumps(sweep), inverse_SE3(camera.ego_SE3_camera) @ mount, camera.intrinsics
        )
        surface = shift_surface(edge_strength(pixels[::step, ::step]), points / step, reach)
        if surface is None:
            return None
        if self._surface is None or self._surface.shape != surface.shape:
            self._surface, self._looks = np.zeros_like(surface), 0
        self._surface = MEMORY * self._surface + surface
        self._looks += 1
        if self._looks < LEAST_LOOKS:
            return None
        found = best_shift(self._surface)
        return None if found is None else float(np.hypot(*found)) / focal_px
