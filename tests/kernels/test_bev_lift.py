"""The gather table against a projection done point by point, and ego motion between poses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import InputError
from contracts.geometry import BevGrid, flat_SE3
from contracts.model_manifest import LiftInput
from contracts.samples import CalibrationSample, Float64s, PoseSample
from kernels.bev.lift import CameraView, empty_table, lift_points, lift_table, view_of
from kernels.bev.motion import PoseTrack, slerp

OPTICAL = np.array([[0, 0, 1.0, 0], [-1.0, 0, 0, 0], [0, -1.0, 0, 0], [0, 0, 0, 1.0]])
SPEC = LiftInput(
    pixel_tensor="p", depth_tensor="d",
    grid=BevGrid(x_min_m=-8, y_min_m=-8, cell_m=1.0, rows=16, columns=16),
    heights_m=(0.0, 1.5), feature_stride=8, depth_edges_m=(1.0, 3.0, 6.0),
)  # fmt: skip


def camera(yaw_rad: float, x_m: float = 0.3) -> CameraView:
    focal = 40.0
    intrinsics = np.array([[focal, 0, 32.0], [0, focal, 16.0], [0, 0, 1.0]])
    return CameraView(64, 32, intrinsics, flat_SE3(x_m, 0.0, yaw_rad, 1.4) @ OPTICAL)


def by_hand(view: CameraView, point: Float64s) -> tuple[float, float, float] | None:
    """u, v, depth of a point in the picture, or None."""
    x, y, z = (np.linalg.inv(view.ego_SE3_camera) @ np.append(point, 1.0))[:3]
    if z < 1.0:
        return None
    u, v = 40.0 * x / z + 32, 40.0 * y / z + 16
    return (u, v, z) if 0 <= u < 64 and 0 <= v < 32 else None


@settings(max_examples=15)
@given(st.floats(-3, 3), st.floats(-3, 3))
def test_every_entry_is_where_the_point_projects(first: float, second: float) -> None:
    views = [camera(first), camera(second, -0.4)]
    table = lift_table(SPEC, views)
    for n, point in enumerate(lift_points(SPEC)):
        pictures = [by_hand(view, point) for view in views]
        if not any(pictures):
            assert table.pixel[n] == 2 * 4 * 8 and table.depth[n] == 2 * 4 * 8 * 3
            continue
        off = [
            np.inf if p is None else max(abs(p[0] / 64 - 0.5), abs(p[1] / 32 - 0.5))
            for p in pictures
        ]
        if np.isclose(*off):
            continue
        best = int(np.argmin(off))
        u, v, z = pictures[best] or (0.0, 0.0, 0.0)
        if min(abs(u / 8 - round(u / 8)), abs(v / 8 - round(v / 8)), abs(z - 3), abs(z - 6)) < 1e-6:
            continue
        pixel = (best * 4 + int(v // 8)) * 8 + int(u // 8)
        assert table.pixel[n] == pixel
        assert table.depth[n] == pixel * 3 + (2 if z >= 6 else 1 if z >= 3 else 0)


def test_an_absent_camera_is_not_asked_and_the_other_answers() -> None:
    both, one = camera(0.0), camera(0.2)
    table = lift_table(SPEC, [None, one])
    seen = table.pixel < 2 * 32
    assert seen.any() and (table.pixel[seen] >= 32).all()
    full = lift_table(SPEC, [both, one])
    assert ((full.pixel < 64) >= seen).all()
    nothing = empty_table(SPEC, 2, 64, 32)
    assert (nothing.pixel == 64).all() and (nothing.depth == 192).all()


def test_calibration_is_scaled_to_the_tensor() -> None:
    calibration = CalibrationSample(
        "/camera/front", 0, 1280, 960, np.array([[800.0, 0, 640], [0, 800, 480], [0, 0, 1]]),
        flat_SE3(0, 0, 0, 1.5) @ OPTICAL, "camera_front",
    )  # fmt: skip
    view = view_of(calibration, 64, 32)
    pixels, depth = view.projected(np.array([[10.0, 0.0, 1.5], [10.0, 4.0, 1.5]]))
    np.testing.assert_allclose(pixels, [[32, 16], [32 - 16.0, 16]])
    np.testing.assert_allclose(depth, 10)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="one size"):
        lift_table(SPEC, [camera(0), CameraView(32, 32, np.eye(3), np.eye(4))])
    with pytest.raises(InputError, match="stride"):
        lift_table(SPEC, [CameraView(60, 32, np.eye(3), np.eye(4))])
    with pytest.raises(InputError, match="no camera"):
        lift_table(SPEC, [None])
    with pytest.raises(InputError, match="picture size"):
        view_of(CalibrationSample("c", 0, 0, 0, np.eye(3), np.eye(4), "f"), 64, 32)


def pose(mono_ns: int, x: float, y: float, yaw: float) -> PoseSample:
    turn = np.array([0, 0, np.sin(yaw / 2), np.cos(yaw / 2)])
    return PoseSample(mono_ns, np.array([x, y, 0.0]), turn)


@given(st.floats(0, 1), st.floats(-3, 3), st.floats(-1.5, 1.5))
def test_poses_between_two_lie_on_the_way(part: float, start: float, turn: float) -> None:
    track = PoseTrack([pose(0, 1, 2, start), pose(1_000_000_000, 5, 0, start + turn)])
    found = track.world_SE3_ego(round(part * 1e9))
    expected = flat_SE3(1 + 4 * part, 2 - 2 * part, start + part * turn)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_now_from_then_brings_a_standing_point_along() -> None:
    track = PoseTrack([pose(0, 0, 0, 0.0), pose(100_000_000, 2, 0, 0.1)])
    world = np.array([7.0, 1.0, 0.5, 1.0])
    then = np.linalg.inv(track.world_SE3_ego(30_000_000)) @ world
    now = np.linalg.inv(track.world_SE3_ego(100_000_000)) @ world
    np.testing.assert_allclose(track.now_SE3_then(100_000_000, 30_000_000) @ then, now, atol=1e-9)


def test_poses_too_far_away_or_broken_are_refused() -> None:
    track = PoseTrack([pose(0, 0, 0, 0), pose(100_000_000, 2, 0, 0)])
    np.testing.assert_allclose(track.world_SE3_ego(150_000_000)[0, 3], 3.0)
    with pytest.raises(InputError, match="nearest pose"):
        track.world_SE3_ego(300_000_000)
    with pytest.raises(InputError, match="do not rise"):
        PoseTrack([pose(5, 0, 0, 0), pose(5, 0, 0, 0)])
    with pytest.raises(InputError, match="no pose"):
        PoseTrack([])
    with pytest.raises(InputError, match="not finite"):
        PoseTrack([pose(0, np.nan, 0, 0)])


def test_slerp_takes_the_short_way() -> None:
    a, b = np.array([0, 0, 0, 1.0]), -np.array([0, 0, np.sin(0.5), np.cos(0.5)])
    half = slerp(a, b, 0.5)
    np.testing.assert_allclose(half, [0, 0, np.sin(0.25), np.cos(0.25)], atol=1e-12)
