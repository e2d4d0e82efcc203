"""What the QA router is measured on: tracks with truth, and simulated people who judge them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench.label import read_sequences
from contracts.geometry import TAXONOMY, Bools, Boxes, Int64s, wrapped
from contracts.samples import Float64s
from models.evaluation.matching import joined
from models.evaluation.overlap import paired_iou_3d
from offline.labels.auto.kitti_clips import CLASS_NAMES, NO_REGIONS
from offline.labels.auto.offline import label_clip
from offline.labels.auto.parameters import read_parameters
from offline.labels.calibration.conformal import least_confidence
from offline.labels.calibration.fitting import Folds, Plan, acceptance
from offline.labels.calibration.samples import judged, samples_of
from offline.labels.evaluation.detections import RIGHT_FROM
from offline.labels.evaluation.kitti_rules import class_table
from offline.labels.evaluation.scene import assigned, same_frame
from offline.labels.kitti import LabelFile, TrackedBoxes
from offline.labels.qa.annotators import Annotator
from offline.labels.qa.auto_labels import key_of
from offline.labels.qa.dawid_skene import dawid_skene
from offline.labels.qa.geometry import fused
from offline.labels.qa.tracks import BoxDoubts, Thresholds

PRECISION, RISK = 0.98, 0.1
NAMES = ("car", "pedestrian", "cyclist")
SIZES_M = {"car": (4.3, 1.8, 1.6), "pedestrian": (0.8, 0.7, 1.75), "cyclist": (1.8, 0.7, 1.7)}
RANGES_M = (0.0, 20.0, 40.0)
GOOD_IOU = 0.5
"""Overlap from which annotators leave a box as it is."""
_TOUCHES = 0.05


@dataclass(frozen=True, slots=True)
class World:
    """`doubts` of all auto boxes [n], tracks numbered through; what they are (`auto`), what is
    there (`truth`, any box where `there` is false), `visibility` [n], and the `hardness` [n] that
    all annotators find in it; `missed` true boxes that no auto box tells of; and the thresholds
    that were fixed on other drives.
    """

    doubts: BoxDoubts
    auto: Boxes
    truth: Boxes
    there: Bools
    visibility: Float64s
    hardness: Float64s
    missed: int
    thresholds: Thresholds

    @property
    def right(self) -> Bools:
        """Auto boxes that are right as they are."""
        return rightly(self.auto, self.truth, self.there, np.ones(len(self.auto), dtype=np.bool_))

    @property
    def truths(self) -> int:
        return int(self.there.sum()) + self.missed


def rightly(told: Boxes, truth: Boxes, there: Bools, kept: Bools) -> Bools:
    """Which kept labels are right: of an object, its class, overlapping by `RIGHT_FROM`."""
    same = told.class_index == truth.class_index
    return np.asarray(kept & there & same & (paired_iou_3d(told, truth) >= RIGHT_FROM))


def synthetic(seed: int, tracks: int, overconfident: bool = False) -> World:
    """Tracks whose confidence is their probability of being right, or too sure of itself.

    A track's log odds fall with range and occlusion, one in seven is dubious; along it they wander,
    and it is wrong where a draw of the whole track lies over them, so that errors come in
    stretches.
    """
    rng = np.random.default_rng(seed)
    length = rng.integers(5, 60, tracks)
    track = np.repeat(np.arange(tracks), length)
    kind = rng.choice(len(NAMES), tracks, p=(0.7, 0.2, 0.1))
    away, turn = rng.uniform(5, 75, tracks), rng.uniform(-np.pi, np.pi, tracks)
    hidden = rng.beta(1, 4, tracks)
    odds = 7.5 - 0.03 * away - 4 * hidden - 0.7 * (kind > 0) + rng.normal(0, 1.2, tracks)
    odds -= 5.5 * (rng.random(tracks) < 1 / 7)
    frame = np.concatenate([np.arange(n) for n in length])
    phase = rng.uniform(0, 2 * np.pi, tracks)
    along = odds[track] + 0.8 * np.sin(frame / 8 + phase[track])
    probability = 1 / (1 + np.exp(-along))
    right = rng.random(tracks)[track] < probability
    truth = _boxes(kind[track], away[track] + 0.0 * frame, turn[track])
    way = rng.choice(3, tracks, p=(0.4, 0.15, 0.45))[track]
    there = right | (way != 0)
    auto = _astray(truth, right, way, rng)
    told = 1 / (1 + np.exp(-(1.5 * along + 2.5))) if overconfident else probability
    groups = [_key(NAMES[k], d) for k, d in zip(kind.tolist(), away.tolist(), strict=True)]
    doubts = BoxDoubts(
        track, frame, told, tuple(groups[t] for t in track.tolist()), np.full(track.size, np.nan)
    )
    missed = int(rng.binomial(int(there.sum()), 0.03))
    hardness = _hardness(tracks, rng)[track]
    return World(doubts, auto, truth, there, 1 - hidden[track], hardness, missed, {})


def with_thresholds(world: World, other: World) -> World:
    """The thresholds that the other world's tracks vouch for."""
    right, group = other.right, np.array(other.doubts.group)
    found: dict[str, float | None] = {}
    for key in np.unique(group).tolist():
        rows = group == key
        found[key] = least_confidence(
            other.doubts.confidence[rows], right[rows], other.doubts.track[rows], PRECISION, RISK
        )
    return replace(world, thresholds=found)


