"""Each step of the auto-labeller on streets with known truth, and on published detections."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from contracts.geometry import wrapped
from offline.labels.auto.clip import DETECTED, EXTENDED, FILLED, SMOOTHED, Clip, in_order
from offline.labels.auto.kitti_clips import detection_files, read_clip
from offline.labels.auto.offline import label_clip
from offline.labels.auto.online import track_clip
from offline.labels.auto.parameters import read_parameters
from offline.labels.evaluation.hota import hota
from offline.labels.evaluation.kitti_rules import class_table, image_scene
from offline.labels.kitti import LabelFile, TrackedBoxes, read_labels
from tests.offline.labels.auto.worlds import (
    SIZE_M,
    driving,
    errors_m,
    in_street,
    parked_row,
    standing,
    street,
)
from tests.offline.labels.tracked import NO_REGIONS

BY_CLASS = read_parameters()
FRAMES = 40
STILL = standing(0, 0, 0, FRAMES)
MOVER = driving((10, -3, 0), 0.8, 0, FRAMES)


def assert_same(one: TrackedBoxes, two: TrackedBoxes) -> None:
    for field in fields(TrackedBoxes):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(two, field.name))


@pytest.mark.parametrize("turn_rad", [0.0, 0.03])
def test_a_mover_is_smoother_than_what_was_detected(turn_rad: float) -> None:
    seen = street([driving((12, 0, 0), 0.7, turn_rad, FRAMES)], STILL, noise_m=0.25)
    labels = label_clip(replace(seen.clip, world_SE2_sensor=seen.poses), BY_CLASS)
    ours, _, _ = errors_m(seen.truth, labels.boxes)
    detected, _, _ = errors_m(seen.truth, seen.clip.found)
    assert len(set(labels.boxes.track_id.tolist())) == 1
    assert np.sqrt((ours**2).mean()) < 0.75 * np.sqrt((detected**2).mean())


def test_parked_cars_stand_still_with_poses_known_or_not() -> None:
    ego = driving((0, 0, 0), 0.5, 0.003, FRAMES)
    seen = street(parked_row(FRAMES), ego)
    detected, _, _ = errors_m(seen.truth, seen.clip.found)
    for poses in (ego, None):
        labels = label_clip(replace(seen.clip, world_SE2_sensor=poses), BY_CLASS)
        ours, _, _ = errors_m(seen.truth, labels.boxes)
        inside = labels.provenance == SMOOTHED
        assert np.median(ours[inside]) < 0.6 * np.median(detected)
        if poses is not None:
            place = in_street(labels.boxes, ego)
            for track in np.unique(labels.boxes.track_id):
                assert np.ptp(place[(labels.boxes.track_id == track) & inside], axis=0).max() < 0.6


def test_one_size_a_track_from_the_best_views() -> None:
    seen = street([MOVER], STILL, size_noise=0.1)
    labels = label_clip(seen.clip, BY_CLASS)
    size = labels.boxes.size_m
    assert (size == size[0]).all()
    factor = np.array(BY_CLASS["Car"].scale.size_factor)
    assert np.abs(np.log(size[0] / factor / SIZE_M)).max() < 0.06


def test_a_gap_is_filled_from_both_sides() -> None:
    seen = street([MOVER], STILL, missed=[(0, 15, 23)])
    labels = label_clip(seen.clip, BY_CLASS)
    gap = (labels.boxes.frame >= 15) & (labels.boxes.frame < 23)
    assert len(set(labels.boxes.track_id.tolist())) == 1
    assert labels.boxes.frame[gap].tolist() == list(range(15, 23))
    assert (labels.provenance[gap] == FILLED).all()
    assert (labels.feature("own_probability")[gap] == 0).all()
    assert labels.feature("unseen_for")[gap].tolist() == [1, 2, 3, 4, 4, 3, 2, 1]
    off, _, _ = errors_m(seen.truth, labels.boxes.take(gap))
    assert off.max() < 0.4
    # What is causal cannot know that the car comes back.
    ahead = track_clip(seen.clip, BY_CLASS)
    assert not np.isin(np.arange(17, 23), ahead.frame).any()


def test_a_track_is_led_on_beyond_what_was_seen() -> None:
    seen = street([MOVER], STILL, missed=[(0, 0, 4)])
    clip = replace(seen.clip, world_SE2_sensor=seen.poses)
    labels = label_clip(clip, BY_CLASS, everything=True)
    early = labels.boxes.frame < 4
    assert labels.boxes.frame[early].tolist() == [0, 1, 2, 3]
    assert (labels.provenance[early] == EXTENDED).all()
    assert errors_m(seen.truth, labels.boxes.take(early))[0].max() < 0.6
    score = labels.boxes.score
    assert score[early].max() < score[~early].max()


@pytest.mark.parametrize("course", [MOVER, standing(15, 4, 2.0, FRAMES)])
def test_front_and_back_are_not_confused(course: np.ndarray) -> None:
    seen = street([course], STILL, flips=0.3)
    labels = label_clip(seen.clip, BY_CLASS)
    turn = wrapped(labels.boxes.yaw_rad - course[labels.boxes.frame, 2])
    assert np.abs(turn).max() < 0.2


def test_what_is_there_twice_is_told_once() -> None:
    seen = street([MOVER, standing(30, 6, 0, FRAMES)], STILL)
    again = replace(
        seen.clip.found, centre_m=seen.clip.found.centre_m + np.array([0.8, 0.2, 0]),
        score=seen.clip.found.score - 5,
    )  # fmt: skip
    both = replace(seen.clip, found=in_order([seen.clip.found, again]))
    labels = label_clip(both, BY_CLASS)
    assert len(set(labels.boxes.track_id.tolist())) == 2
    assert max(np.bincount(labels.boxes.frame)) == 2


def test_a_long_sure_track_outranks_a_short_doubtful_one() -> None:
    seen = street([MOVER, standing(30, 6, 0, FRAMES)], STILL, missed=[(1, 0, 20), (1, 22, FRAMES)])
    doubtful = np.where(seen.clip.found.centre_m[:, 1] > 3, 2.0, seen.clip.found.score)
    clip = replace(seen.clip, found=replace(seen.clip.found, score=doubtful))
    labels = label_clip(clip, BY_CLASS, everything=True)
    left = labels.boxes.centre_m[:, 1] > 3
    assert labels.boxes.score[left].max() < 0.5 < labels.boxes.score[~left].mean()
    assert not (label_clip(clip, BY_CLASS).boxes.centre_m[:, 1] > 3).any()


def test_a_box_that_was_seen_once_is_told_as_it_was_seen() -> None:
    seen = street([MOVER], STILL, missed=[(0, 0, 20), (0, 21, FRAMES)])
    labels = label_clip(seen.clip, BY_CLASS, everything=True)
    assert (labels.boxes.frame.tolist(), labels.provenance.tolist()) == ([20], [DETECTED])
    assert labels.boxes.centre_m[:, :2] == pytest.approx(seen.clip.found.centre_m[:, :2], abs=1e-6)


def crossing() -> Clip:
    ego = driving((0, 0, 0), 0.5, 0.002, FRAMES)
    movers = [driving((40, 2, np.pi), 0.6, 0, FRAMES), driving((12, -2, 0), 0.7, 0, FRAMES)]
    return street([*parked_row(FRAMES), *movers], ego, flips=0.1, missed=[(13, 10, 14)]).clip


@pytest.mark.parametrize("frames", [1, 13, 25])
def test_the_causal_tracker_knows_nothing_of_what_comes(frames: int) -> None:
    clip = crossing()
    whole = track_clip(clip, BY_CLASS)
    part = Clip(frames, clip.found.take(clip.found.frame < frames), clip.view)
    assert_same(track_clip(part, BY_CLASS), whole.take(whole.frame < frames))


def test_the_same_clip_gives_the_same_labels() -> None:
    one, two = (label_clip(crossing(), BY_CLASS) for _ in range(2))
    assert_same(one.boxes, two.boxes)
    assert np.array_equal(one.provenance, two.provenance)
    assert np.array_equal(one.features, two.features)
    assert np.isfinite(one.features).all()


@pytest.mark.parametrize("frames", [0, 3])
def test_a_clip_without_detections(frames: int) -> None:
    clip = crossing()
    empty = replace(clip, frames=frames, found=clip.found.take(np.zeros(0, dtype=np.int64)))
    assert len(label_clip(empty, BY_CLASS).boxes) == len(track_clip(empty, BY_CLASS)) == 0


def test_published_detections(shared_data: Path) -> None:
    kitti_tracking = shared_data / "kitti_tracking"
    truth, ahead, both = {}, {}, {}
    for name in ("0003", "0004"):
        files = detection_files(kitti_tracking, name)
        clip = read_clip(files, kitti_tracking / "calib" / f"{name}.txt")
        truth[name] = read_labels(kitti_tracking / "label_02" / f"{name}.txt")
        ahead[name] = LabelFile(track_clip(clip, BY_CLASS), *NO_REGIONS)
        both[name] = LabelFile(label_clip(clip, BY_CLASS).boxes, *NO_REGIONS)
    figures = [
        hota(image_scene(class_table(truth, found, "Car"))).hota.mean() for found in (ahead, both)
    ]
    assert figures[0] > 0.65
    assert figures[1] > max(0.75, figures[0] + 0.03)
