"""What simulated people label of a bought clip, and what that costs.

Each frame is drawn from nothing by one annotator with published noise (`offline.labels.qa.
annotators`): boxes of what can be judged, with errors, and the light, which is one look. The
ground is not labelled. The cost is the acquisition's cost model on what was drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.geometry import TAXONOMY, Boxes
from contracts.labels import FrameLabels, FrameRecord, LabelledBox, Provenance
from offline.acquisition.cost import DEFAULTS, ClipFeatures, CostModel
from offline.acquisition.draw import lot
from offline.labels.qa.annotators import Annotator, Noise
from offline.labels.qa.effort import Effort

COST: CostModel = DEFAULTS["labeller_s"]
PERSON = Provenance(source="human", made_by="simulated annotator, published noise")
_RARE = frozenset(TAXONOMY.rare_names)


@dataclass(frozen=True, slots=True)
class Labelling:
    """A clip's frames as people label them, and the seconds that it takes them."""

    frames: tuple[FrameLabels, ...]
    features: ClipFeatures
    cost_s: float


def labelled(truth: list[FrameLabels], clip_id: str, seed: int) -> Labelling:
    """The same clip and seed give the same labels, whichever way it was bought."""
    rng = np.random.default_rng(lot(seed, "annotator", clip_id))
    people = Annotator(Noise(), Effort())
    frames = tuple(_drawn(each, people, rng) for each in truth)
    names = [box.box.class_name for frame in frames for box in frame.record.boxes]
    features = ClipFeatures(
        frames=len(frames), boxes=len(names), rare_boxes=sum(name in _RARE for name in names)
    )
    return Labelling(frames, features, COST.expected(features))


def _drawn(truth: FrameLabels, people: Annotator, rng: np.random.Generator) -> FrameLabels:
    record = truth.record
    judged = [each for each in record.boxes if not each.ignored]
    kept = np.flatnonzero(~truth.ignored())
    shown = np.array([1.0 if b.visibility is None else b.visibility for b in judged])
    boxes: Boxes = people.draw(truth.boxes().take(kept), shown, rng)
    return FrameLabels(
        FrameRecord(
            taxonomy_version=record.taxonomy_version, drive_id=record.drive_id,
            mono_ns=record.mono_ns, light=record.light, ego_pose=record.ego_pose,
            boxes=tuple(LabelledBox(box=box) for box in boxes.as_records()),
            provenance=PERSON, tags=record.tags,
        )
    )  # fmt: skip
