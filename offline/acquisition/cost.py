"""What labelling a clip will take: a linear model over what can be counted before.

cost = per_clip + per_frame * frames + per_box * boxes + per_rare_box * rare boxes, in boxes or in
labeller-seconds; boxes are those that the model sees over all frames to be labelled.

The defaults are stated assumptions until there are records to fit: a box drawn from nothing
takes 114 s (Meng et al. 2020, of single objects in lidar); opening a clip a minute, looking over
a frame 10 s, and the second opinion on a rare class half a box more are guesses. In boxes, a
clip counts as one more, so that an empty one is not free.

Fitting is ridge regression towards the defaults, with no cost below 0: many records decide, and
what they do not tell of stays as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from contracts.errors import InputError
from contracts.geometry import Finite, Frozen

CostUnit = Literal["boxes", "labeller_s"]
LEAST_PER_CLIP = 1e-3
"""No clip is free: what is divided by its cost stays finite."""
_ROUNDS = 4


class ClipFeatures(Frozen):
    """What the cost is told from: frames to label, boxes over all of them, and how many of those
    are of a rare class.
    """

    frames: int = Field(ge=0)
    boxes: int = Field(ge=0)
    rare_boxes: int = Field(0, ge=0)


class CostRecord(Frozen):
    """A clip that was labelled, and what it took, in the model's unit."""

    features: ClipFeatures
    cost: Finite = Field(ge=0)


class CostModel(Frozen):
    """Coefficients in `unit`; `records` counts what they were fitted from, 0 for the defaults."""

    schema_version: Literal[1] = 1
    unit: CostUnit
    per_clip: Finite = Field(ge=LEAST_PER_CLIP)
    per_frame: Finite = Field(ge=0)
    per_box: Finite = Field(ge=0)
    per_rare_box: Finite = Field(ge=0)
    records: int = Field(0, ge=0)

    def expected(self, features: ClipFeatures) -> float:
        """The clip's expected cost, to a thousandth of the unit."""
        return round(float(np.dot(self._coefficients(), _row(features))), 3)

    def _coefficients(self) -> tuple[float, float, float, float]:
        return self.per_clip, self.per_frame, self.per_box, self.per_rare_box


DEFAULTS: dict[CostUnit, CostModel] = {
    "boxes": CostModel(unit="boxes", per_clip=1, per_frame=0, per_box=1, per_rare_box=0),
    "labeller_s": CostModel(
        unit="labeller_s", per_clip=60, per_frame=10, per_box=114, per_rare_box=57
    ),
}


def fitted(
    records: Sequence[CostRecord], start: CostModel, *, trust_records: float = 1.0
) -> CostModel:
    """The model that explains the records, drawn towards `start`.

    Least squares of relative errors, so that a clip that takes twice as long counts no more; and
    of each coefficient's relative change from `start`, which weighs as `trust_records` clips do
    of which that coefficient is the whole cost. A coefficient that is 0 in `start` is drawn to 0
    by what it would be if it alone made the mean cost. Without records it is `start`.

    Raises:
        InputError: `trust_records` is not positive.
    """
    from scipy.optimize import nnls

    if not trust_records > 0:
        raise InputError(f"must be positive, not {trust_records}", "trust_records")
    if not records:
        return start
    rows = np.array([_row(record.features) for record in records], dtype=np.float64)
    costs = np.array([record.cost for record in records])
    prior = np.array(start._coefficients())
    alone = np.maximum(costs.mean(), LEAST_PER_CLIP) / np.maximum(rows.mean(axis=0), 1e-9)
    pull = np.sqrt(trust_records) / np.where(prior > 0, prior, alone)
    expected = (rows @ prior) * max(costs.sum() / (rows @ prior).sum(), 1e-6)
    solved = prior
    for _ in range(_ROUNDS):
        # What errors are relative to is what the round before expects, never a noisy record.
        scale = np.maximum(expected, LEAST_PER_CLIP)
        solved, _ = nnls(
            np.concatenate([rows / scale[:, None], np.diag(pull)]),
            np.concatenate([costs / scale, pull * prior]),
        )
        expected = rows @ solved
    clip, frame, box, rare = solved.tolist()
    return CostModel(
        unit=start.unit, per_clip=max(clip, LEAST_PER_CLIP), per_frame=frame, per_box=box,
        per_rare_box=rare, records=len(records),
    )  # fmt: skip


def _row(features: ClipFeatures) -> tuple[float, float, float, float]:
    return 1.0, features.frames, features.boxes, features.rare_boxes
