"""The causal tracker: each frame's tracks from that frame and those before it, for comparison.

The same association as the non-causal labeller's, in a world whose poses are estimated as the
frames come; a box is told when its track is sure, filtered by what came before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from contracts.geometry import Int64s, wrapped
from contracts.samples import Float64s
from offline.labels.auto.association import Associator
from offline.labels.auto.clip import Clip, View, boxes_of, in_order
from offline.labels.auto.ego import EgoEstimator
from offline.labels.auto.parameters import ClassParameters
from offline.labels.auto.planar import inverse, placed
from offline.labels.auto.world import in_world, probabilities
from offline.labels.kitti import TrackedBoxes


@dataclass(slots=True)
class OnlineTracker:
    """Fed with one frame after the other; holds live tracks, poses and nothing of the future."""

    by_class: Mapping[str, ClassParameters]
    view: View
    _ego: EgoEstimator = field(default_factory=EgoEstimator.at_rest)
    _associators: dict[str, Associator] = field(default_factory=dict)
    _numbers: dict[tuple[str, int], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, parameters in self.by_class.items():
            self._associators[name] = Associator(parameters.online.association)

    def step(
        self, frame: int, found: TrackedBoxes, world_SE2_sensor: Float64s | None = None
    ) -> TrackedBoxes:  # fmt: skip
        """What is told of this frame.

        Args:
            frame: its number.
            found: its detections.
            world_SE2_sensor: the sensor's pose [3] where it is known.
        """
        pose = world_SE2_sensor
        if pose is None:
            pose = self._ego.step(found.centre_m[:, :2], probabilities(found, self.by_class))
        return in_order([
            self._class_step(frame, found.of_classes((name,)), pose, parameters)
            for name, parameters in self.by_class.items()
        ])  # fmt: skip

    def _class_step(
        self, frame: int, found: TrackedBoxes, pose: Float64s, parameters: ClassParameters
    ) -> TrackedBoxes:
        associator, rules = self._associators[parameters.class_name], parameters.online
        here = np.broadcast_to(pose, (frame + 1, 3))
        associator.step(in_world(found, here, parameters))
        bank = associator.bank
        sure = (bank.hits >= rules.sure_hits) | (bank.probability >= rules.sure_score)
        told = sure & (bank.misses <= rules.coast) & (bank.probability >= rules.tell_score)
        xy = placed(inverse(pose), bank.xy_m[told])
        score = bank.probability[told] * (1 - np.exp(-bank.hits[told] / rules.sure_hits))
        boxes, shown = boxes_of(
            parameters.class_name, np.full(xy.shape[0], frame),
            self._numbered(parameters.class_name, bank.track[told]),
            np.column_stack([xy, bank.z_m[told]]), bank.size_m[told],
            wrapped(bank.yaw_rad[told] - pose[2]), score, self.view,
        )  # fmt: skip
        return boxes.take(shown)

    def _numbered(self, class_name: str, tracks: Int64s) -> Int64s:
        """Numbers that no other class has, in the order in which tracks are first told."""
        taken = self._numbers
        numbers = [taken.setdefault((class_name, t), len(taken)) for t in tracks.tolist()]
        return np.array(numbers, dtype=np.int64)


def track_clip(clip: Clip, by_class: Mapping[str, ClassParameters]) -> TrackedBoxes:
    """All frames of a clip, one after the other."""
    tracker = OnlineTracker(by_class, clip.view)
    edges, poses = clip.edges(clip.found), clip.world_SE2_sensor
    told: Sequence[TrackedBoxes] = [
        tracker.step(
            k, clip.found.take(np.arange(edges[k], edges[k + 1])),
            None if poses is None else poses[k],
        )
        for k in range(clip.frames)
    ]  # fmt: skip
    return in_order(told)
