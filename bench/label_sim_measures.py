"""What the studies of the clip labeller count, on one drive at a time or on all results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from bench.label_sim_drives import Drive
from contracts.geometry import TAXONOMY, Bools, Boxes, Int64s
from contracts.labels import LIGHT_STATES, UNKNOWN, FrameLabels
from contracts.samples import Float32s, Float64s
from models.evaluation.detection import average_precision
from models.evaluation.matching import FrameResult, Matcher
from models.evaluation.overlap import iou_3d, kitti_ap
from models.evaluation.probability import ground_counts
from models.evaluation.slices import in_range
from offline.labels.clips.tracks import ClipBoxes
from offline.labels.fusion.boxes import class_groups
from offline.labels.fusion.table import Detections
from offline.labels.qa.annotators import Annotator

SAME_M, SAME_IOU = 2.0, 0.5
WELL, OFTEN = 0.3, 5
EVERY = 5
"""Precision is measured at every fifth instant: those between show the same once more."""
SHORTEST, LONGEST = 5, 30
"""Instants, a tenth of a second each, for which an object is hidden: 0.5 to 3 s."""
_GROUPS = class_groups(TAXONOMY)
Results = list[FrameResult]


def measured(drive: Drive) -> list[tuple[int, FrameLabels]]:
    """The instants with truth at which precision is measured."""
    return [(k, truth) for k, truth in drive.labelled() if k % EVERY == 0]


def of_detections(drive: Drive, found: Detections) -> Results:
    """Detections by instant against the truth that can be judged."""
    return [
        FrameResult(
            found.boxes.take(found.group == k), found.scores[found.group == k], truth.boxes(),
            truth.ignored(),
        )
        for k, truth in measured(drive)
    ]  # fmt: skip


def of_labels(drive: Drive, boxes: ClipBoxes) -> Results:
    """All labels, the ignored ones included, by their confidence."""
    return [
        FrameResult(
            boxes.boxes.take(boxes.instant == k), boxes.confidence[boxes.instant == k],
            truth.boxes(), truth.ignored(),
        )
        for k, truth in measured(drive)
    ]  # fmt: skip


def of_people(drive: Drive, annotator: Annotator, rng: np.random.Generator) -> Results:
    """What an annotator draws of what can be judged; people tell no confidence."""
    results = []
    for _, truth in measured(drive):
        boxes, ignored = truth.boxes(), truth.ignored()
        shares = np.array([each.visibility or 0.0 for each in truth.record.boxes])
        drawn = annotator.draw(boxes.take(~ignored), shares[~ignored], rng)
        results.append(FrameResult(drawn, np.ones(len(drawn)), boxes, ignored))
    return results


def ap_3d(results: Results, name: str, overlap: float) -> float:
    """In percent."""
    return 100 * kitti_ap(results, TAXONOMY.index(name), overlap)


def ap_from_above(results: Results, name: str, overlap: float) -> float:
    """By overlap of footprints, in percent."""
    return ap_3d([_flat(each) for each in results], name, overlap)


def ap_at(results: Results, name: str, distance_m: float) -> float:
    """By distance of centres, in percent."""
    kind = TAXONOMY.index(name)
    return 100 * average_precision(Matcher(results, distance_m).match((kind,), distance_m))


def beyond(results: Results, low_m: float, high_m: float) -> Results:
    """Only what lies so far off."""
    return in_range(results, low_m, high_m)


def _flat(result: FrameResult) -> FrameResult:
    return replace(result, found=_slab(result.found), truth=_slab(result.truth))


def _slab(boxes: Boxes) -> Boxes:
    return replace(
        boxes, centre_m=boxes.centre_m * (1, 1, 0),
        size_m=np.column_stack([boxes.size_m[:, :2], np.ones(len(boxes))]),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Hidden:
    """Instants of true boxes that are hidden for a while, and seen before and after: how many, and
    of how many there is a box within `SAME_M`, and one that overlaps by `SAME_IOU`. `flanked` are
    those of objects told within `SAME_M` just before and just after, `flanked_near` of these;
    `known` are those of objects that the detector saw well at some time, `known_near` of these.
    """

    boxes: int = 0
    near: int = 0
    over: int = 0
    flanked: int = 0
    flanked_near: int = 0
    known: int = 0
    known_near: int = 0

    def __add__(self, other: Hidden) -> Hidden:
        return Hidden(*(
            getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__
        ))  # fmt: skip


def hidden_of(drive: Drive, told_at: Callable[[int], Boxes]) -> Hidden:
    """How much is told of what is hidden for 0.5 to 3 s; `told_at` gives an instant's boxes."""
    truth, instant, ignored = drive.true_boxes()
    first = np.searchsorted(instant, np.arange(len(drive.truth)))
    known: dict[int, tuple[Bools, Bools]] = {}

    def told(row: int) -> tuple[bool, bool]:
        k = int(instant[row])
        if k not in known:
            rows = np.arange(first[k], np.searchsorted(instant, k, side="right"))
            known[k] = _answered(truth.take(rows), told_at(k))
        near, over = known[k]
        return bool(near[row - first[k]]), bool(over[row - first[k]])

    result, well_seen = Hidden(), _well_seen(drive)
    for track in np.unique(truth.track_id).tolist():
        rows = np.flatnonzero(truth.track_id == track)
        for run in _runs(instant[rows], ignored[rows]):
            found = np.array([told(row) for row in rows[run].tolist()])
            near, over = (int(count) for count in found.sum(axis=0))
            flanked = told(int(rows[run[0] - 1]))[0] and told(int(rows[run[-1] + 1]))[0]
            both = np.array([run.size, near])
            result += Hidden(
                run.size,
                near,
                over,
                *(both * flanked).tolist(),
                *(both * (track in well_seen)).tolist(),
            )
    return result


