"""`longtail label route`: from auto-labelled drives to accepted labels, tasks for people, a report.

The budget holds for everything that is asked, in expected labeller-seconds: of it audits and
searches get a fixed share at most, gold its share of the rest, routed tracks what is left. What
people disagree on goes to an expert later; that is not foreseen in it.

OUT/<drive>/labels/*.npz    what is accepted; what waits is `ignored`, what is no object is gone
OUT/routing.json            what `settle` needs to know of this routing, and the report
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from contracts.canonical import canonical_digest, canonical_json
from contracts.errors import ConflictError, InputError
from contracts.geometry import Finite, Frozen
from contracts.ids import Name, Sha256Hex
from contracts.labels import FrameLabels
from contracts.review import Purpose, ReviewTask
from offline.labels.formats.files import read_json, validated
from offline.labels.qa.audit import AuditPlan, drawn
from offline.labels.qa.router import PeoplesErrors, Policy, Routing
from offline.labels.queue.records import NewTask
from offline.labels.review.drives import Drive, write_drive
from offline.labels.review.groups import FATES, AcceptedFrom, Rule, group_name
from offline.labels.review.records import Settled
from offline.labels.review.routing import (
    Doubted,
    RoutedDrive,
    doubted,
    expected_errors,
    routed_drives,
    routed_labels,
)
from offline.labels.review.searching import Search, recall_by_group, searches
from offline.labels.review.tasks import (
    Watching,
    audit_tasks,
    gold_candidates,
    routed_tasks,
    search_s,
    search_task,
    seeded,
    work_s,
)
from offline.runs.files import write_durably

ROUTING_FILE = "routing.json"
_LEAST_AUDIT_SHARE = 1e-4


class TaskKey(Frozen):
    """A task by what it asks: the queue may know it under another id."""

    clip_id: Name
    track: int | None
    proposal_digest: Sha256Hex

    @classmethod
    def of(cls, task: ReviewTask | Settled) -> TaskKey:
        return cls(clip_id=task.clip_id, track=task.track, proposal_digest=task.proposal_digest)


class Cell(Frozen):
    """Boxes of a class and range with one fate, and the errors expected to stay in them."""

    group: str
    fate: str
    boxes: int
    expected_errors: Finite


class MissedIn(Frozen):
    """Objects that a drive's labels may lack, as `searching.Search` tells them."""

    drive: Name
    expected: Finite
    most: int
    searched: bool
    uncertain: tuple[str, ...]


class Report(Frozen):
    """What was routed, what it costs, and what is expected to stay wrong, in boxes."""

    rule: str
    guaranteed: bool
    level: int
    drives: int
    tracks: dict[str, int]
    boxes: dict[str, int]
    tasks: dict[str, int]
    budget_s: float | None
    cost_s: dict[str, float]
    audit_share: Finite
    expected_errors: Finite
    least_expected_errors: Finite
    accepted_precision: float | None
    cells: tuple[Cell, ...]
    misses: tuple[MissedIn, ...]


class RoutingRecord(Frozen):
    """What a later `settle` needs: thresholds before audits, and which tasks were made."""

    schema_version: Literal[1] = 1
    groups: tuple[AcceptedFrom, ...]
    precision: Finite
    level: int = Field(ge=0)
    taxonomy_version: int
    tasks: tuple[TaskKey, ...]
    report: Report

    def rule(self) -> Rule:
        """By which was routed."""
        return Rule(
            self.groups, self.report.rule, self.report.guaranteed, self.precision, self.level
        )


@dataclass(frozen=True, slots=True)
class Routed:
    """Labels by drive, tasks by priority, and the record."""

    labels: Mapping[str, tuple[Drive, list[FrameLabels]]]
    tasks: tuple[NewTask, ...]
    record: RoutingRecord


@dataclass(frozen=True, slots=True)
class Ways:
    """How to route: thresholds, costs and budget, what is watched, how much may be missed."""

    rule: Rule
    policy: Policy
    watching: Watching
    plan: AuditPlan
    most_missed: float = 0.1


