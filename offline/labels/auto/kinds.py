"""Parameters for classes that nobody has set any for: those of what moves alike.

A class is vehicle-like, like people on foot, or like cyclists; it takes the parameters of that
kind's model class, and scores are taken for log-odds until a detector's own scale is fitted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from contracts.errors import InputError
from contracts.samples import Float64s
from offline.labels.auto.parameters import ClassParameters, ScoreScale, read_parameters
from offline.labels.kitti import CLASSES

MODEL_CLASSES = {
    "Car": "Car", "Van": "Car", "Truck": "Car", "Bus": "Car", "Tram": "Car", "Misc": "Car",
    "Debris": "Car", "Pedestrian": "Pedestrian", "Person": "Pedestrian",
    "RoadWorker": "Pedestrian", "Animal": "Pedestrian", "Cyclist": "Cyclist",
    "Motorcycle": "Cyclist",
}  # fmt: skip
"""By class, the one whose motion it is taken to share."""
_SURE = 1e-4


def parameters_like(
    names: Iterable[str], by_class: Mapping[str, ClassParameters] | None = None
) -> dict[str, ClassParameters]:
    """Parameters of each of some `CLASSES`, for scores that are log-odds (`log_odds`) and sizes
    that are not biased.

    Args:
        names: of the classes.
        by_class: parameters of the model classes; else the published ones.
    """
    models = read_parameters() if by_class is None else by_class
    result = {}
    for name in names:
        if name not in CLASSES:
            raise InputError(f"{name!r} is none of {', '.join(CLASSES)}")
        model = models[MODEL_CLASSES[name]]
        result[name] = model.model_copy(update={"class_name": name, "scale": ScoreScale()})
    return result


def log_odds(probability: Float64s) -> Float64s:
    """Scores [n] of probabilities [n], kept finite."""
    sure = np.clip(probability, _SURE, 1 - _SURE)
    return np.asarray(np.log(sure / (1 - sure)))
