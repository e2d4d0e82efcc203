"""Submitted answers to decisions. Values in, values out.

Several annotators' answers are fused by frame, over all tasks at once and with earlier ones beside
them, since habits show over many. A task stands when all of its frames do; else an expert is
asked. An expert's word stands. Who failed gold is not counted: where too few are left, somebody
else is asked.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from contracts.geometry import Boxes, Taxonomy, boxes_of
from contracts.review import (
    FrameBox,
    Judgement,
    Purpose,
    RejectionReason,
    ReviewTask,
    Tier,
    Verdict,
)
from models.evaluation.matching import joined
from models.evaluation.overlap import iou_3d
from offline.labels.qa.consensus import LEAST_IOU, Consensus, Limits, consensus_of
from offline.labels.qa.router import PeoplesErrors
from offline.labels.review.records import Auto, Object, Outcome, Settled

LEAST_JUDGES = 2
"""Annotators whose word counts, at least, for a consensus."""
ONE_OBJECT_IOU = 0.02
"""Overlap from which boxes of one track are fused: that they mean one object is known, and how far
they may lie apart is for `Limits` to say. Two careful boxes of a pedestrian may hardly meet.
"""
_SAME_IOU = 0.1


@dataclass(frozen=True, slots=True)
class Answered:
    """A task whose seats have all answered, and all that is known of it."""

    task: ReviewTask
    round: int
    purpose: Purpose
    shown: tuple[FrameBox, ...]
    judgements: tuple[Judgement, ...]
    auto: Auto | None
    truth: tuple[FrameBox, ...] | None


@dataclass(frozen=True, slots=True)
class Bench:
    """Who judges how: earlier decisions, the annotators who failed gold, limits, and errors."""

    earlier: Sequence[Settled]
    failed: frozenset[str]
    rule_digest: str
    limits: Limits
    errors: PeoplesErrors


def decided(answered: Sequence[Answered], taxonomy: Taxonomy, bench: Bench) -> list[Settled]:
    """A decision for each task, in their order."""
    counted = [
        [one for one in each.judgements if one.annotator not in bench.failed]
        if each.purpose is not Purpose.GOLD else list(each.judgements)
        for each in answered
    ]  # fmt: skip
    several = [
        place for place, each in enumerate(answered)
        if each.task.tier is Tier.CONSENSUS and len(counted[place]) >= LEAST_JUDGES
    ]  # fmt: skip
    by_place: dict[int, _Rows] = {}
    for is_search in (False, True):
        part = [n for n in several if (answered[n].task.track is None) == is_search]
        fused = _fused(
            [(counted[n], answered[n].task.frames) for n in part], is_search, taxonomy, bench
        )
        by_place |= dict(zip(part, fused, strict=True))
    result = []
    for place, each in enumerate(answered):
        if each.purpose is Purpose.GOLD:
            result.append(_settled(each, Outcome.ACCEPTED, bench))
        elif place in by_place:
            result.append(_by_consensus(each, by_place[place], counted[place], taxonomy, bench))
        elif each.task.tier is Tier.EXPERT and counted[place]:
            result.append(_by_expert(each, counted[place][0], bench))
        else:
            why = RejectionReason.ANNOTATOR_FAILED_GOLD
            result.append(_settled(each, Outcome.AGAIN, bench, why))
    return result


def said_frames(
    judgements: Sequence[Judgement], frames: Sequence[int], taxonomy: Taxonomy
) -> list[dict[str, Boxes]]:
    """By frame, what each annotator drew who could tell, as `consensus_of` takes it."""
    told = [one for one in judgements if one.verdict is not Verdict.CANNOT_TELL]
    return [
        {
            one.annotator: boxes_of((b.box for b in one.boxes if b.frame == frame), taxonomy)
            for one in told
        }
        for frame in frames
    ]


@dataclass(frozen=True, slots=True)
class _Rows:
    """One task's part of a consensus: its rows by frame; frames where nobody could tell."""

    consensus: Consensus
    rows: dict[int, list[int]]
    told: bool


