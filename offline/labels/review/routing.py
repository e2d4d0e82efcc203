"""Tiers of all drives' tracks within one budget, and the labels that hold until people answer.

Only boxes of `auto` provenance are routed; what people, an oracle or a recording said stands.
Auto boxes without a track cannot be asked about and are ignored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from contracts.labels import FrameLabels, LabelledBox
from contracts.review import FrameBox, Tier
from contracts.samples import Float64s
from offline.labels.qa.misses import Group
from offline.labels.qa.router import (
    Policy,
    Routing,
    accepted_boxes,
    asked_boxes,
    routed,
)
from offline.labels.qa.tracks import BoxDoubts, Thresholds, TrackDoubts, track_doubts
from offline.labels.review.drives import Drive, said_by
from offline.labels.review.groups import Rule, range_group


@dataclass(frozen=True, slots=True)
class AutoBoxes:
    """A drive's auto boxes with tracks, in the order of frames: their `place` in the labels as
    (frame, row), themselves as people are shown them, and the router's columns.
    """

    place: tuple[tuple[int, int], ...]
    shown: tuple[FrameBox, ...]
    columns: BoxDoubts


@dataclass(frozen=True, slots=True)
class RoutedDrive:
    """A drive with its tracks' tiers. `fate` tells of each labelled box, by (frame, row), one of
    `groups.FATES`.
    """

    drive: Drive
    boxes: AutoBoxes
    doubts: TrackDoubts
    routing: Routing
    fate: Mapping[tuple[int, int], str]


@dataclass(frozen=True, slots=True)
class Doubted:
    """A drive with how doubtful its tracks are."""

    drive: Drive
    boxes: AutoBoxes
    doubts: TrackDoubts


def doubted(drive: Drive, rule: Rule, thresholds: Thresholds) -> Doubted:
    """A drive's tracks under the thresholds in force."""
    boxes = _auto_boxes(drive, rule)
    return Doubted(drive, boxes, track_doubts(boxes.columns, thresholds))


def routed_drives(doubts: Sequence[Doubted], policy: Policy) -> tuple[list[RoutedDrive], Routing]:
    """Tiers of all tracks of all drives under one budget; of each drive, and of all together."""
    every = _joined([one.doubts for one in doubts])
    whole, result, first = routed(every, policy), [], 0
    for one in doubts:
        last = first + len(one.doubts)
        part = replace(
            whole, tier=whole.tier[first:last], stands=whole.stands[first:last],
            asked_s=whole.asked_s[first:last], priority=whole.priority[first:last],
        )  # fmt: skip
        fate = _fates(one.drive, one.boxes, one.doubts, part)
        result.append(RoutedDrive(one.drive, one.boxes, one.doubts, part, fate))
        first = last
    return result, whole


def routed_labels(routed_drive: RoutedDrive) -> list[FrameLabels]:
    """The drive's labels as they hold until people answer: what is rejected is gone, what waits
    for people or for the budget is ignored.
    """
    return [
        replace(frame, record=frame.record.model_copy(update={"boxes": tuple(
            _as_routed(labelled, routed_drive.fate[number, row])
            for row, labelled in enumerate(frame.record.boxes)
            if routed_drive.fate[number, row] != "rejected"
        )}))
        for number, frame in enumerate(routed_drive.drive.labels.frames)
    ]  # fmt: skip


def expected_errors(
    routed_drive: RoutedDrive, policy: Policy
) -> dict[tuple[Group, str], tuple[int, float]]:
    """Boxes and their expected residual error by group and fate, as the router counts it."""
    told: dict[tuple[Group, str], tuple[int, float]] = {}
    for number, frame in enumerate(routed_drive.drive.labels.frames):
        for row, labelled in enumerate(frame.record.boxes):
            fate = routed_drive.fate[number, row]
            error = {
                "stands": 0.0, "accepted": 1 - labelled.confidence,
                "consensus": policy.errors.consensus, "expert": policy.errors.expert,
                "waits": policy.ignored_loss, "rejected": labelled.confidence,
            }[fate]  # fmt: skip
            key = range_group(labelled.box), fate
            count, total = told.get(key, (0, 0.0))
            told[key] = count + 1, total + error
    return told


def _as_routed(labelled: LabelledBox, fate: str) -> LabelledBox:
    if fate == "stands":
        return labelled
    return labelled.model_copy(update={"ignored": fate != "accepted"})


def _auto_boxes(drive: Drive, rule: Rule) -> AutoBoxes:
    taxonomy, place, shown, sure, keys = drive.labels.taxonomy, [], [], [], []
    for number, frame in enumerate(drive.labels.frames):
        for row, labelled in enumerate(frame.record.boxes):
            if not _is_routed(labelled, frame):
                continue
            place.append((number, row))
            shown.append(FrameBox(frame=number, box=labelled.box))
            sure.append(labelled.confidence)
            keys.append(rule.key_of(labelled.box, taxonomy))
    confidence: Float64s = np.array(sure, dtype=np.float64)
    columns = BoxDoubts(
        np.array([one.box.track_id for one in shown], dtype=np.int64),
        np.array([one.frame for one in shown], dtype=np.int64),
        confidence, tuple(keys), np.full(confidence.size, np.nan),
    )  # fmt: skip
    return AutoBoxes(tuple(place), tuple(shown), columns)


def _is_routed(labelled: LabelledBox, frame: FrameLabels) -> bool:
    return said_by(labelled, frame).source == "auto" and labelled.box.track_id is not None


def _fates(
    drive: Drive, boxes: AutoBoxes, doubts: TrackDoubts, routing: Routing
) -> dict[tuple[int, int], str]:
    accepted, asked = accepted_boxes(doubts, routing), asked_boxes(doubts, routing)
    fate = {
        (number, row): "waits" if said_by(labelled, frame).source == "auto" else "stands"
        for number, frame in enumerate(drive.labels.frames)
        for row, labelled in enumerate(frame.record.boxes)
    }
    for n, place in enumerate(boxes.place):
        tier = routing.tier[int(doubts.row[n])]
        if accepted[n]:
            fate[place] = "accepted"
        elif tier is Tier.REJECT:
            fate[place] = "rejected"
        elif asked[n] and tier is not None:
            fate[place] = tier.value
    return fate


def _joined(parts: Sequence[TrackDoubts]) -> TrackDoubts:
    """Of all drives, those of each after the other."""
    first = np.cumsum([0, *(len(part) for part in parts)])
    columns = {
        each.name: np.concatenate([getattr(part, each.name) for part in parts])
        for each in fields(TrackDoubts)
    }
    columns["row"] = np.concatenate(
        [part.row + start for part, start in zip(parts, first[:-1].tolist(), strict=True)]
    )
    return TrackDoubts(**columns)