def kitti(folder: Path) -> World:
    """Auto-labels of all sequences, confidences told by what was fitted to the other sequences.

    Thresholds are the conformal rule's on those held-out confidences of all sequences: one set for
    all, as there are too few tracks to leave a sequence out of that as well.
    """
    sequences, parameters = read_sequences(folder), read_parameters()
    made = {name: label_clip(clip, parameters, True) for name, clip in sequences.clips.items()}
    samples = samples_of(sequences.truth, made)
    told = Folds(samples, Plan()).held_out()
    groups = acceptance(samples, told, Plan())
    keys = np.full(len(samples), "", dtype=object)
    for group in groups:
        inside = samples.kind == CLASS_NAMES.index(group.class_name)
        inside &= samples.range_m >= group.low_m
        inside &= samples.range_m < (np.inf if group.high_m is None else group.high_m)
        keys[inside] = key_of(group)
    # As `samples_of` has its rows: by sequence, then class.
    parts = [
        _matched(sequences.truth[name], made[name].boxes.of_classes([kind]), kind)
        for name in samples.sequences
        for kind in CLASS_NAMES
    ]
    there = np.concatenate([part.there for part in parts])
    doubts = BoxDoubts(
        samples.track, np.concatenate([part.frame for part in parts]), told, tuple(keys.tolist()),
        np.full(told.size, np.nan),
    )  # fmt: skip
    return World(
        doubts, joined([part.auto for part in parts]), joined([part.truth for part in parts]),
        there, np.ones(told.size),
        _hardness(int(samples.track.max()) + 1, np.random.default_rng(0))[samples.track],
        int(samples.truths.sum() - there.sum()),
        {key_of(group): group.accept_from for group in groups},
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class People:
    """Labels that came out [n], which of them are objects, which are right; seconds spent [n]."""

    told: Boxes
    kept: Bools
    right: Bools
    seconds: Float64s


def answers_of(world: World, rows: Int64s, annotators: Sequence[Annotator], seed: int) -> People:
    """What several annotators, or one, make of some auto boxes: classes by Dawid and Skene's
    model, geometry fused from those who saw an object.
    """
    rng = np.random.default_rng(seed)
    proposal, truth, there = world.auto.take(rows), world.truth.take(rows), world.there[rows]
    answers = [
        each.review(
            proposal,
            truth,
            there,
            world.visibility[rows],
            rng,
            good_iou=GOOD_IOU,
            hardness=world.hardness[rows],
        )
        for each in annotators
    ]
    none = len(TAXONOMY.names)
    objects = np.stack([answer.kept() for answer in answers], axis=1)
    classes = np.stack([answer.boxes.class_index for answer in answers], axis=1)
    said = np.where(objects, classes, none)
    final = dawid_skene(said, none + 1).classes() if rows.size else said[:, 0]
    told = _fused([answer.boxes for answer in answers], objects, proposal)
    told = replace(told, class_index=np.where(final == none, proposal.class_index, final))
    seconds = np.sum([answer.seconds for answer in answers], axis=0)
    return People(told, final != none, rightly(told, truth, there, final != none), seconds)


def _fused(answers: Sequence[Boxes], objects: Bools, proposal: Boxes) -> Boxes:
    """Row by row; the proposal where nobody moved it, or nobody saw an object."""
    same = np.stack([(a.centre_m == proposal.centre_m).all(axis=1) for a in answers], axis=1)
    centre, size, yaw = proposal.centre_m.copy(), proposal.size_m.copy(), proposal.yaw_rad.copy()
    for row in np.flatnonzero((objects & ~same).any(axis=1)).tolist():
        here = np.array([row])
        seen = [
            a.take(here) for a, is_object in zip(answers, objects[row], strict=True) if is_object
        ]
        one = fused(joined(seen))
        centre[row], size[row], yaw[row] = one.centre_m, one.size_m, one.yaw_rad
    return replace(proposal, centre_m=centre, size_m=size, yaw_rad=yaw)


@dataclass(frozen=True, slots=True)
class _Matched:
    auto: Boxes
    truth: Boxes
    frame: Int64s
    there: Bools


def _matched(truth: LabelFile, boxes: TrackedBoxes, class_name: str) -> _Matched:
    """The boxes that count, each with the true box that it is nearest to being."""
    counts = judged(truth, boxes, class_name)[1]
    table = class_table({"": truth}, {"": LabelFile(boxes, *NO_REGIONS)}, class_name)
    one, two = same_frame(table.truth.frame, table.found.frame)
    true_boxes, auto = table.truth.as_boxes(), table.found.as_boxes()
    overlap = paired_iou_3d(true_boxes.take(one), auto.take(two))
    near = (overlap > _TOUCHES) & ~table.ignored[one]
    one, two = one[near], two[near]
    chosen = assigned(one, two, overlap[near]) if one.size else np.zeros(0, dtype=np.bool_)
    match = np.full(len(auto), -1)
    match[two[chosen]] = one[chosen]
    there = match >= 0
    truths = auto
    if there.any():
        known = true_boxes.take(np.maximum(match, 0))
        truths = replace(
            auto,
            centre_m=np.where(there[:, None], known.centre_m, auto.centre_m),
            size_m=np.where(there[:, None], known.size_m, auto.size_m),
            yaw_rad=np.where(there, known.yaw_rad, auto.yaw_rad),
            class_index=np.where(there, known.class_index, auto.class_index),
        )
    return _Matched(auto.take(counts), truths.take(counts), boxes.frame[counts], there[counts])


def _boxes(kind: Int64s, away_m: Float64s, turn_rad: Float64s) -> Boxes:
    n = kind.size
    names = [TAXONOMY.index(name) for name in NAMES]
    return Boxes(
        np.column_stack([away_m * np.cos(turn_rad), away_m * np.sin(turn_rad), np.full(n, 0.8)]),
        np.array([SIZES_M[name] for name in NAMES])[kind], wrapped(turn_rad + 0.3),
        np.full((n, 2), np.nan), np.array(names)[kind], np.full(n, -1),
    )  # fmt: skip


def _astray(truth: Boxes, right: Bools, way: Int64s, rng: np.random.Generator) -> Boxes:
    """Right boxes with the labeller's noise; wrong ones of the right place (but nothing there, way
    0), of another class (1), or half a length and more off (2).
    """
    n = len(truth)
    off = ~right & (way == 2)
    angle = rng.uniform(-np.pi, np.pi, n)
    shift = np.where(off, truth.size_m[:, 0] * rng.uniform(0.7, 1.2, n), 0.0)
    centre = truth.centre_m + rng.normal(0, 0.03, (n, 3))
    centre[:, 0] += shift * np.cos(angle)
    centre[:, 1] += shift * np.sin(angle)
    names = np.array([TAXONOMY.index(name) for name in NAMES])
    other = names[(np.searchsorted(names, truth.class_index) + 1) % names.size]
    return replace(
        truth, centre_m=centre,
        class_index=np.where(~right & (way == 1), other, truth.class_index),
    )  # fmt: skip


def _hardness(tracks: int, rng: np.random.Generator) -> Float64s:
    """Of each track: log-normal, one in six is over 2.7 times as hard as the middle one."""
    return np.asarray(rng.lognormal(0.0, 1.0, tracks))


def _key(name: str, away_m: float) -> str:
    return f"{name} {max(low for low in RANGES_M if low <= away_m):g} m"
