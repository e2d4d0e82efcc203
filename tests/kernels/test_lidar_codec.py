"""The lidar codec: bounds of each layout, exactness of the rest, sizes."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.lidar_codec import read_scan, scan_points
from bench.street_grid import street_grid
from contracts.errors import InputError
from kernels.lidar.beams import (
    MIN_POINTS_PER_BEAM,
    _changes,
    beams_of_rings,
    ring_of_points,
)
from kernels.lidar.container import Flag, Header, Kind, Sections, pack
from kernels.lidar.nibbles import nibble_sections, read_nibbles
from kernels.lidar.streams import delta_sections, read_delta
from kernels.lidar_codec import (
    Layout,
    LidarGrid,
    LidarPoints,
    decode_grid,
    decode_sweep,
    encode_grid,
    encode_sweep,
    intensity_from_unit,
    peek,
)
from tests.kernels.lidar_clouds import cloud, spinning

# Bounds that the module promises, with a little for rounding in float32.
EPS_M = 2e-5
RANGE_M, HEIGHT_M, ANGLE_RAD, AXIS_M = 0.001, 0.002, 5.1e-5, 0.001


def assert_within_ring_bounds(source: LidarPoints, found: LidarPoints) -> None:
    a, b = source.xyz_m.astype(np.float64), found.xyz_m.astype(np.float64)
    rho_a, rho_b = np.hypot(a[:, 0], a[:, 1]), np.hypot(b[:, 0], b[:, 1])
    assert np.abs(rho_a - rho_b).max() <= RANGE_M + EPS_M
    assert np.abs(a[:, 2] - b[:, 2]).max() <= HEIGHT_M + EPS_M
    turned = np.arctan2(a[:, 1], a[:, 0]) - np.arctan2(b[:, 1], b[:, 0])
    turned = np.abs((turned + np.pi) % (2 * np.pi) - np.pi)
    assert turned[rho_a > 0.1].max(initial=0.0) <= ANGLE_RAD + 1e-6
    np.testing.assert_array_equal(source.intensity, found.intensity)


def test_beams_are_recovered_from_the_order_of_the_points() -> None:
    source = spinning()
    payload = encode_sweep(source)
    assert peek(payload).layout is Layout.RINGS
    found = decode_sweep(payload)
    assert_within_ring_bounds(source, found)
    assert found.ring is not None
    np.testing.assert_array_equal(found.ring, np.repeat(np.arange(8), 600))


def test_beams_of_a_clockwise_sensor_are_recovered_as_well() -> None:
    source = spinning(turn=-1.0)
    found = decode_sweep(encode_sweep(source))
    assert found.ring is not None
    assert found.ring.max() == 7
    assert_within_ring_bounds(source, found)


def test_a_ring_of_any_layout_meets_the_compiled_kernels() -> None:
    of_a_message = np.zeros(600, [("x", np.float32), ("ring", np.uint16)])
    of_a_message["ring"] = np.arange(600) // 50
    plain = of_a_message["ring"].copy()
    expected = beams_of_rings(plain)
    compiled = len(_changes.signatures)
    received = np.frombuffer(plain.tobytes(), np.uint16)
    for ring in (of_a_message["ring"], received, plain):
        assert (beams_of_rings(ring).bounds == expected.bounds).all()
        assert ring.flags.writeable == (ring is not received)
    assert len(_changes.signatures) == compiled


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 400)), min_size=1, max_size=40))
@settings(deadline=None, max_examples=60)
def test_beams_are_the_runs_of_a_ring_where_those_are_long(runs: list[tuple[int, int]]) -> None:
    ring = np.repeat([r for r, _ in runs], [n for _, n in runs]).astype(np.uint16)
    beams = beams_of_rings(ring)
    starts = np.flatnonzero(np.diff(ring, prepend=ring[:1] + 1))
    if (len(starts) - 1) * MIN_POINTS_PER_BEAM <= len(ring):
        assert beams.order is None
        assert beams.bounds.tolist() == [*starts.tolist(), len(ring)]
        assert beams.ring.tolist() == ring[starts].tolist()
    else:
        assert beams.order is not None
        assert (np.diff(ring[beams.order].astype(int)) >= 0).all()
    assert (ring_of_points(beams) == ring).all()


@pytest.mark.parametrize("interleaved", [False, True])
def test_given_rings_times_and_order_come_back_exactly(interleaved: bool) -> None:
    plain = spinning()
    ring = np.repeat(np.arange(40, 48, dtype=np.uint16), 600)
    order = np.arange(4800).reshape(8, 600).T.reshape(-1) if interleaved else np.arange(4800)
    time_ns = (np.arange(4800, dtype=np.int32) // 8 * 55_296 - 100_000_000).astype(np.int32)
    source = LidarPoints(plain.xyz_m[order], plain.intensity[order], ring[order], time_ns)
    found = decode_sweep(encode_sweep(source))
    assert found.ring is not None and found.time_offset_ns is not None
    np.testing.assert_array_equal(found.ring, source.ring)
    np.testing.assert_array_equal(found.time_offset_ns, time_ns)
    assert_within_ring_bounds(source, found)


@given(
    count=st.integers(0, 300),
    seed=st.integers(0, 2**32 - 1),
    reach_m=st.sampled_from([0.01, 1.0, 30.0, 90.0]),
    rings=st.none() | st.integers(1, 70),
    timed=st.booleans(),
)
@settings(deadline=None, max_examples=80)
def test_any_cloud_comes_back_within_its_layouts_bounds(
    count: int, seed: int, reach_m: float, rings: int | None, timed: bool
) -> None:
    rng = np.random.default_rng(seed)
    base = cloud(count, seed, reach_m)
    ring = None if rings is None else rng.integers(0, rings, count).astype(np.uint16)
    time_ns = rng.integers(-(2**31), 2**31, count).astype(np.int32) if timed else None
    source = LidarPoints(base.xyz_m, base.intensity, ring, time_ns)
    payload = encode_sweep(source)
    found = decode_sweep(payload)
    assert encode_sweep(source) == payload
    if peek(payload).layout is Layout.RINGS and count:
        assert_within_ring_bounds(source, found)
    elif count:
        assert np.abs(source.xyz_m - found.xyz_m).max() <= AXIS_M + EPS_M
    np.testing.assert_array_equal(found.intensity, source.intensity)
    if ring is not None and count:
        assert found.ring is not None
        np.testing.assert_array_equal(found.ring, ring)
    assert (found.time_offset_ns is None) == (time_ns is None)
    if time_ns is not None:
        np.testing.assert_array_equal(found.time_offset_ns, time_ns)


ODD = np.array(
    [
        [0, 0, 0], [np.nan, np.nan, np.nan], [np.inf, 0, 0], [1, np.nan, 2], [200, 3, -1],
        [131.07, 0, 0], [5, 5, 66], [-np.inf, np.inf, 1], [1e30, 1e30, 0], [3, 4, -1e38],
    ],
    np.float32,
)  # fmt: skip


@pytest.mark.parametrize("with_ring", [False, True])
def test_points_out_of_reach_come_back_exactly(with_ring: bool) -> None:
    base = spinning()
    xyz = base.xyz_m.copy()
    at = np.array([0, 1, 2, 700, 701, 1500, 2000, 3000, 4000, 4799])
    xyz[at] = ODD
    ring = np.repeat(np.arange(8, dtype=np.uint16), 600) if with_ring else None
    source = LidarPoints(xyz, base.intensity, ring)
    payload = encode_sweep(source)
    assert peek(payload).layout is Layout.RINGS
    found = decode_sweep(payload)
    np.testing.assert_array_equal(found.xyz_m[at], ODD)
    others = np.setdiff1d(np.arange(4800), at)
    assert_within_ring_bounds(
        LidarPoints(xyz[others], base.intensity[others]),
        LidarPoints(found.xyz_m[others], found.intensity[others]),
    )


def test_points_out_of_reach_of_a_plain_cloud_come_back_exactly() -> None:
    base = cloud(500, 1)
    xyz = base.xyz_m.copy()
    at = np.arange(0, 500, 50)
    xyz[at] = ODD
    payload = encode_sweep(LidarPoints(xyz, base.intensity))
    assert peek(payload).layout is Layout.PLAIN
    found = decode_sweep(payload)
    far = np.array([4])  # 200 m is within a plain cloud's reach
    np.testing.assert_allclose(found.xyz_m[at[far]], ODD[far], atol=AXIS_M + EPS_M)
    exact = np.array([0, 1, 2, 3, 7, 8, 9])
    np.testing.assert_array_equal(found.xyz_m[at[exact]], ODD[exact])


def test_a_cone_that_misses_by_metres_is_still_within_bounds() -> None:
    rng = np.random.default_rng(5)
    base = spinning(beams=2)
    xyz = base.xyz_m.copy()
    xyz[:, 2] = rng.choice([-64.9, 64.9], xyz.shape[0])
    source = LidarPoints(xyz, base.intensity)
    assert_within_ring_bounds(source, decode_sweep(encode_sweep(source)))


def test_straight_up_and_hair_thin_ranges_are_ordinary_points() -> None:
    xyz = np.tile(np.array([[0, 0, 5], [1e-4, 0, 5], [-0.0, -0.0, -3]], np.float32), (20, 1))
    source = LidarPoints(xyz, np.zeros(60, np.uint8), np.zeros(60, np.uint16))
    assert_within_ring_bounds(source, decode_sweep(encode_sweep(source)))


@pytest.mark.parametrize("dense", [True, False])
def test_a_grid_comes_back_within_its_bound(dense: bool) -> None:
    grid = street_grid(32, 256)
    range_m = grid.range_m.copy()
    if dense:
        range_m[range_m == 0] = 50.0
    else:
        range_m[3, :5] = [np.nan, 131.07, 250.5, -2.0, np.inf]
    time_ns = np.arange(256, dtype=np.int32) * -390_625
    source = LidarGrid(range_m, grid.intensity, grid.azimuth_rad, grid.elevation_rad, time_ns)
    payload = encode_grid(source)
    found = decode_grid(payload)
    ordinary = (range_m > 0) & (range_m < 131.07)
    assert np.abs(found.range_m[ordinary] - range_m[ordinary]).max() <= RANGE_M + EPS_M
    np.testing.assert_array_equal(found.range_m[~ordinary], range_m[~ordinary])
    np.testing.assert_array_equal(found.intensity, source.intensity)
    np.testing.assert_array_equal(found.azimuth_rad, source.azimuth_rad)
    np.testing.assert_array_equal(found.elevation_rad, source.elevation_rad)
    np.testing.assert_array_equal(found.column_time_ns, time_ns)
    assert encode_grid(source) == payload


def test_a_grid_read_as_points_gives_its_returns_row_by_row() -> None:
    grid = street_grid(32, 256)
    points = decode_sweep(encode_grid(grid))
    held = grid.range_m != 0
    assert len(points) == held.sum()
    assert points.ring is not None
    np.testing.assert_array_equal(points.ring, np.nonzero(held)[0])
    np.testing.assert_array_equal(points.intensity, grid.intensity[held])
    slant_m = np.linalg.norm(points.xyz_m.astype(np.float64), axis=1)
    assert np.abs(slant_m - grid.range_m[held]).max() <= RANGE_M + EPS_M
    row, column = (axis[1000] for axis in np.nonzero(held))
    x, y, z = points.xyz_m[1000].astype(np.float64)
    assert np.arctan2(y, x) % (2 * np.pi) == pytest.approx(grid.azimuth_rad[column], abs=1e-5)
    assert np.arcsin(z / slant_m[1000]) == pytest.approx(grid.elevation_rad[row], abs=1e-5)


def test_the_simulated_grid_meets_the_size_goal() -> None:
    grid = street_grid()
    assert grid.range_m.size * 16 / len(encode_grid(grid)) >= 9.0


def test_kitti_scans_meet_the_size_goal_with_every_azimuth_kept(shared_data: Path) -> None:
    raw = coded = 0
    for path in sorted(shared_data.glob("kitti_tracking/velodyne_0000/*.pcd"))[::6]:
        source = scan_points(read_scan(path))
        payload = encode_sweep(source)
        found = decode_sweep(payload)
        held = (source.xyz_m != 0).any(axis=1)
        assert_within_ring_bounds(
            LidarPoints(source.xyz_m[held], source.intensity[held]),
            LidarPoints(found.xyz_m[held], found.intensity[held]),
        )
        np.testing.assert_array_equal(found.xyz_m[~held], 0.0)
        assert found.ring is not None and found.ring.max() == 63
        near = np.linalg.norm(source.xyz_m, axis=1) <= 50.0
        error_m = np.linalg.norm(found.xyz_m - source.xyz_m, axis=1)
        assert error_m[near].max() <= 0.0035
        raw += 16 * len(source)
        coded += len(payload)
    assert raw / coded >= 7.5


def test_kitti_intensity_steps_survive_the_scaling() -> None:
    steps = np.arange(101) / 100
    back = np.round(intensity_from_unit(steps.astype(np.float32)) / 255.0, 2)
    np.testing.assert_array_equal(back, steps)
    assert intensity_from_unit(np.array([np.nan, -1.0, 7.0])).tolist() == [0, 0, 255]


def test_threads_share_nothing() -> None:
    sources = [spinning(seed=seed) for seed in range(4)]
    wanted = [encode_sweep(source) for source in sources]
    wrong: list[int] = []

    def work(index: int) -> None:
        for _ in range(20):
            payload = encode_sweep(sources[index])
            if payload != wanted[index] or len(decode_sweep(payload)) != 4800:
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize(
    ("xyz", "intensity", "ring"),
    [
        (np.zeros((4, 3), np.float64), np.zeros(4, np.uint8), None),
        (np.zeros((4, 2), np.float32), np.zeros(4, np.uint8), None),
        (np.zeros((4, 3), np.float32), np.zeros(5, np.uint8), None),
        (np.zeros((4, 3), np.float32), np.zeros(4, np.float32), None),
        (np.zeros((4, 3), np.float32), np.zeros(4, np.uint8), np.zeros(4, np.int64)),
    ],
)
def test_arrays_of_another_shape_or_type_are_refused(
    xyz: np.ndarray, intensity: np.ndarray, ring: np.ndarray | None
) -> None:
    with pytest.raises(InputError):
        LidarPoints(xyz, intensity, ring)


def test_points_are_no_grid() -> None:
    with pytest.raises(InputError):
        decode_grid(encode_sweep(cloud(10, 0)))


@given(st.lists(st.integers(0, 65535), max_size=200), st.integers(1, 700), st.booleans())
@settings(deadline=None, max_examples=100)
def test_streams_are_lossless(values: list[int], copies: int, steady: bool) -> None:
    source = np.array(values * copies, np.uint16)
    if steady:
        source = (np.cumsum(source % 9, dtype=np.uint64) & 0xFFFF).astype(np.uint16)
    header = Header(Layout.PLAIN, Flag.NONE, source.shape[0])
    coded = Sections(pack(header, delta_sections(Kind.RANGE_DELTA, Kind.RANGE_ESCAPE, source)))
    found = read_delta(coded, Kind.RANGE_DELTA, Kind.RANGE_ESCAPE, source.shape[0])
    np.testing.assert_array_equal(found, source)
    if source.shape[0] == 0:
        return
    parts = nibble_sections(Kind.AZIMUTH_NIBBLES, Kind.AZIMUTH_ESCAPE, source)
    assert parts is not None or not steady or source.shape[0] < 16
    if parts is not None:
        sections = Sections(pack(header, parts))
        found = read_nibbles(sections, Kind.AZIMUTH_NIBBLES, Kind.AZIMUTH_ESCAPE, source.shape[0])
        np.testing.assert_array_equal(found, source)
