"""Where people and the auto-labeller disagree systematically, and who is to learn from it.

Reviews are told by cells: class, range, slice. In each cell three tests run, each of which may be
looked at after every review (`betting.py`):

- the auto-label was wrong more often than its confidence said (times `tolerance`);
- people split among each other more often than `usual_split`;
- people split more often than in the cell's own first `reference` reviews (their upper bound):
  they changed over time.

Over all cells and tests the share of false findings is at most `false_discovery` in expectation,
at any time and however cells hang together, by Benjamini and Hochberg's step-up on e-values
(e-BH: Wang and Ramdas 2022). People who split are a `guideline_drift`: what is right is not
settled, so nothing is said of the model there. A model that is wrong where people agree is a
`model_blind_spot`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

import numpy as np
from pydantic import Field

from contracts.errors import InputError
from contracts.geometry import Finite, Frozen
from contracts.ids import Sha256Hex
from contracts.samples import Float64s
from contracts.trigger_spec import RareClassWhen
from offline.labels.qa.betting import Purse, bet, full_purse
from offline.labels.qa.misses import Group, clopper_pearson

_EXAMPLES = 5


class FindingKind(StrEnum):
    """What a cell suffers from."""

    GUIDELINE_DRIFT = "guideline_drift"
    MODEL_BLIND_SPOT = "model_blind_spot"


class Cell(Frozen):
    """Class, range in metres (lower bound in, upper out), and slice, such as "tod=night"."""

    class_name: str
    from_m: Finite
    to_m: Finite
    slice_name: str = ""

    @classmethod
    def of(cls, group: Group, slice_name: str = "") -> Cell:
        return cls(class_name=group.class_name, from_m=group.from_m, to_m=group.to_m,
                   slice_name=slice_name)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reviewed:
    """One reviewed track: `auto_wrong` share of its boxes that people changed, in 0..1;
    `confidence` their mean calibrated confidence; `split` share of pairs of annotators who
    disagree, None where only one judged.
    """

    task_id: str
    cell: Cell
    auto_wrong: float
    confidence: float
    split: float | None = None


class Ask(Frozen):
    """What a finding asks for: another guideline, more gold, or clips that a trigger brings in."""

    what: Literal["guideline", "gold_clips", "trigger"]
    cell: Cell
    count: int | None = Field(None, ge=1)
    when: RareClassWhen | None = None
    """Of a trigger of kind `rare_class`, to run in the cell's slice."""


class Finding(Frozen):
    """Evidence is an e-value; `counts` tell what it rests on; `examples` are task ids, the newest
    of those that disagree.
    """

    schema_version: Literal[1] = 1
    kind: FindingKind
    cell: Cell
    evidence: float
    reviews: int
    auto_wrong: Finite
    auto_wrong_expected: Finite
    splits: Finite
    judged_by_several: int
    changed_over_time: bool
    examples: tuple[Sha256Hex, ...]
    asks: tuple[Ask, ...]


class FindingPlan(Frozen):
    """See the module."""

    false_discovery: Finite = Field(0.05, gt=0, lt=1)
    tolerance: Finite = Field(1.5, ge=1)
    least_expected: Finite = Field(0.02, gt=0, lt=1)
    """Expected share wrong is never taken to be under it: no confidence is that exact."""
    usual_split: Finite = Field(0.1, gt=0, lt=1)
    reference: int = Field(50, ge=10)
    reference_risk: Finite = Field(0.01, gt=0, lt=1)
    gold_clips: int = Field(30, ge=1)
    hunt_probability: Finite = Field(0.2, gt=0, le=1)
    """From which the trigger fires: low, as a model is unsure where it is blind."""


