"""From boxes to frames to clips: named scores of a clip, from what an ensemble said of it.

A rule folds the boxes of a frame, another the frames of a clip. `top_mean` is the mean of the
`k` largest (of all, where there are fewer), so that one odd box counts and a crowd of sure ones
does not drown it; `max` and `mean` are its ends. A frame without boxes scores 0. Tracks are
folded by the rule of the boxes: a clip holds tracks as a frame holds boxes. Values are sorted
before they are added, so their order never matters.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from contracts.errors import InputError
from contracts.geometry import Frozen
from contracts.samples import Float64s
from offline.acquisition.scores.classes import class_scores
from offline.acquisition.scores.geometry import MemberBoxes, geometry_scores
from offline.acquisition.scores.tracks import TrackedBoxes, track_scores


class Rule(Frozen):
    """How several values become one; `k` is of `top_mean` only."""

    kind: Literal["top_mean", "max", "mean"] = "top_mean"
    k: int = Field(3, ge=1)

    def of(self, values: Float64s) -> float:
        """The one value of [n], 0 of none."""
        if not values.size:
            return 0.0
        count = {"top_mean": self.k, "max": 1, "mean": values.size}[self.kind]
        return float(np.sort(values)[::-1][:count].mean())


class Aggregation(Frozen):
    """The rules of boxes in a frame and of frames in a clip."""

    boxes: Rule = Rule()
    frames: Rule = Rule(k=5)


DEFAULT_AGGREGATION = Aggregation()


@dataclass(frozen=True, slots=True)
class FrameEvidence:
    """What the ensemble said of one frame: `probabilities` [..., k, classes] as
    `scores.classes.class_scores` takes them, and the members' boxes where they are known.
    """

    probabilities: NDArray[np.floating]
    boxes: MemberBoxes | None = None


def frame_scores(frame: FrameEvidence, rule: Rule) -> dict[str, float]:
    """Named scores of a frame; `disagreement` only where the members' boxes are known."""
    by_box = class_scores(frame.probabilities).named()
    if frame.boxes is not None:
        told, drawn = frame.probabilities.shape[-2], frame.boxes.yaw_rad.shape[1]
        if told != drawn:
            raise InputError(f"distributions of {told} objects, but boxes of {drawn}", "boxes")
        by_box["disagreement"] = geometry_scores(frame.boxes).disagreement
    return {name: rule.of(values) for name, values in by_box.items()}


def clip_scores(
    frames: Iterable[FrameEvidence],
    tracks: TrackedBoxes | None = None,
    aggregation: Aggregation = DEFAULT_AGGREGATION,
) -> dict[str, float]:
    """Named scores of a clip, each in 0..1, in the order of their names.

    Frames are taken one by one and not kept. Raises `InputError` when there is no frame, or when
    only some of them have members' boxes.
    """
    by_frame: dict[str, list[float]] = {}
    count = 0
    for frame in frames:
        count += 1
        for name, value in frame_scores(frame, aggregation.boxes).items():
            by_frame.setdefault(name, []).append(value)
    if not count:
        raise InputError("a clip without frames cannot be scored", "frames")
    partial = [name for name, values in by_frame.items() if len(values) != count]
    if partial:
        raise InputError(f"only some frames have {', '.join(partial)}", "frames")
    found = {name: aggregation.frames.of(np.array(values)) for name, values in by_frame.items()}
    if tracks is not None:
        by_track = track_scores(tracks)
        found |= {name: aggregation.boxes.of(values) for name, values in by_track.items()}
    return dict(sorted(found.items()))
