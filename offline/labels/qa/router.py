"""Auto-accept, consensus, expert, or no object: which tier decides about each track.

Residual error is counted in boxes of the labels that come out: wrong ones (no such object, wrong
class, geometry off) and lost ones count 1, ignored ones `IGNORED_LOSS`: nothing false is taught
by them, and nothing at all. Minimised is its expectation over all tracks, weighed by `weight`,
subject to the budget in labeller-seconds (`budget.py` says how near to the least it gets). What a
track may be given:

| option       | when allowed                       | expected residual error, boxes           |
|--------------|------------------------------------|------------------------------------------|
| reject       | all its confidences are very low   | right ones                               |
| auto-accept  | it is not doubtful                 | wrong sure ones; the others ignored      |
| consensus    | it is not grave                    | what annotators leave, and as above of   |
| expert       | always                             | sure boxes that stand (`tracks.py`)      |
| (deferred)   | always                             | wrong sure ones that stand; the others,  |
|              |                                    | ignored until the budget allows          |

So a doubtful box is never accepted for want of money: it waits, ignored in the loss. What is
accepted keeps its least precision twice over: by box through the groups' thresholds, and over all
together by the expected precision, for which the least sure tracks stand no more.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from contracts.errors import InputError
from contracts.geometry import Bools
from contracts.review import Tier
from contracts.samples import Float64s
from offline.labels.qa.budget import least_loss
from offline.labels.qa.effort import Effort
from offline.labels.qa.tracks import TrackDoubts

IGNORED_LOSS = 0.25
_REJECT, _ACCEPT, _CONSENSUS, _EXPERT, _DEFER = range(5)
_TIERS: tuple[Tier | None, ...] = (
    Tier.REJECT, Tier.AUTO_ACCEPT, Tier.CONSENSUS, Tier.EXPERT, None,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PeoplesErrors:
    """Share of boxes that are wrong or lost after a tier; what gold tells replaces the defaults,
    which are those of simulated annotators, rounded (`bench/router.py`: 1.0 and 2.0 %). Were an
    expert as good as three annotators, who cost more, there would be no consensus at all.
    """

    consensus: float = 0.01
    expert: float = 0.02

    def __post_init__(self) -> None:
        if not (0 <= self.consensus <= 1 and 0 <= self.expert <= 1):
            raise InputError("shares lie in 0..1", "errors")


@dataclass(frozen=True, slots=True)
class Policy:
    """`budget_s` labeller-seconds for all tracks together; `least_precision` of what is accepted
    without people, in expectation.
    """

    budget_s: float = float("inf")
    least_precision: float = 0.98
    ignored_loss: float = IGNORED_LOSS
    errors: PeoplesErrors = PeoplesErrors()
    effort: Effort = field(default_factory=Effort)

    def __post_init__(self) -> None:
        if not (0 <= self.least_precision < 1 and 0 <= self.ignored_loss <= 1):
            raise InputError("a precision lies in 0..1 (exclusive), the loss of ignoring in 0..1")


@dataclass(frozen=True, slots=True)
class Routing:
    """Of each track of the `TrackDoubts` given: `tier`, None for deferred; `stands` bool [m],
    whether its sure boxes are accepted without people; `asked_s` float64 [m], people's time that it
    will take; `priority` [m], loss that its work saves a second (0 without work). `residual` is
    the expected error in boxes, `least_residual` the bound on what any routing within the budget
    could reach; `accepted_precision` is expected, NaN with nothing accepted.
    """

    tier: tuple[Tier | None, ...]
    stands: Bools
    asked_s: Float64s
    priority: Float64s
    residual: float
    least_residual: float
    accepted_precision: float

    @property
    def cost_s(self) -> float:
        return float(self.asked_s.sum())

    def of(self, tier: Tier | None) -> Bools:
        """Which tracks have the tier, bool [m]."""
        return np.array([each is tier for each in self.tier], dtype=np.bool_)


def routed(doubts: TrackDoubts, policy: Policy, weight: Float64s | None = None) -> Routing:
    """Tiers of all tracks.

    Args:
        doubts: of one or many clips, those of each after the other.
        policy: budget, precision, costs.
        weight: how much a box's error of each track counts, [m]; 1 where None.
    """
    weight = np.ones(len(doubts)) if weight is None else weight
    if weight.shape != (len(doubts),) or not (weight > 0).all():
        raise InputError("a weight over 0 for each track", "weight")
    stands = ~doubts.whole
    while True:
        loss, cost, allowed = _options(doubts, policy, stands)
        loss = loss * weight[:, None]
        chosen = least_loss(loss, cost, allowed, policy.budget_s)
        asked = np.isin(chosen.option, (_CONSENSUS, _EXPERT))
        # A track that is sure throughout goes to people as a whole, or not at all.
        accepted = stands & (chosen.option != _REJECT) & ~(asked & ~doubts.doubtful)
        unsure = _too_unsure(doubts, accepted, policy.least_precision)
        if not unsure.any():
            break
        stands &= ~unsure
    rows = np.arange(len(doubts))
    spent = cost[rows, chosen.option]
    free = np.where(allowed & (cost == 0), loss, np.inf).min(axis=1, initial=np.inf)
    saved = np.where(asked, free - loss[rows, chosen.option], 0.0)
    return Routing(
        tuple(_TIERS[option] for option in chosen.option.tolist()), accepted, spent,
        saved / np.where(asked, spent, 1.0), chosen.loss, chosen.bound,
        _precision(doubts, accepted),
    )  # fmt: skip


def accepted_boxes(doubts: TrackDoubts, routing: Routing) -> Bools:
    """Which boxes [n] are accepted without people."""
    return np.asarray(routing.stands[doubts.row] & ~doubts.doubtful_boxes)


def asked_boxes(doubts: TrackDoubts, routing: Routing) -> Bools:
    """Which boxes [n] people are asked about: all of their tracks' that are not accepted."""
    asked = routing.of(Tier.CONSENSUS) | routing.of(Tier.EXPERT)
    return np.asarray(asked[doubts.row] & ~accepted_boxes(doubts, routing))


