"""How the auto-labeller's parameters are chosen, and what of them is measured.

A coordinate search on a small stated grid from its middle, so that what was seen of the data
before has no part in it; it goes by sums over sequences, so that one can be left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from offline.labels.auto.parameters import ClassParameters
from offline.labels.evaluation.scene import assigned, same_frame
from offline.labels.kitti import LabelFile, TrackedBoxes

GRID: dict[str, tuple[float, ...]] = {
    "motion.acceleration_m": (0.06, 0.12, 0.24),
    "motion.anchor": (0.0, 0.5, 1.0),
    "extent.fill": (8, 15, 25),
    "extent.before": (0, 5, 10),
    "extent.after": (0, 5, 10),
    "extent.trim_score": (0.3, 0.5),
    "keep_score": (0.3, 0.4, 0.5),
}
"""What each parameter may become, the same for all classes; the search starts amid. Ends of a
track are not trimmed that are more likely right than wrong: who wants fewer goes by their scores.
"""
_SURE = 0.5
_SAME_M = 1.5


def middle(parameters: ClassParameters) -> ClassParameters:
    """With every parameter of the grid amid it."""
    for path, values in GRID.items():
        parameters = changed(parameters, path, values[len(values) // 2])
    return parameters


def searched(start: ClassParameters, worth: Callable[[ClassParameters], float]) -> ClassParameters:
    """What one sweep over the grid finds: one parameter after the other takes the best of its
    values, the earlier ones as they were found; a tie changes nothing.
    """
    best, most = start, worth(start)
    for path, values in GRID.items():
        for candidate in [changed(best, path, value) for value in values]:
            found = most if candidate == best else worth(candidate)
            if found > most:
                best, most = candidate, found
    return best


def changed(parameters: ClassParameters, path: str, value: float) -> ClassParameters:
    """With one parameter, named as in `GRID`, of another value."""
    *outer, name = path.split(".")
    if not outer:
        return ClassParameters.model_validate({**parameters.model_dump(), name: value})
    part = {**getattr(parameters, outer[0]).model_dump(), name: value}
    return ClassParameters.model_validate({**parameters.model_dump(), outer[0]: part})


def size_factor(
    truth: Mapping[str, LabelFile], found: Mapping[str, TrackedBoxes], parameters: ClassParameters
) -> tuple[float, float, float]:
    """Median of true over detected length, width and height, of sure detections near a true box."""
    ratios = [np.ones((1, 3))]
    for name, labels in truth.items():
        real = labels.objects.of_classes((parameters.class_name,))
        told = found[name].of_classes((parameters.class_name,))
        told = told.take(parameters.scale.probability(told.score) > _SURE)
        one, two = same_frame(real.frame, told.frame)
        away = np.hypot(*(real.centre_m[one, :2] - told.centre_m[two, :2]).T)
        near = away < _SAME_M
        one, two, away = one[near], two[near], away[near]
        chosen = assigned(one, two, 1 + _SAME_M - away) if one.size else near[near]
        ratios.append(real.size_m[one[chosen]] / told.size_m[two[chosen]])
    length, width, height = np.median(np.concatenate(ratios), axis=0).round(3).tolist()
    return length, width, height