@dataclass(slots=True)
class _Running:
    """One cell's tests and counts."""

    wrong: Purse = field(default_factory=full_purse)
    split: Purse = field(default_factory=full_purse)
    changed: Purse = field(default_factory=full_purse)
    reviews: int = 0
    auto_wrong: float = 0.0
    expected: float = 0.0
    splits: float = 0.0
    judged: int = 0
    first_splits: float = 0.0
    wrong_ids: list[str] = field(default_factory=list)
    split_ids: list[str] = field(default_factory=list)

    def add(self, review: Reviewed, plan: FindingPlan) -> None:
        expected = 1 - review.confidence
        limit = min(0.99, max(plan.least_expected, expected * plan.tolerance))
        self.wrong = bet(self.wrong, review.auto_wrong, limit)
        self.reviews += 1
        self.auto_wrong += review.auto_wrong
        self.expected += expected
        if review.auto_wrong > 0:
            self.wrong_ids.append(review.task_id)
        if review.split is None:
            return
        self.split = bet(self.split, review.split, plan.usual_split)
        if self.judged < plan.reference:
            self.first_splits += review.split
        else:
            # Splits are shares, not counts; rounding up keeps the bound on the safe side.
            known = int(np.ceil(self.first_splits))
            usual = clopper_pearson(known, plan.reference, 2 * plan.reference_risk)[1]
            self.changed = bet(self.changed, review.split, min(0.99, usual))
        self.judged += 1
        self.splits += review.split
        if review.split > 0:
            self.split_ids.append(review.task_id)

    def evidence(self) -> tuple[float, float, float]:
        """Model wrong, people split, people changed."""
        wrong, split, changed = (
            float(purse.evidence) for purse in (self.wrong, self.split, self.changed)
        )
        return wrong, split, changed


def findings(reviews: Iterable[Reviewed], plan: FindingPlan | None = None) -> tuple[Finding, ...]:
    """All that reviews show so far, the strongest evidence first.

    Args:
        reviews: in the order in which they came.
        plan: the defaults where None.
    """
    plan = plan or FindingPlan()
    cells: defaultdict[Cell, _Running] = defaultdict(_Running)
    for review in reviews:
        values = (review.auto_wrong, review.confidence, review.split or 0.0)
        if not all(0 <= value <= 1 for value in values):
            raise InputError("shares and confidence lie in 0..1", review.task_id)
        cells[review.cell].add(review, plan)
    names = list(cells)
    table = np.array([cells[name].evidence() for name in names], dtype=np.float64).reshape(-1, 3)
    shown = e_bh(table.reshape(-1), plan.false_discovery)
    flags = np.zeros(table.size, dtype=np.bool_)
    flags[list(shown)] = True
    result = []
    for name, row, (wrong, split, changed) in zip(
        names, table, flags.reshape(-1, 3).tolist(), strict=True
    ):
        if split or changed:
            evidence = float(max(row[1] * split, row[2] * changed))
            result.append(_finding(FindingKind.GUIDELINE_DRIFT, name, cells[name], evidence,
                                   changed, plan))  # fmt: skip
        elif wrong:
            result.append(_finding(FindingKind.MODEL_BLIND_SPOT, name, cells[name], float(row[0]),
                                   False, plan))  # fmt: skip
    return tuple(sorted(result, key=lambda one: -one.evidence))


def e_bh(evidence: Float64s, false_discovery: float) -> Sequence[int]:
    """Places of the e-values [n] that are discoveries: the k largest, for the largest k such that
    the k-th is at least n / (k * false_discovery).
    """
    n = evidence.size
    order = np.argsort(-evidence, kind="stable")
    rank = np.arange(1, n + 1)
    passing = np.flatnonzero(evidence[order] * rank * false_discovery >= n)
    return order[: passing[-1] + 1].tolist() if passing.size else []


def _finding(
    kind: FindingKind, cell: Cell, running: _Running, evidence: float, changed: bool,
    plan: FindingPlan,
) -> Finding:  # fmt: skip
    people = kind is FindingKind.GUIDELINE_DRIFT
    ids = running.split_ids if people else running.wrong_ids
    gold = Ask(what="gold_clips", cell=cell, count=plan.gold_clips)
    when = RareClassWhen(classes=(cell.class_name,), probability=plan.hunt_probability)
    hunt = Ask(what="trigger", cell=cell, when=when)
    return Finding(
        kind=kind, cell=cell, evidence=evidence, reviews=running.reviews,
        auto_wrong=running.auto_wrong, auto_wrong_expected=running.expected,
        splits=running.splits, judged_by_several=running.judged, changed_over_time=changed,
        examples=tuple(ids[-_EXAMPLES:][::-1]),
        asks=(Ask(what="guideline", cell=cell), gold) if people else (hunt, gold),
    )  # fmt: skip
