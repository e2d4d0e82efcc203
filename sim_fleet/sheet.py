"""A contact sheet of a drive for people: the cameras, and all of it from above.

The truth is drawn in one colour, what a model saw in another; objects that are hidden from the
vehicle are dotted. The planned path is the planner's, whoever drives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import simplejpeg

from contracts.labels import LIGHT_STATES
from contracts.samples import (
    CalibrationSample,
    Float64s,
    ImageSample,
    LidarSample,
    PerceptionFrame,
    Sample,
)
from sim_fleet.classes import KIND_NAMES
from sim_fleet.overlay import (
    Drawn,
    Outline,
    camera_outlines,
    drawn_detections,
    drawn_truth,
)
from sim_fleet.world.oracle import OracleFrame

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patheffects import AbstractPathEffect

_AHEAD_M, _BEHIND_M, _ASIDE_M = 52.0, 20.0, 30.0
_CAMERA_M = 55.0
"""Boxes farther away are not drawn into pictures."""
_CAPTION_M, _CAPTION_PX = 40.0, 13.0
"""Boxes farther away, or narrower in a picture, have no caption there."""
_SHOWN = 0.05
"""Share of an object that must be in sight for it to count as visible."""

_PAPER, _GROUND, _INK = "#0f1318", "#161b22", "#e6edf3"
_TRUTH, _SEEN, _PATH, _LANE = "#35c9ff", "#ffab2e", "#58e07c", "#46515e"
_ROW_IN, _HEAD_IN, _FOOT_IN, _EDGE_IN = 3.7, 0.42, 0.4, 0.12


@dataclass(frozen=True, slots=True)
class Row:
    """One instant: its pictures in the order of the cameras, its sweep, its truth, the planned
    path [k, 2] in the ego frame, and what a model saw.
    """

    t_s: float
    pictures: tuple[np.ndarray[tuple[int, int, int], np.dtype[np.uint8]], ...]
    names: tuple[str, ...]
    lidar: LidarSample | None
    truth: OracleFrame
    note: str
    path_m: Float64s | None = None
    seen: PerceptionFrame | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """What all rows share: calibrations by camera name, the lidar's mount, and the least
    probability of a detection that is drawn (None: no model ran).
    """

    calibrations: dict[str, CalibrationSample]
    lidar_mount_m: Float64s
    least: float | None = None


def row_of(
    t_s: float,
    samples: Sequence[Sample],
    truth: OracleFrame,
    note: str,
    path_m: Float64s | None = None,
    seen: PerceptionFrame | None = None,
) -> Row:
    """A row from the samples of one instant."""
    images = [sample for sample in samples if isinstance(sample, ImageSample)]
    lidars = [sample for sample in samples if isinstance(sample, LidarSample)]
    return Row(
        t_s,
        tuple(simplejpeg.decode_jpeg(bytes(image.content)) for image in images),
        tuple(image.channel.removeprefix("/camera/") for image in images),
        lidars[0] if lidars else None,
        truth, note, path_m, seen,
    )  # fmt: skip


def draw_sheet(path: Path, rows: Sequence[Row], title: str, look: Look) -> None:
    """Write the sheet as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    cameras = max((len(row.pictures) for row in rows), default=0)
    across = -(-cameras // 2)
    # Two rows of pictures are as high as the view from above; all keep their proportions.
    aspect = max((p.shape[1] / p.shape[0] for row in rows for p in row.pictures), default=0.0)
    ratios = (0.5 * aspect * across, 2 * _ASIDE_M / (_AHEAD_M + _BEHIND_M))[0 if cameras else 1 :]
    width = _ROW_IN * sum(ratios) + 2 * _EDGE_IN
    height = _ROW_IN * len(rows) + _HEAD_IN + _FOOT_IN
    figure = Figure(figsize=(width, height), dpi=120, facecolor=_PAPER)
    FigureCanvasAgg(figure)
    edge, top = _EDGE_IN / width, 1 - _HEAD_IN / height
    outer = figure.add_gridspec(
        len(rows), len(ratios), left=edge, right=1 - edge, top=top, bottom=_FOOT_IN / height,
        wspace=0.02, hspace=0.035, width_ratios=ratios,
    )  # fmt: skip
    for i, row in enumerate(rows):
        truth = _visible(row)
        seen = drawn_detections(row.seen, look.least) if row.seen and look.least else None
        if cameras:
            inner = outer[i, 0].subgridspec(2, across, wspace=0.015, hspace=0.02)
            for k, name in enumerate(_reading_order(row.names)):
                axes = figure.add_subplot(inner[k // across, k % across])
                picture = row.pictures[row.names.index(name)]
                _camera(axes, name, picture, look.calibrations[name], truth, seen)
        _from_above(figure.add_subplot(outer[i, -1]), row, truth, seen, look)
    figure.text(edge, 1 - 0.5 * _HEAD_IN / height, title, color=_INK, fontsize=11, va="center",
                weight="bold")  # fmt: skip
    _legend(figure.legend, look.least is not None)
    figure.savefig(path, facecolor=_PAPER)


def _reading_order(names: tuple[str, ...]) -> list[str]:
    """As one would look about: ahead first, then left, right, and behind."""
    order = ("front", "rear", "left", "right")
    known = {name: order.index(name) for name in names if name in order}
    return sorted(names, key=lambda name: known.get(name, names.index(name)))


def _visible(row: Row) -> Drawn:
    return drawn_truth(row.truth, _in_sight(row.truth), KIND_NAMES)


def _in_sight(truth: OracleFrame) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.asarray(np.nan_to_num(truth.visibility, nan=1.0) > _SHOWN)


def _camera(
    axes: Axes,
    name: str,
    picture: np.ndarray[tuple[int, int, int], np.dtype[np.uint8]],
    calibration: CalibrationSample,
    truth: Drawn,
    seen: Drawn | None,
) -> None:
    """A picture with the boxes that show in it."""
    from matplotlib.collections import LineCollection

    axes.imshow(picture, interpolation="lanczos", extent=(0, calibration.width,
                calibration.height, 0))  # fmt: skip
    for boxes, colour, width in ((truth, _TRUTH, 0.8), (seen, _SEEN, 1.5)):
        if boxes is None:
            continue
        outlines = camera_outlines(boxes.within(_CAMERA_M), calibration)
        lines = [edge for outline in outlines for edge in outline.edges_px]
        axes.add_collection(LineCollection(lines, colors=colour, linewidths=width, alpha=0.9))
        if boxes is seen:
            _captions(axes, outlines, calibration)
    axes.set_xlim(0, calibration.width)
    axes.set_ylim(calibration.height, 0)
    axes.set_axis_off()
    axes.text(
        0.012, 0.97, name.replace("_", " "), transform=axes.transAxes, fontsize=7.5, color=_INK,
        va="top", bbox={"facecolor": _PAPER, "alpha": 0.65, "lw": 0, "pad": 1.5},
    )  # fmt: skip


def _captions(axes: Axes, outlines: list[Outline], calibration: CalibrationSample) -> None:
    for outline in outlines:
        wide = np.ptp(outline.edges_px[..., 0])
        x, y = float(outline.top_px[0]), max(float(outline.top_px[1]) - 1.5, 8.0)
        if wide > _CAPTION_PX and 0 < x < calibration.width and y < calibration.height:
            axes.text(x, y, outline.caption, fontsize=6, color=_SEEN, ha="center", va="bottom",
                      clip_on=True, path_effects=_halo())  # fmt: skip


def _halo() -> list[AbstractPathEffect]:
    """Makes small letters legible on whatever lies under them."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=1.6, foreground=_PAPER)]


def _from_above(axes: Axes, row: Row, truth: Drawn, seen: Drawn | None, look: Look) -> None:
    """Lanes, the sweep, boxes and the planned path, forward up."""
    axes.set_facecolor(_GROUND)
    for lane in row.truth.lanes_ego(_AHEAD_M + 10.0):
        axes.plot(-lane[:, 1], lane[:, 0], color=_LANE, lw=0.7, ls=(0, (6, 4)), zorder=1)
    if row.lidar is not None:
        xyz = row.lidar.xyz_m + look.lidar_mount_m.astype(np.float32)
        high = np.clip(xyz[:, 2] / 3.0, 0, 1)
        axes.scatter(-xyz[:, 1], xyz[:, 0], s=0.5, c=high, cmap="bone", vmin=-0.9, vmax=1.2,
                     linewidths=0, zorder=2)  # fmt: skip
    hidden = drawn_truth(row.truth, ~_in_sight(row.truth), KIND_NAMES)
    _outlines(axes, hidden, _TRUTH, 0.7, ":")
    _outlines(axes, truth, _TRUTH, 1.1, "-")
    if seen is not None:
        _outlines(axes, seen, _SEEN, 1.7, "-", captions=True)
    else:
        _name(axes, truth, _TRUTH)
    if row.path_m is not None:
        axes.plot(-row.path_m[:, 1], row.path_m[:, 0], color=_PATH, lw=2.2, zorder=5,
                  solid_capstyle="round", alpha=0.9)  # fmt: skip
    axes.plot([0.9, 0.9, -0.9, -0.9, 0.9], [-0.95, 3.55, 3.55, -0.95, -0.95], color=_INK, lw=1.2)
    axes.fill([0.9, 0.0, -0.9], [2.0, 3.4, 2.0], color=_INK, lw=0, zorder=6)
    axes.set_xlim(-_ASIDE_M, _ASIDE_M)
    axes.set_ylim(-_BEHIND_M, _AHEAD_M)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_aspect("equal")
    for side in axes.spines.values():
        side.set_visible(False)
    axes.text(0.02, 0.985, "\n".join([f"{row.t_s:.1f} s   {row.note}", *_light(row.seen)]),
              transform=axes.transAxes, fontsize=8, color=_INK, va="top", zorder=9,
              bbox={"facecolor": _PAPER, "alpha": 0.7, "lw": 0, "pad": 2})  # fmt: skip


def _light(seen: PerceptionFrame | None) -> list[str]:
    """What the model says of the traffic light, when it sees one."""
    if seen is None or seen.light is None:
        return []
    best = int(np.argmax(seen.light))
    state = LIGHT_STATES[best]
    return [] if state == "none" else [f"light {state} {seen.light[best]:.2f}"]


def _outlines(
    axes: Axes, boxes: Drawn, colour: str, width: float, style: str, captions: bool = False
) -> None:
    for ring, middle, velocity in zip(
        boxes.outlines_m(), boxes.centre_m, boxes.velocity_mps, strict=True
    ):
        axes.plot(-ring[:, 1], ring[:, 0], color=colour, lw=width, ls=style, zorder=4)
        if np.hypot(*velocity) > 0.7:
            end = middle[:2] + velocity
            axes.plot([-middle[1], -end[1]], [middle[0], end[0]], color=colour, lw=0.8 * width,
                      ls=style, zorder=4)  # fmt: skip
    if captions:
        _name(axes, boxes, colour)


def _name(axes: Axes, boxes: Drawn, colour: str) -> None:
    for middle, size, caption in zip(boxes.centre_m, boxes.size_m, boxes.captions, strict=True):
        inside = abs(middle[1]) < _ASIDE_M - 4 and -_BEHIND_M + 3 < middle[0] < _AHEAD_M - 3
        if inside and np.hypot(middle[0], middle[1]) < _CAPTION_M:
            # On the side away from the ego's own lane, so that the path stays free.
            side = -1.0 if middle[1] > 0 else 1.0
            axes.text(-middle[1] + side * (0.4 + size[1] / 2), middle[0], caption, fontsize=6,
                      color=colour, va="center", ha="left" if side > 0 else "right",
                      clip_on=True, zorder=7, path_effects=_halo())  # fmt: skip


def _legend(legend: object, with_model: bool) -> None:
    from matplotlib.lines import Line2D

    entries = [
        Line2D([], [], color=_TRUTH, lw=1.4, label="truth"),
        Line2D([], [], color=_TRUTH, lw=1.2, ls=":", label="truth, out of sight"),
        Line2D([], [], color=_PATH, lw=2.2, label="planned path"),
    ]
    if with_model:
        entries.insert(2, Line2D([], [], color=_SEEN, lw=2.0, label="student's detections"))
    if callable(legend):
        legend(
            handles=entries, loc="lower center", ncols=len(entries), frameon=False, fontsize=9,
            labelcolor=_INK, borderaxespad=0.3,
        )  # fmt: skip
