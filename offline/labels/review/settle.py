"""`longtail label settle`: submitted answers are decided, told to the queue, and become labels.

Exactly once: a decision stands in the journal, durably, before the queue hears of it, and is never
taken again. Whoever is killed between the two, or within the queue's steps, goes on from the
journal. Called with nothing new it changes nothing. Gold is decided first, so that whoever fails
it is not counted in the same call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from contracts.errors import InputError
from contracts.geometry import Taxonomy
from contracts.review import (
    Accept,
    FrameBox,
    Fuse,
    Purpose,
    Reject,
    RejectionReason,
    Requeue,
    Return,
    ReviewState,
    SealedPurpose,
    Tier,
    proposal_digest,
)
from offline.labels.qa.audit import AuditPlan
from offline.labels.qa.consensus import Limits
from offline.labels.qa.router import PeoplesErrors
from offline.labels.queue.records import TaskRow
from offline.labels.queue.store import Decision, ReviewQueue
from offline.labels.review.drives import Drive, said_by, write_drive
from offline.labels.review.journal import Journal
from offline.labels.review.judging import Answered, Bench, decided
from offline.labels.review.merging import settled_labels
from offline.labels.review.records import Auto, Outcome, Settled
from offline.labels.review.route import RoutingRecord, TaskKey
from offline.labels.review.standing import failed_gold, gold_records

_STATES = (ReviewState.SUBMITTED, ReviewState.IN_CONSENSUS, ReviewState.RETURNED)
_MOST_ROWS = 1_000_000


@dataclass(frozen=True, slots=True)
class Ground:
    """What decisions rest on: routed drives, how they were routed, gold by drive, and plans."""

    drives: Mapping[str, Drive]
    record: RoutingRecord
    gold: Mapping[str, Drive]
    taxonomy: Taxonomy
    plan: AuditPlan = field(default_factory=AuditPlan)
    limits: Limits = field(default_factory=Limits)
    errors: PeoplesErrors = field(default_factory=PeoplesErrors)


@dataclass(slots=True)
class Done:
    """What this call did: decisions by outcome, tasks told to the queue, files written; and how
    many tasks of the routing are still open.
    """

    decided: Counter[str] = field(default_factory=Counter)
    told: int = 0
    written: int = 0
    open: int = 0


async def settle(queue: ReviewQueue, journal: Journal, ground: Ground, actor: str) -> Done:
    """Decide all that is answered among the routing's tasks, and tell the queue."""
    done, rows = Done(), await _rows(queue, ground)
    waiting = [row for row in rows if row.review.state in _STATES]
    fresh = [
        row for row in waiting
        if row.review.state is not ReviewState.RETURNED
        and journal.find(row.task.task_id, row.review.round) is None
    ]  # fmt: skip
    sealed = await queue.purposes([row.task.task_id for row in fresh])
    answered = [_answered(row, sealed[row.task.task_id], ground) for row in fresh]
    for gold in (True, False):
        part = [one for one in answered if (one.purpose is Purpose.GOLD) == gold]
        lines = decided(part, ground.taxonomy, _bench(journal, ground))
        journal.add(lines)
        done.decided.update(line.outcome.value for line in lines)
    for row in waiting:
        line = journal.find(row.task.task_id, row.review.round)
        if line is not None:
            done.told += await _tell(queue, row, line, actor)
    final = {ReviewState.ACCEPTED, ReviewState.REJECTED}
    after = await _rows(queue, ground)
    done.open = sum(row.review.state not in final for row in after)
    return done


def write_settled(journal: Journal, ground: Ground, out: Path) -> int:
    """The labels of all routed drives after all decisions; how many files changed."""
    return sum(
        write_drive(drive, settled_labels(drive, ground.record.tasks, journal.lines), out)
        for drive in ground.drives.values()
    )


async def _rows(queue: ReviewQueue, ground: Ground) -> list[TaskRow]:
    """The routing's tasks in the order of their last answers."""
    keys = set(ground.record.tasks)
    rows = [row for row in await queue.rows(limit=_MOST_ROWS) if TaskKey.of(row.task) in keys]
    return sorted(
        rows,
        key=lambda row: (max((j.submitted_utc_ns for j in row.judgements), default=0),
                         row.task.task_id),
    )  # fmt: skip


