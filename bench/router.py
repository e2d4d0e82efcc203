"""The QA router: what labels cost and how wrong they stay, against people alone and none at all.

Tracks with truth, simulated annotators with stated noise (offline/labels/qa/annotators.py).
Synthetic: 2,000 tracks whose confidence is their probability of being right; thresholds fixed on
6,000 others. With recorded data also the auto-labels of KITTI's ten sequences, confidences from a
calibrator that had not seen the sequence. Residual error is wrong boxes (nothing there, class, 3D
overlap under 0.25) and lost objects, ignored boxes at a quarter, over true boxes; cost is
labeller-seconds for 1,000 true boxes. Drawing: one annotator draws every object; all judged: every
auto track goes to three annotators; nobody: every auto track with a mean confidence of 1/2 is
kept. The router has a quarter of the time that judging all takes; what people leave wrong is told
to it by gold, judged tracks of others.

Watching: 300 seeds each. A gold share of 5 % and an annotator whose errors grow sixfold; audits of
5 % of accepted tracks and a labeller whose precision falls from 99 to 93 %. False alarms are told
at exactly the tolerated rate, the worst case, beside Clopper and Pearson's bound read at every
look, which is how monitoring is often done and does not hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench.figures import Figure, figure
from bench.router_watch import EFFORT, annotator_figures, labeller_figures
from bench.router_world import (
    PRECISION,
    World,
    answers_of,
    kitti,
    rightly,
    synthetic,
    with_thresholds,
)
from contracts.geometry import Bools, Int64s
from contracts.review import Tier
from contracts.samples import Float64s
from offline.labels.qa.annotators import Annotator, Noise
from offline.labels.qa.audit import AuditPlan, AuditState, observed, thresholds_at
from offline.labels.qa.auto_labels import key_frames
from offline.labels.qa.router import (
    IGNORED_LOSS,
    PeoplesErrors,
    Policy,
    accepted_boxes,
    asked_boxes,
    ignored_boxes,
    routed,
)
from offline.labels.qa.tracks import TrackDoubts, track_doubts

TRACKS, OTHERS = 2000, 6000
BUDGETS = (0.0, 0.02, 0.05, 0.1, 0.15, 0.25, 0.4, 0.6, 0.8, 1.0)
"""As shares of what judging all tracks takes."""
HEADLINE = 0.25
EXPERT = Noise(miss=0.002, miss_hidden=0.05, wrong_class=0.005, waved_through=0.03)
_TEAM = (Annotator(Noise(), EFFORT),) * EFFORT.consensus_annotators
_EXPERTS = (Annotator(EXPERT, EFFORT),)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Seconds of people's time, and boxes: wrong ones, objects lost, ignored ones; and, of what
    was accepted without people, its share of all auto boxes and its precision.
    """

    seconds: float
    wrong: float
    lost: float
    ignored: float
    truths: int
    accepted: float = 0.0
    precision: float = float("nan")

    @property
    def cost_s(self) -> float:
        """For 1,000 true boxes."""
        return 1000 * self.seconds / self.truths

    @property
    def residual(self) -> float:
        """In % of true boxes."""
        return 100 * (self.wrong + self.lost + IGNORED_LOSS * self.ignored) / self.truths


def run(recorded: Path | None) -> list[Figure]:
    """All figures."""
    errors = peoples_errors()
    figures = [*_world_figures("synthetic", synthetic_world(), errors), *_audit_figures()]
    if recorded is not None:
        figures += _world_figures("kitti", kitti(recorded / "kitti_tracking"), errors)
    return [*figures, *annotator_figures(), *labeller_figures()]


def synthetic_world(overconfident: bool = False) -> World:
    """Tracks, with thresholds from others that are calibrated."""
    return with_thresholds(synthetic(1, TRACKS, overconfident), synthetic(2, OTHERS))


def nobody(world: World) -> Outcome:
    """Every auto track whose mean confidence reaches 1/2."""
    track, confidence = world.doubts.track, world.doubts.confidence
    mean = np.bincount(track, confidence) / np.maximum(np.bincount(track), 1)
    return _outcome(world, 0.0, mean[track] >= 0.5, world.right)


