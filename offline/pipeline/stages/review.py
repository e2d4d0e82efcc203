"""People's judgement where labels are unsure: product/drives/ are the labels that stand.

product/routing.json    what was accepted, and what people were asked
product/.journal.jsonl  every decision, of the turns before as well: audits tighten thresholds.
                        It tells when people answered, and so is no part of the product's digest
product/standing.json   agreement, gold, audits, findings, seconds spent: of all turns so far, and
                        under `turn` what this one took and how far people agreed in it
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from contracts.canonical import canonical_json
from contracts.geometry import TAXONOMY, taxonomy_of
from offline.labels.calibration.calibrator import read_calibrator
from offline.labels.clips.parameters import calibration_file
from offline.labels.qa.audit import AuditPlan
from offline.labels.queue.opened import opened_queue
from offline.labels.queue.store import ReviewQueue
from offline.labels.review.drives import Drive, read_drives
from offline.labels.review.groups import Rule, one_for_all, rule_of
from offline.labels.review.journal import JOURNAL_FILE, Journal, opened_journal, read_lines
from offline.labels.review.records import Settled
from offline.labels.review.route import (
    ROUTING_FILE,
    Routed,
    RoutingRecord,
    TaskKey,
    Ways,
    default_policy,
    read_record,
    route,
    write_routed,
)
from offline.labels.review.settle import Done, Ground, settle, write_settled
from offline.labels.review.simulated import answer_open, known_of, team
from offline.labels.review.standing import audit_state
from offline.labels.review.tasks import Watching
from offline.labels.review.told import standing_of, work_of
from offline.pipeline.stages.label import DRIVES
from offline.pipeline.work import Result, Waiting, Work

STANDING_FILE, KEPT_JOURNAL = "standing.json", ".journal.jsonl"
JOURNAL = "review"
"""In the loop's folder, one for all turns: the queue asks a task once, whoever asks again, and only
the journal knows what was decided."""
_ROUNDS = 6
"""Of answering and deciding: whatever is asked again is asked fewer times than that."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a turn asks: the routing, and where its labels and journal are."""

    routed: Path
    journal: Path
    gold: dict[str, Drive]
    truth: dict[str, Drive] | None


def review(work: Work) -> Result | Waiting:
    """Route, ask, decide; waits while a task is open."""
    section = work.spec.review
    asked = _Asked(
        work.scratch / "routed", work.shared / JOURNAL,
        read_drives(section.gold) if section.gold else {},
        None if section.truth is None else read_drives([section.truth]),
    )  # fmt: skip
    routed = route(read_drives([work.needs["label"] / DRIVES]), asked.gold, _ways(work, asked))
    write_routed(routed, asked.routed)
    with opened_journal(asked.journal) as journal:
        done, ground, seconds = asyncio.run(_asked_and_settled(work, asked, routed, journal))
        if done.open:
            return Waiting(f"{done.open} labelling tasks are open: `longtail label queue list`")
        write_settled(journal, ground, work.product / DRIVES)
        told = standing_of(journal.lines, ground.taxonomy, ground.record.rule().digest(),
                           ground.plan)  # fmt: skip
        told["turn"] = work_of(of_this_turn(journal.lines, ground.record), ground.taxonomy)
    shutil.copyfile(asked.routed / ROUTING_FILE, work.product / ROUTING_FILE)
    shutil.copyfile(asked.journal / JOURNAL_FILE, work.product / KEPT_JOURNAL)
    (work.product / STANDING_FILE).write_bytes(canonical_json(told) + b"\n")
    report = routed.record.report
    boxes = report.boxes
    return Result({
        "boxes": dict(boxes), "tasks": dict(report.tasks), "drives": report.drives,
        "expected_errors": round(report.expected_errors, 2),
        "expected_cost_s": round(sum(report.cost_s.values()), 1),
        "simulated_s": round(seconds, 1), "simulated": asked.truth is not None,
    })  # fmt: skip


def of_this_turn(lines: Sequence[Settled], record: RoutingRecord) -> list[Settled]:
    """Of the journal of all turns, what was decided of this one's tasks."""
    tasks = set(record.tasks)
    return [line for line in lines if TaskKey.of(line) in tasks]


def _ways(work: Work, asked: _Asked) -> Ways:
    section, plan = work.spec.review, AuditPlan()
    rule: Rule
    if section.accept is None:
        rule = rule_of(read_calibrator(calibration_file(work.spec.label.parameters_file)))
    else:
        rule = one_for_all(section.accept, section.precision, TAXONOMY)
    if "review" in work.before:
        # Decisions of this turn must not move its own thresholds: an attempt that is gone on with
        # routes as the first did.
        lines = read_lines(work.before["review"] / KEPT_JOURNAL)
        rule = replace(rule, level=audit_state(lines, rule.digest(), plan).level)
    watching = Watching(
        gold_share=section.gold_share if asked.gold else 0.0, audit_share=section.audit_share,
        seed=work.spec.seed,
    )  # fmt: skip
    policy = default_policy(section.budget_s, section.precision)
    return Ways(rule, policy, watching, plan, section.most_missed)


async def _asked_and_settled(
    work: Work, asked: _Asked, routed: Routed, journal: Journal
) -> tuple[Done, Ground, float]:
    """Ask what is not asked yet, and decide what is answered, until nothing moves any more."""
    record = read_record(asked.routed)
    drives = read_drives([asked.routed])
    ground = Ground(drives, record, asked.gold, taxonomy_of(record.taxonomy_version))
    seconds = 0.0
    async with opened_queue(work.outside.settings, work.outside.clock, create=True) as queue:
        await queue.add(routed.tasks, work.spec.rollout.actor)
        done = await settle(queue, journal, ground, work.spec.rollout.actor)
        for _ in range(_ROUNDS):
            if asked.truth is None or not done.open:
                break
            seconds += await _answered(work, asked, queue)
            done = await settle(queue, journal, ground, work.spec.rollout.actor)
            work.say(f"{done.open} tasks open")
    return done, ground, seconds


async def _answered(work: Work, asked: _Asked, queue: ReviewQueue) -> float:
    """Simulated people answer what is open; the seconds that it would have taken them."""
    section = work.spec.review
    known = known_of(asked.truth or {}, read_drives([asked.routed]))
    people = team(section.annotators, section.experts, section.errors)
    done = await answer_open(queue, known, people, work.spec.seed, work.outside.clock)
    return done.seconds
