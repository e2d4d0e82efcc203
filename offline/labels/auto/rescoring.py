"""How likely a box is right, by what its whole track is like."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from contracts.geometry import Bools, Int64s
from contracts.samples import Float64s
from offline.labels.auto.clip import EXTENDED, FEATURES, FILLED
from offline.labels.auto.parameters import Rescoring

TERMS = (
    "mean", "best", "near", "own", "hits", "gaps", "unseen", "range", "residual", "covered",
    "cut", "filled", "extended",
)  # fmt: skip
"""What the logistic model sums up."""
_RIDGE = 1e-3


def terms(features: Float64s, provenance: Int64s) -> Float64s:
    """The model's inputs float64 [n, len(TERMS)] of features [n, len(FEATURES)]."""
    by = {name: features[:, k] for k, name in enumerate(FEATURES)}
    return np.column_stack([
        _odds(by["mean_probability"]), _odds(by["best_probability"]),
        _odds(by["near_probability"]), _odds(by["own_probability"]),
        np.log1p(by["hits"]), by["gaps"] / np.maximum(by["length"], 1),
        np.log1p(by["unseen_for"]), by["range_m"] / 50, np.minimum(by["residual_m"], 2.0),
        by["covered"], by["cut"], provenance == FILLED, provenance == EXTENDED,
    ])  # fmt: skip


def rescored(features: Float64s, provenance: Int64s, model: Rescoring) -> Float64s:
    """Probabilities float64 [n]."""
    factors = np.array([model.factors.get(name, 0.0) for name in TERMS])
    return _sigmoid(terms(features, provenance) @ factors + model.offset)


def fitted(features: Float64s, provenance: Int64s, right: Bools) -> Rescoring:
    """The model that best tells right boxes from wrong ones, slightly shrunk."""
    inputs = np.column_stack([terms(features, provenance), np.ones(right.size)])
    scale = np.maximum(inputs.std(axis=0), 1e-3)
    scale[-1] = 1.0
    inputs = inputs / scale
    truth = right.astype(np.float64)

    def loss(factors: Float64s) -> tuple[float, Float64s]:
        told = inputs @ factors
        shrunk = _RIDGE / 2 * float((factors[:-1] ** 2).sum())
        value = (np.logaddexp(0, told) - truth * told).mean() + shrunk
        slope = inputs.T @ (_sigmoid(told) - truth) / truth.size
        slope[:-1] += _RIDGE * factors[:-1]
        return float(value), slope

    best = minimize(loss, np.zeros(inputs.shape[1]), jac=True, method="L-BFGS-B").x / scale
    factors = {name: round(float(f), 4) for name, f in zip(TERMS, best[:-1], strict=True)}
    return Rescoring(offset=round(float(best[-1]), 4), factors=factors)


def _odds(probability: Float64s) -> Float64s:
    sure = np.clip(probability, 0.01, 0.999)
    return np.asarray(np.log(sure / (1 - sure)))


def _sigmoid(value: Float64s) -> Float64s:
    return np.asarray(1 / (1 + np.exp(-np.clip(value, -50, 50))))
