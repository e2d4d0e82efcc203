"""How soon gold and audits see what gets worse, and how often they see it where it is not."""

from __future__ import annotations

import numpy as np
from scipy.stats import beta

from bench.figures import Figure, figure
from bench.router_world import PRECISION, synthetic
from contracts.geometry import TAXONOMY, Bools
from contracts.samples import Float64s
from offline.labels.qa.annotators import Annotator, Drift, Noise
from offline.labels.qa.betting import bet, full_purse
from offline.labels.qa.effort import Effort
from offline.labels.qa.gold import PLANTS, GoldPlan, Plant, judged, planted

SEEDS = 300
EFFORT = Effort()
_GOLD_SHARE = _AUDIT_SHARE = 0.05


def annotator_figures() -> list[Figure]:
    """Gold against an annotator."""
    gold, drift = 200, Drift(after=60, over=10, factor=6.0)
    plan = GoldPlan()
    good, bad = gold_failures(gold, None), gold_failures(gold, drift)
    steady, moved = first_alarm(good, plan.worst_failures), first_alarm(bad, plan.worst_failures)
    caught = moved > drift.after
    delay = (moved[caught & np.isfinite(moved)] - drift.after) / _GOLD_SHARE
    worst = np.random.default_rng(3).random((SEEDS, 1000)) < plan.worst_failures
    return [
        figure("drifting annotator: caught", 100 * float(np.isfinite(moved).mean()), "% of seeds",
               goal=">= 95"),
        figure("drifting annotator: median delay", float(np.median(delay)), "tasks"),
        figure("steady annotator: failed", 100 * float(np.isfinite(steady).mean()), "% of seeds",
               goal="<= 5"),
        figure("annotator at the tolerated rate: failed", _percent(worst, plan.worst_failures),
               "% of seeds", reference="Clopper-Pearson at every look",
               reference_value=_peeking(worst, plan.worst_failures), goal="<= 5"),
    ]  # fmt: skip


def labeller_figures() -> list[Figure]:
    """Audits against the auto-labeller."""
    rng = np.random.default_rng(4)
    limit, before = 1 - PRECISION, 400
    good = rng.random((SEEDS, before)) < 0.01
    moved = first_alarm(np.concatenate([good, rng.random((SEEDS, 600)) < 0.07], axis=1), limit)
    late = moved[np.isfinite(moved) & (moved > before)]
    worst = rng.random((SEEDS, 2000)) < limit
    return [
        figure("drifting labeller: caught", 100 * float(np.isfinite(moved).mean()), "% of seeds",
               goal=">= 95"),
        figure("drifting labeller: median delay", float(np.median(late - before)), "audits"),
        figure("drifting labeller: median delay", float(np.median(late - before)) / _AUDIT_SHARE,
               "accepted tracks"),
        figure("labeller at the target: demoted", _percent(worst, limit), "% of seeds",
               reference="Clopper-Pearson at every look", reference_value=_peeking(worst, limit),
               goal="<= 5"),
    ]  # fmt: skip


def gold_failures(gold: int, drift: Drift | None, seeds: int = SEEDS) -> Bools:
    """Which gold tasks an annotator gets wrong, bool [seeds, gold]."""
    rng, classes = np.random.default_rng(5), len(TAXONOMY.names)
    truth = synthetic(6, seeds).truth
    truth = truth.take(np.linspace(0, len(truth) - 1, seeds).astype(np.int64))
    columns: list[Bools] = []
    for number in range(gold):
        noise = Noise() if drift is None else Noise().grown(drift.at(number))
        truth = truth.take(rng.permutation(seeds))
        plant, proposal = planted(truth, classes, rng)
        there = plant != PLANTS.index(Plant.INVENTED)
        found = Annotator(noise, EFFORT).review(proposal, truth, there, np.ones(seeds), rng)
        outcome = judged(truth, there, found.boxes, found.kept(), classes, least_iou=0.25)
        columns.append(~outcome.passed)
    return np.stack(columns, axis=1)


def first_alarm(wrong: Bools, limit: float, alpha: float = 0.05) -> Float64s:
    """The look [runs] at which each run [runs, looks] alarms, from 1 on; inf where none does."""
    purse = full_purse((len(wrong),))
    first = np.full(len(wrong), np.inf)
    for look, column in enumerate(wrong.T.astype(np.float64), start=1):
        purse = bet(purse, column, limit)
        first = np.where(np.isinf(first) & (purse.evidence >= 1 / alpha), look, first)
    return first


def _percent(wrong: Bools, limit: float) -> float:
    return 100 * float(np.isfinite(first_alarm(wrong, limit)).mean())


def _peeking(wrong: Bools, limit: float, alpha: float = 0.05) -> float:
    """False alarms in %, were a one-sided exact bound for one look read at each."""
    count = np.cumsum(wrong, axis=1)
    looks = np.arange(1, wrong.shape[1] + 1)
    low = beta.ppf(alpha, np.maximum(count, 1), looks - np.maximum(count, 1) + 1)
    return 100 * float(((low > limit) & (count > 0)).any(axis=1).mean())
