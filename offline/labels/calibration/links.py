"""From the trees' log odds to confidence, fitted to log odds of boxes the trees had not seen."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from scipy.optimize import minimize

from contracts.geometry import Bools, Frozen
from contracts.samples import Float64s
from offline.labels.calibration.boosting import probability
from offline.labels.calibration.isotonic import Knots, isotonic

_DIGITS = 9
_LOYALTY = 5.0


class Platt(Frozen):
    """A logistic curve (Platt 1999): keeps every difference between boxes, has two numbers."""

    kind: Literal["platt"] = "platt"
    slope: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    offset: Annotated[float, Field(allow_inf_nan=False)]

    def confidence(self, margin: Float64s) -> Float64s:
        """Of log odds [n]."""
        return probability(self.slope * margin + self.offset)


class Isotonic(Frozen):
    """Any rising curve: bends wherever there are enough boxes, makes equals of neighbours."""

    kind: Literal["isotonic"] = "isotonic"
    knots: Knots

    def confidence(self, margin: Float64s) -> Float64s:
        """Of log odds [n]."""
        return np.clip(self.knots(margin), 0.0, 1.0)


Link = Annotated[Platt | Isotonic, Field(discriminator="kind")]
LinkKind = Literal["platt", "isotonic"]


def fitted_link(
    kind: LinkKind, margin: Float64s, right: Bools, weight: Float64s
) -> Platt | Isotonic:
    """For log odds [n] of boxes that are `right` [n] or not, which count by `weight` [n]."""
    if kind == "isotonic":
        return Isotonic(knots=isotonic(margin, right.astype(np.float64), weight))
    truth = right.astype(np.float64)

    def loss(two: Float64s) -> tuple[float, Float64s]:
        told = two[0] * margin + two[1]
        # Where there is little to go by, the trees are believed.
        away = two - np.array([1.0, 0.0])
        value = float((weight * (np.logaddexp(0, told) - truth * told)).sum())
        slope = weight * (probability(told) - truth)
        turn = np.array([slope @ margin, slope.sum()]) + _LOYALTY * away
        return value + _LOYALTY / 2 * float(away @ away), turn

    bounds = [(0.05, None), (None, None)]
    best = minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=bounds).x
    return Platt(slope=round(float(best[0]), _DIGITS), offset=round(float(best[1]), _DIGITS))
