"""Inconsistency of a clip's tracks: what a detector that were sure would not do.

Of each track, over its sightings in the order of time:

- `flicker`: mean absolute change of probability between successive sightings;
- `gaps`: share of the clip's frames between first and last sighting that lack the track;
- `flips`: share of successive sightings with another class;
- `jumps`: share of the sightings but the first and last that lie farther from the straight line
  between their neighbours than `NOISE_M` + a * before * after / 2, with a = `LIMIT_MPS2` and
  the times to the neighbours: no acceleration up to a puts an object there.

All are in 0..1; of a track seen once, 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.clock import NS_PER_S
from contracts.errors import InputError
from contracts.geometry import Int64s
from contracts.samples import Float64s

TRACK_SCORES = ("flicker", "gaps", "flips", "jumps")
LIMIT_MPS2 = 10.0
"""Tyres on dry road give about 1 g."""
NOISE_M = 0.5
"""How much a good box's centre may wander."""


@dataclass(frozen=True, slots=True)
class TrackedBoxes:
    """Columns over all n tracked boxes of a clip, in any order.

    `track_id`, `mono_ns`, `class_index` int64 [n]; `probability` float64 [n] in 0..1; `xy_m`
    float64 [n, 2] in a frame that stays fixed over the clip (world, not ego); `frames_mono_ns`
    int64 [f] rising times of all frames of the clip, those without boxes included.
    """

    track_id: Int64s
    mono_ns: Int64s
    class_index: Int64s
    probability: Float64s
    xy_m: Float64s
    frames_mono_ns: Int64s

    def __post_init__(self) -> None:
        n = self.track_id.shape[0]
        for name in ("track_id", "mono_ns", "class_index", "probability", "xy_m"):
            shape = getattr(self, name).shape
            wanted = (n, 2) if name == "xy_m" else (n,)
            if shape != wanted:
                raise InputError(f"has shape {list(shape)}, expected {list(wanted)}", name)
        if not ((self.probability >= 0) & (self.probability <= 1)).all():
            raise InputError("probabilities lie in 0..1", "probability")
        if not np.isfinite(self.xy_m).all():
            raise InputError("positions must be finite", "xy_m")
        if (np.diff(self.frames_mono_ns) <= 0).any():
            raise InputError("frame times must rise", "frames_mono_ns")
        if not np.isin(self.mono_ns, self.frames_mono_ns).all():
            raise InputError("a box is of no frame of the clip", "mono_ns")


def track_scores(boxes: TrackedBoxes) -> dict[str, Float64s]:
    """Each of `TRACK_SCORES` float64 [tracks], tracks by rising id.

    Raises `InputError` when a track has two boxes in one frame.
    """
    order = np.lexsort((boxes.mono_ns, boxes.track_id))
    ids, first = np.unique(boxes.track_id[order], return_index=True)
    rows = np.split(order, first[1:]) if ids.size else []
    columns = np.array([_scores_of(boxes, track) for track in rows]).reshape(-1, 4)
    return dict(zip(TRACK_SCORES, columns.T, strict=True))


def _scores_of(boxes: TrackedBoxes, rows: Int64s) -> tuple[float, float, float, float]:
    times = boxes.mono_ns[rows]
    if (np.diff(times) <= 0).any():
        track = int(boxes.track_id[rows[0]])
        raise InputError("has two boxes in one frame", f"track {track}")
    if rows.size < 2:
        return 0.0, 0.0, 0.0, 0.0
    flicker = float(np.abs(np.diff(boxes.probability[rows])).mean())
    low, high = np.searchsorted(boxes.frames_mono_ns, [times[0], times[-1]])
    gaps = 1 - rows.size / (int(high - low) + 1)
    flips = float((np.diff(boxes.class_index[rows]) != 0).mean())
    return flicker, gaps, flips, _jumps(times, boxes.xy_m[rows])


def _jumps(times: Int64s, xy_m: Float64s) -> float:
    if times.size < 3:
        return 0.0
    before_s, after_s = np.diff(times)[:-1] / NS_PER_S, np.diff(times)[1:] / NS_PER_S
    share = (before_s / (before_s + after_s))[:, None]
    straight = xy_m[:-2] * (1 - share) + xy_m[2:] * share
    away_m = np.hypot(*(xy_m[1:-1] - straight).T)
    return float((away_m > NOISE_M + LIMIT_MPS2 * before_s * after_s / 2).mean())
