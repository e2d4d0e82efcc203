"""The study of the router, on few tracks: what it rests on, and that its parts do as they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.router import all_judged, drawing, nobody, with_router
from bench.router_watch import first_alarm, gold_failures
from bench.router_world import PRECISION, synthetic, with_thresholds
from offline.labels.qa.annotators import Drift
from offline.labels.qa.router import PeoplesErrors


def test_synthetic_confidences_are_probabilities_and_overconfident_ones_are_not() -> None:
    world, bold = synthetic(1, 800), synthetic(1, 800, overconfident=True)
    right, told = world.right, world.doubts.confidence
    assert told.mean() == pytest.approx(right.mean(), abs=0.02)
    middle = (told > 0.5) & (told < 0.9)
    assert told[middle].mean() == pytest.approx(right[middle].mean(), abs=0.06)
    assert bold.doubts.confidence.mean() > bold.right.mean() + 0.03


def test_the_router_stands_between_nobody_and_everybody() -> None:
    world = with_thresholds(synthetic(1, 300), synthetic(2, 2500))
    errors = PeoplesErrors()
    everybody, none = all_judged(world), nobody(world)
    routed = with_router(world, 0.25 * everybody.seconds, errors)
    assert routed.precision >= PRECISION
    assert routed.accepted > 0.3
    assert routed.seconds < 0.35 * everybody.seconds
    assert everybody.residual < routed.residual < none.residual
    assert routed.wrong < none.wrong
    assert drawing(world).cost_s > everybody.cost_s
    free = with_router(world, 0.0, errors)
    assert free.seconds == 0
    assert free.ignored > routed.ignored
    # Without people and without thresholds, nothing is taught.
    alone = with_router(replace(world, thresholds={}), 0.0, errors)
    assert alone.accepted == alone.wrong == 0


def test_gold_sees_an_annotator_who_drifts_and_lets_a_steady_one_be() -> None:
    drift = Drift(after=30, over=10, factor=6.0)
    steady = first_alarm(gold_failures(130, None, seeds=60), 0.1)
    moved = first_alarm(gold_failures(130, drift, seeds=60), 0.1)
    assert np.isinf(steady).mean() >= 0.95
    assert np.isfinite(moved).mean() > 0.8
    assert np.median(moved) > 30
