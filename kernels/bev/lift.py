"""The gather table: which camera feature, and which of its depth bins, each cell looks at.

For each height over each cell of a bird's-eye grid the point is projected into every camera;
the camera that has it nearest to the middle of its picture answers. The table depends on
calibration alone, so it is made once and again when calibration or the cameras present change.

Pixels: the middle of pixel (u, v) is at (u + 0.5, v + 0.5), so a point at u lies in feature
`floor(u / stride)`. Points behind a camera, out of its picture or nearer than the first depth
edge are not seen and point to one more row, which the network keeps at zero. An absent camera
is given as None, and all of its points are not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.errors import InputError
from contracts.geometry import apply_SE3, checked_SE3, inverse_SE3
from contracts.model_manifest import LiftInput
from contracts.samples import CalibrationSample, Float64s

Int64s = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class CameraView:
    """A camera as the network sees it: picture size in pixels of the tensor, intrinsics
    float64 [3, 3] for that size, `ego_SE3_camera` float64 [4, 4].
    """

    width: int
    height: int
    intrinsics: Float64s
    ego_SE3_camera: Float64s

    def projected(self, points_m: Float64s) -> tuple[Float64s, Float64s]:
        """Pixels [n, 2] and depths [n] in metres of ego points [n, 3]; pixels of points at or
        behind the camera mean nothing.
        """
        local = apply_SE3(inverse_SE3(checked_SE3(self.ego_SE3_camera)), points_m)
        depth = local[:, 2]
        image = local @ self.intrinsics.T
        return image[:, :2] / np.where(depth > 1e-6, depth, np.nan)[:, None], depth


@dataclass(frozen=True, slots=True)
class LiftTable:
    """Indices int64 [heights * rows * columns], heights first, rows along x.

    `pixel` is `(camera * fh + v) * fw + u`, `depth` is `pixel * bins + bin`; what is not seen
    has `cameras * fh * fw`, and `cameras * fh * fw * bins`.
    """

    pixel: Int64s
    depth: Int64s


def view_of(calibration: CalibrationSample, width: int, height: int) -> CameraView:
    """The view of a camera whose picture is stretched to `width` x `height`."""
    if calibration.width < 1 or calibration.height < 1:
        raise InputError("calibration without a picture size", calibration.channel)
    scale = np.diag([width / calibration.width, height / calibration.height, 1.0])
    intrinsics = scale @ calibration.intrinsics
    return CameraView(width, height, intrinsics, calibration.ego_SE3_camera)


def lift_points(spec: LiftInput) -> Float64s:
    """The points that are looked at, float64 [heights * rows * columns, 3]."""
    x, y = spec.grid.centres()
    mesh = np.meshgrid(np.array(spec.heights_m), x, y, indexing="ij")
    return np.stack([mesh[1].ravel(), mesh[2].ravel(), mesh[0].ravel()], axis=1)


def lift_table(spec: LiftInput, views: Sequence[CameraView | None]) -> LiftTable:
    """The table of a set of cameras, of which at least one size must be known.

    Raises `InputError` when sizes differ or do not divide by the feature stride.
    """
    known = {(view.width, view.height) for view in views if view is not None}
    if len(known) > 1:
        raise InputError(f"all pictures have one size, found {sorted(known)}")
    points = lift_points(spec)
    if not known:
        raise InputError("no camera at all: use `empty_table`")
    width, height = known.pop()
    stride = spec.feature_stride
    if width % stride or height % stride:
        raise InputError(f"{width} x {height} pixels do not divide by the stride {stride}")
    wide, high = width // stride, height // stride
    best = np.full(points.shape[0], np.inf)
    table = empty_table(spec, len(views), width, height)
    edges = np.array(spec.depth_edges_m)
    for number, view in enumerate(views):
        if view is None:
            continue
        pixels, depth = view.projected(points)
        off = np.abs(pixels / (width, height) - 0.5).max(axis=1)
        seen = (depth >= max(edges[0], 1e-6)) & (off < 0.5) & (pixels >= 0).all(axis=1)
        rows = np.flatnonzero(seen & (off < best))
        best[rows] = off[rows]
        feature = (pixels[rows] / stride).astype(np.int64)
        table.pixel[rows] = (number * high + feature[:, 1]) * wide + feature[:, 0]
        bins = np.searchsorted(edges, depth[rows], side="right") - 1
        table.depth[rows] = table.pixel[rows] * edges.size + bins
    return table


def empty_table(spec: LiftInput, cameras: int, width: int, height: int) -> LiftTable:
    """The table of a vehicle that has no picture at the moment: nothing is seen."""
    features = cameras * (width // spec.feature_stride) * (height // spec.feature_stride)
    size = len(spec.heights_m) * spec.grid.rows * spec.grid.columns
    return LiftTable(
        np.full(size, features, dtype=np.int64),
        np.full(size, features * len(spec.depth_edges_m), dtype=np.int64),
    )
