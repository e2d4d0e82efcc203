"""nuScenes of clips that lack something: refused by name, or done and counted."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.spatial import cKDTree

from contracts.errors import InputError
from contracts.labels import FrameLabels
from contracts.samples import CalibrationSample
from offline.labels.formats.folders import export_drives
from offline.labels.formats.nuscenes.reader import read_nuscenes
from offline.labels.formats.nuscenes.tables import read_tables
from offline.labels.formats.nuscenes.writer import write_nuscenes
from offline.labels.formats.sequence import CLIP_FILE, LabelSequence
from tests.offline.labels.formats import moving
from tests.offline.labels.formats.drives import assert_same
from tests.offline.labels.formats.moving import (
    EGO_SE3_LIDAR,
    INSTANTS,
    TWO_HZ,
    at_two_hz,
    sequence,
    write_clip_of,
    write_moving_drive,
)


@pytest.fixture
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_moving_drive(tmp_path_factory.mktemp("drives") / "first")


@pytest.fixture
def database(drive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("nuscenes")
    export_drives("nuscenes", [drive], out)
    return out


def recorded(folder: Path, *arguments: Any, **named: Any) -> list[tuple[Path, LabelSequence]]:
    folder.mkdir(exist_ok=True)
    write_clip_of(folder / CLIP_FILE, *arguments, **named)
    return [(folder, sequence())]


def test_what_an_export_cannot_do_without(tmp_path: Path, drive: Path, database: Path) -> None:
    every = moving.samples()
    folder, out = tmp_path / "drive", tmp_path / "out"
    with pytest.raises(InputError, match="a database already"):
        write_nuscenes([(drive, sequence())], database)
    folder.mkdir()
    with pytest.raises(InputError, match="no clip"):
        write_nuscenes([(folder, sequence())], out)
    with pytest.raises(InputError, match=r"clip\.mcap: no calibration of /camera/rear_left"):
        write_nuscenes(recorded(folder, every, lambda: [moving.FRONT]), out)
    with pytest.raises(InputError, match=r"no mount of /camera/front \(front\)"):
        write_nuscenes(recorded(folder, every, mounted=False), out)
    cameras = lambda: [moving.FRONT, moving.REAR]  # noqa: E731
    with pytest.raises(InputError, match=r"no mount of /lidar/top \(lidar_top\)"):
        write_nuscenes(recorded(folder, every, cameras), out)
    with pytest.raises(InputError, match="neither a picture nor a sweep"):
        write_nuscenes(recorded(folder, [moving.pose_sample(INSTANTS[0])]), out)
    late = [one for one in every if one.mono_ns > INSTANTS[2]]
    with pytest.raises(InputError, match=f"frame {INSTANTS[0]} cannot be placed in the world"):
        write_nuscenes(recorded(folder, late), out)
    wide = CalibrationSample("/camera/front", 0, 640, 200, moving.FRONT.intrinsics,
                                  moving.FRONT.ego_SE3_camera, "front")  # fmt: skip
    mounts = moving.MountSample(0, "lidar_top", EGO_SE3_LIDAR)
    with pytest.raises(InputError, match=r"/camera/front at \d+ ns: is 320 x 200 pixels, its cal"):
        write_nuscenes(recorded(folder, every, lambda: [wide, moving.REAR, mounts]), out)
    assert not (out / "v1.0-longtail").exists()


def test_a_clip_without_poses_goes_by_those_of_its_labels(tmp_path: Path) -> None:
    sensed_only = [one for one in moving.samples() if not isinstance(one, moving.PoseSample)]
    ((folder, labels),) = recorded(tmp_path / "drive", sensed_only)
    write_nuscenes([(folder, labels)], tmp_path / "out")
    (back,), _ = read_nuscenes(tmp_path / "out")
    assert_same(back, at_two_hz(labels))
    lost = LabelSequence(tuple(
        FrameLabels(one.record.model_copy(update={"ego_pose": None})) for one in labels.frames
    ))  # fmt: skip
    with pytest.raises(InputError, match=r"clip\.mcap: no pose: neither /pose nor a labelled"):
        write_nuscenes([(folder, lost)], tmp_path / "other")


def test_a_clip_without_lidar_and_what_lies_beyond_the_poses(tmp_path: Path) -> None:
    seen = [
        one for one in moving.samples()
        if (isinstance(one, moving.ImageSample) and one.channel == "/camera/front")
        or (isinstance(one, moving.PoseSample) and one.mono_ns < INSTANTS[-3])
    ]  # fmt: skip
    labels = LabelSequence(sequence().frames[:10])
    ((folder, _),) = recorded(tmp_path / "drive", seen, lambda: [moving.FRONT])
    done = write_nuscenes([(folder, labels)], tmp_path / "out")
    assert done.left_out.counts["keyframe without a sweep (lidar points as labelled)"] == 2
    assert done.left_out.counts["message of /camera/front too far from any pose"] == 1
    rows = read_tables(tmp_path / "out/v1.0-longtail").rows["sample_annotation"].values()
    assert sorted(row["num_lidar_pts"] for row in rows) == [0, 0, 3]
    (back,), _ = read_nuscenes(tmp_path / "out")
    assert_same(back, LabelSequence((labels.frames[0], labels.frames[5])))


def test_pictures_that_are_no_jpegs_and_a_lidar_that_tells_little(tmp_path: Path) -> None:
    """PNGs become JPEGs, rings are 0; both are counted. Without times nothing is deskewed."""
    stream = io.BytesIO()
    Image.fromarray(np.full((200, 320, 4), (10, 200, 30, 255), dtype=np.uint8)).save(stream, "png")
    seen = []
    for one in moving.samples():
        if isinstance(one, moving.ImageSample) and one.channel == "/camera/front":
            seen.append(replace(one, encoding="png", content=stream.getvalue()))
        elif isinstance(one, moving.LidarSample):
            seen.append(replace(one, ring=None, time_offset_ns=None))
        elif not isinstance(one, moving.ImageSample):
            seen.append(one)
    mount = moving.MountSample(0, "lidar_top", EGO_SE3_LIDAR)
    ((folder, labels),) = recorded(tmp_path / "drive", seen, lambda: [moving.FRONT, mount])
    done = write_nuscenes([(folder, labels)], tmp_path / "out")
    assert done.left_out.counts["exact pixels of a png picture (now a JPEG)"] == 16
    assert done.left_out.counts["ring of a sweep of /lidar/top: not told, written as 0"] == 16
    (path, *_) = sorted((tmp_path / "out/samples/CAM_FRONT").iterdir())
    pixels = np.asarray(Image.open(path)).astype(int)
    assert pixels.shape == (200, 320, 3) and np.abs(pixels - (10, 200, 30)).max() < 6
    (path, *_) = sorted((tmp_path / "out/samples/LIDAR_TOP").iterdir())
    points = np.fromfile(path, np.float32).reshape(-1, 5)
    assert not points[:, 4].any()
    away, _ = cKDTree(moving.sweep(TWO_HZ[0]).xyz_m).query(points[:, :3])
    assert away.max() < 0.02