def _well_seen(drive: Drive) -> set[int]:
    """True tracks with a box of `WELL` or more within `SAME_M` at `OFTEN` instants or more."""
    times: dict[int, int] = {}
    found = drive.seen.fused.take(drive.seen.fused.scores >= WELL)
    for k, label in drive.labelled():
        truth, here = label.boxes(), found.boxes.take(found.group == k)
        for track in truth.track_id[_answered(truth, here)[0]].tolist():
            times[track] = times.get(track, 0) + 1
    return {track for track, count in times.items() if count >= OFTEN}


def _runs(instant: Int64s, hidden: Bools) -> list[Int64s]:
    """Places of unbroken hidden stretches of the right length between two seen instants."""
    cuts = np.flatnonzero((np.diff(hidden) != 0) | (np.diff(instant) != 1)) + 1
    parts = np.split(np.arange(instant.size), cuts)
    kept = []
    for part in parts:
        before, after = part[0] - 1, part[-1] + 1
        inside = before >= 0 and after < instant.size
        joined = inside and instant[after] - instant[before] == part.size + 1
        if hidden[part[0]] and joined and SHORTEST <= part.size <= LONGEST:
            kept.append(part)
    return kept


def _answered(truth: Boxes, found: Boxes) -> tuple[Bools, Bools]:
    """Which true boxes [n] are told within `SAME_M`, and which at `SAME_IOU`; each told box
    answers for one, of its class group.
    """
    alike = _GROUPS[truth.class_index][:, None] == _GROUPS[found.class_index][None]
    away = np.hypot(*np.moveaxis(
        truth.centre_m[:, None, :2] - found.centre_m[None, :, :2], -1, 0
    ))  # fmt: skip
    near = _paired(np.where(alike, np.maximum(0, SAME_M - away), 0))
    over = _paired(np.where(alike, iou_3d(truth, found), 0), SAME_IOU)
    return near, over


def _paired(gain: Float64s, least: float = 0.0) -> Bools:
    """Which rows have a partner in the best assignment, by gains over the least."""
    gain = np.where(gain > least, gain, 0)
    one, two = linear_sum_assignment(gain, maximize=True)
    result: Bools = np.zeros(gain.shape[0], dtype=np.bool_)
    result[one] = gain[one, two] > 0
    return result


def ground_tally(drive: Drive, told: Float32s) -> Int64s:
    """Cells of intersection and of union of each layer, int64 [2, layers]."""
    parts = [
        np.stack(ground_counts(told[k], truth.ground))
        for k, truth in drive.labelled() if truth.ground is not None
    ]  # fmt: skip
    return np.asarray(np.sum(parts, axis=0))


def known_tally(labels: NDArray[np.uint8]) -> Int64s:
    """Cells of labels [f, layers, r, c] that are known and all cells, int64 [2, layers]."""
    known = (labels != UNKNOWN).sum(axis=(0, 2, 3))
    return np.stack([known, np.full(known.size, labels[:, 0].size)])


def light_tally(drive: Drive, told: Float64s | Float32s, least: float = 0.0) -> Int64s:
    """How many states are told, and how many of these are right: int64 [2]."""
    right = [
        LIGHT_STATES[int(told[k].argmax())] == truth.record.light
        for k, truth in drive.labelled()
        if truth.record.light is not None and told[k].max() >= least
    ]  # fmt: skip
    return np.array([len(right), sum(right)])


def error_of(confidence: Float64s, right: Bools, bins: int = 15) -> float:
    """Expected calibration error in percent, over bins of equal width."""
    place = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    count = np.bincount(place, minlength=bins)
    gap = np.bincount(place, confidence, bins) - np.bincount(place, right.astype(float), bins)
    return 100 * float(np.abs(gap).sum() / max(1, count.sum()))


def mean_known(values: Sequence[float]) -> float:
    """Of those that are a number."""
    return float(np.nanmean(values))
