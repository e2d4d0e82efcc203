"""What is kept of each frame while an evaluation runs: boxes, and a few numbers.

Sensor data, rasters of the ground and embeddings are let go of at once, so that memory grows
by some kilobytes a frame.

A true box is not asked for where its centre lies outside the model's grid, or where no sensor
shows it (visibility 0 and no lidar point); it then excuses, as every ignored box does.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np

from contracts.errors import InputError
from contracts.geometry import BevGrid, Bools, Boxes, Int64s, Taxonomy
from contracts.labels import LIGHT_STATES, FrameLabels
from contracts.samples import Float64s
from kernels.detection import presence
from models.evaluation.matching import FrameResult
from models.evaluation.predictor import Prediction
from models.evaluation.probability import ground_counts
from models.evaluation.slices import Tags
from models.evaluation.trajectory import Instant


class Truth:
    """All labelled frames of an evaluation, shared by all models that are measured on them."""

    def __init__(self, taxonomy: Taxonomy) -> None:
        self._taxonomy = taxonomy
        self._digests: list[str] = []
        self._seen: set[tuple[str, int]] = set()
        self.instants: list[Instant] = []
        self.tags: list[Tags] = []
        self.visibility: list[Float64s] = []
        self.boxes: list[Boxes] = []
        self.ignored: list[Bools] = []

    def add(self, labels: FrameLabels) -> None:
        """Raises `InputError` for another taxonomy, or for a frame that came before."""
        record = labels.record
        place = f"{record.drive_id} at {record.mono_ns}"
        if record.taxonomy_version != self._taxonomy.version:
            raise InputError(
                f"labelled in taxonomy version {record.taxonomy_version}, not "
                f"{self._taxonomy.version}",
                place,
            )
        if (record.drive_id, record.mono_ns) in self._seen:
            raise InputError("this frame came before", place)
        self._seen.add((record.drive_id, record.mono_ns))
        self._digests.append(_digest(labels))
        pose = None if record.ego_pose is None else record.ego_pose.world_SE3_ego()
        self.instants.append(Instant(record.drive_id, record.mono_ns, pose))
        self.tags.append(record.tags)
        self.boxes.append(labels.boxes())
        shares = [each.visibility for each in record.boxes]
        self.visibility.append(np.array([np.nan if s is None else s for s in shares], np.float64))
        unseen = np.array([each.visibility == 0 and not each.points for each in record.boxes])
        self.ignored.append(labels.ignored() | unseen.astype(np.bool_))

    def __len__(self) -> int:
        return len(self.instants)

    def digest(self) -> str:
        """SHA-256 over all labels, whatever their order."""
        return hashlib.sha256("".join(sorted(self._digests)).encode()).hexdigest()

    def drive_of_frame(self) -> Int64s:
        """The drive of each frame as a number, int64 [frames]."""
        names = {name: k for k, name in enumerate(dict.fromkeys(i.drive_id for i in self.instants))}
        return np.array([names[i.drive_id] for i in self.instants], dtype=np.int64)


def _digest(labels: FrameLabels) -> str:
    digest = hashlib.sha256(labels.record.model_dump_json().encode())
    if labels.ground is not None:
        digest.update(np.ascontiguousarray(labels.ground).tobytes())
    return digest.hexdigest()


@dataclass(slots=True)
class Recording:
    """One model's answers, frame by frame in the order of the truth.

    `presence` float64 [k] of each detection, how probable it is that anything is there; `ground`
    int64 [2, layers] intersection and union, None where unlabelled; `light` probabilities [4]
    with the true state's place, None where there is nothing to compare.
    """

    results: list[FrameResult] = field(default_factory=list)
    presence: list[Float64s] = field(default_factory=list)
    ground: list[Int64s | None] = field(default_factory=list)
    light: list[tuple[Float64s, int] | None] = field(default_factory=list)

    def add(self, told: Prediction, labels: FrameLabels, truth: Boxes, ignored: Bools) -> None:
        """Raises `InputError` when the ground is told over another grid than labelled."""
        outside = ~told.grid.inside(truth.centre_m[:, :2])
        self.results.append(FrameResult(told.boxes, told.scores, truth, ignored | outside))
        self.presence.append(presence(told.scores, told.distributions, told.boxes.class_index))
        self.ground.append(_ground(told, labels))
        state = labels.record.light
        if told.light is None or state is None:
            self.light.append(None)
        else:
            self.light.append((told.light, LIGHT_STATES.index(state)))


def _ground(told: Prediction, labels: FrameLabels) -> Int64s | None:
    grid: BevGrid | None = labels.record.ground_grid
    if labels.ground is None or grid is None:
        return None
    if grid != told.grid:
        place = f"{labels.record.drive_id} at {labels.record.mono_ns}"
        raise InputError("its ground is labelled over another grid than the model's", place)
    return np.stack(ground_counts(told.ground, labels.ground))
