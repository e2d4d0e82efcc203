"""Four objects about an ego on its way: what a perfect detector tells of them."""

from __future__ import annotations

import numpy as np

from contracts.geometry import TAXONOMY, Boxes, flat_SE3, inverse_SE3
from models.evaluation.matching import joined as stacked
from offline.labels.clips.instants import PERIOD_NS
from offline.labels.fusion.table import Detections

FRAMES, START_NS = 60, 10**9
CAR, TRUCK, PEDESTRIAN = (TAXONOMY.index(name) for name in ("car", "truck", "pedestrian"))
KINDS = np.array([CAR, CAR, TRUCK, PEDESTRIAN])
SIZES_M = np.array([[4.4, 1.8, 1.5], [4.4, 1.8, 1.5], [9.0, 2.5, 3.0], [0.5, 0.6, 1.7]])
PLACES_M = np.array([[20.0, 6.0], [-30.0, -4.0], [45.0, 4.0], [12.0, -8.0]])
VELOCITY_MPS = np.array([[0.0, 0.0], [10.0, 0.0], [6.0, 0.0], [0.0, 1.2]])
YAWS = np.array([0.4, 0.0, 0.0, np.pi / 2])
TIMES_NS = START_NS + np.arange(FRAMES) * PERIOD_NS
POSES = np.stack([flat_SE3(0.8 * k, 0.0, 0.004 * k) for k in range(FRAMES)])


def truth(frame: int) -> Boxes:
    """All four objects in the ego frame: one stands, one comes from behind, two go ahead."""
    t_s = frame * PERIOD_NS * 1e-9
    centre = np.column_stack([PLACES_M + t_s * VELOCITY_MPS, SIZES_M[:, 2] / 2])
    world = Boxes(
        centre, SIZES_M, YAWS, VELOCITY_MPS.copy(), KINDS, np.arange(4), "world"
    )  # fmt: skip
    return world.moved(inverse_SE3(POSES[frame]), "ego")


def detections(kept: np.ndarray, kinds: np.ndarray | None = None) -> Detections:
    """What a perfect detector tells of the rows that are kept, bool [frames, 4]."""
    parts = [truth(k).take(kept[k]) for k in range(FRAMES)]
    boxes = stacked(parts)
    if kinds is not None:
        boxes.class_index[:] = kinds
    distributions = np.zeros((len(boxes), len(TAXONOMY.classes)), dtype=np.float32)
    distributions[np.arange(len(boxes)), boxes.class_index] = 0.9
    group = np.repeat(np.arange(FRAMES), [len(part) for part in parts])
    return Detections(boxes, np.full(len(boxes), 0.9), distributions, group)
