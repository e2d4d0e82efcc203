"""What the journal says of annotators, thresholds, agreement and blind spots: a fold over its
lines, so the same journal always says the same.

A gold task counts once, by its middle frame. Thresholds are tightened by audits, never loosened:
that would need a draw among what the level below accepts, which routing at the present level does
not make. Thresholds of another rule (`Rule.digest`) have audits of their own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from contracts.errors import InputError
from contracts.geometry import Boxes, Int64s, Taxonomy, boxes_of, taxonomy_of, wrapped
from contracts.review import FrameBox, Judgement, Purpose, Tier, Verdict
from contracts.samples import Float64s
from models.evaluation.overlap import paired_iou_3d
from offline.labels.evaluation.detections import RIGHT_FROM
from offline.labels.qa.agreement import (
    Correlations,
    class_counts,
    cohen_kappa,
    fleiss_kappa,
    intraclass_correlations,
)
from offline.labels.qa.audit import AuditPlan, AuditState, observed
from offline.labels.qa.findings import Cell, Finding, FindingPlan, Reviewed, findings
from offline.labels.qa.gold import GoldPlan, GoldRecord, judged, new_record, with_outcomes
from offline.labels.review.groups import distance_m, range_group
from offline.labels.review.records import FINAL, Outcome, Settled

LEAST_SHARED = 5
"""Tasks that two annotators share, at least, for their kappa to be told."""
MEASURES = ("length", "width", "height", "distance", "axis")


@dataclass(frozen=True, slots=True)
class Agreement:
    """`fleiss` over the `tasks` that had the usual number of answers; `cohen` by pair; `icc` by
    measure over the tasks of the annotators who judged most together. NaN where nobody can tell.
    """

    tasks: int
    fleiss: float
    cohen: Mapping[tuple[str, str], float]
    boxes: int
    icc: Mapping[str, Correlations]


def gold_records(
    lines: Iterable[Settled], taxonomy: Taxonomy, plan: GoldPlan | None = None
) -> dict[str, GoldRecord]:
    """By annotator, in the order of the lines."""
    records: dict[str, GoldRecord] = {}
    classes, plan = len(taxonomy.names), plan or GoldPlan()
    for line in lines:
        if line.purpose is not Purpose.GOLD or line.truth is None:
            continue
        middle = line.frames[len(line.frames) // 2]
        truth = [one for one in line.truth if one.frame == middle]
        for one in line.judgements:
            if one.verdict is Verdict.CANNOT_TELL:
                continue
            said = [box for box in one.boxes if box.frame == middle]
            outcome = judged(
                _one(truth or said or line.shown[:1], taxonomy), np.array([bool(truth)]),
                _one(said or truth or line.shown[:1], taxonomy), np.array([bool(said)]), classes,
            )  # fmt: skip
            known = records.get(one.annotator, new_record(classes))
            records[one.annotator] = with_outcomes(known, outcome, plan)
    return records


def failed_gold(records: Mapping[str, GoldRecord]) -> frozenset[str]:
    """Whose answers do not count."""
    return frozenset(name for name, one in records.items() if one.failed_at is not None)


def audit_state(lines: Iterable[Settled], rule_digest: str, plan: AuditPlan) -> AuditState:
    """Of the thresholds of one rule."""
    state = AuditState()
    for line in lines:
        if line.purpose is not Purpose.AUDIT or line.rule_digest != rule_digest:
            continue
        share = right_share(line)
        if share is None or line.auto is None or line.auto.level is None:
            continue
        if state.level < plan.levels:
            state, _ = observed(state, plan, share, line.auto.level, drawn_below=False)
    return state


def right_share(line: Settled) -> float | None:
    """Share of the boxes shown that were right; None while nobody knows."""
    if line.outcome not in FINAL or line.outcome is Outcome.UNUSABLE or line.track is None:
        return None
    taxonomy = taxonomy_of(line.taxonomy_version)
    final = {one.frame: one for each in line.objects for one in each.boxes}
    return float(np.mean([_same(one, final.get(one.frame), taxonomy) for one in line.shown]))


def found_out(lines: Iterable[Settled], plan: FindingPlan | None = None) -> tuple[Finding, ...]:
    """Blind spots of the auto-labeller, and guidelines that are read differently."""
    splits: dict[str, float] = {}
    reviews = []
    for line in lines:
        if line.purpose is Purpose.GOLD or line.track is None:
            continue
        if line.tier is Tier.CONSENSUS:
            splits[line.task_id] = _split(line)
        wrong = right_share(line)
        if wrong is None or line.auto is None:
            continue
        nearest = min((one.box for one in line.shown), key=distance_m)
        reviews.append(Reviewed(
            line.task_id, Cell.of(range_group(nearest)), 1 - wrong,
            float(np.mean(line.auto.confidence)), splits.get(line.task_id),
        ))  # fmt: skip
    return findings(reviews, plan)


def agreement(lines: Iterable[Settled], taxonomy: Taxonomy) -> Agreement:
    """Of annotators with each other, over all tracks that several judged, gold included."""
    several = [
        line for line in lines
        if line.tier is Tier.CONSENSUS and line.track is not None
        and line.taxonomy_version == taxonomy.version
    ]  # fmt: skip
    names = sorted({one.annotator for line in several for one in line.judgements})
    said: Int64s = np.full((len(several), len(names)), -1, dtype=np.int64)
    for row, line in enumerate(several):
        for one in line.judgements:
            if one.verdict is not Verdict.CANNOT_TELL:
                said[row, names.index(one.annotator)] = _class_said(one, taxonomy)
    classes, answers = len(taxonomy.names) + 1, (said >= 0).sum(axis=1)
    usual = Counter(n for n in answers.tolist() if n > 1).most_common(1)
    rows = answers == (usual[0][0] if usual else 0)
    fleiss = fleiss_kappa(class_counts(said[rows], classes)) if usual else float("nan")
    cohen = {}
    for a, b in combinations(range(len(names)), 2):
        both = (said[:, a] >= 0) & (said[:, b] >= 0)
        if both.sum() >= LEAST_SHARED:
            cohen[names[a], names[b]] = cohen_kappa(said[both, a], said[both, b], classes)
    values = _measured(several)
    return Agreement(
        int(rows.sum()) if usual else 0, fleiss, cohen, len(values), _correlations(values)
    )


def spent_s(lines: Iterable[Settled]) -> dict[str, float]:
    """Seconds that people told they took, by tier."""
    total: defaultdict[str, float] = defaultdict(float)
    for line in lines:
        total[line.tier.value] += sum(one.seconds for one in line.judgements)
    return {tier: round(seconds, 1) for tier, seconds in sorted(total.items())}


def _one(boxes: Sequence[FrameBox], taxonomy: Taxonomy) -> Boxes:
    return boxes_of([boxes[0].box], taxonomy)


def _same(one: FrameBox, other: FrameBox | None, taxonomy: Taxonomy) -> bool:
    if other is None or one.box.class_name != other.box.class_name:
        return False
    overlap = paired_iou_3d(boxes_of([one.box], taxonomy), boxes_of([other.box], taxonomy))
    return bool(overlap[0] >= RIGHT_FROM)


def _class_said(one: Judgement, taxonomy: Taxonomy) -> int:
    """What a track is, by most of its boxes: the number of classes for "no object"."""
    if not one.boxes:
        return len(taxonomy.names)
    return taxonomy.index(Counter(b.box.class_name for b in one.boxes).most_common(1)[0][0])


def _split(line: Settled) -> float:
    """Share of pairs of annotators who say something else of the track."""
    taxonomy = taxonomy_of(line.taxonomy_version)
    told = [one for one in line.judgements if one.verdict is not Verdict.CANNOT_TELL]
    pairs = list(combinations(told, 2))
    if not pairs:
        return 0.0
    return float(np.mean([not _alike(one, two, taxonomy) for one, two in pairs]))


def _alike(one: Judgement, two: Judgement, taxonomy: Taxonomy) -> bool:
    """Both see an object, of one class, and most of its boxes in the same place; or neither."""
    if not one.boxes or not two.boxes:
        return not one.boxes and not two.boxes
    other = {box.frame: box for box in two.boxes}
    same = [_same(box, other.get(box.frame), taxonomy) for box in one.boxes]
    return 2 * sum(same) > max(len(one.boxes), len(two.boxes))


def _measured(lines: Sequence[Settled]) -> Float64s:
    """Of boxes that the annotators who judged most together all drew: [boxes, annotators,
    measures], the axis relative to what was shown.
    """
    teams = Counter(frozenset(j.annotator for j in line.judgements) for line in lines)
    if not teams:
        return np.zeros((0, 0, len(MEASURES)))
    team = max(teams, key=lambda names: (teams[names], len(names), sorted(names)))
    rows = []
    for line in lines:
        said = {one.annotator: {b.frame: b.box for b in one.boxes} for one in line.judgements}
        if frozenset(said) != team:
            continue
        for shown in line.shown:
            boxes = [said[name].get(shown.frame) for name in sorted(team)]
            told = [box for box in boxes if box is not None]
            if len(told) < len(boxes):
                continue
            rows.append([
                (*box.size_m, distance_m(box),
                 float(wrapped(np.array([2 * (box.yaw_rad - shown.box.yaw_rad)]))[0] / 2))
                for box in told
            ])  # fmt: skip
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(team), len(MEASURES))


def _correlations(values: Float64s) -> dict[str, Correlations]:
    found = {}
    for column, name in enumerate(MEASURES):
        try:
            found[name] = intraclass_correlations(values[..., column])
        except InputError:
            # Too few boxes or annotators, or no variance: nobody can tell.
            continue
    return found
