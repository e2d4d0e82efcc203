"""Whether a camera still fits the lidar as both were calibrated.

Where the lidar's range jumps, the picture has an edge more often than elsewhere (Levinson and
Thrun 2013). Summed over many instants, the strength of the picture's edges at those points is
highest at the shift by which the camera has turned: a small turn to the side or up and down moves
all of the picture alike, whatever the distance. A roll, and a shift in metres, do not show here.

Guarantees: the answer is one of the surface as a whole; where no shift stands out (a wall, fog, a
featureless road) there is none.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contracts.samples import Float32s, Float64s, LidarSample

JUMP_M = 0.5
NEAR_M, FAR_M = 4.0, 40.0
MOST_POINTS = 1500
LEAST_POINTS = 60

U8s = NDArray[np.uint8]


def range_jumps(sweep: LidarSample) -> Float64s:
    """Points of a sweep before which its range jumps along a beam's round, float64 [k, 3] in the
    sensor's frame: the nearer side of each. None where the sweep does not know its beams.
    """
    if sweep.ring is None or len(sweep.xyz_m) < 3:
        return np.zeros((0, 3))
    order = np.argsort(sweep.ring, kind="stable")
    xyz, ring = sweep.xyz_m[order].astype(np.float64), sweep.ring[order]
    away = np.linalg.norm(xyz, axis=1)
    step = np.linalg.norm(np.diff(xyz[:, :2], axis=0), axis=1)
    same = (ring[1:] == ring[:-1]) & (step < 8.0)
    jump = np.zeros(len(xyz))
    further = np.where(same, away[1:] - away[:-1], 0.0)
    jump[:-1] = np.maximum(jump[:-1], further)
    jump[1:] = np.maximum(jump[1:], -further)
    kept = np.flatnonzero((jump > JUMP_M) & (away > NEAR_M) & (away < FAR_M))
    return xyz[kept[:: max(1, len(kept) // MOST_POINTS)]]


def edge_strength(pixels: U8s) -> Float32s:
    """How strong the edge at each pixel of a picture uint8 [h, w, 3] is, float32 [h, w] in 0..1."""
    gray = pixels.astype(np.float32).mean(axis=2)
    across, down = np.zeros_like(gray), np.zeros_like(gray)
    across[:, 1:-1] = gray[:, 2:] - gray[:, :-2]
    down[1:-1] = gray[2:] - gray[:-2]
    strength = np.hypot(across, down)
    top = max(float(np.percentile(strength, 98)), 1.0)
    sharp: Float32s = np.minimum(strength / top, 1.0).astype(np.float32)
    return sharp


def projected(
    points: Float64s,
    camera_SE3_sensor: Float64s,
    intrinsics: Float64s,
) -> Float64s:
    """Pixels [k, 2] of the points [n, 3] before the camera (x right, y down, z forward)."""
    local = points @ camera_SE3_sensor[:3, :3].T + camera_SE3_sensor[:3, 3]
    local = local[local[:, 2] > 1.0]
    seen = local @ intrinsics.T
    return np.asarray(seen[:, :2] / seen[:, 2:])


def shift_surface(strength: Float32s, pixels: Float64s, reach: int) -> Float64s | None:
    """Mean edge strength at the points for each shift in whole pixels, float64 [2 reach + 1] twice
    (down, across); None when too few points lie in the picture.
    """
    height, width = strength.shape
    inside = (
        (pixels[:, 0] >= reach) & (pixels[:, 0] < width - 1 - reach)
        & (pixels[:, 1] >= reach) & (pixels[:, 1] < height - 1 - reach)
    )  # fmt: skip
    if int(inside.sum()) < LEAST_POINTS:
        return None
    column, row = np.rint(pixels[inside]).astype(np.int64).T
    shifts = np.arange(-reach, reach + 1)
    rows = row[:, None, None] + shifts[None, :, None]
    columns = column[:, None, None] + shifts[None, None, :]
    return np.asarray(strength[rows, columns].mean(axis=0), dtype=np.float64)


def best_shift(surface: Float64s, clearness: float = 3.0) -> tuple[float, float] | None:
    """The shift (down, across) in pixels at which a surface is highest, between pixels by a
    parabola; None where the peak does not stand out of it by so many standard deviations, or lies
    at its border.
    """
    reach = surface.shape[0] // 2
    row, column = (int(part) for part in np.unravel_index(int(surface.argmax()), surface.shape))
    spread = float(surface.std())
    if spread == 0.0 or surface[row, column] < surface.mean() + clearness * spread:
        return None
    if row in (0, 2 * reach) or column in (0, 2 * reach):
        return None
    return (
        row - reach + _vertex(surface[row - 1 : row + 2, column]),
        column - reach + _vertex(surface[row, column - 1 : column + 2]),
    )


def _vertex(three: Float64s) -> float:
    bend = float(three[0] - 2 * three[1] + three[2])
    return 0.0 if bend >= 0.0 else float(0.5 * (three[0] - three[2]) / bend)
