"""How much the auto-labels of drives miss, by gold, and which drives are to be searched for it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from contracts.geometry import boxes_of
from contracts.labels import LabelledBox
from models.evaluation.overlap import iou_3d
from offline.labels.evaluation.detections import RIGHT_FROM
from offline.labels.qa.misses import Group, Recall, clip_misses
from offline.labels.review.drives import Drive
from offline.labels.review.groups import range_group
from offline.labels.review.routing import Doubted
from offline.labels.review.tasks import is_visible

_LEAST_SEEN = 3
"""Boxes of a true track, at least, for it to count as an object to be found."""


@dataclass(frozen=True, slots=True)
class Search:
    """A drive that may lack `most` objects, at 95 %, in the groups that gold says something of;
    `expected` are lacking, of as many boxes each as its tracks have on average. `uncertain` groups
    may lack too large a share, or have no bound at all: their emptiness proves nothing.
    """

    name: str
    most: int
    expected: float
    expected_boxes: float
    uncertain: tuple[Group, ...]


def recall_by_group(gold: Mapping[str, Drive], auto: Iterable[Doubted]) -> dict[Group, Recall]:
    """Of the objects in gold drives that were auto-labelled too: how many were found, in more than
    half of the frames where they can be seen, by a track that is taken for an object.
    """
    planted: Counter[Group] = Counter()
    found: Counter[Group] = Counter()
    for each in auto:
        truth = gold.get(each.drive.name)
        if truth is None:
            continue
        for group, share in _shares_found(truth, each):
            planted[group] += 1
            found[group] += share > 0.5
    return {group: Recall(planted[group], found[group]) for group in planted}


def searches(
    drives: Sequence[Doubted], recall: Mapping[Group, Recall], most_missed: float
) -> list[Search]:
    """Drives of whose objects more than a share `most_missed` may be missing, at 95 %, those that
    may lack most first. Groups that gold says nothing of have no bound, and ask for nothing.
    """
    result = []
    for each in drives:
        tracks = _tracks(each)
        found = Counter(group for group, _ in tracks)
        counted = {group: found[group] for group in {*found, *recall}}
        misses = clip_misses(counted, recall, most_missed=most_missed)
        bound = sum(one.most or 0 for one in misses.by_group.values())
        expected = sum(one.expected or 0.0 for one in misses.by_group.values())
        length = float(np.mean([boxes for _, boxes in tracks])) if tracks else 1.0
        if bound > most_missed * max(1, sum(found[group] for group in recall)):
            result.append(
                Search(each.drive.name, bound, expected, expected * length, misses.ignored)
            )
    return sorted(result, key=lambda one: (-one.most, one.name))


def _tracks(each: Doubted) -> list[tuple[Group, int]]:
    """Group, where it is nearest, and length of each track that is taken for an object."""
    result = []
    for row in np.flatnonzero(~each.doubts.nothing).tolist():
        boxes = [each.boxes.shown[n].box for n in np.flatnonzero(each.doubts.row == row).tolist()]
        nearest = min(boxes, key=lambda box: float(np.hypot(*box.centre_m[:2])))
        result.append((range_group(nearest), len(boxes)))
    return result


def _shares_found(truth: Drive, each: Doubted) -> list[tuple[Group, float]]:
    taxonomy = truth.labels.taxonomy
    kept = ~each.doubts.nothing[each.doubts.row]
    seen: defaultdict[int, list[tuple[LabelledBox, bool]]] = defaultdict(list)
    by_instant = {frame.record.mono_ns: frame for frame in truth.labels.frames}
    for number, auto in enumerate(each.drive.labels.frames):
        frame = by_instant.get(auto.record.mono_ns)
        if frame is None:
            continue
        visible = [b for b in frame.record.boxes if b.box.track_id is not None and is_visible(b)]
        rows = np.flatnonzero(kept & (each.boxes.columns.frame == number)).tolist()
        overlap = iou_3d(
            boxes_of((b.box for b in visible), taxonomy),
            boxes_of((each.boxes.shown[n].box for n in rows), taxonomy),
        )
        for labelled, hit in zip(visible, overlap.max(axis=1, initial=0.0), strict=True):
            track = labelled.box.track_id
            if track is not None:
                seen[track].append((labelled, bool(hit >= RIGHT_FROM)))
    result = []
    for boxes in seen.values():
        if len(boxes) >= _LEAST_SEEN:
            nearest = min((b.box for b, _ in boxes), key=lambda b: float(np.hypot(*b.centre_m[:2])))
            result.append((range_group(nearest), float(np.mean([hit for _, hit in boxes]))))
    return result
