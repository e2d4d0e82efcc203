"""A contact sheet of a drive for people: cameras at several times, the lidar from above.

Oracle boxes are drawn in the lidar's view: green where visible, red where hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import simplejpeg

from contracts.samples import Float64s, ImageSample, LidarSample, Sample
from sim_fleet.classes import KIND_NAMES
from sim_fleet.world.oracle import OracleFrame

_REACH_M = 40.0


@dataclass(frozen=True, slots=True)
class Row:
    """One instant: its pictures in the order of the cameras, its sweep and its truth."""

    t_s: float
    pictures: tuple[np.ndarray[tuple[int, int, int], np.dtype[np.uint8]], ...]
    names: tuple[str, ...]
    lidar: LidarSample | None
    truth: OracleFrame
    note: str


def row_of(t_s: float, samples: Sequence[Sample], truth: OracleFrame, note: str) -> Row:
    """A row from the samples of one instant."""
    images = [sample for sample in samples if isinstance(sample, ImageSample)]
    lidars = [sample for sample in samples if isinstance(sample, LidarSample)]
    return Row(
        t_s,
        tuple(simplejpeg.decode_jpeg(bytes(image.content)) for image in images),
        tuple(image.channel.removeprefix("/camera/") for image in images),
        lidars[0] if lidars else None,
        truth,
        note,
    )


def box_corners(truth: OracleFrame) -> Float64s:
    """Corners of all boxes from above in the ego frame, closed: [n, 5, 2]."""
    ends = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1], [1, 1]]) / 2
    cos, sin = np.cos(truth.yaw_ego_rad), np.sin(truth.yaw_ego_rad)
    local = ends[None] * truth.size_m[:, None, :2]
    x = truth.centre_ego_m[:, None, 0] + cos[:, None] * local[..., 0] - sin[:, None] * local[..., 1]
    y = truth.centre_ego_m[:, None, 1] + sin[:, None] * local[..., 0] + cos[:, None] * local[..., 1]
    return np.stack([x, y], axis=2)


def draw_sheet(path: Path, rows: Sequence[Row], title: str, lidar_mount_m: Float64s) -> None:
    """Write the sheet as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    cameras = max((len(row.pictures) for row in rows), default=0)
    columns = max(cameras, 1) + 1
    figure = Figure(figsize=(3.4 * max(cameras, 1) + 3.0, 2.15 * len(rows) + 0.5), dpi=100)
    FigureCanvasAgg(figure)
    widths = [1.7] * max(cameras, 1) + [1.15]
    grid = figure.add_gridspec(len(rows), columns, width_ratios=widths)
    for i, row in enumerate(rows):
        for k, picture in enumerate(row.pictures):
            axes = figure.add_subplot(grid[i, k])
            axes.imshow(picture, interpolation="lanczos")
            axes.set_axis_off()
            axes.set_title(f"{row.names[k]}  {row.t_s:.1f} s", fontsize=7, pad=2)
        axes = figure.add_subplot(grid[i, columns - 1])
        _from_above(axes, row, lidar_mount_m)
    figure.suptitle(title, fontsize=9)
    figure.subplots_adjust(left=0.01, right=0.99, top=0.93, bottom=0.02, wspace=0.03, hspace=0.14)
    figure.savefig(path)


def _from_above(axes: object, row: Row, mount_m: Float64s) -> None:
    """The sweep and the boxes from above, forward up."""
    from matplotlib.axes import Axes

    if not isinstance(axes, Axes):
        return
    axes.set_facecolor("#101418")
    if row.lidar is not None:
        xyz = row.lidar.xyz_m + mount_m.astype(np.float32)
        high = np.clip(xyz[:, 2] / 3.0, 0, 1)
        axes.scatter(-xyz[:, 1], xyz[:, 0], s=0.7, c=high, cmap="turbo", vmin=-0.1, linewidths=0)
    truth = row.truth
    corners = box_corners(truth)
    for n in range(truth.kind.size):
        hidden = not truth.visibility[n] > 0.05
        axes.plot(-corners[n, :, 1], corners[n, :, 0], lw=0.7,
                  color="#ff5050" if hidden else "#50ff70")  # fmt: skip
        x, y = truth.centre_ego_m[n, :2]
        if not hidden and max(abs(x), abs(y)) < _REACH_M:
            axes.text(-y, x, KIND_NAMES[truth.kind[n]][:4], fontsize=4, color="white")
    axes.plot([0], [1.35], marker="^", color="white", ms=4)
    axes.set_xlim(-_REACH_M, _REACH_M)
    axes.set_ylim(-_REACH_M * 0.6, _REACH_M)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_aspect("equal")
    axes.set_title(row.note, fontsize=7, pad=2)
