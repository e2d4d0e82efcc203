"""What the auto-labeller may be set to: one frozen model a class, none by sequence.

Times are in frames, speeds in m a frame and accelerations in m a frame squared: they hold for a
detector at 10 Hz. Thresholds on scores are on probabilities (`ScoreScale`), so that a detector
with another scale of scores needs another scale only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError

from contracts.canonical import canonical_digest
from contracts.errors import InputError
from contracts.geometry import Frozen
from contracts.samples import Float64s

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
_LEAST_TRUST = 0.05


class ScoreScale(Frozen):
    """A detector's raw score as a probability, `1 / (1 + exp(-(slope * score + offset)))`, and
    what its lengths, widths and heights are to be multiplied by.
    """

    slope: Positive = 1.0
    offset: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    size_factor: tuple[Positive, Positive, Positive] = (1.0, 1.0, 1.0)

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

    def noise_m(self, range_m: Float64s, probability: Float64s) -> Float64s:
        """Standard deviation [n] of places seen at a distance [n], m; doubtful boxes are worse."""
        noise = self.place_noise_m + self.place_noise_per_m * range_m
        return np.asarray(noise / np.sqrt(np.maximum(probability, _LEAST_TRUST)))


class Online(Frozen):
    """The causal tracker: tells tracks that were hit so often or are so sure, that are likely
    enough, and that were last seen at most `coast` frames ago.
    """

    association: Association
    sure_hits: Annotated[int, Field(ge=1)]
    sure_score: Share
    coast: Count
    tell_score: Share


class Linking(Frozen):
    """How pieces of tracks are joined over gaps."""

    max_gap: Count
    gate: Positive
    max_speed_m: Positive


class Motion(Frozen):
    """Smoothing, and what counts as standing still."""

    acceleration_m: Positive
    static_drift_m: Positive
    static_speed_m: Positive
    static_extent_m: Positive
    height_drift_m: Positive
    yaw_noise_rad: Positive
    yaw_drift_rad: Positive
    static_yaw_drift_rad: Positive
    turn_speed_m: Positive
    anchor: Share
    one_place_m: Annotated[float, Field(ge=0)] = 0.0
    """In a world that is known, what creeps about within so far stands: a detector's places drift
    by as much while its view of a thing changes."""


class Extent(Frozen):
    """Gap filling, and extension beyond first and last sighting, in frames; all three at least
    `standing` for what stands still; `trim_score`: what a track's first and last box must reach.
    """

    fill: Count
    before: Count
    after: Count
    standing: Count = 0
    least_hits: Count = 5
    trim_score: Share


class ClassParameters(Frozen):
    """All of one class; `calibrated_as`: the class whose tracks a calibrator was fitted to that
    hold for this one's.
    """

    class_name: str
    calibrated_as: Literal["Car", "Pedestrian", "Cyclist"]
    scale: ScoreScale
    association: Association
    online: Online
    linking: Linking
    motion: Motion
    extent: Extent
    duplicate_overlap: Share = 0.3
    keep_score: Share


PUBLISHED = Path(__file__).parent / "pointrcnn.json"
"""For the published PointRCNN detections of KITTI, fitted by `bench/label_tuning.py`."""
_TABLE = TypeAdapter(tuple[ClassParameters, ...])


def read_parameters(path: Path = PUBLISHED) -> dict[str, ClassParameters]:
    """Parameters by class name. Raises `InputError` with the file and the field."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", str(path)) from None
    try:
        table = _TABLE.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InputError(first["msg"], f"{path}: {field}" if field else str(path)) from None
    by_class = {each.class_name: each for each in table}
    if len(by_class) != len(table):
        raise InputError("a class is there twice", str(path))
    return by_class


def parameters_digest(by_class: Mapping[str, ClassParameters]) -> str:
    """Of all of them, in any order."""
    return canonical_digest([by_class[name].model_dump(mode="json") for name in sorted(by_class)])


def parameters_text(by_class: dict[str, ClassParameters]) -> str:
    """The file that `read_parameters` reads."""
    return _TABLE.dump_json(tuple(by_class.values()), indent=1).decode() + "\n"
