"""How much could be taken over without a person, if so many of the boxes taken have to be right.

The threshold on confidence is fixed on other sequences than it is measured on: the least that
keeps the precision on those, whichever one of them is left out. It is an estimate without a
guarantee; `calibration.conformal` has thresholds with one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.geometry import Bools, Int64s
from contracts.samples import Float64s

PRECISION = 0.98


@dataclass(frozen=True, slots=True)
class Accepted:
    """By sequence, int64 [s]: true boxes that were `found` right and accepted, all that were
    `taken`, and `truths`; `thresholds` float64 [s], infinite where nothing could be accepted;
    `overall`: the threshold that holds on all.
    """

    found: Int64s
    taken: Int64s
    truths: Int64s
    thresholds: Float64s
    overall: float

    @property
    def share(self) -> float:
        """Of the true boxes; NaN without any."""
        return float(self.found.sum() / self.truths.sum()) if self.truths.any() else float("nan")

    @property
    def precision(self) -> float:
        """Of what was accepted; NaN where nothing was."""
        return float(self.found.sum() / self.taken.sum()) if self.taken.any() else float("nan")


def accepted_elsewhere(
    confidence: Float64s, right: Bools, sequence: Int64s, truths: Int64s,
    precision: float = PRECISION,
) -> Accepted:  # fmt: skip
    """Each sequence accepted by what holds on the others; nothing where there are no others.

    Args:
        confidence: of each judged box, float64 [n].
        right: bool [n].
        sequence: of each, 0 .. s - 1, int64 [n].
        truths: true boxes of each sequence, int64 [s].
        precision: to be kept.
    """
    rows = []
    for held in range(truths.size):
        inside = sequence == held
        value = steady_threshold(confidence[~inside], right[~inside], sequence[~inside], precision)
        taken = inside & (confidence >= value)
        rows.append((int((taken & right).sum()), int(taken.sum()), value))
    found, taken_rows, thresholds = zip(*rows, strict=True)
    return Accepted(
        np.array(found), np.array(taken_rows), truths, np.array(thresholds),
        steady_threshold(confidence, right, sequence, precision),
    )  # fmt: skip


def steady_threshold(
    confidence: Float64s, right: Bools, sequence: Int64s, precision: float = PRECISION
) -> float:
    """The least confidence that keeps the precision, whichever sequence is left out; infinite
    where none does.
    """
    names = np.unique(sequence)
    parts = [sequence != name for name in names] if names.size > 1 else [sequence >= 0]
    return max((threshold_at(confidence[p], right[p], precision) for p in parts), default=np.inf)


def threshold_at(confidence: Float64s, right: Bools, precision: float) -> float:
    """The least confidence from which on `precision` of the boxes are right; infinite where
    there is none.
    """
    order = np.argsort(-confidence, kind="stable")
    falling = confidence[order]
    share = np.cumsum(right[order]) / np.arange(1, order.size + 1)
    # Boxes of one confidence are accepted together.
    last = np.append(falling[1:] < falling[:-1], True)[: order.size]
    good = np.flatnonzero(last & (share >= precision))
    return float(falling[good[-1]]) if good.size else float("inf")
