from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from contracts.errors import InputError
from offline.health.selection_bias import effective_size, selection_bias, share_interval
from offline.intervals import share_bounds
from tests.offline.health.clips import SPACE, period


def test_equal_weights_are_worth_their_number_and_one_heavy_one_is_worth_one() -> None:
    assert effective_size(np.full(7, 3.0)) == pytest.approx(7)
    assert effective_size(np.array([1e9, 1, 1])) == pytest.approx(1)


def test_shares_are_of_the_fleet_and_not_of_what_was_drawn() -> None:
    random = period("random", 1, drives=40)
    found = selection_bias(random + period("asked", 1, drives=20, stream="triggered"), SPACE)
    night = next(each for each in found.shares if each.value == "night")
    weights = np.array([1 / clip.probability for clip in random if clip.probability])
    held = np.array(["tod=night" in clip.tags for clip in random])
    assert night.fleet == pytest.approx(float(weights[held].sum() / weights.sum()))
    assert night.low is not None
    assert night.high is not None
    assert night.low < night.fleet < night.high
    assert found.p_value is None
    assert found.effective < len(random)


def test_what_only_triggers_bring_is_told() -> None:
    asked = [
        replace(clip, tags=("object=animal",)) for clip in period("asked", 2, stream="triggered")
    ]
    found = selection_bias(period("random", 2) + asked, SPACE)
    assert found.unreached == ("object=animal",)
    animal = next(each for each in found.shares if each.value == "animal")
    assert animal.ratio is None
    assert animal.triggered == 1.0


def test_clips_alone_give_clopper_and_pearson_s_interval() -> None:
    held = np.arange(30) < 9
    found = share_interval(held, np.ones(30), np.arange(30))
    # A variance with one degree of freedom less makes 30 clips worth 29.
    assert found == pytest.approx(share_bounds(9, 30), abs=0.01)


def test_clips_of_one_drive_make_an_interval_wider() -> None:
    held = np.repeat(np.arange(6) < 2, 10)
    alone = share_interval(held, np.ones(60), np.arange(60))
    by_drive = share_interval(held, np.ones(60), np.repeat(np.arange(6), 10))
    assert by_drive[0] < alone[0]
    assert by_drive[1] > alone[1]


def test_intervals_hold_the_truth_as_often_as_stated() -> None:
    rng = np.random.default_rng(3)
    hits, repeats = 0, 400
    for _ in range(repeats):
        drives = rng.beta(2, 6, size=30)
        held = rng.random((30, 4)) < drives[:, None]
        weights = rng.choice([1.0, 3.0], size=(30, 4))
        low, high = share_interval(held.ravel(), weights.ravel(), np.repeat(np.arange(30), 4))
        hits += low <= 0.25 <= high
    assert hits / repeats >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / repeats)


def test_one_drive_is_too_few() -> None:
    with pytest.raises(InputError, match="too few"):
        selection_bias(period("random", 4, drives=1), SPACE)
