"""One sequence's labels with the provenance of every box, as ASAM OpenLABEL.

KITTI's result files have no place for how a box came about; here each tells whether it was
detected, smoothed, filled into a gap or led on past the track's end, and its probability.

Boxes are about the camera (axes after ISO 8855), as KITTI's are: poses and mounts are not
known, and a tag says so. Frames are a tenth of a second apart, which is KITTI's rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from contracts.canonical import canonical_json
from contracts.geometry import EGO_FRAME
from contracts.labels import FrameLabels, FrameRecord, LabelledBox, Provenance
from offline.labels.auto.clip import PROVENANCES
from offline.labels.formats.openlabel import openlabel_document
from offline.labels.formats.sequence import LabelSequence
from offline.labels.kitti import TrackedBoxes

PERIOD_NS = 100_000_000
TAGS = {"origin": "camera"}


def openlabel_bytes(
    sequence: str, frames: int, boxes: TrackedBoxes, how: Sequence[str], digest: str
) -> bytes:
    """The file's content: the same labels give the same bytes.

    Args:
        sequence: its name.
        frames: how many there are, those without a box included.
        boxes: scores are probabilities.
        how: each box came about, one of `PROVENANCES` or `tracked`.
        digest: of parameters and calibrator.
    """
    said = Provenance(source="auto", made_by="auto-labeller", digest=digest)
    made_by = {
        name: said.model_copy(update={"made_by": f"{said.made_by}: {name}"})
        for name in (*PROVENANCES, "tracked")
    }
    records = replace(boxes.as_boxes(), frame=EGO_FRAME).as_records()
    by_frame: list[list[LabelledBox]] = [[] for _ in range(frames)]
    for frame, box, score, name in zip(
        boxes.frame.tolist(), records, boxes.score.tolist(), how, strict=True
    ):
        by_frame[frame].append(
            LabelledBox(box=box, confidence=min(1.0, max(0.0, score)), provenance=made_by[name])
        )
    labels = tuple(
        FrameLabels(
            FrameRecord(
                drive_id=sequence, mono_ns=number * PERIOD_NS, boxes=tuple(found),
                provenance=said, tags=TAGS,
            )
        )
        for number, found in enumerate(by_frame)
    )  # fmt: skip
    return canonical_json(openlabel_document(LabelSequence(labels)))
