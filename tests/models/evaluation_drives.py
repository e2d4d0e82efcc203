"""Labelled drives whose every figure is known, and predictors that answer from the truth.

In each drive the ego goes round a bend while cars keep their course in the world. A frame
carries its number in every sensor, so that a predictor knows which one it is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from contracts.geometry import TAXONOMY, Boxes, flat_SE3, inverse_SE3
from contracts.labels import (
    EgoPose,
    FrameLabels,
    FrameRecord,
    LabelledBox,
    LightState,
    Provenance,
)
from models.evaluation.predictor import Prediction
from models.student.config import StudentConfig
from models.student.inputs import StudentFrame, empty_frame
from tests.models.student_frames import tiny_config

CONFIG: StudentConfig = tiny_config(rows=64)
NARROW = {
    "image_channels": (8, 12, 16), "image_blocks": (0, 1, 0), "lift_channels": 8,
    "trunk_channels": (16, 24, 32), "trunk_blocks": (0, 1, 1), "head_channels": 16,
}  # fmt: skip
"""A network that is quick to make; updates to a `StudentConfig`."""
STEP_NS = 500_000_000
_STARTS_M = np.array([[8.0, 3.0], [-10.0, -6.0], [2.0, 12.0], [-4.0, 16.0]])
_VELOCITY_MPS = np.array([[2.0, 0.5], [1.0, 0.0], [0.0, 0.0], [0.5, -1.0]])
_KINDS = np.array([0, 1, 0, 3])


@dataclass(frozen=True, slots=True)
class LabelledFrame:
    frame: StudentFrame
    labels: FrameLabels


def drives(count: int = 2, frames: int = 9, light: LightState | None = "green"
           ) -> list[LabelledFrame]:  # fmt: skip
    """`count` drives of `frames` frames, half a second apart; odd drives are by night."""
    return [
        labelled(number * frames + step, f"drive-{number}", step, number, light)
        for number in range(count)
        for step in range(frames)
    ]


def labelled(
    index: int, drive_id: str, step: int, number: int, light: LightState | None
) -> LabelledFrame:
    t_s = step * STEP_NS * 1e-9
    world_SE3_ego = flat_SE3(1.0 * t_s, 0.1 * t_s**2, 0.2 * t_s)
    n = len(_STARTS_M)
    world = Boxes(
        np.column_stack([_STARTS_M + t_s * _VELOCITY_MPS, np.full(n, 0.8)]),
        np.tile([4.0, 2.0, 1.6], (n, 1)), np.full(n, 0.3), _VELOCITY_MPS.copy(), _KINDS.copy(),
        np.arange(n), "world",
    )  # fmt: skip
    boxes = world.moved(inverse_SE3(world_SE3_ego), "ego")
    half = 0.1 * t_s
    ground = np.zeros((2, CONFIG.grid.rows, CONFIG.grid.columns), np.uint8)
    ground[0, :, 20:40] = 1
    ground[1, :, 30] = 1
    record = FrameRecord(
        drive_id=drive_id, mono_ns=10**9 + step * STEP_NS, light=light, ground_grid=CONFIG.grid,
        ego_pose=EgoPose(
            position_m=tuple(world_SE3_ego[:3, 3].tolist()),
            orientation_xyzw=(0.0, 0.0, float(np.sin(half)), float(np.cos(half))),
        ),
        provenance=Provenance(source="oracle", made_by="tests"),
        tags={"tod": "night" if number % 2 else "day", "weather": "clear"},
        boxes=tuple(
            LabelledBox(box=box, visibility=0.2 if row == 1 else 1.0, points=9)
            for row, box in enumerate(boxes.as_records(TAXONOMY))
        ),
    )  # fmt: skip
    return LabelledFrame(_numbered(index), FrameLabels(record, ground))


def _numbered(index: int) -> StudentFrame:
    """A frame with all sensors, each of which shows the frame's number."""
    empty = empty_frame(CONFIG)
    empty.images[:] = index
    empty.lidar[:] = index
    empty.radar[:] = index
    return replace(
        empty, cameras_present=np.ones(len(CONFIG.cameras), dtype=np.bool_), lidar_present=True,
        radar_present=True,
    )  # fmt: skip


def number_of(frame: StudentFrame) -> int:
    return int(max(frame.images.max(), frame.lidar.max(), frame.radar.max()))


Answer = Callable[[StudentFrame, Prediction], Prediction]


class Oracle:
    """Answers with the labels, changed by `answer`."""

    def __init__(
        self, frames: Sequence[LabelledFrame], answer: Answer = lambda frame, told: told
    ) -> None:
        self._labels = [each.labels for each in frames]
        self._answer = answer

    def predict(self, frame: StudentFrame) -> Prediction:
        labels = self._labels[number_of(frame)]
        return self._answer(frame, true_prediction(labels, bool(frame.cameras_present.any())))


def true_prediction(labels: FrameLabels, sees_light: bool = True) -> Prediction:
    boxes = labels.boxes()
    assert labels.ground is not None and labels.record.ground_grid is not None
    light = np.array([0.0, 1.0, 0.0, 0.0])
    return Prediction(
        boxes, np.ones(len(boxes)), np.eye(len(TAXONOMY.classes), dtype=np.float32)[
            boxes.class_index
        ], labels.record.ground_grid, (labels.ground == 1).astype(np.float32),
        light if sees_light else None, np.zeros(8, np.float32),
    )  # fmt: skip


def only(told: Prediction, rows: np.ndarray) -> Prediction:
    return replace(
        told, boxes=told.boxes.take(rows), scores=told.scores[rows],
        distributions=told.distributions[rows],
    )  # fmt: skip
