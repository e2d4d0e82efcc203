"""How doubtful each track of an auto-label is, from its boxes' confidences and disagreements.

The unit of work is a track of a clip: its boxes share one object, and people judge it as one. A
box is *doubtful* when its confidence lies under its group's threshold for auto-acceptance, when
its group has none, or when its disagreement (of the ensemble's members, or of the online with the
offline tracker) is over the limit; it is *grave* by a lower confidence or a higher disagreement.

A *stretch* is a run of neighbouring boxes of the track, in the order of its frames. One stretch of
at least `stretch` doubtful boxes makes the track doubtful, one of grave boxes makes it grave. A
track with fewer boxes is doubtful when most of its boxes are.

A doubtful track goes to people for its doubtful boxes, a grave one to an expert; *sure* boxes,
which are not doubtful, stand meanwhile, as the thresholds vouch for every box at or over them. Only
a track most of whose boxes are grave goes to people as a whole, and none of its boxes stand.
Shorter runs of doubt send no track to people and are accepted with none: these boxes are ignored
in the loss. So whatever is accepted lies at or over its group's threshold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from contracts.errors import InputError
from contracts.geometry import Bools, Int64s
from contracts.samples import Float64s

Thresholds = Mapping[str, float | None]
"""Least confidence for auto-acceptance by group key; None, or no entry: never."""


@dataclass(frozen=True, slots=True)
class BoxDoubts:
    """Columns over n boxes: `track` and `frame` int64 [n]; `confidence` float64 [n] in 0..1, that
    the box is right; `group` [n] keys of class and range; `disagreement` float64 [n] in 0..1, NaN
    where there is none to compare.
    """

    track: Int64s
    frame: Int64s
    confidence: Float64s
    group: tuple[str, ...]
    disagreement: Float64s

    def __post_init__(self) -> None:
        n = self.track.size
        for name in ("frame", "confidence", "disagreement"):
            if getattr(self, name).shape != (n,):
                raise InputError(f"has shape {list(getattr(self, name).shape)}, not {[n]}", name)
        if len(self.group) != n:
            raise InputError(f"{len(self.group)} groups of {n} boxes", "group")
        if not ((self.confidence >= 0) & (self.confidence <= 1)).all():
            raise InputError("lies in 0..1", "confidence")
        known = self.disagreement[~np.isnan(self.disagreement)]
        if not ((known >= 0) & (known <= 1)).all():
            raise InputError("lies in 0..1, or is NaN", "disagreement")


@dataclass(frozen=True, slots=True)
class DoubtLimits:
    """From where on a box is doubtful or grave, how long a stretch must be, and under which
    confidence all boxes of a track must lie for it to be taken for no object.

    The defaults are assumptions: a grave box is as likely wrong as right, or more.
    """

    doubtful_disagreement: float = 0.5
    grave_confidence: float = 0.5
    grave_disagreement: float = 0.8
    stretch: int = 3
    reject_confidence: float = 0.05

    def __post_init__(self) -> None:
        if self.stretch < 1:
            raise InputError(f"a stretch has at least one box, not {self.stretch}", "stretch")


@dataclass(frozen=True, slots=True)
class TrackDoubts:
    """Columns over m tracks, by rising number: `track` int64 [m]; `boxes`, `right` (expected)
    float64 [m]; `sure`, `sure_right` [m]: how many boxes are not doubtful, and how many of these
    are right in expectation; `stretches` [m]: how many runs the doubtful ones make; whether the
    track is `doubtful`, `grave`, goes to people as a `whole`, or is taken for `nothing`, bool [m].
    Over the boxes given: `row` int64 [n] of their track, `doubtful_boxes` bool [n].
    """

    track: Int64s
    boxes: Float64s
    right: Float64s
    sure: Float64s
    sure_right: Float64s
    stretches: Float64s
    doubtful: Bools
    grave: Bools
    whole: Bools
    nothing: Bools
    row: Int64s
    doubtful_boxes: Bools

    def __len__(self) -> int:
        return int(self.track.size)


def track_doubts(
    boxes: BoxDoubts, thresholds: Thresholds, limits: DoubtLimits | None = None
) -> TrackDoubts:
    """All tracks of one clip."""
    limits = limits or DoubtLimits()
    least = np.array([_least(thresholds, key) for key in boxes.group], dtype=np.float64)
    off = np.nan_to_num(boxes.disagreement, nan=0.0)
    doubtful = (boxes.confidence < least) | (off > limits.doubtful_disagreement)
    grave = (boxes.confidence < limits.grave_confidence) | (off > limits.grave_disagreement)
    track, number = np.unique(boxes.track, return_inverse=True)
    m = track.size
    count = np.bincount(number, minlength=m).astype(np.float64)
    order = np.lexsort((boxes.frame, number))
    needed = np.minimum(limits.stretch, (count + 1) // 2)
    certain = np.where(doubtful, 0.0, 1.0)
    return TrackDoubts(
        track, count,
        _sums(number, boxes.confidence, m),
        _sums(number, certain, m), _sums(number, certain * boxes.confidence, m),
        _runs(doubtful[order], number[order], m),
        _longest(doubtful[order], number[order], m) >= needed,
        _longest((grave & doubtful)[order], number[order], m) >= needed,
        2 * np.bincount(number, grave & doubtful, m) > count,
        np.bincount(number, boxes.confidence >= limits.reject_confidence, m) == 0,
        number, np.asarray(doubtful),
    )  # fmt: skip


def _least(thresholds: Thresholds, key: str) -> float:
    value = thresholds.get(key)
    return np.inf if value is None else value


def _runs(flag: Bools, number: Int64s, tracks: int) -> Float64s:
    """How many runs of flagged rows each track has, float64 [tracks]; rows by track."""
    begins = flag.copy()
    begins[1:] &= ~(flag[:-1] & (number[1:] == number[:-1]))
    return _sums(number, begins.astype(np.float64), tracks)


def _sums(number: Int64s, value: Float64s, tracks: int) -> Float64s:
    """Sum of the values of each track, float64 [tracks]."""
    return np.asarray(np.bincount(number, value, tracks), dtype=np.float64)


def _longest(flag: Bools, number: Int64s, tracks: int) -> Int64s:
    """The longest run of flagged rows within each track, int64 [tracks]; rows by track."""
    result = np.zeros(tracks, dtype=np.int64)
    if not flag.size:
        return result
    breaks = np.flatnonzero((np.diff(number) != 0) | (np.diff(flag) != 0)) + 1
    first = np.concatenate([[0], breaks])
    length = np.diff(np.concatenate([first, [flag.size]]))
    runs = flag[first]
    np.maximum.at(result, number[first[runs]], length[runs])
    return result
