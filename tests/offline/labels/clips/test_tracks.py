"""A clip's tracks: perfect detections with dropouts give the truth, all around the ego."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.geometry import TAXONOMY
from offline.labels.auto.clip import EXTENDED, FILLED, SMOOTHED
from offline.labels.clips.headings import driven
from offline.labels.clips.instants import frames_of
from offline.labels.clips.parameters import read_clip_parameters
from offline.labels.clips.tracks import ClipBoxes, tracked_boxes
from offline.labels.fusion.table import Detections
from tests.offline.labels.clips.scene import (
    CAR,
    FRAMES,
    KINDS,
    POSES,
    TIMES_NS,
    TRUCK,
    detections,
    truth,
)


def tracks(found: Detections, times_ns: np.ndarray = TIMES_NS, poses: np.ndarray = POSES
           ) -> ClipBoxes:  # fmt: skip
    parameters, calibrator = read_clip_parameters()
    boxes = tracked_boxes(found, times_ns, poses, TAXONOMY, parameters.by_class(), calibrator)
    return boxes.take(boxes.accepted)


def nearest(boxes: ClipBoxes, frame: int, row: int) -> tuple[int, float]:
    """The told box nearest to a true one, and how far off it is."""
    here = np.flatnonzero(boxes.instant == frame)
    away = np.hypot(*(boxes.boxes.centre_m[here] - truth(frame).centre_m[row])[:, :2].T)
    return int(here[away.argmin()]), float(away.min())


def test_dropouts_are_filled_with_the_truth() -> None:
    rng = np.random.default_rng(1)
    kept = rng.random((FRAMES, 4)) < 0.8
    kept[:5] = kept[-5:] = True
    kept[20:40, 0] = kept[30:48, 1] = False
    boxes = tracks(detections(kept))
    for frame in range(FRAMES):
        real = truth(frame)
        for row in range(4):
            place, away = nearest(boxes, frame, row)
            assert away < 0.25, (frame, row)
            assert boxes.boxes.class_index[place] == KINDS[row]
            assert abs(np.sin(boxes.boxes.yaw_rad[place] - real.yaw_rad[row])) < 0.1
            wanted = SMOOTHED if kept[frame, row] else FILLED
            assert boxes.provenance[place] == wanted
            if 5 < frame < FRAMES - 5:
                speed = boxes.boxes.velocity_mps[place] - real.velocity_mps[row]
                assert np.hypot(*speed) < 0.7
    assert np.unique(boxes.boxes.track_id).size == 4


def test_what_stands_is_told_before_it_was_first_seen_and_after_it_was_last() -> None:
    kept = np.zeros((FRAMES, 4), dtype=np.bool_)
    kept[25:40, 0] = True
    boxes = tracks(detections(kept))
    for frame in (10, 24, 40, 55):
        place, away = nearest(boxes, frame, 0)
        assert away < 0.1 and boxes.provenance[place] == EXTENDED


def test_a_track_is_called_one_thing_by_all_of_its_sightings() -> None:
    kept = np.zeros((FRAMES, 4), dtype=np.bool_)
    kept[:, 2] = True
    called = np.where(np.arange(FRAMES) % 3 == 0, CAR, TRUCK)
    boxes = tracks(detections(kept, called))
    assert set(boxes.boxes.class_index.tolist()) == {TRUCK}
    np.testing.assert_allclose(boxes.class_share, 2 / 3, atol=0.01)


def test_instants_that_are_missing_are_bridged_and_not_told() -> None:
    kept = np.ones((FRAMES, 4), dtype=np.bool_)
    there = np.ones(FRAMES, dtype=np.bool_)
    there[[7, 8, 30]] = False
    found = detections(kept)
    rows = there[found.group]
    place = np.cumsum(there) - 1
    cut = Detections(
        found.boxes.take(rows), found.scores[rows], found.distributions[rows],
        place[found.group[rows]],
    )  # fmt: skip
    boxes = tracks(cut, TIMES_NS[there], POSES[there])
    assert np.unique(boxes.boxes.track_id).size == 4
    assert sorted(set(boxes.instant.tolist())) == list(range(int(there.sum())))
    frames = frames_of(TIMES_NS[there])
    real = truth(int(frames[20]))
    here = boxes.boxes.take(boxes.instant == 20)
    away = np.hypot(*np.moveaxis(real.centre_m[:, None, :2] - here.centre_m[None, :, :2], -1, 0))
    assert away.min(axis=1).max() < 0.25


@pytest.mark.parametrize("wrong", [np.pi / 2, np.pi])
def test_what_drives_points_where_it_goes(wrong: float) -> None:
    frame = np.arange(40)
    moved = np.clip(frame - 10, 0, 20) * 0.8
    xy = np.column_stack([3.0 + 0 * moved, moved])
    yaw = np.full(40, np.pi / 2 + (wrong if wrong < 3 else 0.0))
    seen = np.ones(40, dtype=np.bool_)
    np.testing.assert_allclose(driven(frame, xy, yaw, seen), np.pi / 2, atol=1e-6)
    backwards = np.full(40, -np.pi / 2)
    turned = driven(frame, xy, backwards, seen)
    np.testing.assert_allclose(np.cos(turned + np.pi / 2), 1, atol=1e-9)
    np.testing.assert_array_equal(driven(frame, 0 * xy, yaw, seen), yaw)
