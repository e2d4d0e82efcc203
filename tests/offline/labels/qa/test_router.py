"""Doubts of tracks, the budget against all possible choices, and the tiers that come of both."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import InputError
from contracts.review import Tier
from contracts.samples import Float64s
from offline.acquisition.cost import DEFAULTS
from offline.labels.qa.budget import least_loss
from offline.labels.qa.effort import Effort
from offline.labels.qa.router import (
    PeoplesErrors,
    Policy,
    accepted_boxes,
    asked_boxes,
    ignored_boxes,
    routed,
)
from offline.labels.qa.tracks import BoxDoubts, DoubtLimits, TrackDoubts, track_doubts

THRESHOLDS = {"car near": 0.9, "car far": 0.97, "bus near": None}


def doubts_of(
    *tracks: list[float], group: str = "car near", disagreement: float = np.nan
) -> TrackDoubts:
    """Tracks by the confidences of their boxes."""
    track = np.repeat(np.arange(len(tracks)), [len(each) for each in tracks])
    frame = np.concatenate([np.arange(len(each)) for each in tracks])
    return track_doubts(
        BoxDoubts(
            track, frame, np.concatenate([np.array(each) for each in tracks]),
            (group,) * track.size, np.full(track.size, disagreement),
        ),
        THRESHOLDS,
    )  # fmt: skip


def test_a_stretch_of_doubt_raises_a_track_and_a_blink_does_not() -> None:
    sure = [0.95] * 10
    found = doubts_of(sure, [*sure, 0.8, 0.8, 0.8], [*sure, 0.8, 0.8, *sure], [0.3] * 5)
    assert found.doubtful.tolist() == [False, True, False, True]
    assert found.grave.tolist() == [False, False, False, True]
    assert found.sure[2] == 20
    assert found.sure_right[2] == pytest.approx(19)
    assert int(found.doubtful_boxes.sum()) == 10


def test_short_tracks_are_doubtful_when_most_of_their_boxes_are() -> None:
    assert doubts_of([0.8], [0.95, 0.8, 0.95], [0.8, 0.8]).doubtful.tolist() == [True, False, True]


def test_groups_without_a_threshold_and_disagreement_go_to_people() -> None:
    assert doubts_of([0.999] * 5, group="bus near").doubtful.all()
    assert doubts_of([0.999] * 5, group="never told of").doubtful.all()
    assert not doubts_of([0.999] * 5, group="car far", disagreement=0.1).doubtful.any()
    parted = doubts_of([0.999] * 5, disagreement=0.9)
    assert parted.doubtful.all()
    assert parted.grave.all()


def test_a_stretch_is_told_by_frames_not_by_rows() -> None:
    frame = np.array([4, 0, 2, 1, 3])
    confidence = np.array([0.5, 0.95, 0.6, 0.95, 0.6])
    boxes = BoxDoubts(np.zeros(5, int), frame, confidence, ("car near",) * 5, np.full(5, np.nan))
    assert track_doubts(boxes, THRESHOLDS).doubtful.all()
    split = np.where(frame == 3, 0.95, confidence)
    boxes = BoxDoubts(np.zeros(5, int), frame, split, ("car near",) * 5, np.full(5, np.nan))
    assert not track_doubts(boxes, THRESHOLDS).doubtful.any()


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 10_000), items=st.integers(1, 5), budget=st.floats(0, 30))
def test_no_choice_within_the_budget_is_much_better(seed: int, items: int, budget: float) -> None:
    rng = np.random.default_rng(seed)
    loss, cost = rng.uniform(0, 10, (items, 4)), rng.uniform(0.1, 12, (items, 4))
    cost[:, 0] = 0
    allowed = rng.random((items, 4)) < 0.8
    allowed[:, 0] = True
    found = least_loss(loss, cost, allowed, budget)
    assert allowed[np.arange(items), found.option].all()
    assert found.cost <= budget + 1e-6
    best, step = np.inf, 0.0
    for options in product(range(4), repeat=items):
        at = np.arange(items), np.array(options)
        if allowed[at].all() and cost[at].sum() <= budget:
            best = min(best, float(loss[at].sum()))
    step = float((loss.max(axis=1) - loss.min(axis=1)).max())
    assert found.bound - 1e-6 <= best <= found.loss + 1e-6
    assert found.loss <= best + step
    # With the money that was used, nothing better can be had where no step was skipped.
    used = least_loss(loss, cost, allowed, np.inf)
    assert used.loss == pytest.approx(np.where(allowed, loss, np.inf).min(axis=1).sum())
    assert used.bound == pytest.approx(used.loss)


def test_more_money_never_leaves_more_error_than_the_bound_allows() -> None:
    rng = np.random.default_rng(5)
    tracks = [list(rng.beta(6, 1, 12)) for _ in range(60)]
    found = doubts_of(*tracks)
    budgets = [0, 500, 2000, 8000, 50_000, np.inf]
    left = [routed(found, Policy(budget_s=budget)) for budget in budgets]
    assert all(a.residual >= b.residual for a, b in pairwise(left))
    assert all(one.cost_s <= budget + 1e-6 for one, budget in zip(left, budgets, strict=True))
    assert all(one.residual >= one.least_residual - 1e-9 for one in left)
    # The gap to the bound is at most one track's work.
    assert all(one.residual - one.least_residual <= 12 for one in left)
    assert left[0].of(None).any()
    assert not left[0].of(Tier.CONSENSUS).any()


def test_doubtful_boxes_are_never_accepted_however_poor_one_is() -> None:
    rng = np.random.default_rng(6)
    found = doubts_of(*[list(rng.beta(9, 1, 10)) for _ in range(80)])
    for budget in (0.0, 3000.0, np.inf):
        result = routed(found, Policy(budget_s=budget))
        assert not (result.of(Tier.AUTO_ACCEPT) & found.doubtful).any()
        assert not (result.of(Tier.CONSENSUS) & found.grave).any()
        accepted, asked = accepted_boxes(found, result), asked_boxes(found, result)
        assert not (accepted & found.doubtful_boxes).any()
        assert not (accepted & asked).any()
        assert not (accepted & found.whole[found.row]).any()
        waits = result.of(None)[found.row] & ~accepted
        assert ignored_boxes(found, result)[waits | asked].all()


def test_a_doubtful_track_is_judged_where_it_is_doubtful() -> None:
    sure = [0.99] * 10
    found = doubts_of([*sure, 0.7, 0.7, 0.7, 0.7], [*sure, *[0.2] * 4], [*sure, *[0.2] * 11], sure)
    assert found.grave.tolist() == [False, True, True, False]
    cheap = Policy(errors=PeoplesErrors(consensus=0.01, expert=0.01), effort=Effort(expert_rate=9))
    result = routed(found, cheap)
    assert result.tier == (Tier.CONSENSUS, Tier.EXPERT, Tier.EXPERT, Tier.AUTO_ACCEPT)
    assert result.stands.tolist() == [True, True, False, True]
    # Sure boxes stand, save in the track that is mostly grave, which is judged as a whole.
    assert np.bincount(found.row, asked_boxes(found, result)).tolist() == [4, 4, 21, 0]
    poor = routed(found, Policy(budget_s=0))
    assert np.bincount(found.row, accepted_boxes(found, poor)).tolist() == [10, 10, 0, 10]
    assert np.bincount(found.row, ignored_boxes(found, poor)).tolist() == [4, 4, 21, 0]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), least=st.floats(0.9, 0.999), budget=st.floats(0, 5000))
def test_expected_precision_holds_always(seed: int, least: float, budget: float) -> None:
    rng = np.random.default_rng(seed)
    found = doubts_of(*[list(rng.uniform(0.9, 1, 6)) for _ in range(20)])
    result = routed(found, Policy(budget_s=budget, least_precision=least))
    assert not result.of(Tier.AUTO_ACCEPT).any() or result.accepted_precision >= least - 1e-9


def test_tiers_for_all_the_money_there_is() -> None:
    found = doubts_of([0.999] * 8, [0.85] * 8, [0.005] * 8, [0.4] * 8)
    result = routed(found, Policy())
    assert result.tier == (Tier.AUTO_ACCEPT, Tier.CONSENSUS, Tier.REJECT, Tier.EXPERT)
    dear = Policy(errors=PeoplesErrors(consensus=0.02, expert=0.01))
    assert routed(found, dear).tier[1] is Tier.EXPERT
    alike = doubts_of([0.04] * 8, [0.04] * 8)
    one = Policy(budget_s=float(Effort().expert_s(np.array([8.0]), np.array([0.04]))[0]))
    heavy = routed(alike, one, weight=np.array([1.0, 5]))
    assert heavy.tier == (Tier.REJECT, Tier.EXPERT)
    assert heavy.priority[1] > heavy.priority[0] == 0


def test_what_reviews_cost() -> None:
    effort = Effort(needless=0)
    boxes, right = np.array([1.0, 21]), np.array([1.0, 0.5])
    assert effort.judgement_s(boxes, right) == pytest.approx([9, 6 + 5 * 12])
    assert effort.consensus_s(boxes, right) == pytest.approx([27, 198])
    # Four runs of five boxes and one of one: five first ones, and a last one each of four.
    assert effort.expert_s(boxes, right, np.array([1.0, 5])) == pytest.approx(
        [18, 2 * (6 + 9 * 12)]
    )
    assert Effort(needless=0.5).judgement_s(boxes, right)[0] == pytest.approx(9 + 9)
    assert effort.drawing_s(np.array([1.0])) == pytest.approx(6 + DEFAULTS["labeller_s"].per_box)
    found = doubts_of([0.5, 0.99, 0.5, 0.5, 0.99, 0.5], [0.5, 0.99])
    assert found.stretches.tolist() == [3, 1]


def test_what_cannot_be_routed_is_refused() -> None:
    column: Float64s = np.array([1.5])
    with pytest.raises(InputError, match="confidence"):
        BoxDoubts(np.array([0]), np.array([0]), column, ("a",), column * np.nan)
    with pytest.raises(InputError, match="groups"):
        BoxDoubts(np.array([0]), np.array([0]), column * 0, (), column * np.nan)
    with pytest.raises(InputError, match="stretch"):
        DoubtLimits(stretch=0)
    with pytest.raises(InputError, match="costs nothing"):
        least_loss(np.ones((1, 1)), np.ones((1, 1)), np.ones((1, 1), bool), 5)
    with pytest.raises(InputError, match="weight"):
        routed(doubts_of([0.9]), Policy(), np.zeros(1))