def _bench(journal: Journal, ground: Ground) -> Bench:
    failed = failed_gold(gold_records(journal.lines, ground.taxonomy))
    return Bench(
        tuple(journal.lines), failed, ground.record.rule().digest(), ground.limits, ground.errors
    )


async def _tell(queue: ReviewQueue, row: TaskRow, line: Settled, actor: str) -> int:
    """The queue's steps that are still missing; 1 where there were some."""
    steps = _steps(row, line)
    for step in steps:
        await queue.decide(row.task.task_id, step, actor)
    return int(bool(steps))


def _steps(row: TaskRow, line: Settled) -> list[Decision]:
    state, steps = row.review.state, list[Decision]()
    if state is ReviewState.SUBMITTED and row.review.judgements_wanted > 1:
        steps.append(Fuse())
    again = line.outcome in {Outcome.ESCALATED, Outcome.AGAIN}
    reason = line.reason or RejectionReason.NO_AGREEMENT
    if state is not ReviewState.RETURNED:
        if line.outcome is Outcome.ACCEPTED:
            steps.append(Accept())
        else:
            steps.append(Return(reason=reason) if again else Reject(reason=reason))
    if line.outcome is Outcome.ESCALATED:
        steps.append(Requeue(tier=Tier.EXPERT, judgements_wanted=1))
    elif line.outcome is Outcome.AGAIN:
        wanted = row.review.judgements_wanted
        steps.append(Requeue(tier=row.review.tier, judgements_wanted=wanted))
    return steps


def _answered(row: TaskRow, sealed: SealedPurpose, ground: Ground) -> Answered:
    seated = {seat.annotator for seat in row.review.seats}
    judgements = tuple(
        one for one in row.judgements
        if one.round == row.review.round and one.annotator in seated
    )  # fmt: skip
    gold = sealed.purpose is Purpose.GOLD
    return Answered(
        row.task, row.review.round, sealed.purpose, row.proposal, judgements,
        None if gold or row.task.track is None else _auto(row, sealed.purpose, ground),
        _truth(row, sealed, ground) if gold else None,
    )  # fmt: skip


def _auto(row: TaskRow, purpose: Purpose, ground: Ground) -> Auto:
    """What the routed labels say of the boxes shown."""
    drive = ground.drives[row.task.clip_id]
    place = f"task {row.task.task_id[:12]}"
    sure: list[float] = []
    for one in row.proposal:
        if one.frame >= len(drive.labels.frames):
            raise InputError(f"the routed labels have no frame {one.frame}", place)
        frame = drive.labels.frames[one.frame]
        found = [
            labelled.confidence for labelled in frame.record.boxes
            if labelled.box == one.box and said_by(labelled, frame).source == "auto"
        ]  # fmt: skip
        if not found:
            raise InputError("the routed labels lack a box that it shows", place)
        sure.append(found[0])
    level = None
    if purpose is Purpose.AUDIT:
        boxes = [(one.box, each) for one, each in zip(row.proposal, sure, strict=True)]
        level = ground.record.rule().strictest(boxes, ground.plan, ground.taxonomy)
    return Auto(confidence=tuple(sure), level=level)


def _truth(row: TaskRow, sealed: SealedPurpose, ground: Ground) -> tuple[FrameBox, ...]:
    """The boxes whose digest was sealed: none, or those of the gold labels' track."""
    if sealed.truth_digest == proposal_digest(()):
        return ()
    drive, place = ground.gold.get(row.task.clip_id), f"task {row.task.task_id[:12]}"
    if drive is None:
        raise InputError(f"there is no gold for {row.task.clip_id}: name its folder", place)
    truth = tuple(
        FrameBox(frame=frame, box=labelled.box)
        for frame in row.task.frames if frame < len(drive.labels.frames)
        for labelled in drive.labels.frames[frame].record.boxes
        if labelled.box.track_id == row.task.track
    )  # fmt: skip
    if proposal_digest(truth) != sealed.truth_digest:
        raise InputError(f"the gold of {row.task.clip_id} is not that of the routing", place)
    return truth
