"""A vehicle whose box lies across it is turned; one whose box is right stays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from contracts.samples import Float64s
from offline.labels.auto.tracks import Course, Sightings
from offline.labels.points.axes import righted
from offline.labels.points.registration import BODIES
from offline.labels.points.sweep import Sweep
from tests.offline.labels.points.test_gather import standing

CAR = BODIES["Car"]
FRAMES = 4


def seen(course: Course) -> Sightings:
    count = course.seen.size
    return Sightings(
        np.arange(count), course.xy_m, course.z_m, np.tile(course.size_m, (count, 1)),
        course.yaw_rad, np.full(count, 0.8), np.hypot(*course.xy_m.T), np.zeros(count),
    )  # fmt: skip


def sides() -> Float64s:
    """The two sides that are seen of a car at (12, 3), 4.4 by 1.8 m, that stands across."""
    along, wide = np.linspace(0.8, 5.2, 40), np.linspace(11.1, 12.9, 20)
    near = np.column_stack([np.full(40, 11.1), along])
    low = np.column_stack([wide, np.full(20, 0.8)])
    xy = np.concatenate([near, low])
    return np.column_stack([xy, np.full(60, -0.9)])


@pytest.mark.parametrize("yaw", [0.0, np.pi / 2])
def test_points_tell_the_axis(yaw: float) -> None:
    course = standing(12, 3, FRAMES, (4.4, 1.8, 1.5))
    course = replace(course, yaw_rad=np.full(FRAMES, yaw))
    sweeps = {k: Sweep(sides(), np.ones(60)) for k in range(FRAMES)}
    [track], [told] = righted([seen(course)], [course], sweeps, np.zeros((FRAMES, 3)), CAR)
    assert np.abs(np.sin(told.yaw_rad)) == pytest.approx(1)
    assert np.abs(np.sin(track.yaw_rad)) == pytest.approx(1)


def test_a_person_has_no_axis_and_no_points_say_nothing() -> None:
    course = standing(12, 3, FRAMES, (4.4, 1.8, 1.5))
    sweeps = {k: Sweep(sides(), np.ones(60)) for k in range(FRAMES)}
    poses = np.zeros((FRAMES, 3))
    for told, body in ((sweeps, BODIES["Pedestrian"]), ({}, CAR)):
        _, [same] = righted([seen(course)], [course], told, poses, body)
        assert same is course


def test_what_drives_lies_along_its_way() -> None:
    way = np.column_stack([np.full(FRAMES, 12.0), 1.5 * np.arange(FRAMES)])
    course = replace(
        standing(12, 0, FRAMES), is_static=False, xy_m=way,
        velocity_m=np.tile([0.0, 1.5], (FRAMES, 1)),
    )  # fmt: skip
    _, [told] = righted([seen(course)], [course], {}, np.zeros((FRAMES, 3)), CAR)
    assert np.abs(np.sin(told.yaw_rad)) == pytest.approx(1)
