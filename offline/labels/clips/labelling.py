"""From what was seen of a clip to the labels of each of its instants.

What is sure enough is taught; what is not is there all the same and ignored, so that nobody
learns that it is nothing; only what hardly anything speaks for is left out. Each box tells how it
came to be: `detected`, `smoothed`, `filled` or `extended` stands behind the colon of its
provenance. Where an object will be is in the labels that follow, under the same track, brought
here by the ego's poses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from contracts.geometry import Bools, Taxonomy
from contracts.ids import sha256_hex
from contracts.labels import (
    EgoPose,
    FrameLabels,
    FrameRecord,
    LabelledBox,
    Provenance,
)
from contracts.samples import Float64s
from offline.labels.auto.clip import PROVENANCES
from offline.labels.calibration.calibrator import Calibrator
from offline.labels.clips.ground import fused_ground
from offline.labels.clips.instants import PERIOD_NS, frames_of
from offline.labels.clips.light import fused_light, light_labels
from offline.labels.clips.parameters import ClipParameters, parameters_digest
from offline.labels.clips.seen import ClipSeen
from offline.labels.clips.tracks import ClipBoxes, group_classes, tracked_boxes
from offline.labels.fusion.boxes import class_groups
from offline.labels.points.sweep import Sweeps


@dataclass(frozen=True, slots=True)
class Labeller:
    """What labels a clip: `teacher` by name, `weights` its digest, and everything else."""

    teacher: str
    weights: str
    parameters: ClipParameters
    calibrator: Calibrator

    def provenance(self) -> Provenance:
        """Who labels: the digest is over weights and parameters."""
        made_of = self.weights + parameters_digest(self.parameters, self.calibrator)
        return Provenance(
            source="auto", made_by=f"auto-labeller with {self.teacher}",
            digest=sha256_hex(made_of.encode()),
        )  # fmt: skip


def labels_of(
    seen: ClipSeen, sweeps: Sweeps | None, drive_id: str, tags: Mapping[str, str],
    taxonomy: Taxonomy, labeller: Labeller,
) -> list[FrameLabels]:  # fmt: skip
    """Labels of all instants of a clip.

    Args:
        seen: by the teacher.
        sweeps: the clip's lidar, to which boxes are fitted, if any.
        drive_id: of the clip.
        tags: the clip's, as its vehicle knew them; every instant's.
        taxonomy: the teacher's.
        labeller: parameters, and who it is.
    """
    parameters = labeller.parameters
    boxes = tracked_boxes(
        seen.counted(parameters.seen_from, parameters.edge_m), seen.mono_ns, seen.world_SE3_ego,
        taxonomy, parameters.by_class(), labeller.calibrator, sweeps,
    )  # fmt: skip
    ground = fused_ground(seen.ground, seen.world_SE3_ego, seen.grid, parameters.ground)
    light = fused_light(seen.light, frames_of(seen.mono_ns), parameters.light, PERIOD_NS * 1e-9)
    rasters, states = ground.labels(parameters.ground), light_labels(light, parameters.light)
    said = labeller.provenance()
    return [
        FrameLabels(
            FrameRecord(
                taxonomy_version=taxonomy.version, drive_id=drive_id,
                mono_ns=int(seen.mono_ns[k]), light=state, ground_grid=seen.grid,
                boxes=_labelled(boxes.take(boxes.instant == k), parameters, taxonomy, said),
                ego_pose=_pose(seen.world_SE3_ego[k]), provenance=said, tags=dict(tags),
            ),
            raster,
        )
        for k, (raster, state) in enumerate(zip(rasters, states, strict=True))
    ]  # fmt: skip


def taught_rows(boxes: ClipBoxes, parameters: ClipParameters, taxonomy: Taxonomy) -> Bools:
    """Which boxes are sure enough to be taught, bool [n]."""
    least = np.array([parameters.taught_from[name] for name in group_classes(taxonomy)])
    group = class_groups(taxonomy)[boxes.boxes.class_index]
    return np.asarray(boxes.accepted & (boxes.confidence >= least[group]))


def _labelled(
    boxes: ClipBoxes, parameters: ClipParameters, taxonomy: Taxonomy, said: Provenance
) -> tuple[LabelledBox, ...]:
    boxes = boxes.take(boxes.confidence >= parameters.ignored_from)
    taught = taught_rows(boxes, parameters, taxonomy)
    how = [said.model_copy(update={"made_by": f"{said.made_by}: {name}"}) for name in PROVENANCES]
    return tuple(
        LabelledBox(box=box, confidence=float(sure), ignored=not good, provenance=how[kind])
        for box, sure, good, kind in zip(
            boxes.boxes.as_records(taxonomy), boxes.confidence.tolist(), taught.tolist(),
            boxes.provenance.tolist(), strict=True,
        )
    )  # fmt: skip


def _pose(world_SE3_ego: Float64s) -> EgoPose:
    x, y, z = world_SE3_ego[:3, 3].tolist()
    turn = Rotation.from_matrix(world_SE3_ego[:3, :3]).as_quat().tolist()
    return EgoPose(position_m=(x, y, z), orientation_xyzw=tuple(turn))
