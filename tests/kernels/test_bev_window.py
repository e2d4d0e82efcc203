"""The sensors' last moments: what is present, what is too old, and motion between the sweeps."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.errors import InputError
from contracts.geometry import BevGrid, flat_SE3
from contracts.model_manifest import (
    BevInputs,
    ImageInput,
    LidarRasterInput,
    LiftInput,
    RadarRasterInput,
)
from contracts.samples import (
    CalibrationSample,
    LidarSample,
    MountSample,
    PoseSample,
    RadarSample,
)
from kernels.bev.window import BevWindow

MS = 1_000_000
NOW_NS = 1_000 * MS
SPEED_MPS = 10.0
GRID = BevGrid(x_min_m=-16, y_min_m=-16, cell_m=1.0, rows=32, columns=32)
IMAGE = ImageInput(tensor="images", width=64, height=32, colour="rgb", resize="stretch",
                   scale=1 / 255)  # fmt: skip
BEV = BevInputs(
    cameras=("/camera/front", "/camera/rear"), present_tensor="present",
    lift=LiftInput(pixel_tensor="p", depth_tensor="d", grid=GRID.coarser(2), heights_m=(0.0, 1.0),
                   feature_stride=8, depth_edges_m=(1.0, 4.0)),
    lidar=LidarRasterInput(tensor="lidar", grid=GRID, slots=3, slot_s=0.1, z_min_m=-0.5,
                           z_max_m=3.5),
    radar=RadarRasterInput(tensor="radar", grid=GRID, window_s=0.3),
)  # fmt: skip
OPTICAL = np.array([[0, 0, 1.0, 0], [-1.0, 0, 0, 0], [0, -1.0, 0, 0], [0, 0, 0, 1.0]])
LIDAR_HEIGHT_M = 1.8
UNSEEN = 2 * 4 * 8


def pose(mono_ns: int) -> PoseSample:
    x = SPEED_MPS * (mono_ns - NOW_NS) * 1e-9
    return PoseSample(mono_ns, np.array([x, 0.0, 0.0]), np.array([0, 0, 0, 1.0]))


def sweep_of_post(mono_ns: int, world_x_m: float = 8.25) -> LidarSample:
    """A post that stands in the world, seen over the last 0.1 s from a moving lidar."""
    offsets = np.linspace(-100 * MS, 0, 20).astype(np.int32)
    at = [world_x_m - pose(mono_ns + int(o)).position_m[0] for o in offsets]
    xyz = np.column_stack([at, np.full(20, 0.5), np.full(20, 1.0 - LIDAR_HEIGHT_M)])
    return LidarSample("/lidar/top", mono_ns, xyz.astype(np.float32), np.full(20, 50, np.uint8),
                       "lidar_top", time_offset_ns=offsets)  # fmt: skip


def calibration(channel: str, yaw_rad: float) -> CalibrationSample:
    intrinsics = np.array([[64.0, 0, 64], [0, 64.0, 32], [0, 0, 1]])
    return CalibrationSample(channel, 0, 128, 64, intrinsics,
                             flat_SE3(0, 0, yaw_rad, 1.5) @ OPTICAL, channel)  # fmt: skip


def window(poses: bool = True) -> BevWindow:
    made = BevWindow(IMAGE, BEV)
    made.add(MountSample(0, "lidar_top", flat_SE3(0, 0, 0, LIDAR_HEIGHT_M)))
    made.add(calibration("/camera/front", 0.0))
    made.add(calibration("/camera/rear", np.pi))
    if poses:
        for mono_ns in range(NOW_NS - 600 * MS, NOW_NS + 1, 20 * MS):
            made.add(pose(mono_ns))
    return made


def full_window() -> BevWindow:
    made = window()
    for age_ms in (200, 100, 0):
        made.add(sweep_of_post(NOW_NS - age_ms * MS))
        made.add(RadarSample("/radar/front", NOW_NS - age_ms * MS, np.array(
            [[1, 8.25 + SPEED_MPS * age_ms * 1e-3, 0.5, SPEED_MPS]])))  # fmt: skip
    for channel, level in (("/camera/front", 51), ("/camera/rear", 102)):
        made.add_pixels(channel, NOW_NS - 10 * MS, np.full((64, 128, 3), level, np.uint8))
    return made


def test_a_standing_post_stays_in_its_cell_while_the_ego_drives() -> None:
    found = full_window().tensors(NOW_NS)
    assert np.argwhere(found.lidar[3]).tolist() == [[24, 16]]
    assert (found.lidar[6:, 24, 16] > 0).all() and found.lidar_present
    assert np.argwhere(found.radar[0]).tolist() == [[24, 16]]
    np.testing.assert_allclose(found.radar[1:3, 24, 16], 0.0, atol=0.01)
    assert found.radar_present and found.present().tolist() == [1.0, 1.0, 1.0]


def test_pictures_fill_their_camera_s_place() -> None:
    found = full_window().tensors(NOW_NS)
    np.testing.assert_allclose(found.images[0], 0.2, atol=1e-6)
    np.testing.assert_allclose(found.images[1], 0.4, atol=1e-6)
    assert found.cameras_present.all() and (found.table.pixel < 32).any()
    assert ((found.table.pixel >= 32) & (found.table.pixel < UNSEEN)).any()


def test_a_camera_that_stopped_is_absent_and_so_is_a_stranger() -> None:
    made = full_window()
    made.add_pixels("/camera/front", NOW_NS - 300 * MS, np.full((64, 128, 3), 9, np.uint8))
    made.add_pixels("/camera/roof", NOW_NS, np.full((64, 128, 3), 9, np.uint8))
    found = made.tensors(NOW_NS)
    assert found.cameras_present.tolist() == [False, True] and found.present()[0] == 0.5
    assert not found.images[0].any() and (found.table.pixel >= 32).all()
    made.add_pixels("/camera/front", NOW_NS, np.full((64, 128, 3), 9, np.uint8))
    assert made.tensors(NOW_NS).cameras_present.all()


def test_each_sensor_may_be_missing() -> None:
    only_camera = window(poses=False)
    only_camera.add_pixels("/camera/front", NOW_NS, np.full((64, 128, 3), 9, np.uint8))
    found = only_camera.tensors(NOW_NS)
    assert found.present().tolist() == [0.5, 0.0, 0.0]
    assert not found.lidar.any() and not found.radar.any()
    nothing = window().tensors(NOW_NS)
    assert not nothing.present().any() and (nothing.table.pixel == UNSEEN).all()
    assert (nothing.table.depth == UNSEEN * 2).all()


def test_a_lidar_that_stopped_leaves_no_trail() -> None:
    """Only old sweeps: the model was never shown such a raster as a present lidar."""
    made = window()
    made.add(sweep_of_post(NOW_NS - 150 * MS))
    found = made.tensors(NOW_NS)
    assert not found.lidar_present and not found.lidar.any()
    unmounted = BevWindow(IMAGE, BEV)
    unmounted.add(pose(NOW_NS))
    unmounted.add(sweep_of_post(NOW_NS))
    assert not unmounted.tensors(NOW_NS).lidar_present


def test_what_comes_after_the_instant_is_not_used() -> None:
    made = full_window()
    before = made.tensors(NOW_NS).lidar.copy()
    made.add(pose(NOW_NS + 100 * MS))
    made.add(sweep_of_post(NOW_NS + 100 * MS, world_x_m=3.0))
    np.testing.assert_allclose(made.tensors(NOW_NS).lidar, before, atol=1e-5)


def test_sweeps_without_poses_are_refused() -> None:
    made = window(poses=False)
    made.add(sweep_of_post(NOW_NS))
    with pytest.raises(InputError, match="ego motion is unknown"):
        made.tensors(NOW_NS)
    made.add(pose(NOW_NS - 2_000 * MS))
    with pytest.raises(InputError, match="nearest pose"):
        made.tensors(NOW_NS)
