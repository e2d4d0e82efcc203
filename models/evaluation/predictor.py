"""The port of an evaluation: whatever tells of a frame what is in it.

A sensor can be taken away from any predictor: `Without` hands on the frame as the vehicle
would have it then.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol, get_args

import numpy as np

from contracts.errors import InputError
from contracts.geometry import BevGrid, Boxes
from contracts.labels import GROUND_LAYERS, LIGHT_STATES, FrameLabels
from contracts.model_manifest import LiftInput
from contracts.samples import Float32s, Float64s
from kernels.bev.lift import empty_table

if TYPE_CHECKING:  # the port itself needs no torch
    from models.student.inputs import StudentFrame

Modality = Literal["camera", "lidar", "radar"]
MODALITIES: tuple[Modality, ...] = get_args(Modality)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What is told of one frame.

    `boxes` in the ego frame, k of them; calibrated `scores` float64 [k] in 0..1;
    `distributions` [k, classes]; `ground` probabilities float32 [2, rows, columns] over `grid`;
    `light` probabilities [4], None where no camera could see one; `embedding` [d].
    """

    boxes: Boxes
    scores: Float64s
    distributions: Float32s
    grid: BevGrid
    ground: Float32s
    light: Float64s | None
    embedding: Float32s

    def __post_init__(self) -> None:
        if self.ground.shape != (len(GROUND_LAYERS), self.grid.rows, self.grid.columns):
            raise InputError(f"has shape {list(self.ground.shape)}", "ground")
        if self.light is not None and self.light.shape != (len(LIGHT_STATES),):
            raise InputError(f"has shape {list(self.light.shape)}", "light")
        if not ((self.scores >= 0) & (self.scores <= 1)).all():
            raise InputError("a score is a probability in 0..1", "scores")


class Predictor(Protocol):
    """Tells what is in a frame; the same frame gives the same answer."""

    def predict(self, frame: StudentFrame) -> Prediction: ...


class Labelled(Protocol):
    """A frame with its labels."""

    @property
    def frame(self) -> StudentFrame: ...

    @property
    def labels(self) -> FrameLabels: ...


class Without:
    """A predictor whose vehicle has lost all sensors of a kind; `lift` is its gather table's."""

    def __init__(self, predictor: Predictor, modality: Modality, lift: LiftInput) -> None:
        self._predictor, self._modality, self._lift = predictor, modality, lift

    def predict(self, frame: StudentFrame) -> Prediction:
        return self._predictor.predict(taken_away(frame, self._modality, self._lift))


def taken_away(frame: StudentFrame, modality: Modality, lift: LiftInput) -> StudentFrame:
    """The frame without any sensor of a kind, as the vehicle's window would make it."""
    match modality:
        case "lidar":
            return replace(frame, lidar=np.zeros_like(frame.lidar), lidar_present=False)
        case "radar":
            return replace(frame, radar=np.zeros_like(frame.radar), radar_present=False)
        case "camera":
            cameras, _, height, width = frame.images.shape
            return replace(
                frame, images=np.zeros_like(frame.images),
                table=empty_table(lift, cameras, width, height),
                cameras_present=np.zeros_like(frame.cameras_present),
            )  # fmt: skip
