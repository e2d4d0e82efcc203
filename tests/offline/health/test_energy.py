from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import energy_distance

from contracts.errors import InputError
from offline.health.energy import apart, least_p, p_value, pooled


def _alone(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every value a unit of its own, of weight 1."""
    table = values.reshape(len(values), -1)
    return table, np.ones(len(table)), np.arange(len(table))


def test_two_points_lie_twice_their_distance_apart() -> None:
    found = apart(pooled(_alone(np.zeros((3, 2))), _alone(np.full((4, 2), 3.0))))
    assert found.distance == pytest.approx(2 * np.hypot(3, 3))
    assert found.size == pytest.approx(1.0)


@pytest.mark.parametrize("gap", [0.0, 0.5, 2.0])
def test_two_normal_laws_lie_as_far_apart_as_theory_says(gap: float) -> None:
    """X - Y is normal around the gap with variance 2, X - X' around 0."""
    rng = np.random.default_rng(1)
    found = apart(pooled(_alone(rng.normal(size=2500)), _alone(rng.normal(gap, size=2500))))
    from scipy.stats import norm

    root = np.sqrt(2.0)
    folded = 2 * root * norm.pdf(gap / root) + gap * (1 - 2 * norm.cdf(-gap / root))
    expected = 2 * folded - 2 * (2 / np.sqrt(np.pi))
    assert found.distance == pytest.approx(expected, abs=0.03)


def test_the_plain_distance_agrees_with_another_implementation() -> None:
    """Pairs with oneself are what the biased figure counts on top."""
    rng = np.random.default_rng(2)
    one, two = rng.normal(size=40), rng.exponential(size=30)
    found = pooled(_alone(one), _alone(two))
    sums = found.sums
    first = ~found.second
    biased = (
        2 * sums[np.ix_(first, found.second)].mean()
        - sums[np.ix_(first, first)].mean()
        - sums[np.ix_(found.second, found.second)].mean()
    )
    assert biased == pytest.approx(energy_distance(one, two) ** 2)


def test_a_weight_is_so_many_copies_in_the_same_drive() -> None:
    rng = np.random.default_rng(3)
    values, units = rng.normal(size=(12, 3)), np.repeat(np.arange(4), 3)
    times = rng.integers(1, 4, 12)
    other = (rng.normal(size=(9, 3)), np.ones(9), np.repeat(np.arange(3), 3))
    weighted = apart(pooled((values, times.astype(float), units), other))
    copies = np.repeat(values, times, axis=0), np.ones(times.sum()), np.repeat(units, times)
    assert weighted.distance == pytest.approx(apart(pooled(copies, other)).distance)


def test_clips_of_one_drive_make_nothing_look_apart() -> None:
    """Unbiased though clips of a drive are all but the same."""
    rng = np.random.default_rng(4)
    found = []
    for _ in range(400):
        samples = [
            (
                np.repeat(rng.normal(size=(6, 2)), 10, axis=0),
                np.ones(60),
                np.repeat(np.arange(6), 10),
            )
            for _ in range(2)
        ]
        found.append(apart(pooled(*samples)).distance)
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(len(found))


def test_p_values_are_uniform_where_nothing_differs() -> None:
    rng = np.random.default_rng(5)
    found = [
        p_value(pooled(_alone(rng.normal(size=8)), _alone(rng.normal(size=9))), 199, k)
        for k in range(400)
    ]
    for level in (0.05, 0.2, 0.5):
        share = np.mean(np.array(found) <= level)
        assert share <= level + 3 * np.sqrt(level * (1 - level) / len(found))


def test_few_drives_cannot_tell() -> None:
    held = pooled(_alone(np.zeros(2)), _alone(np.ones(3)))
    assert least_p(held) == pytest.approx(1 / 10)
    assert least_p(pooled(_alone(np.zeros(3)), _alone(np.ones(3)))) == pytest.approx(2 / 20)


def test_one_drive_is_refused() -> None:
    with pytest.raises(InputError, match="two drives"):
        pooled((np.zeros((3, 1)), np.ones(3), np.zeros(3, dtype=np.int64)), _alone(np.ones(3)))
