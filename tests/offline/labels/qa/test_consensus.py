"""Grouping, Dawid and Skene's model, robust geometry, and the three together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from contracts.errors import InputError
from contracts.geometry import Int64s, no_boxes, wrapped
from contracts.samples import Float64s
from models.evaluation.matching import joined
from offline.labels.qa.clusters import box_clusters, clustered, track_similarity
from offline.labels.qa.consensus import consensus_boxes, consensus_of
from offline.labels.qa.dawid_skene import NO_ANSWER, Prior, class_posterior, dawid_skene
from offline.labels.qa.geometry import fused, fused_yaw, geometric_median
from tests.offline.labels.qa.boxes import cars

CAR, TRUCK, CLASSES = 0, 1, 3


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000), annotators=st.integers(1, 4), each=st.integers(0, 5),
    least=st.floats(0.05, 0.9),
)  # fmt: skip
def test_a_group_never_holds_two_boxes_of_one_annotator(
    seed: int, annotators: int, each: int, least: float
) -> None:
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(annotators), each)
    half = rng.random((who.size, who.size))
    group = clustered((half + half.T) / 2, who, least)
    assert np.unique(np.stack([group, who]), axis=1).shape[1] == who.size
    if group.size:
        assert set(group.tolist()) == set(range(group.max() + 1))


def test_boxes_of_one_object_are_grouped_and_neighbours_are_not() -> None:
    one = cars([[10, 0, 0], [10, 2.5, 0]])
    two = cars([[10.2, 2.4, 0], [9.9, 0.1, 0.02]])
    three = cars([[10.1, 0.0, np.pi], [40, 0, 0]])
    _, _, group = box_clusters([one, two, three], 0.25)
    assert group.tolist() == [0, 1, 1, 0, 0, 2]


def test_tracks_are_alike_by_their_overlap_over_all_frames_of_either() -> None:
    frames = [np.arange(4), np.arange(2, 4), np.array([9])]
    tracks = [cars([[x, 0, 0] for x in range(n)]) for n in (4, 0, 1)]
    tracks[1] = cars([[2, 0, 0], [3, 0, 0]])
    alike = track_similarity(frames, tracks)
    assert alike[0, 1] == pytest.approx(0.5)
    assert alike[0, 0] == pytest.approx(1)
    assert alike[0, 2] == 0


def _answers(rng: np.random.Generator, skill: list[float], items: int) -> tuple[Int64s, Int64s]:
    truth = rng.integers(0, CLASSES, items)
    other = (truth[:, None] + rng.integers(1, CLASSES, (items, len(skill)))) % CLASSES
    right = rng.random((items, len(skill))) < skill
    return truth, np.where(right, truth[:, None], other)


def test_the_model_beats_the_majority_where_skills_differ() -> None:
    skill = [0.95, 0.85, 0.5, 0.5, 0.5]
    truth, said = _answers(np.random.default_rng(1), skill, 1500)
    found = dawid_skene(said, CLASSES)
    votes = np.stack([(said == k).sum(axis=1) for k in range(CLASSES)], axis=1).argmax(axis=1)
    known = np.array([np.full((3, 3), (1 - p) / 2) + np.eye(3) * (p - (1 - p) / 2) for p in skill])
    best = class_posterior(said, known, np.full(CLASSES, 1 / 3)).argmax(axis=1)
    right = (found.classes() == truth).mean()
    assert right > (votes == truth).mean() + 0.05
    assert right > (best == truth).mean() - 0.02
    assert np.diagonal(found.confusion[0]).mean() == pytest.approx(0.95, abs=0.03)
    assert found.converged


@settings(max_examples=40, deadline=None)
@given(
    said=arrays.arrays(
        np.int64, st.tuples(st.integers(1, 20), st.integers(1, 4)), elements=st.integers(-1, 2)
    )
)
def test_em_never_falls_and_knows_no_order(said: Int64s) -> None:
    said[said.max(axis=1) == NO_ANSWER, 0] = 0
    found = dawid_skene(said, CLASSES)
    assert (np.diff(found.log_posterior) > -1e-8).all()
    assert found.posterior.sum(axis=1) == pytest.approx(1)
    turned = dawid_skene(said[::-1, ::-1], CLASSES)
    assert turned.posterior[::-1] == pytest.approx(found.posterior, abs=1e-6)


def test_known_annotators_give_bayes_rule() -> None:
    confusion = np.array([[[0.9, 0.1], [0.2, 0.8]], [[0.6, 0.4], [0.3, 0.7]]])
    found = class_posterior(np.array([[0, 1], [1, NO_ANSWER]]), confusion, np.array([0.5, 0.5]))
    assert found[0, 0] == pytest.approx(0.9 * 0.4 / (0.9 * 0.4 + 0.2 * 0.7))
    assert found[1, 1] == pytest.approx(0.8 / 0.9)


def test_answers_that_cannot_be_read_are_refused() -> None:
    with pytest.raises(InputError, match="no answer"):
        dawid_skene(np.array([[0], [NO_ANSWER]]), 2)
    with pytest.raises(InputError, match=r"-1\.\.1"):
        dawid_skene(np.array([[2]]), 2)
    with pytest.raises(InputError, match="over 0"):
        Prior(wrong=0)


@settings(max_examples=50, deadline=None)
@given(
    points=arrays.arrays(
        np.float64, st.tuples(st.integers(3, 9), st.just(2)),
        elements=st.floats(-50, 50, allow_subnormal=False),
    )
)  # fmt: skip
def test_no_step_away_from_the_geometric_median_helps(points: Float64s) -> None:
    here = geometric_median(points)

    def total(place: Float64s) -> float:
        return float(np.linalg.norm(points - place, axis=1).sum())

    slack = 1e-3 * len(points)
    for angle in np.arange(0, 2 * np.pi, np.pi / 4):
        assert total(here) <= total(here + 0.01 * np.array([np.cos(angle), np.sin(angle)])) + slack


def test_a_minority_cannot_pull_the_centre_away() -> None:
    far = cars([[10, 0, 0], [10.1, 0.1, 0], [9.9, -0.1, 0], [60, 30, 0]])
    assert np.linalg.norm(fused(far).centre_m[:2] - (10, 0)) < 0.15


@settings(max_examples=60, deadline=None)
@given(yaw=st.floats(-3.1, 3.1), flips=st.lists(st.booleans(), min_size=3, max_size=7))
def test_front_and_back_go_by_the_majority_and_the_axis_by_all(
    yaw: float, flips: list[bool]
) -> None:
    off = np.radians(np.linspace(-2, 2, len(flips)))
    seen = wrapped(yaw + off + np.pi * np.array(flips))
    found, decided = fused_yaw(seen)
    turned = sum(flips) * 2 > len(flips)
    if decided:
        assert abs(wrapped(np.array([found - yaw - np.pi * turned]))[0]) < np.radians(1.5)
    else:
        assert sum(flips) * 2 == len(flips)


def test_one_yaw_that_is_off_does_not_turn_the_rest() -> None:
    found, decided = fused_yaw(np.radians([0, 1, -1, 80.0]))
    assert decided
    assert abs(np.degrees(found)) < 3


def test_a_frame_of_three_annotators() -> None:
    truck = replace(cars([[30, 5, 0]]), class_index=np.array([TRUCK]))
    frame = {
        "ann": joined([cars([[10, 0, 0]]), truck]),
        "bob": joined([cars([[10.1, 0, np.pi]]), truck]),
        "cem": joined([cars([[9.9, 0.05, 0]]), cars([[30, 5, 0]]), cars([[70, 0, 0]])]),
    }
    # Habits show over many frames: here all find what there is.
    found = consensus_of([frame] * 5, CLASSES)
    first = found.frame == 0
    assert found.class_index[first].tolist() == [CAR, TRUCK, CLASSES]
    assert found.members[first].tolist() == [3, 3, 1]
    assert found.stands[first].all()
    kept = consensus_boxes(found, 0, CLASSES)
    assert kept.centre_m[0, :2] == pytest.approx([10, 0], abs=0.1)
    assert abs(kept.yaw_rad[0]) < 0.01


def test_too_far_apart_does_not_stand_and_an_empty_frame_is_an_answer() -> None:
    wide = {"ann": cars([[10, 0, 0]]), "bob": cars([[11.4, 0.3, 0]]), "cem": cars([[9, -0.3, 0]])}
    found = consensus_of([wide, {"ann": no_boxes(), "bob": no_boxes()}], CLASSES, least_iou=0.1)
    assert len(found) == 1
    assert not found.stands[0]
    assert len(consensus_of([{"ann": no_boxes()}], CLASSES)) == 0
    with pytest.raises(InputError, match="nobody"):
        consensus_of([{}], CLASSES)
