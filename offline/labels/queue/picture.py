"""A review task as a picture: its box in the camera, enlarged, and from above among the points."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from contracts.errors import CorruptError, InputError
from contracts.geometry import apply_SE3
from contracts.review import FrameBox
from contracts.samples import Float64s, LidarSample, MountSample
from kernels.clip.decoding import PayloadDecoder
from kernels.clip.reader import read_manifest, read_messages
from kernels.clip.schemas import LIDAR_SWEEP, TRANSFORM
from kernels.jpeg import jpeg_pixels
from offline.labels.formats.cameras import Picture, short_name
from offline.labels.formats.projection import Shown, corners_m, shown_in
from offline.labels.queue.clips import ClipView
from offline.labels.queue.records import TaskRow
from offline.labels.queue.studio import best_picture, boxes_in

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BOX, _POINTS, _EGO = "#e6194b", "#3b4a54", "#2a6fbb"
_REACH_M, _MARGIN = 12.0, 0.6
_SWEEP_NS = 110_000_000


def draw_task(row: TaskRow, view: ClipView, out: Path) -> str:
    """Write a PNG of the picture that shows the task's track best; what it shows, in words.

    Raises `InputError` when no picture shows it, or the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    picture = best_picture(row, view)
    frame = view.instants.index(picture.instant_ns)
    boxes, camera = boxes_in(row, frame), view.cameras[picture.channel]
    shown = [one for each in boxes if (one := shown_in(each.box, camera)) is not None]
    pixels = _pixels(picture, view.clip)
    figure = Figure(figsize=(15, 5), layout="constrained")
    FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.7, 1, 1))
    for axes in (left, middle):
        axes.imshow(pixels, interpolation="nearest")
        axes.set_axis_off()
        for each in shown:
            for edge in each.edges_px:
                axes.plot(edge[:, 0], edge[:, 1], color=_BOX, linewidth=1.2)
        axes.set_xlim(-0.5, pixels.shape[1] - 0.5)
        axes.set_ylim(pixels.shape[0] - 0.5, -0.5)
    _enlarge(middle, shown, pixels.shape)
    _from_above(right, boxes, ego_points_at(view.clip, picture.instant_ns))
    what = "search for missed objects" if row.task.track is None else (
        f"{row.task.class_name}, track {row.task.track}"
    )  # fmt: skip
    told = f"{what}: {short_name(picture.channel)} camera, frame {frame} of {row.task.clip_id}"
    figure.suptitle(f"{told} (task {row.task.task_id[:12]})", fontsize=11)
    try:
        figure.savefig(out, format="png")
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", str(out)) from error
    return told


def _pixels(picture: Picture, clip: Path) -> NDArray[np.uint8]:
    try:
        if picture.encoding == "jpeg":
            return jpeg_pixels(picture.content)
        from matplotlib.image import imread

        return np.asarray(imread(io.BytesIO(picture.content), format="png"))
    except (CorruptError, ValueError, OSError, SyntaxError) as error:
        raise InputError(
            f"a picture of {picture.channel} is damaged: {error}", str(clip)
        ) from error


def _enlarge(axes: Axes, shown: list[Shown], shape: tuple[int, ...]) -> None:
    """Only what is about the boxes, at least an eighth of the picture."""
    if not shown:
        return
    table = np.array([each.box_px for each in shown])
    low, high = table[:, :2].min(axis=0), table[:, 2:].max(axis=0)
    size = np.array([shape[1], shape[0]], np.float64)
    side = np.clip(float((high - low).max()) * (1 + _MARGIN), size.max() / 8, size.min())
    # The square stays within the picture.
    middle = np.clip((low + high) / 2, side / 2, size - side / 2)
    axes.set_xlim(middle[0] - side / 2, middle[0] + side / 2)
    axes.set_ylim(middle[1] + side / 2, middle[1] - side / 2)


def _from_above(axes: Axes, boxes: list[FrameBox], points_m: Float64s) -> None:
    """Ahead is up, left is left: the ego's y axis points to the left."""
    centres = np.array([each.box.centre_m[:2] for each in boxes]).reshape(-1, 2)
    low = centres.min(axis=0, initial=np.inf) if len(centres) else np.zeros(2)
    high = centres.max(axis=0, initial=-np.inf) if len(centres) else np.zeros(2)
    reach = max(float((high - low).max()) / 2 + _REACH_M, _REACH_M)
    middle = (low + high) / 2
    near = points_m[(np.abs(points_m[:, :2] - middle) < reach).all(axis=1)]
    axes.scatter(near[:, 1], near[:, 0], s=1.5, c=_POINTS, linewidths=0)
    axes.plot([0], [0], marker="^", color=_EGO, markersize=8)
    for each in boxes:
        ring = corners_m(each.box)[[0, 1, 2, 3, 0], :2]
        axes.plot(ring[:, 1], ring[:, 0], color=_BOX, linewidth=1.4)
        nose = corners_m(each.box)[[0, 3], :2].mean(axis=0)
        line = np.stack([np.array(each.box.centre_m[:2]), nose])
        axes.plot(line[:, 1], line[:, 0], color=_BOX, linewidth=1.4)
    axes.set_xlim(middle[1] + reach, middle[1] - reach)
    axes.set_ylim(middle[0] - reach, middle[0] + reach)
    axes.set_aspect("equal")
    axes.set_xlabel("left of the ego [m]")
    axes.set_ylabel("ahead of the ego [m]")


def ego_points_at(clip: Path, instant_ns: int) -> Float64s:
    """The newest sweep of each lidar at an instant, in the ego frame: float64 [n, 3].

    Empty when there is none. Points are taken as they are, not deskewed.
    """
    offset_ns = read_manifest(clip).utc_minus_mono_ns
    decoder = PayloadDecoder()
    mounts: dict[str, Float64s] = {}
    newest: dict[str, LidarSample] = {}
    for message in read_messages(clip):
        mono_ns = message.log_ns - offset_ns
        if mono_ns > instant_ns:
            break
        is_near = instant_ns - mono_ns <= _SWEEP_NS
        if message.schema.name != TRANSFORM and not (
            message.schema.name == LIDAR_SWEEP and is_near
        ):
            continue
        sample = decoder.decode(message.schema, message.channel, mono_ns, message.payload)
        if isinstance(sample, MountSample):
            mounts[sample.frame_id] = sample.ego_SE3_sensor
        elif isinstance(sample, LidarSample):
            newest[sample.channel] = sample
    found = [
        apply_SE3(mounts.get(sweep.frame_id, np.eye(4)), sweep.xyz_m.astype(np.float64))
        for sweep in newest.values()
    ]
    return np.concatenate(found) if found else np.zeros((0, 3))
