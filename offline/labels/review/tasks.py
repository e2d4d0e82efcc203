"""What people are asked: routed tracks, audits of accepted ones, gold, and searches.

An audit takes tier, judgements and priority of a routed task drawn for it, a gold task those of
its neighbour in the queue, so that none of these tells what a task is for. Where nothing is routed
there is nothing to hide among.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from contracts.geometry import Boxes, Frozen, boxes_of
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
from models.evaluation.overlap import iou_3d
from offline.labels.qa.audit import drawn
from offline.labels.qa.auto_labels import key_frames, review_tasks
from offline.labels.qa.effort import Effort
from offline.labels.qa.gold import PLANTS, Mix, Plant, planted, queue_with_gold
from offline.labels.qa.router import accepted_boxes
from offline.labels.queue.records import NewTask
from offline.labels.review.drives import Drive
from offline.labels.review.routing import RoutedDrive

SEARCH_EVERY, SEARCH_FRAME_S = 10, 20.0
"""Every how many frames a search looks, and what looking takes: an assumption."""
GOLD_KEYS = 8
"""Key frames of a gold task at most, about as many as a routed one has."""
_LEAST_VISIBLE, _LEAST_POINTS = 0.3, 3
_TOUCHES = 0.01
_NO_PLANT = {"moved": 0.0, "reclassed": 0.0, "invented": 0.0, "withheld": 0.0}


@dataclass(frozen=True, slots=True)
class Gold:
    """A task whose answer is known: `truth` boxes, none where the proposal shows nothing real."""

    task: ReviewTask
    proposal: tuple[FrameBox, ...]
    truth: tuple[FrameBox, ...]


class Watching(Frozen):
    """How much is watched: `gold_share` of places in the queue, `audit_share` of accepted tracks;
    audits and searches take `most_share` of the budget each at most.
    """

    gold_share: float = 0.1
    audit_share: float = 0.05
    most_share: float = 0.2
    mix: Mix = Mix(withheld=0.0)
    seed: int = 0


def work_s(task: ReviewTask, effort: Effort) -> float:
    """Labeller-seconds of all of a task's judgements."""
    rate = effort.expert_rate if task.tier is Tier.EXPERT else 1.0
    return task.cost_s * task.judgements_wanted * rate


def routed_tasks(drive: RoutedDrive, salt: str, effort: Effort) -> list[NewTask]:
    """Tasks of the drive's tracks that go to people."""
    tasks = review_tasks(
        salt, drive.drive.name, drive.boxes.columns, drive.doubts, drive.routing,
        drive.boxes.shown, effort,
    )  # fmt: skip
    shown = {(one.box.track_id, one.frame): one for one in drive.boxes.shown}
    return [_new(task, tuple(shown[task.track, frame] for frame in task.frames)) for task in tasks]


def audit_tasks(
    drives: Sequence[RoutedDrive], share: float, donors: Sequence[NewTask], salt: str,
    effort: Effort,
) -> list[NewTask]:  # fmt: skip
    """A random draw of accepted tracks, each with the same probability, to be judged as any
    other: their key frames among the accepted boxes.
    """
    found = []
    for each in drives:
        accepted = accepted_boxes(each.doubts, each.routing)
        for row, track in enumerate(each.doubts.track.tolist()):
            rows = np.flatnonzero(accepted & (each.doubts.row == row))
            if not rows.size or not drawn(salt, each.drive.name, track, share):
                continue
            kept = rows[key_frames(each.boxes.columns.frame[rows], effort.key_every)]
            shown = tuple(each.boxes.shown[place] for place in kept.tolist())
            right = float(each.boxes.columns.confidence[rows].mean())
            found.append(_asked(each.drive.name, track, shown, right, rows.size, salt, effort))
    return [_new(_like(task, donors, salt, effort), shown, Purpose.AUDIT) for task, shown in found]


def gold_candidates(
    drives: Iterable[Drive], salt: str, effort: Effort, watching: Watching
) -> list[Gold]:
    """A task for each true track that can be seen, its proposal planted."""
    found = []
    for drive in drives:
        tracks: dict[int, list[tuple[int, LabelledBox]]] = {}
        for number, frame in enumerate(drive.labels.frames):
            for labelled in frame.record.boxes:
                if labelled.box.track_id is not None and is_visible(labelled):
                    tracks.setdefault(labelled.box.track_id, []).append((number, labelled))
        spare = max(tracks, default=0) + 1
        for track, seen in sorted(tracks.items()):
            found.append(_gold(drive, track, spare + track, seen, salt, effort, watching))
    return found


def seeded(
    tasks: Sequence[NewTask], gold: Sequence[Gold], watching: Watching
) -> list[NewTask]:  # fmt: skip
    """The tasks by priority, with gold in between."""
    order = sorted(tasks, key=lambda one: (-one.task.priority, one.task.task_id))
    by_id = {one.task.task_id: one for one in order}
    planted_by_id = {one.task.task_id: one for one in gold}
    queue = queue_with_gold(
        [one.task for one in order], [one.task for one in gold], watching.gold_share,
        watching.seed,
    )  # fmt: skip
    result = []
    for task, why in queue:
        if why is not Purpose.GOLD:
            result.append(by_id[task.task_id])
            continue
        one = planted_by_id[task.task_id]
        sealed = SealedPurpose(
            task_id=task.task_id, purpose=Purpose.GOLD, truth_digest=proposal_digest(one.truth)
        )
        result.append(NewTask(task, sealed, one.proposal))
    return result