def _fused(
    asked_of: Sequence[tuple[Sequence[Judgement], tuple[int, ...]]], is_search: bool,
    taxonomy: Taxonomy, bench: Bench,
) -> list[_Rows]:  # fmt: skip
    """Judgements with their frames, fused: of searches, or of tracks, which are one object each."""
    tables: list[dict[str, Boxes]] = []
    spans: list[tuple[int, bool]] = []
    for said, asked in asked_of:
        found = said_frames(said, asked, taxonomy)
        told = all(len(frame) >= LEAST_JUDGES for frame in found)
        spans.append((len(tables), told))
        tables += found if told else []
    for line in bench.earlier:
        alike = (line.track is None) == is_search
        if alike and line.tier is Tier.CONSENSUS and line.taxonomy_version == taxonomy.version:
            tables += [f for f in said_frames(line.judgements, line.frames, taxonomy) if f]
    consensus = consensus_of(
        tables, len(taxonomy.names), bench.limits,
        least_iou=LEAST_IOU if is_search else ONE_OBJECT_IOU,
    )  # fmt: skip
    by_table: defaultdict[int, list[int]] = defaultdict(list)
    for row, table in enumerate(consensus.frame.tolist()):
        by_table[table].append(row)
    return [
        _Rows(consensus, {frame: by_table[first + n] for n, frame in enumerate(asked)}, told)
        for (first, told), (_, asked) in zip(spans, asked_of, strict=True)
    ]


def _by_consensus(
    each: Answered, found: _Rows, counted: Sequence[Judgement], taxonomy: Taxonomy, bench: Bench
) -> Settled:
    if not found.told:
        return _settled(each, Outcome.ESCALATED, bench, RejectionReason.NO_AGREEMENT)
    consensus, none = found.consensus, len(taxonomy.names)
    every = [row for rows in found.rows.values() for row in rows]
    if not consensus.stands[every].all():
        return _settled(each, Outcome.ESCALATED, bench, RejectionReason.NO_AGREEMENT)
    objects = {
        frame: [row for row in rows if consensus.class_index[row] < none]
        for frame, rows in found.rows.items()
    }
    made_by = "consensus of " + ", ".join(sorted(one.annotator for one in counted))
    sure = float(consensus.posterior[every].min()) if every else 1 - bench.errors.consensus
    if each.task.track is None:
        return _settled(each, Outcome.ACCEPTED, bench, objects=tuple(
            Object(boxes=boxes, confidence=sure, made_by=made_by)
            for boxes in _linked(consensus, objects, counted, taxonomy)
        ))  # fmt: skip
    kinds = Counter(int(consensus.class_index[row]) for rows in objects.values() for row in rows)
    # Boxes of a track all mean one object: most saw it, but elsewhere each, is no "nothing there".
    told = [one for one in counted if one.verdict is not Verdict.CANNOT_TELL]
    drew = Counter(box.frame for one in told for box in one.boxes)
    split = any((2 * drew[frame] > len(told)) != bool(rows) for frame, rows in objects.items())
    if split or len(kinds) > 1 or any(len(rows) > 1 for rows in objects.values()):
        return _settled(each, Outcome.ESCALATED, bench, RejectionReason.NO_AGREEMENT)
    if not kinds:
        return _settled(each, Outcome.NO_OBJECT, bench, RejectionReason.NOT_AN_OBJECT)
    boxes = tuple(
        _box(consensus, rows[0], frame, each.task.track, taxonomy)
        for frame, rows in sorted(objects.items()) if rows
    )  # fmt: skip
    return _settled(
        each, Outcome.ACCEPTED, bench,
        objects=(Object(boxes=boxes, confidence=sure, made_by=made_by),),
    )  # fmt: skip


