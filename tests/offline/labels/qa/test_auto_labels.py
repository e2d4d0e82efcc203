"""From auto-labels to doubts, tiers and tasks: KITTI's columns in, review tasks out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from contracts.errors import InputError
from contracts.geometry import Box3D
from contracts.review import FrameBox, Tier
from contracts.samples import Float64s
from offline.labels.auto.clip import FEATURES, AutoLabels
from offline.labels.kitti import CLASSES, TrackedBoxes
from offline.labels.qa.auto_labels import (
    box_doubts,
    disagreement,
    key_frames,
    review_tasks,
    thresholds_of,
)
from offline.labels.qa.effort import Effort
from offline.labels.qa.router import Policy, ignored_boxes, routed
from offline.labels.qa.tracks import track_doubts

FRAMES = 8


@dataclass(frozen=True)
class Group:
    """As a calibrator's groups."""

    class_name: str
    low_m: float
    high_m: float | None
    accept_from: float | None


GROUPS = [
    Group("Car", 0, 20, 0.9), Group("Car", 20, None, 0.95), Group("Pedestrian", 0, None, None),
]  # fmt: skip


def labels(away_m: float = 10.0, kind: str = "Car") -> AutoLabels:
    """Three tracks side by side, 4 m apart, all frames."""
    n = 3 * FRAMES
    track = np.tile(np.arange(3), FRAMES)
    boxes = TrackedBoxes(
        frame=np.repeat(np.arange(FRAMES), 3), kind=np.full(n, CLASSES.index(kind)),
        track_id=track, occlusion=np.zeros(n, int), truncation=np.zeros(n), alpha_rad=np.zeros(n),
        box_px=np.zeros((n, 4)),
        centre_m=np.column_stack([np.full(n, away_m), 4.0 * track, np.zeros(n)]),
        size_m=np.tile([4.0, 2, 1.5], (n, 1)), yaw_rad=np.zeros(n), score=np.ones(n),
    )  # fmt: skip
    features = np.zeros((n, len(FEATURES)))
    features[:, FEATURES.index("range_m")] = away_m
    return AutoLabels(boxes, np.zeros(n, int), features)


def confident(*of_track: float) -> Float64s:
    return np.tile(np.array(of_track), FRAMES)


def proposals(clip: AutoLabels) -> list[FrameBox]:
    box = Box3D(centre_m=(10, 0, 0), size_m=(4, 2, 1.5), yaw_rad=0, class_name="car")
    return [FrameBox(frame=frame, box=box) for frame in clip.boxes.frame.tolist()]


def test_groups_are_those_of_class_and_range() -> None:
    told = confident(0.92, 0.96, 0.5)
    near = track_doubts(box_doubts(labels(), told, GROUPS), thresholds_of(GROUPS))
    assert near.doubtful.tolist() == [False, False, True]
    far = track_doubts(box_doubts(labels(30), told, GROUPS), thresholds_of(GROUPS))
    assert far.doubtful.tolist() == [True, False, True]
    people = box_doubts(labels(30, "Pedestrian"), told, GROUPS)
    assert track_doubts(people, thresholds_of(GROUPS)).doubtful.all()
    cyclists = box_doubts(labels(30, "Cyclist"), told, GROUPS)
    assert set(cyclists.group) == {""}
    assert track_doubts(cyclists, thresholds_of(GROUPS)).doubtful.all()


def test_others_that_place_an_object_elsewhere_disagree() -> None:
    boxes = labels().boxes
    aside = replace(boxes, centre_m=boxes.centre_m + np.array([2.0, 0, 0]))
    vans = replace(boxes, kind=np.full(len(boxes), CLASSES.index("Van")))
    assert disagreement(boxes, [boxes]) == pytest.approx(0, abs=1e-9)
    # Half of the length off: a third in common. Means are over all others.
    assert disagreement(boxes, [aside]) == pytest.approx(2 / 3)
    assert disagreement(boxes, [boxes, aside]) == pytest.approx(1 / 3)
    walkers = replace(vans, kind=np.full(len(boxes), CLASSES.index("Pedestrian")))
    assert disagreement(boxes, [walkers]) == pytest.approx(1)
    first = disagreement(boxes, [boxes.take(boxes.track_id == 0)])
    assert np.isnan(first[boxes.track_id > 0]).all()


def test_tracks_that_people_must_see_become_tasks() -> None:
    clip = labels()
    told = confident(0.99, 0.99, 0.3)
    told[(clip.boxes.track_id == 1) & (clip.boxes.frame >= 4)] = 0.8
    boxes = box_doubts(clip, told, GROUPS)
    doubts = track_doubts(boxes, thresholds_of(GROUPS))
    effort = Effort(key_every=3)
    routing = routed(doubts, Policy(effort=effort))
    tasks = review_tasks("run", "0001", boxes, doubts, routing, proposals(clip), effort)
    assert {task.track: task.frames for task in tasks} == {1: (4, 7), 2: (0, 3, 6, 7)}
    grave = next(task for task in tasks if task.track == 2)
    assert grave.tier is Tier.EXPERT
    assert grave.judgements_wanted == 1
    assert [task.priority for task in tasks] == sorted((t.priority for t in tasks), reverse=True)
    again = review_tasks("run", "0001", boxes, doubts, routing, proposals(clip), effort)
    assert tasks == again
    with pytest.raises(InputError, match="0 proposals"):
        review_tasks("run", "0001", boxes, doubts, routing, [], effort)


def test_key_frames_start_and_end_each_stretch() -> None:
    frames = np.array([2, 3, 4, 5, 6, 10, 20, 21])
    assert frames[key_frames(frames, 3)].tolist() == [2, 5, 6, 10, 20, 21]
    assert key_frames(frames[:0], 3).size == 0


def test_what_waits_is_ignored_and_what_is_accepted_is_not() -> None:
    clip = labels()
    told = confident(0.99, 0.8, 0.01)
    told[3] = 0.85
    doubts = track_doubts(box_doubts(clip, told, GROUPS), thresholds_of(GROUPS))
    routing = routed(doubts, Policy(budget_s=0))
    assert routing.tier == (Tier.AUTO_ACCEPT, None, Tier.REJECT)
    out = ignored_boxes(doubts, routing)
    assert out[clip.boxes.track_id == 1].all()
    assert not out[clip.boxes.track_id == 2].any()
    assert np.flatnonzero(out & (clip.boxes.track_id == 0)).tolist() == [3]
