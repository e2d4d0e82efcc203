"""Savings of curves whose answer is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from contracts.errors import InputError
from offline.acquisition.study.run import Curve, Point
from offline.acquisition.study.savings import (
    SHARES,
    boxes_for,
    interval,
    of_means,
    of_pair,
    risen,
    saving,
)


def curve(boxes: Sequence[int], values: Sequence[float], name: str = "a", seed: int = 0) -> Curve:
    points = [
        Point(clips=k, boxes=count, rare_clips=0, figures={"rare": value})
        for k, (count, value) in enumerate(zip(boxes, values, strict=True))
    ]
    return Curve(strategy=name, seed=seed, points=tuple(points))


RANDOM = curve([100, 200, 300], [0.0, 0.25, 0.5], "random")
OURS = curve([100, 150, 200, 300], [0.0, 0.25, 0.5, 0.8])


def test_twice_as_fast_saves_half_of_what_was_chosen() -> None:
    assert of_pair(OURS, RANDOM, "rare", beyond_start=True) == pytest.approx(0.5)


def test_all_boxes_count_those_of_the_start() -> None:
    # At the level s of the way to 0.5, random has 100 + 200 s boxes and ours 100 + 100 s.
    expected = np.mean([1 - (100 + 100 * s) / (100 + 200 * s) for s in SHARES])
    assert of_pair(OURS, RANDOM, "rare") == pytest.approx(float(expected))


def test_the_same_curve_saves_nothing_and_the_slower_one_loses() -> None:
    assert of_pair(RANDOM, RANDOM, "rare") == 0
    lost = of_pair(RANDOM, OURS, "rare", beyond_start=True)
    assert lost == pytest.approx(-1.0)


def test_a_loop_that_learns_nothing_cannot_be_compared() -> None:
    flat = curve([100, 200, 300], [0.0, 0.0, 0.0])
    assert of_pair(flat, RANDOM, "rare") is None


def test_loops_of_another_start_are_refused() -> None:
    with pytest.raises(InputError, match="start alike"):
        of_pair(curve([90, 200], [0.0, 0.5]), RANDOM, "rare")
    with pytest.raises(InputError, match="figure"):
        of_pair(OURS, RANDOM, "common")


def test_a_fall_by_chance_is_levelled_with_what_surrounds_it() -> None:
    np.testing.assert_allclose(risen(np.array([0.0, 0.4, 0.2, 0.6])), [0, 0.3, 0.3, 0.6])
    assert boxes_for(np.array([1.0, 2.0, 3.0]), np.array([0.0, 0.3, 0.3]), 0.3) == 2
    assert boxes_for(np.array([1.0, 2.0, 3.0]), np.array([0.2, 0.3, 0.3]), 0.1) == 1


def test_seeds_are_paired() -> None:
    ours = [curve([100, 200], [0.0, value], seed=k) for k, value in enumerate((0.4, 0.8))]
    random = [curve([100, 200], [0.0, 0.4], "random", k) for k in range(2)]
    found = saving(ours, random, "rare")
    assert (found.strategy, found.against, found.seeds) == ("a", "random", (0, 1))
    assert found.by_seed[0] == 0
    assert found.beyond_start.mean == pytest.approx(0.25)
    with pytest.raises(InputError, match="same seeds"):
        saving(ours, random[::-1], "rare")


def test_mean_curves_hold_what_single_seeds_hide() -> None:
    # Each seed's figure jumps up and down; on average ours is twice as fast.
    noise = [0.2, -0.2, 0.1, -0.1]
    ours = [curve([100, 150, 200], [0.0, 0.25 + n, 0.5 - n], seed=k) for k, n in enumerate(noise)]
    random = [
        curve([100, 200, 300], [0.0, 0.25 - n, 0.5 + n], "random", k) for k, n in enumerate(noise)
    ]
    found = of_means(list(zip(ours, random, strict=True)), "rare")
    assert found is not None
    expected = np.mean([1 - (100 + 100 * s) / (100 + 200 * s) for s in SHARES])
    assert found.mean == pytest.approx(float(expected))
    assert found.low <= found.mean <= found.high
    flat = [curve([100, 200, 300], [0.5, 0.5, 0.5], "random", k) for k in range(2)]
    assert of_means(list(zip(flat, flat, strict=True)), "rare") is None


def test_the_interval_is_students() -> None:
    found = interval([1.0, 2.0, 3.0])
    # t(0.975, 2) = 4.3027; the standard error is 1 / sqrt(3).
    assert found.high - found.mean == pytest.approx(4.30265 / 3**0.5, rel=1e-5)
    assert found.low == pytest.approx(2 * found.mean - found.high)
    with pytest.raises(InputError, match="needs two"):
        interval([1.0])


def test_intervals_cover_as_often_as_they_say() -> None:
    rng = np.random.default_rng(3)
    found = [interval(rng.normal(0.3, 0.1, 10).tolist()) for _ in range(400)]
    share = np.mean([one.low <= 0.3 <= one.high for one in found])
    assert 0.92 <= share <= 0.98
