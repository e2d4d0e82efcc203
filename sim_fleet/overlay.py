"""Boxes as lines: from above, and as a camera sees them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.geometry import apply_SE3, inverse_SE3
from contracts.samples import CalibrationSample, Float64s, PerceptionFrame
from sim_fleet.world.oracle import OracleFrame

_NEAR_M = 0.4
_GROUND = ((0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5), (0.5, -0.5))
_CORNERS = np.array([[x, y, z] for z in (-0.5, 0.5) for x, y in _GROUND])
_RING = ((0, 1), (1, 2), (2, 3), (3, 0))
_EDGES = np.array([*_RING, *((a + 4, b + 4) for a, b in _RING), *((a, a + 4) for a in range(4))])


@dataclass(frozen=True, slots=True)
class Drawn:
    """Boxes to be drawn: `centre_m`, `size_m` [n, 3], `yaw_rad` [n] in the ego frame, their
    `velocity_mps` [n, 2] and a caption for each.
    """

    centre_m: Float64s
    size_m: Float64s
    yaw_rad: Float64s
    velocity_mps: Float64s
    captions: tuple[str, ...]

    def corners_m(self) -> Float64s:
        """[n, 8, 3]: the lower four against the clock from front left on, then the upper four."""
        local = _CORNERS[None] * self.size_m[:, None]
        cos, sin = np.cos(self.yaw_rad)[:, None], np.sin(self.yaw_rad)[:, None]
        x = cos * local[..., 0] - sin * local[..., 1]
        y = sin * local[..., 0] + cos * local[..., 1]
        return np.stack([x, y, local[..., 2]], axis=2) + self.centre_m[:, None]

    def outlines_m(self) -> Float64s:
        """Footprints from above, closed: [n, 5, 2]."""
        ground = self.corners_m()[:, [0, 1, 2, 3, 0], :2]
        return np.asarray(ground)

    def within(self, reach_m: float) -> Drawn:
        """Those whose middle is no farther from the ego."""
        rows = np.flatnonzero(np.hypot(self.centre_m[:, 0], self.centre_m[:, 1]) <= reach_m)
        return Drawn(
            self.centre_m[rows], self.size_m[rows], self.yaw_rad[rows], self.velocity_mps[rows],
            tuple(self.captions[row] for row in rows),
        )  # fmt: skip


def drawn_truth(
    truth: OracleFrame, rows: np.ndarray[tuple[int], np.dtype[np.bool_]], names: tuple[str, ...]
) -> Drawn:
    """The chosen actors; `names` by kind."""
    kinds = truth.kind[rows].tolist()
    return Drawn(
        truth.centre_ego_m[rows], truth.size_m[rows], truth.yaw_ego_rad[rows],
        truth.velocity_ego_mps[rows], tuple(names[kind].replace("_", " ") for kind in kinds),
    )  # fmt: skip


def drawn_detections(frame: PerceptionFrame, least: float) -> Drawn:
    """The model's boxes from a probability on."""
    found = [d for d in frame.detections if d.probability >= least and d.cuboid is not None]
    boxes = [d.cuboid for d in found if d.cuboid is not None]
    captions = (f"{d.class_name.replace('_', ' ')} {d.probability:.2f}" for d in found)
    return Drawn(
        np.array([box.centre_m for box in boxes], np.float64).reshape(-1, 3),
        np.array([box.size_m for box in boxes], np.float64).reshape(-1, 3),
        np.array([box.yaw_rad for box in boxes], np.float64),
        np.array([box.velocity_mps for box in boxes], np.float64).reshape(-1, 2),
        tuple(captions),
    )


@dataclass(frozen=True, slots=True)
class Outline:
    """A box in a picture: `edges_px` [k, 2, 2], its caption, and where that goes `top_px` [2]."""

    edges_px: Float64s
    top_px: Float64s
    caption: str


def camera_outlines(boxes: Drawn, camera: CalibrationSample) -> list[Outline]:
    """The boxes that show in a picture."""
    found = []
    to_camera = inverse_SE3(camera.ego_SE3_camera)
    for corners, caption in zip(boxes.corners_m(), boxes.captions, strict=True):
        local = apply_SE3(to_camera, corners)
        lines = [line for line in (_clipped(local[a], local[b]) for a, b in _EDGES) if line.size]
        if not lines:
            continue
        pixels = np.stack(lines) @ camera.intrinsics.T
        edges = pixels[..., :2] / pixels[..., 2:]
        low, high = edges.min(axis=(0, 1)), edges.max(axis=(0, 1))
        if (high > 0).all() and (low < (camera.width, camera.height)).all():
            top = np.array([(low[0] + high[0]) / 2, low[1]])
            found.append(Outline(edges, top, caption))
    return found


def _clipped(a: Float64s, b: Float64s) -> Float64s:
    """The part [2, 3] of an edge in front of the camera, [0, 3] when there is none."""
    if a[2] < _NEAR_M and b[2] < _NEAR_M:
        return np.zeros((0, 3))
    if a[2] < _NEAR_M:
        a = b + (a - b) * (b[2] - _NEAR_M) / (b[2] - a[2])
    elif b[2] < _NEAR_M:
        b = a + (b - a) * (a[2] - _NEAR_M) / (a[2] - b[2])
    return np.stack([a, b])
