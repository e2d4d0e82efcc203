"""What a vehicle's sensors give in each tenth of a second, simulated for the benchmarks.

Six camera images of 1600 x 900 as pixels and as the JPEG that a camera's own encoder makes of
them, one sweep of about 244,000 points, signals at 20 to 100 Hz, poses and a plan. Pixels and
sweeps alternate among sets that together exceed the last-level cache of a vehicle's computer,
since a sensor's buffers are never warm. Motion is plain: straight on at a steady speed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from bench.street_grid import street_grid
from contracts.samples import ImageSample, LidarSample, PlanSample, PoseSample, Sample, SignalSample
from kernels.lidar.grid import grid_points

CAMERAS, HEIGHT_PX, WIDTH_PX = 6, 900, 1600
FRAME_NS = 100_000_000
SPEED_MPS = 15.0
_GRAIN = 6.0
_JPEG_QUALITY = 90

SIGNALS_HZ = {
    "ego.speed_mps": 100, "ego.yaw_rate_radps": 100, "ego.steering_angle_rad": 100,
    "driver.brake_pressed": 100, "driver.gas_pressed": 100, "autonomy.engaged": 100,
    "lead.distance_m": 20, "lead.closing_mps": 20,
}  # fmt: skip
_POSES_PER_FRAME = 2
_VALUES = {"ego.speed_mps": SPEED_MPS, "autonomy.engaged": 1.0, "lead.distance_m": 40.0}

U8s = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class SensorFrame:
    """One tenth of a second. `pixels` uint8 [6, h, w, 3] RGB is what the `images` show."""

    pixels: U8s
    images: tuple[ImageSample, ...]
    sweep: LidarSample
    motion: tuple[Sample, ...]


class SimulatedFrames:
    """Makes frames; only time stamps and motion are new in each.

    Args:
        camera_sets: how many sets of six images take turns.
        sweeps: how many sweeps take turns.
    """

    def __init__(self, camera_sets: int = 2, sweeps: int = 8, seed: int = 31) -> None:
        rng = np.random.default_rng(seed)
        self._pixels = [_camera_set(rng) for _ in range(camera_sets)]
        self._jpegs = [[_jpeg(image) for image in images] for images in self._pixels]
        points = grid_points(street_grid())
        self._points = [(points.xyz_m.copy(), points) for _ in range(sweeps)]

    def frame(self, number: int) -> SensorFrame:
        start_ns = number * FRAME_NS
        jpegs = self._jpegs[number % len(self._jpegs)]
        xyz_m, points = self._points[number % len(self._points)]
        end_ns = start_ns + FRAME_NS - 1
        images = tuple(
            ImageSample(f"/camera/{i}", end_ns, "jpeg", jpeg, WIDTH_PX, HEIGHT_PX, str(i))
            for i, jpeg in enumerate(jpegs)
        )
        sweep = LidarSample("/lidar/top", end_ns, xyz_m, points.intensity, "top", points.ring)
        pixels = self._pixels[number % len(self._pixels)]
        return SensorFrame(pixels, images, sweep, tuple(_motion(start_ns)))


def _camera_set(rng: np.random.Generator) -> U8s:
    """Flat patches with grain: as many JPEG bytes as a street scene."""
    shape = (CAMERAS, HEIGHT_PX // 100, WIDTH_PX // 100, 3)
    patches = rng.integers(20, 236, shape, dtype=np.uint8)
    grain = np.clip(rng.normal(20, _GRAIN, (HEIGHT_PX, WIDTH_PX, 1)), 0, 39).astype(np.uint8)
    # Levels from 20 to 235 plus a grain of -20 to 19 (modulo 256) stay within a byte.
    return patches.repeat(100, axis=1).repeat(100, axis=2) + (grain - np.uint8(20))


def _jpeg(image: U8s) -> bytes:
    return bytes(simplejpeg.encode_jpeg(image, quality=_JPEG_QUALITY))


def _motion(start_ns: int) -> list[Sample]:
    samples: list[Sample] = [_plan(start_ns)]
    for name, rate_hz in SIGNALS_HZ.items():
        step_ns = 10**9 // rate_hz
        samples += [
            SignalSample(name, at_ns, _VALUES.get(name, 0.0))
            for at_ns in range(start_ns, start_ns + FRAME_NS, step_ns)
        ]
    step_ns = FRAME_NS // _POSES_PER_FRAME
    samples += [_pose(at_ns) for at_ns in range(start_ns, start_ns + FRAME_NS, step_ns)]
    return sorted(samples, key=lambda sample: sample.mono_ns)


def _pose(at_ns: int) -> PoseSample:
    place_m = np.array([SPEED_MPS * at_ns / 1e9, 0.0, 0.0])
    return PoseSample(at_ns, place_m, np.array([0.0, 0.0, 0.0, 1.0]))


def _plan(at_ns: int) -> PlanSample:
    t_s = np.arange(0.0, 3.01, 0.1)
    return PlanSample(at_ns, t_s, np.stack([SPEED_MPS * t_s, 0.0 * t_s], axis=1))
