"""The bird's-eye rasters against plain references, and how they move with the points."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import InputError
from contracts.geometry import BevGrid, apply_SE3, flat_SE3
from contracts.model_manifest import LidarRasterInput, RadarRasterInput
from contracts.samples import Float32s, Float64s
from kernels.bev.radar import RadarTracks, fill_radar
from kernels.bev.raster import LidarRaster, Sweep, lidar_channels

GRID = BevGrid(x_min_m=-8.0, y_min_m=-8.0, cell_m=0.5, rows=32, columns=32)
SPEC = LidarRasterInput(tensor="lidar", grid=GRID, slots=3, slot_s=0.1, z_min_m=-0.5, z_max_m=3.5)
RADAR = RadarRasterInput(tensor="radar", grid=GRID, window_s=0.5)
HERE = np.eye(4)


def raster_of(sweeps: list[Sweep], spec: LidarRasterInput = SPEC) -> Float32s:
    lidar = LidarRaster(spec)
    out = np.empty(lidar.shape, dtype=np.float32)
    lidar.fill(sweeps, out)
    return out


def off_borders(metres: Float64s) -> Float32s:
    """At half a millimetre from every border: on which side rounding puts a point is no matter."""
    return ((np.floor(metres * 1e3) + 0.5) / 1e3).astype(np.float32)


def sweep_of(rng: np.random.Generator, n: int, age_s: float = 0.0, reach_m: float = 10.0) -> Sweep:
    low, high = (-reach_m, -reach_m, -1.0), (reach_m, reach_m, 4.0)
    xyz = off_borders(rng.uniform(low, high, (n, 3)))
    return Sweep(xyz, rng.integers(0, 256, n).astype(np.uint8), age_s, HERE)


def reference(sweeps: list[Sweep]) -> Float32s:
    """Cell by cell, straight from the module's table."""
    points: dict[tuple[int, int], list[tuple[float, int, float, int]]] = {}
    for sweep in sweeps:
        slot = int(sweep.age_s / SPEC.slot_s + 0.5)
        if slot >= SPEC.slots:
            continue
        moved = apply_SE3(sweep.now_SE3_end, sweep.xyz_m.astype(np.float64))
        for (x, y, z), level in zip(moved, sweep.intensity, strict=True):
            cell = (int(np.floor((x + 8) / 0.5)), int(np.floor((y + 8) / 0.5)))
            if 0 <= cell[0] < 32 and 0 <= cell[1] < 32 and -0.5 <= z <= 3.5:
                points.setdefault(cell, []).append((z, int(level), sweep.age_s, slot))
    out = np.zeros((len(lidar_channels(SPEC)), 32, 32))
    for cell, found in points.items():
        z, level, age, slots = (np.array(column) for column in zip(*found, strict=True))
        height = (z + 0.5) / 4.0
        counts = np.bincount(slots, minlength=3)
        out[(slice(None), *cell)] = [
            height.max(), height.mean(), height.min(), _density(len(found)),
            level.mean() / 255, age.mean() / 0.3, *(_density(int(c)) for c in counts),
        ]  # fmt: skip
    return out.astype(np.float32)


def _density(count: int) -> float:
    return min(1.0, float(np.log1p(count) / np.log(256)))


