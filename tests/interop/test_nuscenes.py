"""nuScenes' own kit opens what `longtail label export --format nuscenes` writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial import cKDTree

from contracts.geometry import apply_SE3, inverse_SE3
from offline.labels.formats.folders import export_drives
from tests.offline.labels.formats.moving import (
    EGO_SE3_LIDAR,
    INSTANTS,
    sequence,
    static_points_m,
    world_SE3_ego,
    write_moving_drive,
)

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The exported drive, all of whose labelled frames are keyframes but every second sweep."""
    found = pytest.importorskip(
        "nuscenes.nuscenes", reason="nuscenes-devkit is not installed (make interop)"
    )
    drive = write_moving_drive(tmp_path_factory.mktemp("drives") / "first")
    out = tmp_path_factory.mktemp("nuscenes")
    export_drives("nuscenes", [drive], out, keyframe_hz=5.0)
    return found.NuScenes("v1.0-longtail", str(out), verbose=False)


def keyframes(kit: Any) -> list[tuple[int, dict[str, Any]]]:
    """Each sample with the instant of its labels."""
    found, token = [], kit.scene[0]["first_sample_token"]
    while token:
        found.append(kit.get("sample", token))
        token = found[-1]["next"]
    return list(zip(INSTANTS[::2], found, strict=True))


def test_boxes_in_the_lidar_s_axes_are_the_labels(kit: Any) -> None:
    labels = {one.record.mono_ns: one.record for one in sequence().frames}
    for instant, sample in keyframes(kit):
        _, boxes, _ = kit.get_sample_data(sample["data"]["LIDAR_TOP"])
        wanted = [one.box for one in labels[instant].boxes if not one.ignored]
        assert [box.name for box in boxes] == ["vehicle.car"] * len(wanted)
        for box, one in zip(boxes, wanted, strict=True):
            place = apply_SE3(EGO_SE3_LIDAR, box.center[None])[0]
            assert place == pytest.approx(one.centre_m, abs=1e-6)
            assert tuple(box.wlh) == pytest.approx(
                (one.size_m[1], one.size_m[0], one.size_m[2])
            )  # fmt: skip
            ahead = EGO_SE3_LIDAR[:3, :3] @ box.orientation.rotation_matrix[:, 0]
            assert np.arctan2(ahead[1], ahead[0]) == pytest.approx(one.yaw_rad, abs=1e-6)


def test_points_in_boxes_are_as_many_as_told(kit: Any) -> None:
    from nuscenes.utils.data_classes import LidarPointCloud
    from nuscenes.utils.geometry_utils import points_in_box

    for _, sample in keyframes(kit):
        path, boxes, _ = kit.get_sample_data(sample["data"]["LIDAR_TOP"])
        points = LidarPointCloud.from_file(path).points[:3]
        told = [kit.get("sample_annotation", box.token)["num_lidar_pts"] for box in boxes]
        assert [int(points_in_box(box, points).sum()) for box in boxes] == told == [60] * len(told)


def test_sweeps_of_half_a_second_fall_onto_each_other(kit: Any) -> None:
    """The kit moves them by ego poses and mounts to the keyframe: what stands comes out once."""
    from nuscenes.utils.data_classes import LidarPointCloud

    instant, sample = keyframes(kit)[-1]
    cloud, ages = LidarPointCloud.from_file_multisweep(
        kit, sample, "LIDAR_TOP", "LIDAR_TOP", nsweeps=6, min_distance=0.0
    )
    assert np.unique(ages.round(3)).tolist() == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    in_world = apply_SE3(world_SE3_ego(instant) @ EGO_SE3_LIDAR, cloud.points[:3].T)
    away, _ = cKDTree(static_points_m()).query(in_world)
    assert len(away) == 6 * len(static_points_m()) and away.max() < 0.02


def test_boxes_between_keyframes_are_interpolated(kit: Any) -> None:
    between = [row for row in kit.sample_data if row["channel"] == "LIDAR_TOP"
               and not row["is_key_frame"]]  # fmt: skip
    assert len(between) == 8
    for row in between[:-1]:
        _, (car, *_), _ = kit.get_sample_data(row["token"])
        (instant,) = [i for i in INSTANTS if abs(row["timestamp"] - _stamp_us(kit, i)) <= 1]
        parked = sequence().frames[INSTANTS.index(instant)].record.boxes[0].box
        seen = apply_SE3(inverse_SE3(EGO_SE3_LIDAR), np.array([parked.centre_m]))[0]
        assert car.center == pytest.approx(seen, abs=1e-5)


def _stamp_us(kit: Any, instant: int) -> int:
    first: int = kit.get("sample", kit.scene[0]["first_sample_token"])["timestamp"]
    return first + (instant - INSTANTS[0]) // 1000


def test_cameras_see_what_is_before_them(kit: Any) -> None:
    seen = 0
    for _, sample in keyframes(kit):
        path, boxes, intrinsic = kit.get_sample_data(sample["data"]["CAM_FRONT"])
        assert Path(path).is_file() and intrinsic.tolist()[0][0] == 160
        seen += len(boxes)
    assert seen >= 4
    assert all(np.abs(kit.box_velocity(kit.sample[0]["anns"][0])) < 1e-4)
