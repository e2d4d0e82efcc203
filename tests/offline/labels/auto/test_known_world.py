"""In a world that is known: what stands is told from what creeps, and calm from restless."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest

from contracts.samples import Float64s
from offline.labels.auto.completion import completed
from offline.labels.auto.parameters import ClassParameters, read_parameters
from offline.labels.auto.smoothing import fitting_step
from offline.labels.auto.tracks import Course, Sightings, is_fixed, refined, rests

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


def vehicle(one_place_m: float) -> ClassParameters:
    car = read_parameters()["Car"]
    motion = car.motion.model_copy(update={"one_place_m": one_place_m})
    extent = car.extent.model_copy(update={"standing": 10 * FRAMES})
    return car.model_copy(update={"motion": motion, "extent": extent})


def drifting(way_m: float, parameters: ClassParameters) -> Course:
    """What comes of a car of which the detector's place drifts while the ego comes near."""
    far = np.linspace(60, 10, FRAMES)
    xy = np.column_stack([np.linspace(way_m, 0, FRAMES), np.zeros(FRAMES)])
    xy = xy + np.random.default_rng(3).normal(0, 0.05, xy.shape)
    track = Sightings(
        PLACE, xy, np.zeros(FRAMES), np.tile([4.0, 1.8, 1.5], (FRAMES, 1)), np.zeros(FRAMES),
        np.full(FRAMES, 0.9), far, np.zeros(FRAMES),
    )  # fmt: skip
    return refined(track, parameters.motion, parameters.association, known_world=True)


def test_what_only_drifts_stands_where_it_was_seen_from_near() -> None:
    stands = drifting(2.0, vehicle(2.5))
    assert stands.is_static and is_fixed(stands.motion)
    assert np.hypot(*np.ptp(stands.xy_m, axis=0)) < 0.1
    assert np.abs(stands.xy_m).max() < 0.6
    assert not drifting(6.0, vehicle(2.5)).is_static
    assert not is_fixed(drifting(2.0, vehicle(0.0)).motion)


def test_what_stands_is_told_all_along_and_does_not_drift_off() -> None:
    parameters = vehicle(2.5)
    course = drifting(2.0, parameters)
    poses = np.zeros((3 * FRAMES, 3))
    told = completed(course, parameters.extent, poses, np.zeros(3 * FRAMES))
    assert told.frame.tolist() == list(range(3 * FRAMES))
    assert np.hypot(*np.ptp(told.centre_m[:, :2], axis=0)) < 0.1