@settings(max_examples=25)
@given(st.integers(0, 2**31), st.integers(0, 900))
def test_statistics_are_those_of_the_definition(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    sweeps = [sweep_of(rng, n, 0.0), sweep_of(rng, n // 2, 0.1), sweep_of(rng, 40, 0.35)]
    np.testing.assert_allclose(raster_of(sweeps), reference(sweeps), atol=2e-5)


@settings(max_examples=25)
@given(st.integers(0, 2**31), st.integers(1, 400), st.integers(1, 9))
def test_points_that_follow_each_other_in_a_cell_are_counted_as_any(
    seed: int, n: int, run: int
) -> None:
    rng = np.random.default_rng(seed)
    # Runs of points about one place each, a few places again and again: as a ring lists them.
    middle = rng.integers(-18, 18, (n, 2)) * 0.5 + 0.25
    middle[n // 2 :] = middle[: n - n // 2]
    xy = middle.repeat(run, axis=0) + rng.uniform(-0.2, 0.2, (n * run, 2))
    xyz = off_borders(np.column_stack([xy, rng.uniform(-0.8, 3.8, n * run)]))
    levels = rng.integers(0, 256, n * run).astype(np.uint8)
    sweeps = [Sweep(xyz, levels, 0.0, HERE), Sweep(xyz[::-1].copy(), levels, 0.1, HERE)]
    np.testing.assert_allclose(raster_of(sweeps), reference(sweeps), atol=2e-5)


@settings(max_examples=20)
@given(st.integers(0, 2**31), st.integers(-6, 6), st.integers(-6, 6))
def test_moving_by_whole_cells_moves_the_raster(seed: int, rows: int, columns: int) -> None:
    rng = np.random.default_rng(seed)
    middle = rng.integers(8, 24, (200, 2)) * 0.5 - 8 + 0.25  # middles: no rounding at edges
    xyz = np.column_stack([middle, rng.uniform(0, 2, 200)]).astype(np.float32)
    sweep = Sweep(xyz, rng.integers(0, 256, 200).astype(np.uint8), 0.0, HERE)
    moved = replace(sweep, now_SE3_end=flat_SE3(rows * 0.5, columns * 0.5, 0.0))
    shifted = np.roll(raster_of([sweep]), (rows, columns), axis=(1, 2))
    np.testing.assert_allclose(raster_of([moved]), shifted, atol=1e-6)


@settings(max_examples=20)
@given(st.integers(0, 2**31))
def test_a_quarter_turn_turns_the_raster(seed: int) -> None:
    rng = np.random.default_rng(seed)
    middle = rng.integers(0, 32, (300, 2)) * 0.5 - 8 + 0.25
    xyz = np.column_stack([middle, rng.uniform(0, 2, 300)]).astype(np.float32)
    sweep = Sweep(xyz, rng.integers(0, 256, 300).astype(np.uint8), 0.0, HERE)
    turned = replace(sweep, now_SE3_end=flat_SE3(0.0, 0.0, np.pi / 2))
    # x goes to y, y to -x: cell (i, j) becomes (31 - j, i).
    expected = np.rot90(raster_of([sweep]), 1, axes=(1, 2))
    np.testing.assert_allclose(raster_of([turned]), expected, atol=1e-5)
    spot = replace(sweep, xyz_m=np.array([[4.25, 0.25, 1.0]], np.float32),
                   intensity=np.array([9], np.uint8))  # fmt: skip
    ahead = raster_of([replace(spot, now_SE3_end=flat_SE3(0, 0, np.pi / 2))])[3]
    assert ahead[GRID.rows // 2 - 1, 24] > 0 and (ahead > 0).sum() == 1  # to the left of the ego


def test_ego_motion_is_compensated_within_and_between_sweeps() -> None:
    """A pole seen while driving 20 m/s and turning: one cell, whoever's time it is."""
    speed, rate = 20.0, 0.3

    def now_SE3(age_s: float) -> np.ndarray:
        turn = -rate * age_s
        return flat_SE3(-speed * age_s * np.cos(turn / 2), -speed * age_s * np.sin(turn / 2), turn)

    pole = np.array([5.2, 1.3, 1.0, 1.0])
    sweeps = []
    for age in (0.0, 0.1, 0.2):
        offsets = np.linspace(-0.1e9, 0, 50).astype(np.int32)
        seen = [np.linalg.inv(now_SE3(age - t * 1e-9)) @ pole for t in offsets]
        sweeps.append(
            Sweep(np.array(seen)[:, :3].astype(np.float32), np.full(50, 7, np.uint8), age,
                  now_SE3(age), now_SE3(age + 0.1), offsets, 0.1)
        )  # fmt: skip
    raster = raster_of(sweeps)
    assert (raster[3] > 0).sum() == 1
    cell = tuple(np.argwhere(raster[3] > 0)[0])
    assert cell == (26, 18)
    np.testing.assert_allclose(raster[(slice(6, 9), *cell)], _density(50), atol=1e-6)
    assert raster[(5, *cell)] == pytest.approx(0.15 / 0.3, abs=0.01)
    still = [replace(s, now_SE3_start=None, time_offset_ns=None, now_SE3_end=HERE) for s in sweeps]
    assert (raster_of(still)[3] > 0).sum() > 3  # without it, a smear


def test_nothing_off_the_grid_counts_and_nothing_is_an_empty_raster() -> None:
    assert not raster_of([]).any()
    away = np.array([[8.0, 0, 0], [-8.01, 0, 0], [0, 8, 0], [0, 0, -0.6], [0, 0, 3.6]], np.float32)
    none = Sweep(away, np.full(5, 255, np.uint8), 0.0, HERE)
    assert not raster_of([none]).any()
    empty = Sweep(np.zeros((0, 3), np.float32), np.zeros(0, np.uint8), 0.0, HERE)
    assert not raster_of([empty]).any()
    edge = replace(none, xyz_m=np.array([[-8.0, -8.0, 3.5]], np.float32),
                   intensity=np.array([255], np.uint8))  # fmt: skip
    assert raster_of([edge])[0, 0, 0] == pytest.approx(1.0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_point_that_is_not_finite_is_refused_by_its_place(value: float) -> None:
    rng = np.random.default_rng(0)
    good, bad = sweep_of(rng, 3000), sweep_of(rng, 3000)
    bad.xyz_m[2100, 1] = value
    lidar = LidarRaster(SPEC)
    out = np.empty(lidar.shape, dtype=np.float32)
    with pytest.raises(InputError, match="sweep 1: point 2100"):
        lidar.fill([good, bad], out)
    # The refused frame leaves nothing behind in the next one.
    lidar.fill([good], out)
    np.testing.assert_array_equal(out, raster_of([good]))


def test_wrong_arrays_are_refused() -> None:
    lidar = LidarRaster(SPEC)
    out = np.empty(lidar.shape, dtype=np.float32)
    sweep = sweep_of(np.random.default_rng(0), 5)
    with pytest.raises(InputError, match="raster must be"):
        lidar.fill([sweep], out[:, :, ::2])
    for broken in (
        replace(sweep, xyz_m=sweep.xyz_m.astype(np.float64)),  # type: ignore[arg-type]
        replace(sweep, intensity=sweep.intensity[:3]),
        replace(sweep, age_s=-0.1),
        replace(sweep, now_SE3_end=2 * HERE),
        replace(sweep, now_SE3_start=HERE, time_offset_ns=np.zeros(2, np.int32)),
    ):
        with pytest.raises(InputError):
            lidar.fill([broken], out)


def test_the_same_points_give_the_same_bytes() -> None:
    sweeps = [sweep_of(np.random.default_rng(5), 5000, age) for age in (0.0, 0.1)]
    lidar = LidarRaster(SPEC)
    first, second = (np.empty(lidar.shape, dtype=np.float32) for _ in range(2))
    lidar.fill(sweeps, first)
    lidar.fill(sweeps, second)
    assert first.tobytes() == second.tobytes() == raster_of(sweeps).tobytes()


def test_a_second_thread_changes_nothing_but_the_time_taken() -> None:
    rng = np.random.default_rng(6)
    good = [sweep_of(rng, n, age) for n, age in ((5000, 0.0), (4001, 0.1), (1, 0.2), (0, 0.2))]
    bad = sweep_of(rng, 3000)
    bad.xyz_m[2100, 1] = np.nan
    lidar = LidarRaster(SPEC)
    out = np.empty(lidar.shape, dtype=np.float32)
    with ThreadPoolExecutor(1) as beside:
        for _ in range(3):
            assert lidar.fill(good, out, beside) == LidarRaster(SPEC).fill(good, out.copy())
            assert out.tobytes() == raster_of(good).tobytes()
            with pytest.raises(InputError, match="sweep 1: point 2100"):
                lidar.fill([good[0], bad], out, beside)


def radar_of(frames: list[RadarTracks]) -> Float32s:
    out = np.empty((4, GRID.rows, GRID.columns), dtype=np.float32)
    fill_radar(RADAR, frames, out)
    return out


def test_radar_tells_speed_over_ground_whatever_the_ego_does() -> None:
    """A parked car closes with the ego's speed: over ground it stands."""
    parked = RadarTracks(np.array([[1, 6.0, 0.0, 10.0]]), 0.0, HERE, 10.0)
    raster = radar_of([parked])
    cell = (slice(None), 28, 16)
    np.testing.assert_allclose(raster[cell], [_density(1), 0, 0, 1], atol=1e-6)
    crossing = RadarTracks(np.array([[1, 3.0, 4.0, 0.0]]), 0.0, HERE, 10.0)
    # It holds its distance, so along the line of sight it moves as fast as the ego: 6 m/s.
    told = radar_of([crossing])[:, 22, 24]
    np.testing.assert_allclose(told[1:3] * 30, [3.6, 4.8], atol=1e-5)


def test_old_radar_tracks_are_moved_to_now() -> None:
    then = flat_SE3(-2.0, 0.0, 0.0)  # the ego has driven 2 m in 0.2 s
    ahead = RadarTracks(np.array([[1, 5.1, 0.1, 0.0]]), 0.2, then, 10.0)
    raster = radar_of([ahead])
    # The object drives away at the ego's speed: where it was plus 2 m, seen from 2 m on.
    assert raster[0, 26, 16] > 0 and (raster[0] > 0).sum() == 1
    assert raster[3, 26, 16] == pytest.approx(0.6)
    assert not radar_of([replace(ahead, age_s=0.6)]).any()
    assert not radar_of([replace(ahead, tracks=np.zeros((0, 4)))]).any()


def test_radar_that_is_not_finite_is_refused() -> None:
    bad = RadarTracks(np.array([[1, 2.0, 0, 0], [2, np.nan, 0, 0]]), 0.0, HERE, 0.0)
    with pytest.raises(InputError, match="radar frame 0: track 1"):
        radar_of([bad])
    with pytest.raises(InputError, match="raster must be"):
        fill_radar(RADAR, [], np.zeros((3, 32, 32), np.float32))
