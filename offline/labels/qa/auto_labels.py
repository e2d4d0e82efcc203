"""From an auto-labelled clip to what the router takes, and from its answer to people's tasks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np

from contracts.errors import InputError
from contracts.geometry import Bools, Int64s
from contracts.review import FrameBox, ReviewTask, Tier, proposal_digest, task_id_of
from contracts.samples import Float64s
from models.evaluation.overlap import paired_iou_3d
from offline.labels.auto.clip import AutoLabels
from offline.labels.evaluation.scene import same_frame
from offline.labels.kitti import CLASSES, TrackedBoxes
from offline.labels.qa.effort import Effort
from offline.labels.qa.router import Routing, asked_boxes
from offline.labels.qa.tracks import BoxDoubts, Thresholds, TrackDoubts


class AcceptanceGroup(Protocol):
    """A class within a range, no upper end where `high_m` is None, with its least confidence for
    auto-acceptance, None where nothing may be accepted.
    """

    @property
    def class_name(self) -> str: ...
    @property
    def low_m(self) -> float: ...
    @property
    def high_m(self) -> float | None: ...
    @property
    def accept_from(self) -> float | None: ...


def key_of(group: AcceptanceGroup) -> str:
    """The name under which a group's threshold stands."""
    end = "" if group.high_m is None else f"{group.high_m:g}"
    return f"{group.class_name} {group.low_m:g}-{end} m"


def thresholds_of(groups: Iterable[AcceptanceGroup]) -> Thresholds:
    """Thresholds by key."""
    return {key_of(group): group.accept_from for group in groups}


def box_doubts(
    labels: AutoLabels, confidence: Float64s, groups: Sequence[AcceptanceGroup],
    disagreement: Float64s | None = None,
) -> BoxDoubts:  # fmt: skip
    """The router's columns, rows as in `labels`.

    Args:
        labels: of one clip.
        confidence: calibrated, of each box.
        groups: of all classes in the labels; a box that none holds has no threshold.
        disagreement: of each box; NaN everywhere where None.
    """
    boxes = labels.boxes
    away = labels.feature("range_m")
    names = np.full(len(boxes), "", dtype=object)
    for group in groups:
        far = np.inf if group.high_m is None else group.high_m
        rows = (away >= group.low_m) & (away < far)
        rows &= boxes.kind == CLASSES.index(group.class_name)
        names[rows] = key_of(group)
    off = np.full(len(boxes), np.nan) if disagreement is None else disagreement
    return BoxDoubts(boxes.track_id, boxes.frame, confidence, tuple(names.tolist()), off)


def disagreement(boxes: TrackedBoxes, others: Sequence[TrackedBoxes]) -> Float64s:
    """How far others place the same objects elsewhere, or call them otherwise, float64 [n].

    Args:
        boxes: the labels of one clip [n].
        others: of the same clip: the members of an ensemble, or the online tracker's alone.

    Returns:
        1 - overlap of volumes with the box of the same frame that overlaps most, 1 where that one
        is of another class; the mean over those of `others` that have an overlapping box at all,
        NaN where none has: what others lack, confidence already tells.
    """
    total: Float64s = np.zeros(len(boxes), dtype=np.float64)
    told: Float64s = np.zeros(len(boxes), dtype=np.float64)
    for other in others:
        best, same = _best(boxes, other)
        total += np.where(best > 0, np.where(same, 1 - best, 1.0), 0.0)
        told += best > 0
    return np.where(told > 0, total / np.maximum(told, 1), np.nan)


def review_tasks(
    salt: str, clip_id: str, boxes: BoxDoubts, doubts: TrackDoubts, routing: Routing,
    proposals: Sequence[FrameBox], effort: Effort,
) -> tuple[ReviewTask, ...]:  # fmt: skip
    """Tasks for all tracks that go to people, the highest priority first: each track's key frames
    among those that people are asked about, of each stretch of these the first and the last.

    Args:
        salt: of the run that asks.
        clip_id: the tracks' clip.
        boxes: of this clip [n].
        doubts: told from them.
        routing: of the same tracks.
        proposals: the boxes as they are shown [n].
        effort: how far key frames lie apart, how many annotators a consensus has.

    Raises:
        InputError: not as many proposals, or a track of several classes.
    """
    if len(proposals) != doubts.row.size:
        raise InputError(f"{len(proposals)} proposals of {doubts.row.size} boxes", "proposals")
    asked, tasks = asked_boxes(doubts, routing), []
    for row, tier in enumerate(routing.tier):
        if tier not in (Tier.CONSENSUS, Tier.EXPERT):
            continue
        rows = np.flatnonzero(asked & (doubts.row == row))
        rows = rows[np.argsort(boxes.frame[rows])]
        kept = rows[key_frames(boxes.frame[rows], effort.key_every)]
        shown = [proposals[place] for place in kept.tolist()]
        names = {each.box.class_name for each in shown}
        track, frames = int(doubts.track[row]), boxes.frame[kept].tolist()
        if len(names) != 1:
            raise InputError(f"has boxes of {len(names)} classes, expected one", f"track {track}")
        judgements = effort.consensus_annotators if tier is Tier.CONSENSUS else 1
        rate = judgements if tier is Tier.CONSENSUS else effort.expert_rate
        tasks.append(ReviewTask(
            task_id=task_id_of(salt, clip_id, track, frames), clip_id=clip_id, track=track,
            class_name=names.pop(), tier=tier, judgements_wanted=judgements,
            frames=tuple(frames), proposal_digest=proposal_digest(shown),
            priority=float(routing.priority[row]), cost_s=float(routing.asked_s[row] / rate),
        ))  # fmt: skip
    return tuple(sorted(tasks, key=lambda task: (-task.priority, task.task_id)))


def key_frames(frame: Int64s, every: int) -> Int64s:
    """Places of key frames among rising frames [k]: of each run without a gap the first, each
    `every`-th from it, and the last.
    """
    if not frame.size:
        return np.zeros(0, dtype=np.int64)
    starts = np.concatenate([[True], np.diff(frame) > 1])
    first = np.flatnonzero(starts)[np.cumsum(starts) - 1]
    ends = np.concatenate([starts[1:], [True]])
    return np.flatnonzero(((np.arange(frame.size) - first) % every == 0) | ends)


def _best(boxes: TrackedBoxes, other: TrackedBoxes) -> tuple[Float64s, Bools]:
    """The largest overlap of each box [n] with the other's of its frame; whether classes match."""
    one, two = same_frame(boxes.frame, other.frame)
    overlap = paired_iou_3d(boxes.as_boxes().take(one), other.as_boxes().take(two))
    best: Float64s = np.zeros(len(boxes), dtype=np.float64)
    np.maximum.at(best, one, overlap)
    same: Bools = np.zeros(len(boxes), dtype=np.bool_)
    top = (overlap == best[one]) & (overlap > 0)
    same[one[top & (boxes.kind[one] == other.kind[two])]] = True
    return best, same
