"""What confidence goes by: features of a box's track and of the box in it, and its class."""

from __future__ import annotations

import numpy as np

from contracts.errors import InputError
from contracts.samples import Float64s
from offline.labels.auto.clip import FEATURES

CLASS_NAMES = ("Car", "Pedestrian", "Cyclist")
INPUTS = {
    "mean_odds": 1, "best_odds": 1, "near_odds": 1, "own_odds": 1, "hits": 1, "gaps": -1,
    "unseen_for": -1, "range_m": 0, "residual_m": -1, "covered": -1, "cut": -1,
    "is_car": 0, "is_cyclist": 0, "occupied": 1, "solid": 1, "nearest_m": 0, "spread_m": -1,
    "stands": 0,
}  # fmt: skip
"""Inputs of the trees by name; 1 where more of it never makes a box less likely, -1 where it
never makes it more likely, 0 where either may be. Pedestrians are neither car nor cyclist: one
model for all classes, so that the rare ones borrow from the frequent one what they share.
"""
_MOST_RESIDUAL_M = 2.0
_MOST_SPREAD_M = 5.0


def inputs_of(features: Float64s, class_name: str) -> Float64s:
    """Rows float64 [n, len(INPUTS)] of features [n, len(FEATURES)] of one class.

    Raises `InputError` for a class that it does not know.
    """
    if class_name not in CLASS_NAMES:
        raise InputError(f"class {class_name!r} is none of {', '.join(CLASS_NAMES)}")
    by = {name: features[:, k] for k, name in enumerate(FEATURES)}
    n = features.shape[0]
    columns = {
        "mean_odds": _odds(by["mean_probability"]), "best_odds": _odds(by["best_probability"]),
        "near_odds": _odds(by["near_probability"]), "own_odds": _odds(by["own_probability"]),
        "hits": by["hits"], "gaps": by["gaps"] / np.maximum(by["length"], 1),
        "unseen_for": by["unseen_for"], "range_m": by["range_m"],
        "residual_m": np.minimum(by["residual_m"], _MOST_RESIDUAL_M), "covered": by["covered"],
        "cut": by["cut"], "is_car": np.full(n, float(class_name == "Car")),
        "is_cyclist": np.full(n, float(class_name == "Cyclist")), "occupied": by["occupied"],
        "solid": by["solid"],
        "nearest_m": by["nearest_m"],
        "spread_m": np.minimum(by["spread_m"], _MOST_SPREAD_M), "stands": by["stands"],
    }  # fmt: skip
    return np.column_stack([columns[name] for name in INPUTS])


def _odds(probability: Float64s) -> Float64s:
    sure = np.clip(probability, 0.01, 0.999)
    return np.asarray(np.log(sure / (1 - sure)))