def route(drives: Mapping[str, Drive], gold: Mapping[str, Drive], ways: Ways) -> Routed:
    """Route all drives. A drive whose truth is among `gold` keeps that truth, asks for nothing,
    and tells how much auto-labels miss.
    """
    salt = _salt(drives, ways)
    every = [doubted(each, ways.rule, ways.rule.in_force(ways.plan)) for each in drives.values()]
    open_drives = [one for one in every if one.drive.name not in gold]
    if not open_drives:
        raise InputError("every drive's truth is known: there is nothing to route")
    recall = recall_by_group(gold, every)
    bounds = searches(open_drives, recall, ways.most_missed)
    parts = _parts(open_drives, bounds, salt, ways)
    policy = ways.policy
    left = parts.left_s
    policy = Policy(left, policy.least_precision, policy.ignored_loss, policy.errors, policy.effort)
    routed, whole = routed_drives(open_drives, policy)
    tasks = [task for one in routed for task in routed_tasks(one, salt, policy.effort)]
    by_name = {one.drive.name: one for one in routed}
    tasks += audit_tasks(routed, parts.audit_share, tasks, salt, policy.effort)
    tasks += [
        search_task(by_name[one.name], one.expected, one.expected_boxes, salt, policy.effort)
        for one in parts.searches
    ]
    candidates = gold_candidates(gold.values(), salt, policy.effort, ways.watching)
    queue = _within(seeded(tasks, candidates, ways.watching), ways.policy)
    labels = {
        name: (each, list(gold[name].labels.frames) if name in gold
               else routed_labels(by_name[name]))
        for name, each in drives.items()
    }  # fmt: skip
    report = _report(routed, whole, queue, bounds, parts, ways)
    record = RoutingRecord(
        groups=ways.rule.groups, precision=ways.rule.precision, level=ways.rule.level,
        taxonomy_version=open_drives[0].drive.labels.taxonomy.version,
        tasks=tuple(TaskKey.of(one.task) for one in queue), report=report,
    )  # fmt: skip
    return Routed(labels, tuple(queue), record)


def write_routed(routed: Routed, out: Path) -> int:
    """Write labels and record; how many label files changed.

    Raises `ConflictError` where another routing was written: its tasks may be with people.
    """
    path, content = out / ROUTING_FILE, canonical_json(routed.record) + b"\n"
    if path.is_file() and path.read_bytes() != content:
        raise ConflictError("another routing is here already", str(path))
    written = sum(write_drive(drive, frames, out) for drive, frames in routed.labels.values())
    write_durably(path, content)
    return written


def read_record(folder: Path) -> RoutingRecord:
    """Raises `InputError` for a folder that `route` did not write."""
    path = folder / ROUTING_FILE
    if not path.is_file():
        raise InputError(f"no folder of `longtail label route`: lacks {ROUTING_FILE}", str(folder))
    return validated(RoutingRecord, read_json(path), str(path))


def default_policy(budget_s: float | None, precision: float) -> Policy:
    return Policy(float("inf") if budget_s is None else budget_s, precision, errors=PeoplesErrors())


def _salt(drives: Mapping[str, Drive], ways: Ways) -> str:
    """The same drives routed in the same way ask the same; its parts are no secret from who
    decides, and an annotator sees only ids made of it.
    """
    return canonical_digest({
        "drives": {name: each.digest() for name, each in drives.items()},
        "rule": ways.rule.digest(), "level": ways.rule.level, "seed": ways.watching.seed,
    })  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Parts:
    """How the budget is shared out: what routed tracks may take, and what is watched."""

    left_s: float
    audit_share: float
    searches: tuple[Search, ...]


