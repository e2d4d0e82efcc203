"""KITTI's tracking labels: what the format carries comes back, what it does not is counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from contracts.errors import InputError
from contracts.geometry import apply_SE3
from contracts.labels import LabelledBox
from contracts.samples import CalibrationSample
from offline.labels.formats.kitti_tracking import camera_SE3_ego, read_kitti, write_kitti
from offline.labels.formats.projection import shown_in
from offline.labels.formats.sequence import LabelSequence
from offline.labels.kitti import read_labels
from offline.labels.kitti_calibration import read_calibration
from tests.offline.labels.formats.drives import (
    CAMERAS,
    HUMAN,
    camera,
    sequences,
    small_sequence,
)

FRONT = CAMERAS["/camera/front"]


def carried(sequence: LabelSequence, seen_by: CalibrationSample | None) -> list[list[LabelledBox]]:
    """What is to come back: taken boxes, by frame."""
    return [
        [
            one for one in frame.record.boxes
            if not one.ignored and (seen_by is None or shown_in(one.box, seen_by) is not None)
        ]
        for frame in sequence.frames
    ]  # fmt: skip


@settings(max_examples=20)
@given(sequence=sequences())
@pytest.mark.parametrize(
    "seen_by", [None, FRONT, camera("side", 1.3)], ids=["level", "ahead", "side"]
)
def test_cuboids_tracks_and_confidence_come_back(
    tmp_path_factory: pytest.TempPathFactory, sequence: LabelSequence,
    seen_by: CalibrationSample | None,
) -> None:  # fmt: skip
    folder = tmp_path_factory.mktemp("kitti")
    write_kitti([(sequence, seen_by)], folder)
    (back,), _ = read_kitti(folder, HUMAN)
    assert (back.drive_id, back.instants()) == (sequence.drive_id, sequence.instants())
    for frame, wanted in zip(back.frames, carried(sequence, seen_by), strict=True):
        assert len(frame.record.boxes) == len(wanted)
        assert frame.record.provenance == HUMAN
        for one, want in zip(frame.record.boxes, wanted, strict=True):
            assert one.box.class_name == want.box.class_name
            np.testing.assert_allclose(one.box.centre_m, want.box.centre_m, atol=2e-6)
            np.testing.assert_allclose(one.box.size_m, want.box.size_m, atol=1e-6)
            assert np.cos(one.box.yaw_rad - want.box.yaw_rad) == pytest.approx(1, abs=1e-9)
            assert one.confidence == pytest.approx(want.confidence, abs=1e-6)
            assert want.box.track_id in (one.box.track_id, None)
            # What KITTI does not carry:
            assert (one.box.velocity_mps, one.visibility, one.points) == (None, None, None)
            assert one.provenance is None
        assert (frame.record.light, frame.record.ego_pose, frame.ground) == (None, None, None)
        assert not frame.record.tags


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    counts = write_kitti([(small_sequence(), None)], tmp_path / "level").counts
    assert counts["velocity"] == 6 and counts["provenance of a box"] == 3
    assert counts["ignored box: level files have no region for it"] == 1
    assert write_kitti([(small_sequence(), FRONT)], tmp_path / "front").counts[
        "box that the picture does not show"
    ] == 3  # fmt: skip
    first = small_sequence().frames[0]
    ignored = first.record.boxes[0].model_copy(update={"ignored": True})
    record = first.record.model_copy(update={"boxes": (ignored,)})
    write_kitti([(LabelSequence((replace(first, record=record),)), FRONT)], tmp_path / "regions")
    (back,), left_out = read_kitti(tmp_path / "regions", HUMAN)
    assert back.frames[0].record.boxes == ()
    assert left_out.counts == {"DontCare region": 1}
    text = (tmp_path / "level/label_02/0000.txt").read_text()
    (tmp_path / "level/label_02/0000.txt").write_text(text.replace("Car", "Tram"))
    (back,), left_out = read_kitti(tmp_path / "level", HUMAN)
    assert [len(frame.record.boxes) for frame in back.frames] == [0, 1, 1]
    assert left_out.counts == {"object of a class that is not in the taxonomy": 3}


def test_the_calibration_projects_the_written_boxes(tmp_path: Path) -> None:
    write_kitti([(small_sequence(), FRONT)], tmp_path)
    found = read_labels(tmp_path / "label_02/0000.txt").objects
    calibration = read_calibration(tmp_path / "calib/0000.txt")
    np.testing.assert_allclose(calibration.camera_SE3_lidar, camera_SE3_ego(FRONT), atol=1e-12)
    centres = calibration.pixels(found.centre_m)
    assert ((centres > found.box_px[:, :2]) & (centres < found.box_px[:, 2:])).all()
    ego = small_sequence().frames[0].record.boxes[0].box.centre_m
    moved = apply_SE3(calibration.camera_SE3_lidar, np.array([ego]))
    np.testing.assert_allclose(found.centre_m[0], moved[0], atol=1e-6)
    # Alpha is the rotation seen along the ray to the box.
    turn = -found.yaw_rad[0] - np.pi / 2
    bearing = np.arctan2(-found.centre_m[0, 1], found.centre_m[0, 0])
    assert np.cos(found.alpha_rad[0] - (turn - bearing)) == pytest.approx(1)


def test_what_is_wrong_is_refused_with_its_place(tmp_path: Path) -> None:
    tilted = camera()
    pitch = np.array([[np.cos(0.2), 0, np.sin(0.2)], [0, 1, 0], [-np.sin(0.2), 0, np.cos(0.2)]])
    tilted.ego_SE3_camera[:3, :3] = pitch @ tilted.ego_SE3_camera[:3, :3]
    with pytest.raises(InputError, match="tilts"):
        write_kitti([(small_sequence(), tilted)], tmp_path)
    write_kitti([(small_sequence(), FRONT)], tmp_path)
    labels = tmp_path / "label_02/0000.txt"
    text = labels.read_text()
    for old, new, why in [
        ("Car", "Tank", "0000.txt:1: 'Tank'"),
        ("0 7", "9 7", "frame 9 is after the last"),
        ("0.750000\n", "1.750000\n", "score 1.75 is no probability"),
    ]:
        labels.write_text(text.replace(old, new, 1))
        with pytest.raises(InputError, match=why):
            read_kitti(tmp_path, HUMAN)
    (tmp_path / "drives.json").unlink()
    with pytest.raises(InputError, match=r"drives\.json: cannot be read"):
        read_kitti(tmp_path, HUMAN)