def _by_expert(each: Answered, judgement: Judgement, bench: Bench) -> Settled:
    if judgement.verdict is Verdict.CANNOT_TELL:
        return _settled(each, Outcome.UNUSABLE, bench, RejectionReason.UNUSABLE_RECORDING)
    if each.task.track is not None and not judgement.boxes:
        return _settled(each, Outcome.NO_OBJECT, bench, RejectionReason.NOT_AN_OBJECT)
    sure = 1 - bench.errors.expert
    if each.task.track is not None:
        track = each.task.track
        boxes = tuple(
            FrameBox(frame=one.frame, box=one.box.model_copy(update={"track_id": track}))
            for one in sorted(judgement.boxes, key=lambda one: one.frame)
        )
        objects = (Object(boxes=boxes, confidence=sure, made_by=judgement.annotator),)
        return _settled(each, Outcome.ACCEPTED, bench, objects=objects)
    tracks: defaultdict[tuple[int, int], list[FrameBox]] = defaultdict(list)
    for number, one in enumerate(judgement.boxes):
        # Without a track nobody says that two boxes are one object.
        named = one.box.track_id
        tracks[(0, named) if named is not None else (1, number)].append(one)
    return _settled(each, Outcome.ACCEPTED, bench, objects=tuple(
        Object(boxes=tuple(sorted(boxes, key=lambda one: one.frame)), confidence=sure,
               made_by=judgement.annotator)
        for _, boxes in sorted(tracks.items())
    ))  # fmt: skip


def _linked(
    consensus: Consensus, objects: Mapping[int, Sequence[int]], counted: Sequence[Judgement],
    taxonomy: Taxonomy,
) -> list[tuple[FrameBox, ...]]:  # fmt: skip
    """Groups of following frames that most of those who drew both call one track."""
    chains: list[list[tuple[int, int]]] = []
    open_chains: dict[int, list[tuple[int, int]]] = {}
    frames = sorted(objects)
    for before, frame in pairwise([-1, *frames]):
        next_chains = {}
        for row in objects[frame]:
            names = _names(consensus, row, frame, counted, taxonomy)
            earlier = next(
                (
                    one for one in open_chains
                    if _agree(names, _names(consensus, one, before, counted, taxonomy))
                ), None,
            )  # fmt: skip
            chain = [] if earlier is None else open_chains.pop(earlier)
            if not chain:
                chains.append(chain)
            chain.append((frame, row))
            next_chains[row] = chain
        open_chains = next_chains
    return [
        tuple(_box(consensus, row, frame, None, taxonomy) for frame, row in chain)
        for chain in chains
    ]


def _agree(one: Mapping[str, int], two: Mapping[str, int]) -> bool:
    both = one.keys() & two.keys()
    return 2 * sum(one[name] == two[name] for name in both) > len(both)


def _names(
    consensus: Consensus, row: int, frame: int, counted: Sequence[Judgement], taxonomy: Taxonomy
) -> dict[str, int]:
    """By annotator, the track that the box nearest to a group was given."""
    target = boxes_of([_box(consensus, row, frame, None, taxonomy).box], taxonomy)
    names = {}
    for one in counted:
        boxes = [each.box for each in one.boxes if each.frame == frame]
        overlap = iou_3d(target, boxes_of(boxes, taxonomy))[0] if boxes else np.zeros(0)
        if overlap.size and overlap.max() >= _SAME_IOU:
            track = boxes[int(overlap.argmax())].track_id
            if track is not None:
                names[one.annotator] = track
    return names


def _box(
    consensus: Consensus, row: int, frame: int, track: int | None, taxonomy: Taxonomy
) -> FrameBox:
    one = consensus.geometry[row]
    columns = Boxes(
        one.centre_m[None], one.size_m[None], np.array([one.yaw_rad]), np.full((1, 2), np.nan),
        consensus.class_index[[row]], np.array([-1 if track is None else track]),
    )  # fmt: skip
    return FrameBox(frame=frame, box=joined([columns]).as_records(taxonomy)[0])


def _settled(
    each: Answered, outcome: Outcome, bench: Bench, reason: RejectionReason | None = None,
    objects: tuple[Object, ...] = (),
) -> Settled:  # fmt: skip
    task = each.task
    return Settled(
        task_id=task.task_id, round=each.round, clip_id=task.clip_id, track=task.track,
        proposal_digest=task.proposal_digest, frames=task.frames, tier=task.tier,
        purpose=each.purpose, outcome=outcome, reason=reason, objects=objects,
        judgements=each.judgements, shown=each.shown, auto=each.auto, truth=each.truth,
        rule_digest=bench.rule_digest, taxonomy_version=task.taxonomy_version,
    )  # fmt: skip
