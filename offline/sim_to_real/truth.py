"""People's boxes of a recording as label files have them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from contracts.geometry import TAXONOMY, Box3D, apply_SE3
from contracts.labels import EgoPose, FrameLabels, FrameRecord, LabelledBox, Provenance
from contracts.samples import Float64s, PoseSample
from kernels.lidar.objects import crop
from offline.labels.kitti import CLASSES, OF_TAXONOMY, TrackedBoxes

_IN_TAXONOMY = {theirs: ours for ours, theirs in OF_TAXONOMY.items()} | {
    "Van": "car", "Person": "pedestrian",
}  # fmt: skip
_UNNAMED = TAXONOMY.names[0]
"""Stands for what the taxonomy has no word for: an ignored box excuses whatever its class."""
_GROWN_M = 0.1


def frame_labels(
    boxes: TrackedBoxes, ego_SE3_boxes: Float64s, points_m: Float64s,
    pose: PoseSample, drive: str, made_by: str,
) -> FrameLabels:  # fmt: skip
    """The boxes of one frame in the ego frame; ignored where no point of the sweep lies in one,
    and where the taxonomy has no word for it.

    Args:
        ego_SE3_boxes: from the frame that boxes are in, float64 [4, 4].
        points_m: the frame's sweep in the ego frame, float64 [n, 3].
        pose: of the ego at the frame's instant.
    """
    centre = apply_SE3(ego_SE3_boxes, boxes.centre_m)
    ahead = np.column_stack([np.cos(boxes.yaw_rad), np.sin(boxes.yaw_rad), np.zeros(len(boxes))])
    ahead = ahead @ ego_SE3_boxes[:3, :3].T
    yaw = np.arctan2(ahead[:, 1], ahead[:, 0])
    owner, _ = crop(np.ascontiguousarray(points_m, dtype=np.float64), centre, yaw,
                    boxes.size_m / 2 + _GROWN_M)  # fmt: skip
    counts = np.bincount(owner, minlength=len(boxes))
    return FrameLabels(FrameRecord(
        drive_id=drive, mono_ns=pose.mono_ns, ego_pose=_ego_pose(pose), tags={"recording": made_by},
        provenance=Provenance(source="recording", made_by=made_by),
        boxes=tuple(
            _box(centre[k], boxes.size_m[k], float(yaw[k]), CLASSES[boxes.kind[k]], int(counts[k]))
            for k in range(len(boxes))
        ),
    ))  # fmt: skip


def _ego_pose(pose: PoseSample) -> EgoPose:
    x, y, z = pose.position_m.tolist()
    turn = pose.orientation_xyzw.tolist()
    return EgoPose(position_m=(x, y, z), orientation_xyzw=(turn[0], turn[1], turn[2], turn[3]))


def _box(centre: Float64s, size: Float64s, yaw: float, kind: str, points: int) -> LabelledBox:
    x, y, z = centre.tolist()
    length, width, height = size.tolist()
    name = _IN_TAXONOMY.get(kind)
    return LabelledBox(
        box=Box3D(
            centre_m=(x, y, z), size_m=(length, width, height), yaw_rad=yaw,
            class_name=name or _UNNAMED,
        ),
        points=points, ignored=name is None or points == 0,
    )  # fmt: skip


def without_word(boxes: Sequence[TrackedBoxes]) -> int:
    """How many boxes the taxonomy has no word for."""
    names = [CLASSES[kind] for each in boxes for kind in each.kind.tolist()]
    return sum(name not in _IN_TAXONOMY for name in names)