def drawing(world: World, seed: int = 0) -> Outcome:
    """One annotator draws every object, also those that the auto-labeller misses, which are taken
    to be as hard as the others.
    """
    rng = np.random.default_rng(seed)
    truth = world.truth.take(world.there)
    one = _TEAM[0]
    seen = rng.random(len(truth)) >= one.misses(truth, world.visibility[world.there])
    right = rightly(one.blurred(truth, rng), truth, np.ones(len(truth), dtype=np.bool_), seen)
    scale = world.truths / max(1, len(truth))
    boxes = np.bincount(world.doubts.track[world.there])
    seconds = float(EFFORT.drawing_s(boxes[boxes > 0].astype(np.float64)).sum())
    extra = rng.poisson(one.noise.false_boxes * len(truth) / 10)
    return Outcome(
        scale * seconds, scale * float((seen & ~right).sum()) + extra, scale * float((~seen).sum()),
        0.0, world.truths,
    )  # fmt: skip


def all_judged(world: World, seed: int = 0) -> Outcome:
    """Every auto track goes to a consensus, whole."""
    every = np.ones(len(world.auto), dtype=np.bool_)
    none = ~every
    return _judged(world, every, none, none, none, seed)


def with_router(world: World, budget_s: float, errors: PeoplesErrors, seed: int = 0) -> Outcome:
    """Tiers within a budget, and what people make of what they are given."""
    doubts = track_doubts(world.doubts, world.thresholds)
    tiers = routed(doubts, Policy(budget_s=budget_s, errors=errors))
    asked = asked_boxes(doubts, tiers)
    consensus = asked & tiers.of(Tier.CONSENSUS)[doubts.row]
    ignored = ignored_boxes(doubts, tiers) & ~asked
    return _judged(
        world, consensus, asked & ~consensus, accepted_boxes(doubts, tiers), ignored, seed
    )