def search_task(
    drive: RoutedDrive, missed: float, missed_boxes: float, salt: str, effort: Effort
) -> NewTask:  # fmt: skip
    """To look for what the drive's labels miss, so many objects of so many boxes as expected; all
    boxes of its frames that are taken for objects are shown.
    """
    frames = tuple(range(0, len(drive.drive.labels.frames), SEARCH_EVERY))
    shown = tuple(
        FrameBox(frame=number, box=labelled.box)
        for number in frames
        for row, labelled in enumerate(drive.drive.labels.frames[number].record.boxes)
        if drive.fate[number, row] != "rejected"
    )
    cost_s = search_s(len(drive.drive.labels.frames), missed, effort)
    task = ReviewTask(
        taxonomy_version=drive.drive.labels.taxonomy.version,
        task_id=task_id_of(salt, drive.drive.name, None, frames), clip_id=drive.drive.name,
        track=None, class_name="", tier=Tier.EXPERT, judgements_wanted=1, frames=frames,
        proposal_digest=proposal_digest(shown),
        priority=missed_boxes / (cost_s * effort.expert_rate), cost_s=cost_s,
    )  # fmt: skip
    return _new(task, shown)


def search_s(frames: int, missed: float, effort: Effort) -> float:
    """One judgement's expected work: looking at every `SEARCH_EVERY`-th of some frames, and drawing
    each missed object in it.
    """
    looked = len(range(0, frames, SEARCH_EVERY))
    return effort.open_s + looked * (SEARCH_FRAME_S + missed * effort.draw_s)


def is_visible(labelled: LabelledBox) -> bool:
    """Whether somebody can be expected to see a true box."""
    seen = labelled.visibility is None or labelled.visibility >= _LEAST_VISIBLE
    return seen and not labelled.ignored and (labelled.points or _LEAST_POINTS) >= _LEAST_POINTS


def _gold(
    drive: Drive, track: int, spare: int, seen: Sequence[tuple[int, LabelledBox]], salt: str,
    effort: Effort, watching: Watching,
) -> Gold:  # fmt: skip
    rng = np.random.default_rng(_number(f"{watching.seed} {salt} {drive.name} {track}"))
    taxonomy = drive.labels.taxonomy
    frames = np.array([number for number, _ in seen], dtype=np.int64)
    kept = key_frames(frames, effort.key_every)[:GOLD_KEYS].tolist()
    truth = tuple(FrameBox(frame=seen[place][0], box=seen[place][1].box) for place in kept)
    columns = boxes_of((one.box for one in truth), taxonomy)
    plant = PLANTS[int(rng.choice(len(PLANTS), p=watching.mix.shares()))]
    told = _NO_PLANT if plant is Plant.RIGHT else _NO_PLANT | {plant.value: 1.0}
    _, proposal = planted(columns, len(taxonomy.names), rng, Mix(**told))
    if plant is Plant.INVENTED and _meets_something(drive, truth, proposal):
        plant, proposal = Plant.RIGHT, columns
    # A track is of one class, and what is not there is no true track.
    proposal.class_index[:] = proposal.class_index[0]
    number = spare if plant is Plant.INVENTED else track
    shown = tuple(
        FrameBox(frame=one.frame, box=box.model_copy(update={"track_id": number}))
        for one, box in zip(truth, proposal.as_records(taxonomy), strict=True)
    )
    task, _ = _asked(drive.name, number, shown, 1.0 - watching.mix.moved, len(seen), salt, effort)
    return Gold(task, shown, () if plant is Plant.INVENTED else truth)


def _meets_something(drive: Drive, truth: Sequence[FrameBox], proposal: Boxes) -> bool:
    for row, one in enumerate(truth):
        every = drive.labels.frames[one.frame].boxes()
        if (iou_3d(proposal.take(np.array([row])), every) > _TOUCHES).any():
            return True
    return False


def _asked(
    clip: str, track: int, shown: tuple[FrameBox, ...], right: float, boxes: int, salt: str,
    effort: Effort,
) -> tuple[ReviewTask, tuple[FrameBox, ...]]:  # fmt: skip
    frames = tuple(one.frame for one in shown)
    cost_s = effort.judgement_s(np.array([float(boxes)]), np.array([right]))
    return ReviewTask(
        task_id=task_id_of(salt, clip, track, frames), clip_id=clip, track=track,
        class_name=shown[0].box.class_name, tier=Tier.CONSENSUS,
        judgements_wanted=effort.consensus_annotators, frames=frames,
        proposal_digest=proposal_digest(shown), cost_s=float(cost_s[0]),
    ), shown  # fmt: skip


def _like(
    task: ReviewTask, donors: Sequence[NewTask], salt: str, effort: Effort
) -> ReviewTask:  # fmt: skip
    if not donors:
        return task
    donor = donors[_number(f"{salt} {task.task_id}") % len(donors)].task
    return task.model_copy(update={
        "tier": donor.tier, "judgements_wanted": donor.judgements_wanted,
        "priority": donor.priority,
    })  # fmt: skip


def _new(
    task: ReviewTask, shown: tuple[FrameBox, ...], purpose: Purpose = Purpose.ROUTED
) -> NewTask:
    return NewTask(task, SealedPurpose(task_id=task.task_id, purpose=purpose), shown)


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
