"""KITTI's files: columns, axes, what is refused, and the way back."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import InputError
from offline.labels.kitti import (
    CAMERA_FRAME,
    CLASSES,
    LabelFile,
    TrackedBoxes,
    detection_text,
    joined,
    label_text,
    read_detections,
    read_labels,
)
from offline.labels.kitti_calibration import read_calibration
from tests.offline.labels.tracked import random_labels

LABEL = "3 7 Car 0 1 -1.5 100 50 200 150 1.5 1.8 4.2 2.0 1.7 20.0 -1.5707963267948966"
REGION = "3 -1 DontCare -1 -1 -10 219 188 245 218 -1000 -1000 -1000 -10 -1 -1 -1"
DETECTION = "3,2,100,50,200,150,8.5,1.5,1.8,4.2,2.0,1.7,20.0,-1.5707963267948966,-1.5"


def written(folder: Path, text: str) -> Path:
    path = folder / "0000.txt"
    path.write_text(text)
    return path


def assert_same(one: TrackedBoxes, two: TrackedBoxes, digits: int = 6) -> None:
    for field in fields(TrackedBoxes):
        np.testing.assert_allclose(
            getattr(one, field.name), getattr(two, field.name), atol=1.1 * 10**-digits,
            err_msg=field.name,
        )  # fmt: skip


def test_a_car_ahead_in_the_camera_s_axes(tmp_path: Path) -> None:
    found = read_labels(written(tmp_path, f"{REGION}\n{LABEL}\n"))
    one = found.objects
    assert (len(one), found.region_frame.tolist()) == (1, [3])
    assert found.region_px.tolist() == [[219, 188, 245, 218]]
    # 20 m ahead, 2 m to the right; its bottom 1.7 m under the camera; it drives ahead.
    assert one.centre_m[0] == pytest.approx((20.0, -2.0, -1.7 + 0.75))
    assert one.size_m[0] == pytest.approx((4.2, 1.8, 1.5))
    assert one.yaw_rad[0] == pytest.approx(0)
    assert (one.occlusion[0], one.truncation[0], one.track_id[0]) == (1, 0, 7)
    assert np.isnan(one.score[0])
    boxes = one.as_boxes()
    assert (boxes.frame, boxes.class_index.tolist()) == (CAMERA_FRAME, [0])


def test_a_detection_is_the_same_box_without_a_track(tmp_path: Path) -> None:
    label = read_labels(written(tmp_path, LABEL)).objects
    found = read_detections(written(tmp_path, DETECTION))
    assert (found.track_id[0], found.score[0]) == (-1, 8.5)
    np.testing.assert_allclose(found.centre_m, label.centre_m)
    np.testing.assert_allclose(found.box_px, label.box_px)
    assert found.yaw_rad[0] == pytest.approx(0)
    assert_same(found, read_detections(written(tmp_path, detection_text(found))))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"{LABEL}\n{LABEL}", "0000.txt:2: track 7 is twice in frame 3"),
        (LABEL.replace("3 7", "3 -1"), "0000.txt:1: track -1 is no track"),
        (LABEL.replace("Car", "Tank"), "0000.txt:1: 'Tank' is none of Car, Van"),
        (LABEL + " 0.5 7", "0000.txt:1: has 19 columns, expected 17, or 18 with a score"),
        (f"{REGION}\n\n{LABEL} nan", "0000.txt:3: 'nan' is not finite"),
        (LABEL.replace("4.2", "wide"), "0000.txt:1: 'wide' is no number"),
        (LABEL.replace("3 7", "-1 7"), "0000.txt:1: frame -1 lies before the first"),
        (LABEL.replace("3 7", "3.5 7"), "0000.txt:1: '3.5' is no whole number"),
        (LABEL.replace("1.8", "0"), "0000.txt:1: a 3D box needs a positive height"),
        (LABEL.replace("100 50 200", "100 50 90"), "0000.txt:1: the 2D box ends before it begins"),
    ],
)
def test_bad_labels_are_refused_with_their_line(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(InputError) as caught:
        read_labels(written(tmp_path, text))
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (DETECTION.replace("3,2,", "3,5,"), "0000.txt:1: class 5 is none of [1, 2, 3]"),
        (DETECTION + ",1", "0000.txt:1: has 16 columns, expected 15"),
        (LABEL, "0000.txt:1: has 1 columns"),
    ],
)
def test_bad_detections_are_refused_with_their_line(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(InputError) as caught:
        read_detections(written(tmp_path, text))
    assert why in str(caught.value)


def test_what_cannot_be_read_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere.txt: cannot be read"):
        read_labels(tmp_path / "nowhere.txt")
    path = tmp_path / "bytes.txt"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read"):
        read_detections(path)


@given(st.integers(0, 2**32 - 1))
def test_labels_come_back_as_they_were_written(tmp_path_factory: pytest.TempPathFactory, seed: int
                                               ) -> None:  # fmt: skip
    folder = tmp_path_factory.mktemp("labels")
    for made in random_labels(np.random.default_rng(seed), 5):
        back = read_labels(written(folder, label_text(made)))
        assert_same(made.objects, back.objects)
        np.testing.assert_allclose(made.region_px, back.region_px, atol=1e-6)


def test_recorded_files_come_back(tmp_path: Path, shared_data: Path) -> None:
    root = shared_data / "kitti_tracking"
    labels = read_labels(root / "label_02/0003.txt")
    assert {CLASSES[kind] for kind in labels.objects.kind} == {"Car", "Van"}
    back = read_labels(written(tmp_path, label_text(labels)))
    assert_same(labels.objects, back.objects)
    assert back.region_frame.tolist() == labels.region_frame.tolist()
    found = read_detections(root / "pointrcnn_Cyclist/0003.txt")
    assert_same(found, read_detections(written(tmp_path, detection_text(found))), 4)


def test_what_the_taxonomy_does_not_know_has_no_place_in_it(tmp_path: Path) -> None:
    found = read_labels(written(tmp_path, LABEL.replace("Car", "Tram"))).objects
    with pytest.raises(InputError, match="Tram is no class of taxonomy version 1"):
        found.as_boxes()
    with pytest.raises(InputError, match="no number for Tram"):
        detection_text(found)


def test_person_sitting_has_two_names(tmp_path: Path) -> None:
    for name in ("Person", "Person_sitting"):
        found = read_labels(written(tmp_path, LABEL.replace("Car", name)))
        assert CLASSES[found.objects.kind[0]] == "Person"


def test_tables_hold_together(tmp_path: Path) -> None:
    one = read_labels(written(tmp_path, LABEL)).objects
    later = replace(one, frame=one.frame + 1)
    assert joined([one, later]).frame.tolist() == [3, 4]
    with pytest.raises(InputError, match="order of their frames"):
        joined([later, one])
    with pytest.raises(InputError, match="box_px"):
        replace(one, box_px=np.zeros((1, 3)))
    assert label_text(LabelFile(one.take(np.array([], dtype=np.int64)), one.frame[:0],
                                one.box_px[:0])) == ""  # fmt: skip


def test_calibration_brings_boxes_to_where_their_pixels_are(shared_data: Path) -> None:
    root = shared_data / "kitti_tracking"
    for name in ("0000", "0011"):
        found = read_calibration(root / f"calib/{name}.txt")
        objects = read_labels(root / f"label_02/{name}.txt").objects
        whole = objects.take((objects.truncation == 0) & (objects.centre_m[:, 0] > 5))
        at, box = found.pixels(whole.centre_m), whole.box_px
        inside = ((at >= box[:, :2] - 2) & (at <= box[:, 2:] + 2)).all(axis=1)
        assert inside.mean() > 0.99
        # The lidar looks the way the camera does, 0.3 m behind it.
        assert found.camera_SE3_lidar[:3, :3] == pytest.approx(np.eye(3), abs=0.03)
        assert found.camera_SE3_lidar[0, 3] == pytest.approx(-0.3, abs=0.05)
    assert np.isnan(found.pixels(np.array([[-1.0, 0, 0]]))).all()


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("P2:", "P9:", "0000.txt:3: 'P9' is none of P0, P1"),
        ("R0_rect:", "R0_rect: 1", "0000.txt:5: R0_rect takes 9 numbers"),
        ("R0_rect: 9.99", "R0_rect: 1.99", "0000.txt: the matrix is no rigid motion"),
        ("P1:", "P0:", "0000.txt: lacks P1"),
        ("P1: 7", "P1: x", "0000.txt:2: P1 takes 12 numbers"),
    ],
)
def test_bad_calibration_is_refused(
    tmp_path: Path, shared_data: Path, old: str, new: str, why: str
) -> None:
    text = (shared_data / "kitti_tracking/calib/0000.txt").read_text()
    assert old in text
    with pytest.raises(InputError) as caught:
        read_calibration(written(tmp_path, text.replace(old, new)))
    assert why in str(caught.value)


def test_calibration_of_raw_data_names_matrices_otherwise(tmp_path: Path, shared_data: Path
                                                          ) -> None:  # fmt: skip
    path = shared_data / "kitti_tracking/calib/0000.txt"
    text = path.read_text().replace("R0_rect:", "R_rect").replace("Tr_velo_to_cam:", "Tr_velo_cam")
    found = read_calibration(written(tmp_path, text))
    np.testing.assert_array_equal(found.camera_SE3_lidar, read_calibration(path).camera_SE3_lidar)
