"""Drops in the air against things on the road, for a lidar that looks at both."""

from __future__ import annotations

import numpy as np

from contracts.samples import Float32s, Float64s
from kernels.obstacles import largest_in_path, obstacle_points
from kernels.thin_air import beams_per_sr, thin_air

HEIGHT_M = 1.9
AZIMUTH = np.deg2rad(np.arange(0.0, 360.0, 0.6))
ELEVATION = np.deg2rad(np.linspace(-30.0, 10.0, 32))
PER_SR = 1 / (np.deg2rad(0.6) * np.deg2rad(40.0 / 31))


def pose() -> Float64s:
    made = np.eye(4)
    made[:3, 3] = 1.2, 0.0, HEIGHT_M
    return made


def sweep(fog: float = 0.0, thing_m: float | None = None, wide_m: float = 0.6) -> Float32s:
    """Every beam meets the flat ground, a drop (of this share of beams) or the thing, which is
    0.8 m high; beams up come back from drops alone.
    """
    azimuth, elevation = (each.ravel() for each in np.meshgrid(AZIMUTH, ELEVATION))
    away = np.where(elevation < -0.02, HEIGHT_M / np.tan(np.maximum(-elevation, 0.02)), np.inf)
    if thing_m is not None:
        ahead = thing_m - 1.2
        height = HEIGHT_M + ahead * np.tan(elevation)
        aside = np.abs(ahead * np.tan(azimuth))
        met = (np.cos(azimuth) > 0) & (aside < wide_m / 2) & (height > 0) & (height < 0.8)
        away = np.where(met, ahead / np.cos(azimuth), away)
    rng = np.random.default_rng(5)
    drop = 1.5 + rng.exponential(3.0, azimuth.size)
    away = np.where((rng.random(azimuth.size) < fog) & (drop < away), drop, away)
    back = away < 60.0
    azimuth, elevation, away = azimuth[back], elevation[back], away[back]
    return np.stack(
        [away * np.cos(azimuth), away * np.sin(azimuth), away * np.tan(elevation)], axis=1
    ).astype(np.float32)


def standing(xyz: Float32s) -> Float64s:
    points = obstacle_points(xyz, pose(), 0.0, 1.2, 50.0)
    thin = thin_air(points, beams_per_sr(xyz, pose(), 1), (1.2, 0.0), 0.0, 1.2, 50.0)
    return points[~thin]


def largest(points: Float64s) -> int:
    return int(largest_in_path(points, np.zeros(len(points), np.bool_), 0.0, 1.2, 50.0)[0])


def test_how_densely_the_lidar_looks() -> None:
    xyz = sweep()
    assert abs(beams_per_sr(xyz, pose(), 1) / PER_SR - 1) < 0.1
    assert abs(beams_per_sr(xyz, pose(), 3) / PER_SR - 1) < 0.15


def test_fog_is_no_thing() -> None:
    xyz = sweep(fog=0.06)
    assert largest(obstacle_points(xyz, pose(), 0.0, 1.2, 50.0)) > 15
    assert largest(standing(xyz)) < 10


def test_a_thing_stays_in_fog_and_without() -> None:
    for thing_m in (6.0, 10.0, 14.0):
        clear = obstacle_points(sweep(thing_m=thing_m), pose(), 0.0, 1.2, 50.0)
        assert len(clear) > 8
        assert len(standing(sweep(thing_m=thing_m))) > 0.9 * len(clear)
        assert largest(standing(sweep(fog=0.06, thing_m=thing_m))) > 0.7 * len(clear)


def test_a_pole_fills_little_of_its_cell_and_stays() -> None:
    pole = sweep(thing_m=8.0, wide_m=0.1)
    assert len(standing(pole)) == len(obstacle_points(pole, pose(), 0.0, 1.2, 50.0)) > 2


def test_no_points_and_no_beams() -> None:
    none = np.empty((0, 3))
    assert beams_per_sr(np.empty((0, 3), np.float32), pose(), 1) == 0.0
    assert thin_air(none, 100.0, (0.0, 0.0), 0.0, 1.2, 50.0).shape == (0,)
