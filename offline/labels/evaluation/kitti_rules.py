"""What counts in KITTI's tracking benchmark.

A class has a neighbour (van for car, person sitting for pedestrian) that it may be taken for.
True boxes of the neighbour, truncated ones and those occluded beyond level 2 are ignored: to
find them is neither right nor wrong. A box that was found, matches nothing, and is at most 25
pixels high or lies by more than half in a region that nobody labelled, is not wrong either.
(devkit_tracking; TrackEval's kitti_2d_box, whose 2D rules `image_scene` follows.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from contracts.errors import InputError
from contracts.geometry import Bools, Int64s
from contracts.samples import Float64s
from models.evaluation.overlap import paired_iou_3d
from offline.labels.evaluation.scene import Scene, assigned, dense, same_frame
from offline.labels.kitti import CLASSES, LabelFile, TrackedBoxes, joined

MEASURED = ("Car", "Pedestrian", "Cyclist")
NEIGHBOURS: dict[str, tuple[str, ...]] = {"Car": ("Van",), "Pedestrian": ("Person",)}
MAX_OCCLUSION, MAX_TRUNCATION, MIN_HEIGHT_PX = 2, 0.0, 25.0
REGION_SHARE, IMAGE_OVERLAP = 0.5, 0.5


@dataclass(frozen=True, slots=True)
class ClassTable:
    """One class over all sequences, frames and tracks numbered through.

    `truth` [n] with its neighbours, of which `ignored` bool [n] do not count; `found` [m], of
    which `excused` bool [m] are not wrong where they match nothing. `starts` int64 [s]: the first
    frame of each sequence, in the order of their names.
    """

    truth: TrackedBoxes
    found: TrackedBoxes
    ignored: Bools
    excused: Bools
    starts: Int64s

    def sequence_of(self, frame: Int64s) -> Int64s:
        """The number of the sequence that frames [k] are of."""
        return np.asarray(np.searchsorted(self.starts, frame, side="right") - 1)

    def scene(self, pair_truth: Int64s, pair_found: Int64s, similarity: Float64s) -> Scene:
        """All rows, and the pairs that are alike at all."""
        alike = similarity > 0
        return Scene(
            self.truth.frame, self.truth.track_id, self.found.frame, self.found.track_id,
            pair_truth[alike], pair_found[alike], similarity[alike],
        )  # fmt: skip


def class_table(
    truth: Mapping[str, LabelFile], found: Mapping[str, LabelFile], name: str
) -> ClassTable:
    """One of `MEASURED`. Raises `InputError` when the sequences are not the same."""
    if truth.keys() != found.keys():
        only = ", ".join(sorted(truth.keys() ^ found.keys()))
        raise InputError(f"truth and what was found are not of the same sequences: {only}")
    first, starts = 0, []
    truths, founds, frames, regions = [], [], [], []
    for sequence in sorted(truth):
        labels, tracks = truth[sequence], found[sequence].objects
        truths.append(_shifted(labels.objects.of_classes((name, *NEIGHBOURS.get(name, ()))), first))
        founds.append(_shifted(tracks.of_classes((name,)), first))
        frames.append(labels.region_frame + first)
        regions.append(labels.region_px)
        starts.append(first)
        every = (labels.objects.frame, labels.region_frame, tracks.frame)
        first += 1 + max(int(frame.max(initial=0)) for frame in every)
    real, told = _numbered(truths), _numbered(founds)
    ignored = (
        (real.kind != CLASSES.index(name))
        | (real.truncation > MAX_TRUNCATION)
        | (real.occlusion > MAX_OCCLUSION)
    )
    low = told.box_px[:, 3] - told.box_px[:, 1] <= MIN_HEIGHT_PX
    inside = _in_regions(told, np.concatenate(frames), np.concatenate(regions))
    return ClassTable(real, told, ignored, low | inside, np.array(starts, dtype=np.int64))


def image_scene(table: ClassTable) -> Scene:
    """Similarity is the overlap of 2D boxes; what does not count is gone."""
    pairs = same_frame(table.truth.frame, table.found.frame)
    scene = table.scene(*pairs, _overlap_px(table.truth.box_px, table.found.box_px, *pairs))
    near = scene.similarity >= IMAGE_OVERLAP
    pair_truth, pair_found = scene.pair_truth[near], scene.pair_found[near]
    chosen = assigned(pair_truth, pair_found, scene.similarity[near])
    matched: Bools = np.zeros(len(table.found), dtype=np.bool_)
    matched[pair_found[chosen]] = True
    gone = ~matched & table.excused
    gone[pair_found[chosen]] = table.ignored[pair_truth[chosen]]
    return scene.kept(~table.ignored, ~gone)


def space_scene(table: ClassTable) -> Scene:
    """Similarity is the overlap of 3D boxes; everything is still there."""
    truth, found = same_frame(table.truth.frame, table.found.frame)
    overlap = paired_iou_3d(table.truth.as_boxes().take(truth), table.found.as_boxes().take(found))
    return table.scene(truth, found, np.minimum(overlap, 1.0))


def _shifted(boxes: TrackedBoxes, first: int) -> TrackedBoxes:
    return replace(boxes, frame=boxes.frame + first)


def _numbered(parts: Sequence[TrackedBoxes]) -> TrackedBoxes:
    """One table, in which no two sequences have a track in common."""
    table = joined(parts)
    sequence = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return replace(table, track_id=dense(sequence, table.track_id))


def _in_regions(found: TrackedBoxes, frame: Int64s, region_px: Float64s) -> Bools:
    row, region = same_frame(found.frame, frame)
    common = _common_px2(found.box_px[row], region_px[region])
    within = common > REGION_SHARE * _area_px2(found.box_px[row])
    inside: Bools = np.zeros(len(found), dtype=np.bool_)
    inside[row[within]] = True
    return inside


def _overlap_px(one: Float64s, two: Float64s, row: Int64s, other: Int64s) -> Float64s:
    common = _common_px2(one[row], two[other])
    union = _area_px2(one)[row] + _area_px2(two)[other] - common
    return np.asarray(common / np.where(union > 0, union, 1.0))


def _common_px2(one: Float64s, two: Float64s) -> Float64s:
    size = np.minimum(one[:, 2:], two[:, 2:]) - np.maximum(one[:, :2], two[:, :2])
    return np.asarray(np.maximum(size, 0).prod(axis=1))


def _area_px2(box_px: Float64s) -> Float64s:
    return np.asarray((box_px[:, 2:] - box_px[:, :2]).prod(axis=1))
