"""A spinning lidar, 32 rings x 1024 columns at 10 Hz, cast against the ground and boxes.

Points come in the order of measurement (column by column, rings from the top), each in the
sensor's frame at its own instant: the sweep is as distorted by motion as a real one, and
`time_offset_ns` lets it be deskewed.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from contracts.samples import Float32s, Float64s
from edge_agent.sources.sim.actors import BUILDING, CAR, PEDESTRIAN, TRUCK
from edge_agent.sources.sim.scene import Scene

RINGS, COLUMNS = 32, 1024
SWEEP_NS = 100_000_000
MOUNT_M = (1.2, 0.0, 1.9)
MAX_RANGE_M = 80.0
RANGE_SIGMA_M = 0.015
_DROPOUT_RATIO = 0.02
_ELEVATION_RAD: Float64s = np.deg2rad(np.linspace(4.0, -24.0, RINGS))
_AZIMUTH_RAD: Float64s = np.pi - 2 * np.pi * (np.arange(COLUMNS) + 0.5) / COLUMNS
_REFLECTIVITY = {CAR: 90, TRUCK: 120, PEDESTRIAN: 60, BUILDING: 45}


@njit(nogil=True, cache=True, error_model="numpy")
def _ground(
    ox: float, oy: float, ux: float, uy: float, slope: float, height_m: float, road: Float64s
) -> tuple[float, int]:
    """Horizontal range and intensity of the ground along one ray; 0, 0 where it meets none."""
    if slope >= 0.0 or -height_m / slope >= MAX_RANGE_M:
        return 0.0, 0
    flat = -height_m / slope
    x = min(max(ox + ux * flat, 0.0), road.size - 1.001)
    side = abs(oy + uy * flat - road[int(x)])
    if abs(side - 3.35) < 0.12:
        return flat, 110
    return flat, 18 if side < 6.0 else 35


@njit(nogil=True, cache=True, error_model="numpy")
def _span(
    px: float, py: float, dx: float, dy: float, half_x: float, half_y: float
) -> tuple[float, float]:
    """Where a ray in the plane enters and leaves a box around the origin; enter > leave: never."""
    enter, leave = 0.0, MAX_RANGE_M
    for p, d, half in ((px, dx, half_x), (py, dy, half_y)):
        if abs(d) < 1e-9:
            if abs(p) > half:
                return 1.0, 0.0
            continue
        first, second = (-half - p) / d, (half - p) / d
        enter = max(enter, min(first, second))
        leave = min(leave, max(first, second))
    return enter, leave


@njit(nogil=True, cache=True, error_model="numpy")
def _rise(enter: float, leave: float, slope: float, height_m: float, top_m: float) -> float:
    """Horizontal range at which a ray meets a box: its near wall, or its roof; 0 for a miss."""
    z = height_m + enter * slope
    if z < 0.0:
        return 0.0
    if z <= top_m:
        return enter
    if slope >= 0.0:
        return 0.0
    roof = (top_m - height_m) / slope
    return roof if enter <= roof <= leave else 0.0


@njit(nogil=True, cache=True, error_model="numpy")
def _cast(
    boxes: Float64s,
    levels: NDArray[np.int64],
    azimuth: Float64s,
    slopes: Float64s,
    ego_mps: float,
    yaw_rate_radps: float,
    mount: Float64s,
    road: Float64s,
    ranges: Float64s,
    intensity: NDArray[np.uint8],
) -> None:
    """Nearest hit of every ray: horizontal range [columns, rings], 0 where there is none.

    `boxes` [n, 8]: x, y, yaw, half length, half width, height, velocity x, velocity y in the
    ego frame at the sweep's end. Motion within the sweep is linear.
    """
    columns, rings = ranges.shape
    for column in range(columns):
        before_s = -0.1 * (columns - 1 - column) / columns
        turn = yaw_rate_radps * before_s
        ox = ego_mps * before_s + np.cos(turn) * mount[0]
        oy = np.sin(turn) * mount[0]
        ux, uy = np.cos(azimuth[column] + turn), np.sin(azimuth[column] + turn)
        for ring in range(rings):
            flat, level = _ground(ox, oy, ux, uy, slopes[ring], mount[2], road)
            ranges[column, ring] = flat
            intensity[column, ring] = level
        for b in range(boxes.shape[0]):
            bx = boxes[b, 0] + boxes[b, 6] * before_s - ox
            by = boxes[b, 1] + boxes[b, 7] * before_s - oy
            reach = boxes[b, 3] + boxes[b, 4]
            if abs(ux * by - uy * bx) > reach or ux * bx + uy * by < -reach:
                continue
            cos, sin = np.cos(boxes[b, 2]), np.sin(boxes[b, 2])
            enter, leave = _span(
                -(cos * bx + sin * by),
                -(-sin * bx + cos * by),
                cos * ux + sin * uy,
                -sin * ux + cos * uy,
                boxes[b, 3],
                boxes[b, 4],
            )
            if leave <= enter or enter <= 0.3:
                continue
            for ring in range(rings):
                hit = _rise(enter, leave, slopes[ring], mount[2], boxes[b, 5])
                if hit > 0.0 and (ranges[column, ring] == 0.0 or hit < ranges[column, ring]):
                    ranges[column, ring] = hit
                    intensity[column, ring] = levels[b]


def sweep(
    scene: Scene, rng: np.random.Generator
) -> tuple[Float32s, NDArray[np.uint8], NDArray[np.uint16], NDArray[np.int32]]:
    """`xyz_m` [n, 3], `intensity` [n], `ring` [n], `time_offset_ns` [n] up to 0 at the end."""
    boxes = np.column_stack(
        [scene.xy_m, scene.yaw_rad, scene.size_m[:, :2] / 2, scene.size_m[:, 2], scene.velocity_mps]
    )
    levels = np.array([_REFLECTIVITY[int(kind)] for kind in scene.kind], dtype=np.int64)
    tangent = np.tan(_ELEVATION_RAD)
    flat_m = np.empty((COLUMNS, RINGS))
    intensity = np.empty((COLUMNS, RINGS), dtype=np.uint8)
    _cast(
        boxes, levels, _AZIMUTH_RAD, tangent, scene.ego_mps, scene.ego_yaw_rate_radps,
        np.array(MOUNT_M), scene.centre_line_m, flat_m, intensity,
    )  # fmt: skip
    shape = flat_m.shape
    returned = (flat_m > 0.3) & (rng.random(shape, dtype=np.float32) >= _DROPOUT_RATIO)
    column, ring = np.nonzero(returned)
    slant = np.sqrt(1 + tangent[ring] ** 2)
    noisy_m = flat_m[column, ring] + rng.normal(0, RANGE_SIGMA_M, column.size) / slant
    xyz_m = np.empty((column.size, 3), dtype=np.float32)
    xyz_m[:, 0] = noisy_m * np.cos(_AZIMUTH_RAD)[column]
    xyz_m[:, 1] = noisy_m * np.sin(_AZIMUTH_RAD)[column]
    xyz_m[:, 2] = noisy_m * tangent[ring]
    offset_ns = (-(COLUMNS - 1 - column) * (SWEEP_NS // COLUMNS)).astype(np.int32)
    return xyz_m, intensity[column, ring], ring.astype(np.uint16), offset_ns