def peoples_errors() -> PeoplesErrors:
    """What consensus and an expert leave wrong, as gold tells: tracks whose truth is known."""
    world = synthetic(3, TRACKS // 2)
    rows, _ = _key_rows(world, np.ones(len(world.auto), dtype=np.bool_))
    left = [
        float((found.kept & ~found.right).mean() + (world.there[rows] & ~found.kept).mean())
        for found in (answers_of(world, rows, team, 7) for team in (_TEAM, _EXPERTS))
    ]
    return PeoplesErrors(*left)


def curve(world: World, errors: PeoplesErrors) -> list[Outcome]:
    """The router over `BUDGETS`."""
    whole = all_judged(world).seconds
    return [with_router(world, share * whole, errors) for share in BUDGETS]


def _judged(
    world: World, consensus: Bools, expert: Bools, accepted: Bools, ignored: Bools, seed: int
) -> Outcome:
    """What comes of each auto box [n]: judged by several, by one expert, accepted, ignored, or, of
    none of these, rejected.
    """
    kept, right, weight = accepted.copy(), world.right.copy(), np.ones(accepted.size)
    seconds = 0.0
    for number, (given, team, rate) in enumerate(
        ((consensus, _TEAM, 1.0), (expert, _EXPERTS, EFFORT.expert_rate))
    ):
        rows, share = _key_rows(world, given)
        found = answers_of(world, rows, team, seed + number)
        # Boxes between key frames share the fate of those that were judged.
        weight[given] = 0.0
        weight[rows] = share
        kept[rows], right[rows] = found.kept, found.right
        opened = EFFORT.open_s * len(team) * np.unique(world.doubts.track[rows]).size
        seconds += rate * (float(found.seconds.sum()) + opened)
    told = world.right[accepted]
    outcome = _outcome(world, seconds, kept, right, ignored, weight)
    return replace(
        outcome, accepted=float(accepted.mean()),
        precision=float(told.mean()) if told.size else float("nan"),
    )  # fmt: skip


def _outcome(
    world: World, seconds: float, kept: Bools, right: Bools, ignored: Bools | None = None,
    weight: Float64s | None = None,
) -> Outcome:  # fmt: skip
    weight = np.ones(kept.size) if weight is None else weight
    out = np.zeros(kept.size, dtype=np.bool_) if ignored is None else ignored
    wrong = kept & ~right & ~out
    lost = world.there & ~kept & ~out
    return Outcome(
        seconds, float(weight[wrong].sum()), float(weight[lost].sum()) + world.missed,
        float(weight[out].sum()), world.truths,
    )  # fmt: skip


def _key_rows(world: World, given: Bools) -> tuple[Int64s, Float64s]:
    """Key frames' rows among the given boxes, and for how many boxes of its track each stands."""
    rows = np.flatnonzero(given)
    rows = rows[np.lexsort((world.doubts.frame[rows], world.doubts.track[rows]))]
    track = world.doubts.track[rows]
    # Frames of one track after another, with a gap between: stretches never cross tracks.
    place = world.doubts.frame[rows] + track * (int(world.doubts.frame.max(initial=0)) + 2)
    kept = key_frames(place, EFFORT.key_every)
    boxes, keys = np.bincount(track), np.bincount(track[kept])
    return rows[kept], boxes[track[kept]] / keys[track[kept]]


def _world_figures(name: str, world: World, errors: PeoplesErrors) -> list[Figure]:
    drawn, judged_all, none = drawing(world), all_judged(world), nobody(world)
    chosen = with_router(world, HEADLINE * judged_all.seconds, errors)
    free = with_router(world, 0.0, errors)
    missed = 100 * world.missed / world.truths
    return [
        figure(f"{name}: cost of 1,000 boxes", chosen.cost_s, "s", reference="all judged",
               reference_value=judged_all.cost_s, goal="ratio <= 0.3"),
        figure(f"{name}: cost of 1,000 boxes", chosen.cost_s, "s", reference="drawing",
               reference_value=drawn.cost_s, goal="ratio <= 0.1"),
        figure(f"{name}: residual error", chosen.residual, "%", reference="all judged",
               reference_value=judged_all.residual),
        figure(f"{name}: residual error", chosen.residual, "%", reference="drawing",
               reference_value=drawn.residual),
        figure(f"{name}: residual error", chosen.residual, "%", reference="nobody",
               reference_value=none.residual, goal="ratio <= 1"),
        figure(f"{name}: wrong boxes", 100 * chosen.wrong / world.truths, "%", reference="nobody",
               reference_value=100 * none.wrong / world.truths, goal="ratio <= 0.5"),
        figure(f"{name}: ignored boxes", 100 * chosen.ignored / world.truths, "%"),
        figure(f"{name}: objects that no auto box tells of", missed, "%"),
        figure(f"{name}: accepted without people", 100 * free.accepted, "% of boxes"),
        figure(f"{name}: precision of what is accepted", 100 * free.precision, "%",
               goal=f">= {100 * PRECISION:g}"),
    ]  # fmt: skip


def _audit_figures() -> list[Figure]:
    """Confidences that are too sure of themselves: audits tighten until the precision holds."""
    world = synthetic_world(overconfident=True)
    plan = AuditPlan(precision=PRECISION)
    rng = np.random.default_rng(0)
    levels = [
        track_doubts(world.doubts, thresholds_at(world.thresholds, level, plan))
        for level in range(plan.levels)
    ]
    shares = [_accepted_right(world, doubts) for doubts in levels]
    precision = [float(np.nanmean(share)) for share in shares]
    reached = np.sum([~np.isnan(share) for share in shares], axis=0)
    state, audits = AuditState(), 0
    while state.level < plan.levels and audits < 3000:
        track = int(rng.choice(np.flatnonzero(reached > state.level)))
        right = shares[state.level][track]
        state, _ = observed(state, plan, float(right), int(reached[track]) - 1)
        audits += 1
    left = precision[state.level] if state.level < plan.levels else 1.0
    return [
        figure("too sure of itself: precision accepted, unaudited", 100 * precision[0], "%"),
        figure("too sure of itself: precision after 3,000 audits", 100 * left, "%",
               reference="unaudited", reference_value=100 * precision[0],
               goal=f">= {100 * PRECISION:g}"),
        figure("too sure of itself: levels tightened", float(state.tightened), "levels"),
    ]  # fmt: skip


def _accepted_right(world: World, doubts: TrackDoubts) -> Float64s:
    """Share of accepted boxes that are right, by track; NaN where nothing is accepted."""
    taken = ~doubts.whole[doubts.row] & ~doubts.doubtful_boxes
    count = np.bincount(doubts.row, taken, len(doubts))
    good = np.bincount(doubts.row, taken & world.right, len(doubts))
    return np.where(count > 0, good / np.maximum(count, 1), np.nan)


def budgets_of(outcomes: Sequence[Outcome]) -> tuple[Float64s, Float64s]:
    """Cost of 1,000 boxes and residual error in %, each [k], for plots."""
    return (
        np.array([outcome.cost_s for outcome in outcomes]),
        np.array([outcome.residual for outcome in outcomes]),
    )
