"""Judged boxes with known probabilities, for tests of the calibrator."""

from __future__ import annotations

import numpy as np

from offline.labels.calibration.inputs import CLASS_NAMES, INPUTS
from offline.labels.calibration.samples import Samples

NAMES = tuple(INPUTS)


def judged_boxes(
    seed: int, sequences: int = 4, tracks: int = 60, length: int = 8
) -> tuple[Samples, np.ndarray]:
    """Samples, and the probability with which each was drawn to be right."""
    rng = np.random.default_rng(seed)
    n = sequences * tracks * length
    track = np.repeat(np.arange(sequences * tracks), length)
    kind = rng.integers(len(CLASS_NAMES), size=sequences * tracks)[track]
    inputs = np.zeros((n, len(NAMES)))
    sure = rng.normal(1.0, 2.0, size=sequences * tracks)[track]
    for name in ("mean_odds", "best_odds", "near_odds"):
        inputs[:, NAMES.index(name)] = sure + rng.normal(0, 0.2, n)
    inputs[:, NAMES.index("own_odds")] = sure + rng.normal(0, 1.0, n)
    inputs[:, NAMES.index("range_m")] = rng.uniform(5, 60, n)
    inputs[:, NAMES.index("is_car")] = kind == 0
    inputs[:, NAMES.index("is_cyclist")] = kind == 2
    odds = 1.5 * sure + 1.0 - inputs[:, NAMES.index("range_m")] / 30
    probability = 1 / (1 + np.exp(-odds))
    right = rng.random(n) < probability
    sequence = np.repeat(np.arange(sequences), tracks * length)
    truths = np.zeros((len(CLASS_NAMES), sequences), dtype=np.int64)
    np.add.at(truths, (kind[right], sequence[right]), 1)
    raw = 1 / (1 + np.exp(-inputs[:, NAMES.index("own_odds")]))
    names = tuple(f"{number:04d}" for number in range(sequences))
    return Samples(names, inputs, raw, right, kind, sequence, track, truths), probability
