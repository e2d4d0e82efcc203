"""The labeller on a made-up street whose truth is known: points make boxes better, and looks
bring together what a gap has cut.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.points_measures import Errors, cut, errors_of, joined_again, labelled, stated_noise
from bench.points_scene import Street, noised, street
from contracts.geometry import Int64s
from offline.labels.auto.clip import Clip
from offline.labels.auto.round_view import RoundView
from offline.labels.kitti import TrackedBoxes
from offline.labels.points.appearance import COLUMNS, Looks, appearance_cost, mean_look

SIGMA_M, SIGMA_RAD = 0.3, float(np.radians(5))


@pytest.fixture(scope="module")
def world() -> Street:
    return street(7, frames=50, standing=8, moving=6)


def noisy(world: Street) -> tuple[Clip, Int64s]:
    found, kept = noised(world.truth, 1, SIGMA_M, SIGMA_RAD)
    return Clip(world.frames, found, RoundView(), world.world_SE2_sensor), kept


def measured(world: Street, clip: Clip) -> tuple[Errors, TrackedBoxes]:
    told = labelled(clip, stated_noise(world.truth, SIGMA_M, SIGMA_RAD))
    return errors_of(world.truth, told), told


def test_points_make_places_and_headings_better(world: Street) -> None:
    clip, _ = noisy(world)
    plain, _ = measured(world, clip)
    better, _ = measured(world, replace(clip, sweeps=world.sweeps))
    both = ~np.isnan(plain.plane_m) & ~np.isnan(better.plane_m)
    assert both.mean() > 0.95
    assert better.plane_m[both].mean() < 0.8 * plain.plane_m[both].mean()
    assert better.heading_rad[both].mean() < 0.8 * plain.heading_rad[both].mean()


def test_points_help_where_poses_are_estimates(world: Street) -> None:
    clip, _ = noisy(world)
    clip = replace(clip, world_SE2_sensor=None)
    plain, _ = measured(world, clip)
    better, _ = measured(world, replace(clip, sweeps=world.sweeps))
    assert np.nanmean(better.plane_m) < 0.85 * np.nanmean(plain.plane_m)


def test_without_points_the_smoothers_word_stands(world: Street) -> None:
    clip, _ = noisy(world)
    _, plain = measured(world, clip)
    _, same = measured(world, replace(clip, sweeps={}))
    np.testing.assert_array_equal(plain.centre_m, same.centre_m)
    np.testing.assert_array_equal(plain.yaw_rad, same.yaw_rad)


def test_one_size_a_track(world: Street) -> None:
    clip, _ = noisy(world)
    shrunk = replace(clip.found, size_m=clip.found.size_m * (0.9, 1.0, 1.0))
    _, told = measured(world, replace(clip, found=shrunk, sweeps=world.sweeps))
    _, plain = measured(world, replace(clip, found=shrunk))
    for track in np.unique(told.track_id):
        assert np.ptp(told.size_m[told.track_id == track], axis=0).max() == 0
    # Points reach beyond boxes that are too short.
    assert told.size_m[:, 0].mean() > plain.size_m[:, 0].mean() + 0.1


def test_looks_join_what_a_long_gap_has_cut() -> None:
    world = street(101, frames=90, standing=8, moving=8)
    found, kept = noised(world.truth, 3, SIGMA_M, SIGMA_RAD)
    cuts = cut(world.truth, 3)
    outside = cuts.kept[kept]
    found, kept = found.take(outside), kept[outside]
    parameters = stated_noise(world.truth, SIGMA_M, SIGMA_RAD)["Car"]
    (right, wrong), (more, no_more) = (
        joined_again(
            world.truth, found, kept, cuts, world.world_SE2_sensor, parameters, looks
        )
        for looks in (None, Looks(found, world.sweeps))
    )  # fmt: skip
    assert more >= right + len(cuts.gaps) // 4
    assert no_more <= wrong


def test_looks_that_tell_too_little_say_nothing() -> None:
    full, none = np.ones(COLUMNS), np.full(COLUMNS, np.nan)
    assert appearance_cost(full, none) == 0
    assert appearance_cost(none, none) == 0
    few = np.where(np.arange(COLUMNS) < 3, 5.0, np.nan)
    assert appearance_cost(full, few) == 0
    assert appearance_cost(full, full) < 0
    assert appearance_cost(full, full + 1) > 1


def test_a_look_from_the_other_end_is_the_same_look() -> None:
    rng = np.random.default_rng(0)
    look = rng.normal(0, 1, COLUMNS)
    turned = np.concatenate([look[:4], look[:3:-1]])
    assert appearance_cost(look, turned) == appearance_cost(look, look)


def test_a_mean_look_takes_what_each_view_tells() -> None:
    views = np.full((3, COLUMNS), np.nan)
    views[0, 0], views[1, 0], views[1, 1] = 1.0, 3.0, 5.0
    mean = mean_look(views)
    assert mean[:2].tolist() == [2.0, 5.0]
    assert np.isnan(mean[2:]).all()
