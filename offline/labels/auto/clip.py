"""What the auto-labeller takes and gives: one clip's detections, and labels with provenance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Protocol

import numpy as np

from contracts.errors import InputError
from contracts.geometry import Bools, Int64s, wrapped
from contracts.samples import Float64s
from offline.labels.kitti import CLASSES, TrackedBoxes, joined
from offline.labels.points.sweep import Sweeps

DETECTED, SMOOTHED, FILLED, EXTENDED = range(4)
PROVENANCES = ("detected", "smoothed", "filled", "extended")
"""A box as the detector told it, the only one of its track; moved by what came before and after;
put into a gap; put before the first or after the last sighting.
"""

FEATURES = (
    "hits", "gaps", "length", "mean_probability", "best_probability", "near_probability",
    "own_probability", "unseen_for", "range_m", "residual_m", "covered", "cut",
    "occupied", "solid", "nearest_m", "spread_m", "stands",
)  # fmt: skip
"""Of each box, for calibration: how often its track was seen, in how many of the frames between
first and last it was not, and how many those are; the mean and the best probability of its
sightings, the mean within two frames of this one, this frame's own (0: unseen); frames to the
nearest sighting; distance; how far smoothing moved this one, m (0: unseen); share of the 2D box
that nearer tracks hide; whether the image's edge cuts it. Where the world is known, 0 elsewhere:
what beams tell of it, from -1, empty, to 1, and what they tell of all sightings of its track
(`points.beams`); the least distance from which its track was seen; the standard deviation of its
place, m; whether it was taken to be in one place all along (`Motion.one_place_m`).
"""


class View(Protocol):
    """What the sensor can see."""

    def box_px(self, boxes: TrackedBoxes) -> Float64s:
        """Left, top, right, bottom float64 [n, 4] within the image; NaN for what is not ahead."""
        ...

    def cut(self, box_px: Float64s) -> Bools:
        """Which 2D boxes [n, 4] end at the image's left or right edge: bool [n]."""
        ...


@dataclass(frozen=True, slots=True)
class Clip:
    """`frames` from 0 on; `found` detections in the sensor's frame, of any classes;
    `world_SE2_sensor` float64 [frames, 3] where poses are known; `sweeps` where there are points,
    in the sensor's frame.
    """

    frames: int
    found: TrackedBoxes
    view: View
    world_SE2_sensor: Float64s | None = None
    sweeps: Sweeps | None = None

    def __post_init__(self) -> None:
        if len(self.found) and int(self.found.frame[-1]) >= self.frames:
            raise InputError(f"frame {self.found.frame[-1]} lies beyond {self.frames} frames")
        if np.isnan(self.found.score).any():
            raise InputError("detections need scores")
        poses = self.world_SE2_sensor
        if poses is not None and (poses.shape != (self.frames, 3) or not np.isfinite(poses).all()):
            raise InputError(f"poses are a finite [{self.frames}, 3]", "world_SE2_sensor")

    def edges(self, found: TrackedBoxes) -> Int64s:
        """First row of each frame and one past the last, int64 [frames + 1]."""
        return np.asarray(np.searchsorted(found.frame, np.arange(self.frames + 1)))


@dataclass(frozen=True, slots=True)
class AutoLabels:
    """Columns over n boxes: `boxes` with tracks and scores; `provenance` int64 [n] into
    `PROVENANCES`; `features` float64 [n, len(FEATURES)].
    """

    boxes: TrackedBoxes
    provenance: Int64s
    features: Float64s

    def take(self, rows: Int64s | Bools) -> AutoLabels:
        """The chosen rows."""
        return AutoLabels(self.boxes.take(rows), self.provenance[rows], self.features[rows])

    def feature(self, name: str) -> Float64s:
        """One column [n]."""
        return np.asarray(self.features[:, FEATURES.index(name)])


def in_order(parts: Sequence[TrackedBoxes]) -> TrackedBoxes:
    """Several tables of the same frames as one; of one frame, in the order of the parts."""
    every = [joined([]), *parts]
    order = np.argsort(np.concatenate([part.frame for part in every]), kind="stable")
    columns = {
        field.name: np.concatenate([getattr(part, field.name) for part in every])[order]
        for field in fields(TrackedBoxes)
    }
    return TrackedBoxes(**columns)


def boxes_of(
    class_name: str, frame: Int64s, track: Int64s, centre_m: Float64s, size_m: Float64s,
    yaw_rad: Float64s, score: Float64s, view: View,
) -> tuple[TrackedBoxes, Bools]:  # fmt: skip
    """Boxes of one class with the 2D box that the view shows, and which of them it shows."""
    n = frame.size
    bearing = np.arctan2(centre_m[:, 1], centre_m[:, 0])
    boxes = TrackedBoxes(
        frame=frame, kind=np.full(n, CLASSES.index(class_name)), track_id=track,
        occlusion=np.zeros(n, dtype=np.int64), truncation=np.zeros(n),
        alpha_rad=_alpha(yaw_rad, bearing), box_px=np.zeros((n, 4)), centre_m=centre_m,
        size_m=size_m, yaw_rad=yaw_rad, score=score,
    )  # fmt: skip
    box_px = view.box_px(boxes)
    shown: Bools = np.asarray(~np.isnan(box_px).any(axis=1))
    return replace(boxes, box_px=np.where(shown[:, None], box_px, 0.0)), shown


def _alpha(yaw_rad: Float64s, bearing_rad: Float64s) -> Float64s:
    """KITTI's observation angle: rotation about the camera's y less the bearing to the right."""
    return wrapped(-yaw_rad - np.pi / 2 + bearing_rad)