def ignored_boxes(doubts: TrackDoubts, routing: Routing) -> Bools:
    """Which boxes [n] nobody is to learn from, unless people have answered: those that wait, for
    people or for the budget, and short runs of doubt in accepted tracks.
    """
    told = accepted_boxes(doubts, routing) | routing.of(Tier.REJECT)[doubts.row]
    return np.asarray(~told)


def _options(
    doubts: TrackDoubts, policy: Policy, stands: Bools
) -> tuple[Float64s, Float64s, Bools]:
    """Loss, cost and permission of each track's options, [m, 5]."""
    n = len(doubts)
    sure = np.where(stands, doubts.sure, 0.0)
    wrong = np.where(stands, doubts.sure - doubts.sure_right, 0.0)
    waiting = wrong + policy.ignored_loss * (doubts.boxes - sure)
    part = stands & doubts.doubtful
    asked = np.where(part, doubts.boxes - sure, doubts.boxes)
    asked_right = np.where(part, doubts.right - doubts.sure_right, doubts.right)
    share = asked_right / np.maximum(asked, 1)
    stretches = np.where(part, doubts.stretches, 1.0)
    beside = np.where(part, wrong, 0.0)
    loss = np.stack([
        doubts.right, waiting, beside + policy.errors.consensus * asked,
        beside + policy.errors.expert * asked, waiting,
    ], axis=1)  # fmt: skip
    free = np.zeros(n)
    cost = np.stack([
        free, free, policy.effort.consensus_s(asked, share, stretches),
        policy.effort.expert_s(asked, share, stretches), free,
    ], axis=1)  # fmt: skip
    always = np.ones(n, dtype=np.bool_)
    allowed = np.stack(
        [doubts.nothing, ~doubts.doubtful & stands, ~doubts.grave, always, always], axis=1
    )
    return loss, cost, allowed


def _too_unsure(doubts: TrackDoubts, accepted: Bools, least: float) -> Bools:
    """The fewest tracks, least sure first, without which precision is expected to hold."""
    result: Bools = np.zeros(accepted.size, dtype=np.bool_)
    rows = np.flatnonzero(accepted)
    room = doubts.sure_right[rows] - least * doubts.sure[rows]
    if room.sum() >= -1e-9:
        return result
    order = np.argsort(room / np.maximum(doubts.sure[rows], 1), kind="stable")
    after = room.sum() - np.cumsum(room[order])
    count = int(np.argmax(after >= -1e-9)) + 1
    result[rows[order[:count]]] = True
    return result


def _precision(doubts: TrackDoubts, accepted: Bools) -> float:
    boxes = float(doubts.sure[accepted].sum())
    return float(doubts.sure_right[accepted].sum()) / boxes if boxes else float("nan")
