"""What the auto-labeller may be set to: one frozen model a class, none by sequence.

Times are in frames, since the clip's rate is the detector's; speeds and accelerations follow from
`CLIP_RATE_HZ`. Thresholds on scores are on probabilities (`ScoreScale`), so that a detector
with another scale of scores needs another scale only.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from contracts.geometry import Frozen
from contracts.samples import Float64s

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]


class ScoreScale(Frozen):
    """A detector's raw score as a probability: `1 / (1 + exp(-(slope * score + offset)))`."""

    slope: Positive = 1.0
    offset: Annotated[float, Field(allow_inf_nan=False)] = 0.0

    def probability(self, score: Float64s) -> Float64s:
        """Of raw scores [n], float64 [n] in 0..1."""
        return np.asarray(1 / (1 + np.exp(-np.clip(self.slope * score + self.offset, -50, 50))))


class Association(Frozen):
    """How boxes of successive frames become one track.

    The distance of a box from where its track should be is in parts of the object: along it by
    half of its length, across it by half of its width, and half of its height, each widened by
    `slack_m`. Strong boxes choose first, weak ones take what is left and begin nothing.
    """

    slack_m: Positive
    gate: Positive
    weak_gate: Positive
    size_weight: Annotated[float, Field(ge=0)] = 0.5
    strong_score: Share
    weak_score: Share
    birth_score: Share
    patience: Count
    place_noise_m: Positive
    place_noise_per_m: Annotated[float, Field(ge=0)]
    acceleration_m: Positive
    """Standard deviation in m a frame squared."""
    first_speed_m: Positive
    """Standard deviation in m a frame of a track's speed over ground before it is known."""


class Online(Frozen):
    """What the causal tracker tells."""

    sure_hits: Count = 3
    sure_score: Share = 0.9
    coast: Count = 1
    tell_score: Share = 0.3


class Linking(Frozen):
    """How pieces of tracks are joined over gaps."""

    max_gap: Count
    gate: Positive
    max_speed_m: Positive


class Motion(Frozen):
    """Smoothing, and what counts as standing still."""

    acceleration_m: Positive
    max_acceleration_m: Positive
    static_drift_m: Positive
    static_speed_m: Positive
    static_extent_m: Positive
    height_drift_m: Positive
    yaw_noise_rad: Positive
    yaw_drift_rad: Positive
    static_yaw_drift_rad: Positive
    turn_speed_m: Positive
    anchor: Share


class Extent(Frozen):
    """Gap filling and extension, in frames, and the range in which objects are told."""

    fill: Count
    before: Count
    after: Count
    fade: Share = 0.9


class ClassParameters(Frozen):
    """All of one class."""

    class_name: str
    scale: ScoreScale
    association: Association
    online: Online
    linking: Linking
    motion: Motion
    extent: Extent
    duplicate_overlap: Share = 0.3
    keep_score: Share
