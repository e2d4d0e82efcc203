"""What goes into the review queue and comes out of it."""

from __future__ import annotations

from dataclasses import dataclass

from contracts.errors import InputError
from contracts.geometry import EGO_FRAME, taxonomy_of
from contracts.review import (
    FrameBox,
    Judgement,
    Review,
    ReviewTask,
    SealedPurpose,
    Verdict,
    proposal_digest,
)

_MAX_TRACK = 2**63 - 1


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task, why it exists, and the boxes that it shows."""

    task: ReviewTask
    sealed: SealedPurpose
    proposal: tuple[FrameBox, ...]

    def __post_init__(self) -> None:
        place = f"task {self.task.task_id[:12]}"
        if self.sealed.task_id != self.task.task_id:
            raise InputError("the purpose is another task's", place)
        if proposal_digest(self.proposal) != self.task.proposal_digest:
            raise InputError("proposal_digest is not that of the boxes shown", place)
        if self.task.track is not None and self.task.track > _MAX_TRACK:
            raise InputError(f"track {self.task.track} is out of range", place)
        known = taxonomy_of(self.task.taxonomy_version).names
        if self.task.track is not None and self.task.class_name not in known:
            raise InputError(f"unknown class {self.task.class_name!r}", place)
        _check_boxes(self.proposal, self.task, place)


@dataclass(frozen=True, slots=True)
class Added:
    """Ids as the queue has them, one for each task that was given; `new` of them were added."""

    task_ids: tuple[str, ...]
    new: int


@dataclass(frozen=True, slots=True)
class HeldTask:
    """A task in an annotator's hands until a time. A gold task looks like any other."""

    task: ReviewTask
    round: int
    proposal: tuple[FrameBox, ...]
    annotator: str
    until_utc_ns: int


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A task with its progress, the boxes shown, and the answers of all rounds."""

    task: ReviewTask
    review: Review
    proposal: tuple[FrameBox, ...]
    judgements: tuple[Judgement, ...]


@dataclass(frozen=True, slots=True)
class Count:
    """How many tasks of a tier stand in a state."""

    tier: str
    state: str
    tasks: int


def check_judgement(judgement: Judgement, task: ReviewTask) -> None:
    """Raises `InputError` where an answer does not fit its question."""
    place = f"judgement of {judgement.annotator} on task {task.task_id[:12]}"
    if "\0" in judgement.comment:
        raise InputError("the comment holds a zero character", place)
    _check_boxes(judgement.boxes, task, place)
    asked = set(task.frames)
    for each in judgement.boxes:
        if each.frame not in asked:
            raise InputError(f"frame {each.frame} was not asked about", place)
    if task.track is None:
        return
    if judgement.verdict is Verdict.VERIFIED:
        if proposal_digest(judgement.boxes) != task.proposal_digest:
            raise InputError("verified means the boxes as they were shown: these differ", place)
    elif judgement.verdict in {Verdict.ADJUSTED, Verdict.DRAWN} and not judgement.boxes:
        raise InputError(f"{judgement.verdict.value} needs boxes", place)


def _check_boxes(boxes: tuple[FrameBox, ...], task: ReviewTask, place: str) -> None:
    known = taxonomy_of(task.taxonomy_version).names
    seen = set[int]()
    for each in boxes:
        if each.box.class_name not in known:
            raise InputError(f"unknown class {each.box.class_name!r}", place)
        if each.box.frame != EGO_FRAME:
            raise InputError(f"a box is in frame {each.box.frame!r}, expected ego", place)
        if task.track is not None and each.frame in seen:
            raise InputError(f"one track has two boxes in frame {each.frame}", place)
        seen.add(each.frame)
