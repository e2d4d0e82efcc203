"""Motion, truth, views: on made-up recordings."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.errors import InputError
from contracts.geometry import flat_SE3, inverse_SE3
from offline.labels.auto.planar import composed, inverse, placed
from offline.labels.kitti import CLASSES, LabelFile, TrackedBoxes
from offline.labels.kitti_calibration import Calibration
from offline.sim_to_real.kitti import PERIOD_NS, CameraView
from offline.sim_to_real.motion import planar_course
from offline.sim_to_real.recorded import pose_of, sweep_of
from offline.sim_to_real.truth import frame_labels, without_word


def _tracked(kinds: list[str], centres: np.ndarray, frame: int = 0) -> TrackedBoxes:
    n = len(kinds)
    none = np.full(n, np.nan)
    return TrackedBoxes(
        frame=np.full(n, frame), kind=np.array([CLASSES.index(kind) for kind in kinds]),
        track_id=np.arange(n), occlusion=np.zeros(n, dtype=np.int64), truncation=none,
        alpha_rad=none, box_px=np.full((n, 4), np.nan), centre_m=centres,
        size_m=np.tile([4.0, 2.0, 1.6], (n, 1)), yaw_rad=np.zeros(n), score=none,
    )  # fmt: skip


def _street(seed: int) -> np.ndarray:
    """Posts, and house fronts with corners."""
    rng = np.random.default_rng(seed)
    posts = rng.uniform(-40, 40, (120, 2))
    posts = posts[np.abs(posts[:, 1]) > 4]
    walls = [np.column_stack([np.arange(x, x + 6, 0.2), np.full(30, y)])
             for x, y in rng.uniform(-40, 40, (14, 2)) if abs(y) > 5]  # fmt: skip
    return np.concatenate([posts, *walls])


def test_the_course_of_a_street_is_found() -> None:
    """A metre and a half ahead each sweep, in a bend, but for a few hundredths; a car overtakes."""
    step = np.array([1.5, 0.02, 0.03])
    poses = [np.zeros(3)]
    for _ in range(8):
        poses.append(composed(poses[-1], step))
    rng = np.random.default_rng(2)
    sweeps = []
    for number, pose in enumerate(poses):
        world = _street(1)
        car = np.array([5.0 + 3.0 * number, 3.0]) + rng.uniform(-1, 1, (20, 2))
        seen = placed(inverse(pose), np.concatenate([world, car]))
        seen = seen + 0.02 * rng.normal(size=seen.shape)
        sweeps.append(np.column_stack([seen, rng.uniform(0.5, 2.5, len(seen))]))
    found = planar_course(sweeps)
    assert found[-1] == pytest.approx(poses[-1], abs=0.35)
    assert np.diff(found[:, 2]) == pytest.approx(np.full(8, 0.03), abs=0.006)


def test_an_empty_plain_tells_no_motion() -> None:
    with pytest.raises(InputError, match="motion is unknown"):
        planar_course([np.zeros((500, 3))] * 2)


def test_boxes_come_into_the_ego_frame_with_their_points() -> None:
    ego_SE3_boxes = flat_SE3(1.0, 2.0, np.pi / 2, 0.5)
    boxes = _tracked(["Van", "Misc", "Cyclist"], np.array([[10.0, 0, 0], [0, 8.0, 0], [20, 0, 0]]))
    points = np.array([[1.0, 12.0, 0.5], [1.2, 11.5, 0.3], [-7.0, 2.0, 0.5]])
    labels = frame_labels(boxes, ego_SE3_boxes, points, pose_of(7, np.zeros(3)), "drive", "x")
    van, misc, cyclist = labels.record.boxes
    assert van.box.centre_m == pytest.approx((1.0, 12.0, 0.5))
    assert van.box.yaw_rad == pytest.approx(np.pi / 2)
    assert (van.box.class_name, van.points, van.ignored) == ("car", 2, False)
    assert misc.ignored
    assert misc.points == 1
    assert cyclist.ignored
    assert cyclist.points == 0
    assert without_word([boxes]) == 1
    assert labels.record.provenance.source == "recording"


def test_what_the_camera_does_not_show_does_not_count() -> None:
    projection = np.array([[700.0, 0, 621, 0], [0, 700.0, 187, 0], [0, 0, 1.0, 0]])
    calibration = Calibration(np.eye(4), np.eye(4), np.stack([projection] * 4))
    labels = LabelFile(
        _tracked([], np.zeros((0, 3))), np.array([3]), np.array([[0.0, 0.0, 300.0, 375.0]])
    )
    view = CameraView(calibration, labels, inverse_SE3(flat_SE3(0.0, 0.0, 0.0, 1.5)))
    places = np.array([[20.0, 0, 1], [-20.0, 0, 1], [5.0, 30, 1], [20.0, 12, 1]])
    assert view.counts(1 * PERIOD_NS, places).tolist() == [True, False, False, True]
    # Frame 3 has a region at the left where nobody labelled.
    assert view.counts(4 * PERIOD_NS, places).tolist() == [True, False, False, False]


def test_samples_hold_what_they_are_given() -> None:
    sample = sweep_of(5, np.array([[1.0, 2.0, 3.0]]), np.array([0.5]))
    assert sample.intensity.tolist() == [128]
    pose = pose_of(5, np.array([1.0, 2.0, np.pi]))
    assert pose.orientation_xyzw == pytest.approx([0, 0, 1, 0], abs=1e-9)
