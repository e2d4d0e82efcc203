"""Review tasks for labelled drives: one for each track that is in doubt, or to be searched."""

from __future__ import annotations

from collections.abc import Iterator

from contracts.labels import LabelledBox
from contracts.review import (
    FrameBox,
    Purpose,
    ReviewTask,
    SealedPurpose,
    Tier,
    proposal_digest,
    task_id_of,
)
from offline.labels.formats.sequence import LabelSequence
from offline.labels.queue.records import NewTask

_SECONDS_A_BOX, _SECONDS_A_FRAME = 4.0, 20.0
"""What judging takes, about: a box of a track that moves on evenly, a frame to be searched."""


def track_tasks(
    sequence: LabelSequence, clip_id: str, tier: Tier, judgements: int, below: float
) -> Iterator[NewTask]:
    """A task for each track whose mean confidence is below a bound, the least sure first in the
    queue. Boxes without a track, and ignored ones, are asked of nobody.
    """
    tracks: dict[int, list[tuple[int, LabelledBox]]] = {}
    for number, frame in enumerate(sequence.frames):
        for labelled in frame.record.boxes:
            if labelled.box.track_id is not None and not labelled.ignored:
                tracks.setdefault(labelled.box.track_id, []).append((number, labelled))
    for track, seen in sorted(tracks.items()):
        confidence = sum(labelled.confidence for _, labelled in seen) / len(seen)
        if confidence >= below:
            continue
        names = [labelled.box.class_name for _, labelled in seen]
        boxes = tuple(FrameBox(frame=number, box=labelled.box) for number, labelled in seen)
        yield _task(
            sequence, clip_id, track, max(names, key=names.count), boxes, tier, judgements,
            1.0 - confidence, _SECONDS_A_BOX * len(boxes),
        )  # fmt: skip


def search_task(
    sequence: LabelSequence, clip_id: str, tier: Tier, judgements: int
) -> NewTask:  # fmt: skip
    """The task to look for what the labels of a drive miss; all of its boxes are shown."""
    boxes = tuple(
        FrameBox(frame=number, box=labelled.box)
        for number, frame in enumerate(sequence.frames)
        for labelled in frame.record.boxes
    )
    cost_s = _SECONDS_A_FRAME * len(sequence.frames)
    return _task(sequence, clip_id, None, "", boxes, tier, judgements, 0.0, cost_s)


def _task(
    sequence: LabelSequence, clip_id: str, track: int | None, class_name: str,
    boxes: tuple[FrameBox, ...], tier: Tier, judgements: int, priority: float, cost_s: float,
) -> NewTask:  # fmt: skip
    frames = range(len(sequence.frames)) if track is None else sorted({b.frame for b in boxes})
    digest = proposal_digest(boxes)
    task_id = task_id_of(digest, clip_id, track, frames)
    task = ReviewTask(
        taxonomy_version=sequence.taxonomy.version, task_id=task_id, clip_id=clip_id, track=track,
        class_name=class_name, tier=tier, judgements_wanted=judgements, frames=tuple(frames),
        proposal_digest=digest, priority=priority, cost_s=cost_s,
    )  # fmt: skip
    return NewTask(task, SealedPurpose(task_id=task_id, purpose=Purpose.ROUTED), boxes)
