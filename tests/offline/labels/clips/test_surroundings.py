"""Ground and light over a clip: what single instants see badly, all of them together tell."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from contracts.geometry import BevGrid, flat_SE3
from contracts.labels import LIGHT_STATES, UNKNOWN
from offline.labels.clips.ground import GroundFusion, fused_ground
from offline.labels.clips.light import LightFusion, fused_light, light_labels

GRID = BevGrid(x_min_m=-16.0, y_min_m=-16.0, cell_m=1.0, rows=32, columns=32)
RIGHT = tuple(tuple(0.85 if a == b else 0.05 for b in range(4)) for a in range(4))
PERIOD_S = 0.1


def road(poses: np.ndarray) -> np.ndarray:
    """A road along the world's x axis from -4 to 4 m, and a lane on it: bool [f, 2, r, c]."""
    x, y = np.meshgrid(*GRID.centres(), indexing="ij")
    layers = []
    for pose in poses:
        across = pose[1, 0] * x + pose[1, 1] * y + pose[1, 3]
        layers.append(np.stack([np.abs(across) < 4, np.abs(across) < 1]))
    return np.stack(layers)


def drive(count: int) -> np.ndarray:
    return np.stack([flat_SE3(1.5 * k, 0.3 * np.sin(k), 0.05 * np.sin(k)) for k in range(count)])


def test_noisy_maps_come_out_as_the_truth() -> None:
    rng = np.random.default_rng(4)
    poses = drive(24)
    truth = road(poses)
    wrong = rng.random(truth.shape) < 0.25
    maps = np.where(truth ^ wrong, 200, 55).astype(np.uint8)
    fused = fused_ground(maps, poses, GRID)
    middle = slice(8, 16)
    alone = ((maps > 127) == truth)[middle].mean()
    over = ((fused.probability > 0.5) == truth)[middle].mean()
    assert alone < 0.77 and over > 0.93
    labels = fused.labels()
    known = labels[middle] != UNKNOWN
    assert known.mean() > 0.75
    assert (labels[middle][known] == truth[middle][known]).mean() > 0.97


def test_a_clip_of_one_instant_is_its_own_map_and_what_nobody_saw_is_unknown() -> None:
    maps = np.full((1, 2, 32, 32), 230, dtype=np.uint8)
    fused = fused_ground(maps, np.eye(4)[None], GRID)
    np.testing.assert_allclose(fused.probability, 230 / 255, rtol=1e-5)
    near = GroundFusion(near_m=2.0, least_weight=0.05)
    far = fused_ground(maps, np.eye(4)[None], GRID, near).labels(near)
    assert (far[0, :, 14:18, 14:18] == 1).all()
    assert (far[0, :, 0, 0] == UNKNOWN).all()
    undecided = fused_ground(np.full((1, 2, 32, 32), 128, dtype=np.uint8), np.eye(4)[None], GRID)
    assert (undecided.labels() == UNKNOWN).all()


def test_what_stands_still_tells_nothing_new_by_standing() -> None:
    maps = np.full((30, 2, 32, 32), 200, dtype=np.uint8)
    still = fused_ground(maps, np.tile(np.eye(4), (30, 1, 1)), GRID)
    once = fused_ground(maps[:1], np.eye(4)[None], GRID)
    assert still.weight.max() <= 2 * once.weight.max() + 1e-6


def course(*parts: tuple[str, int]) -> np.ndarray:
    """States by name and for how many frames each, as places."""
    return np.concatenate([np.full(n, LIGHT_STATES.index(name)) for name, n in parts])


def seen(states: np.ndarray, rng: np.random.Generator, wrong: float) -> np.ndarray:
    """A network's word: sure, and often mistaken."""
    told = np.where(rng.random(states.size) < wrong, rng.integers(0, 4, states.size), states)
    return (0.1 / 3 + np.eye(4) * (0.9 - 0.1 / 3))[told].astype(np.float32)


def test_a_light_that_is_often_mistaken_comes_out_right() -> None:
    rng = np.random.default_rng(2)
    truth = course(("none", 30), ("green", 60), ("amber", 30), ("red", 60), ("green", 30))
    told = seen(truth, rng, 0.3)
    how = LightFusion(taken_for=RIGHT, word=1.0)  # here, mistakes are independent
    probability = fused_light(told, np.arange(truth.size), how, PERIOD_S)
    np.testing.assert_allclose(probability.sum(axis=1), 1)
    alone = (told.argmax(axis=1) == truth).mean()
    assert alone < 0.82 and (probability.argmax(axis=1) == truth).mean() > 0.96
    labels = light_labels(probability, how)
    told_at = [k for k, state in enumerate(labels) if state is not None]
    right = [labels[k] == LIGHT_STATES[truth[k]] for k in told_at]
    assert len(told_at) > 0.85 * truth.size and np.mean(right) > 0.98


def test_amber_between_green_and_red_lasts_though_hardly_seen() -> None:
    truth = course(("green", 60), ("amber", 30), ("red", 60))
    blind = np.where(truth == LIGHT_STATES.index("amber"), LIGHT_STATES.index("red"), truth)
    blind[70:74] = LIGHT_STATES.index("amber")
    told = seen(blind, np.random.default_rng(0), 0.0)
    rows = [list(row) for row in RIGHT]
    rows[2] = [0.05, 0.05, 0.3, 0.6]
    how = LightFusion(taken_for=tuple(map(tuple, rows)), word=0.5)  # type: ignore[arg-type]
    found = fused_light(told, np.arange(truth.size), how, PERIOD_S).argmax(axis=1)
    assert 20 <= (found == LIGHT_STATES.index("amber")).sum() <= 40
    # Green never turns to red at once.
    green, red = (LIGHT_STATES.index(name) for name in ("green", "red"))
    assert not ((found[:-1] == green) & (found[1:] == red)).any()


def test_without_a_word_nothing_is_told_and_gaps_in_time_are_bridged() -> None:
    how = LightFusion(taken_for=RIGHT)
    dim = np.full((10, 4), 0.25, dtype=np.float32)
    assert light_labels(fused_light(dim, np.arange(10), how, PERIOD_S), how) == [None] * 10
    green = seen(course(("green", 40)), np.random.default_rng(0), 0.0)
    frame = np.where(np.arange(40) < 20, np.arange(40), np.arange(40) + 3)
    assert set(light_labels(fused_light(green, frame, how, PERIOD_S), how)) == {"green"}


def test_a_row_that_is_no_distribution_is_refused() -> None:
    with pytest.raises(ValidationError, match="sums up to 1"):
        LightFusion(taken_for=((0.5, 0.1, 0.1, 0.1), *RIGHT[1:]))
