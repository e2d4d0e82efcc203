"""Review tasks as OpenLABEL files, for tools that know cuboids: back as judgements.

Unlike a picture, such a tool can say where an object is: boxes as they were are `verified`, none
at all is `no object`, anything else is `adjusted` with the boxes as they are now. Where there was
no box to begin with, boxes are `drawn`.
"""

from __future__ import annotations

from collections.abc import Mapping

from contracts.errors import InputError
from contracts.labels import FrameLabels, FrameRecord, LabelledBox, Provenance
from contracts.review import FrameBox, Judgement, Verdict, proposal_digest
from offline.labels.formats.sequence import LabelSequence
from offline.labels.queue.clips import ClipView
from offline.labels.queue.records import TaskRow
from offline.labels.queue.studio import boxes_in

_TASK, _ROUND, _FRAME = "review_task", "review_round", "review_frame"
_SHOWN = Provenance(source="auto", made_by="review proposal")


def review_sequence(row: TaskRow, view: ClipView) -> LabelSequence:
    """A task's frames with the boxes shown; tags tell what they are for."""
    return LabelSequence(
        tuple(
            FrameLabels(
                FrameRecord(
                    taxonomy_version=row.task.taxonomy_version, drive_id=row.task.clip_id,
                    mono_ns=view.instant(frame), provenance=_SHOWN,
                    boxes=tuple(LabelledBox(box=each.box) for each in boxes_in(row, frame)),
                    tags={_TASK: row.task.task_id, _ROUND: str(row.review.round),
                          _FRAME: str(frame)},
                )
            )
            for frame in row.task.frames
        )
    )  # fmt: skip


def task_of(sequence: LabelSequence, place: str) -> str:
    """The review task that a file answers. Raises `InputError` when it answers none."""
    found = {frame.record.tags.get(_TASK) for frame in sequence.frames}
    if len(found) != 1 or None in found:
        raise InputError("answers no review task, or several", place)
    return str(found.pop())


def review_judgement(
    row: TaskRow, sequence: LabelSequence, annotator: str, seconds: float, utc_ns: int, place: str
) -> Judgement:
    """The answer that a file gives. Raises `InputError` with the frame's place."""
    boxes = tuple(
        FrameBox(frame=_whole(frame.record.tags, _FRAME, place), box=labelled.box)
        for frame in sequence.frames
        for labelled in frame.record.boxes
    )
    verdict = Verdict.ADJUSTED if row.proposal else Verdict.DRAWN
    if proposal_digest(boxes) == row.task.proposal_digest:
        verdict = Verdict.VERIFIED
    elif not boxes:
        verdict = Verdict.NO_OBJECT
    if row.task.track is None and verdict is Verdict.VERIFIED:
        boxes = ()
    return Judgement(
        task_id=row.task.task_id, round=_whole(sequence.frames[0].record.tags, _ROUND, place),
        annotator=annotator, verdict=verdict, boxes=boxes, seconds=seconds,
        submitted_utc_ns=utc_ns,
    )  # fmt: skip


def _whole(tags: Mapping[str, str], name: str, place: str) -> int:
    text = tags.get(name, "")
    if not (text.isdecimal() and len(text) < 10):
        raise InputError(f"the tag {name} is a whole number, not {text!r}", place)
    return int(text)
