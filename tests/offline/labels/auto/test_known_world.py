"""In a world that is known: what stands is told from what creeps, and calm from restless."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest

from contracts.samples import Float64s
from offline.labels.auto.smoothing import fitting_step
from offline.labels.auto.tracks import rests

FRAMES = 80
NOISE = np.full(FRAMES, 0.3)
PLACE = np.arange(FRAMES)


def seen(course: Float64s, seed: int) -> Float64s:
    return course + np.random.default_rng(seed).normal(0, 0.3, (FRAMES, 2))


def test_what_stands_rests_and_what_creeps_does_not() -> None:
    still = np.zeros((FRAMES, 2))
    creeping = np.column_stack([0.02 * PLACE, np.zeros(FRAMES)])
    assert sum(rests(PLACE, seen(still, seed), NOISE) for seed in range(20)) >= 19
    assert not any(rests(PLACE, seen(creeping, seed), NOISE) for seed in range(20))
    # Too few sightings prove nothing.
    assert not rests(PLACE[:5], still[:5], NOISE[:5])


@pytest.mark.parametrize("walk", ["place", "speed"])
def test_a_calm_course_is_taken_to_be_calm(walk: Literal["place", "speed"]) -> None:
    even = np.column_stack([0.5 * PLACE, 0.1 * PLACE]) if walk == "speed" else np.ones((FRAMES, 2))
    wild = np.column_stack([20 * np.sin(PLACE / 6), 10 * np.cos(PLACE / 4)])
    calm = [fitting_step(seen(even, k), NOISE, 0.12, walk) for k in range(9)]
    assert float(np.median(calm)) <= 0.03
    restless = 0.9 if walk == "speed" else 4.0
    assert fitting_step(seen(wild, 0), NOISE, restless, walk) in {restless, restless / 2}


def test_too_few_sightings_leave_the_class_its_word() -> None:
    noise = np.full(FRAMES, np.inf)
    noise[:5] = 0.3
    assert fitting_step(np.zeros((FRAMES, 2)), noise, 0.12, "speed") == 0.12