def _parts(drives: Sequence[Doubted], bounds: Sequence[Search], salt: str, ways: Ways) -> _Parts:
    budget, effort, watching = ways.policy.budget_s, ways.policy.effort, ways.watching
    room, share = watching.most_share * budget, watching.audit_share
    while share and _audits_s(drives, share, salt, ways) > room:
        share = share / 2 if share > _LEAST_AUDIT_SHARE else 0.0
    frames = {one.drive.name: len(one.drive.labels.frames) for one in drives}
    spent, chosen = 0.0, []
    for one in bounds:
        cost = effort.expert_rate * search_s(frames[one.name], one.expected, effort)
        if spent + cost <= room:
            spent += cost
            chosen.append(one)
    left = budget - spent - _audits_s(drives, share, salt, ways)
    return _Parts(left * (1 - watching.gold_share), share, tuple(chosen))


def _audits_s(drives: Sequence[Doubted], share: float, salt: str, ways: Ways) -> float:
    """What audits take at most, whatever the routing accepts: a random draw does not hang on it."""
    effort, total = ways.policy.effort, 0.0
    for one in drives:
        doubts = one.doubts
        picked = [
            row for row, track in enumerate(doubts.track.tolist())
            if doubts.sure[row] and not doubts.whole[row]
            and drawn(salt, one.drive.name, track, share)
        ]  # fmt: skip
        boxes = doubts.sure[picked]
        # No track has fewer right boxes than none, and each sure run of it may be a stretch.
        cost = effort.consensus_s(
            boxes, doubts.sure_right[picked] / np.maximum(boxes, 1), doubts.stretches[picked] + 1
        )
        total += float(cost.sum())
    return total


def _within(queue: Sequence[NewTask], policy: Policy) -> list[NewTask]:
    """The queue within the whole budget: where chance drew much gold, the last of it goes."""
    kept = list(queue)
    total = sum(work_s(one.task, policy.effort) for one in kept)
    for place in range(len(kept) - 1, -1, -1):
        if total <= policy.budget_s:
            break
        if kept[place].sealed.purpose is Purpose.GOLD:
            total -= work_s(kept[place].task, policy.effort)
            del kept[place]
    return kept


def _report(
    routed: Sequence[RoutedDrive], whole: Routing, queue: Sequence[NewTask],
    bounds: Sequence[Search], parts: _Parts, ways: Ways,
) -> Report:  # fmt: skip
    cells: dict[tuple[str, str], tuple[int, float]] = {}
    for one in routed:
        for (group, fate), (boxes, errors) in expected_errors(one, ways.policy).items():
            count, total = cells.get((group_name(group), fate), (0, 0.0))
            cells[group_name(group), fate] = count + boxes, total + errors
    tiers = [tier.value if tier else "waits" for tier in whole.tier]
    purposes = ["search" if one.task.track is None else one.sealed.purpose.value for one in queue]
    cost = dict.fromkeys(sorted(set(purposes)), 0.0)
    for name, new in zip(purposes, queue, strict=True):
        cost[name] += work_s(new.task, ways.policy.effort)
    searched = {one.name for one in parts.searches}
    return Report(
        rule=ways.rule.told, guaranteed=ways.rule.guaranteed, level=ways.rule.level,
        drives=len(routed), tracks={name: tiers.count(name) for name in sorted(set(tiers))},
        boxes={fate: sum(n for (_, f), (n, _) in cells.items() if f == fate) for fate in FATES},
        tasks={name: purposes.count(name) for name in sorted(set(purposes))},
        budget_s=None if np.isinf(ways.policy.budget_s) else ways.policy.budget_s,
        cost_s={name: round(value, 1) for name, value in cost.items()},
        audit_share=parts.audit_share,
        expected_errors=sum(errors for _, errors in cells.values()),
        least_expected_errors=whole.least_residual,
        accepted_precision=(
            None if np.isnan(whole.accepted_precision) else whole.accepted_precision
        ),
        cells=tuple(
            Cell(group=group, fate=fate, boxes=boxes, expected_errors=errors)
            for (group, fate), (boxes, errors) in sorted(cells.items())
        ),
        misses=tuple(
            MissedIn(
                drive=one.name, expected=one.expected, most=one.most,
                searched=one.name in searched,
                uncertain=tuple(group_name(group) for group in one.uncertain),
            )
            for one in bounds
        ),
    )  # fmt: skip
