"""What follows from answers: consensus, escalation, corrected tracks, audits, the budget."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from contracts.errors import ConflictError
from contracts.geometry import TAXONOMY, Box3D
from contracts.ids import sha256_hex
from contracts.labels import FrameLabels, FrameRecord, LabelledBox, Provenance
from contracts.review import FrameBox, Judgement, Purpose, ReviewTask, Tier, Verdict
from offline.labels.formats.sequence import LabelSequence
from offline.labels.qa.audit import AuditPlan
from offline.labels.qa.consensus import Limits
from offline.labels.qa.router import PeoplesErrors
from offline.labels.review.drives import Drive, read_drives
from offline.labels.review.groups import one_for_all
from offline.labels.review.journal import opened_journal, read_journal
from offline.labels.review.judging import Answered, Bench, decided
from offline.labels.review.merging import settled_labels
from offline.labels.review.records import Auto, Object, Outcome, Settled
from offline.labels.review.route import TaskKey, Ways, default_policy, route
from offline.labels.review.standing import agreement, audit_state, found_out
from offline.labels.review.tasks import Watching, work_s
from tests.offline.labels.review.street import AUTO, write_street

RULE = "0" * 64
BENCH = Bench((), frozenset(), RULE, Limits(), PeoplesErrors())
FRAMES = (0, 5, 10)


def box(x_m: float, frame: int = 0, kind: str = "car", track: int | None = 3) -> Box3D:
    return Box3D(
        centre_m=(x_m + frame, 2.0, 0.8), size_m=(4.0, 2.0, 1.6), yaw_rad=0.0, class_name=kind,
        velocity_mps=None, track_id=track,
    )  # fmt: skip


def shown(x_m: float = 10.0, kind: str = "car") -> tuple[FrameBox, ...]:
    return tuple(FrameBox(frame=frame, box=box(x_m, frame, kind)) for frame in FRAMES)


def task(tier: Tier = Tier.CONSENSUS, track: int | None = 3, name: str = "a") -> ReviewTask:
    return ReviewTask(
        task_id=sha256_hex(name.encode()), clip_id="clip", track=track,
        class_name="" if track is None else "car", tier=tier,
        judgements_wanted=3 if tier is Tier.CONSENSUS else 1, frames=FRAMES,
        proposal_digest=sha256_hex(b"shown"), cost_s=9,
    )  # fmt: skip


def said(name: str, boxes: tuple[FrameBox, ...], verdict: Verdict = Verdict.ADJUSTED) -> Judgement:
    return Judgement(
        task_id=task().task_id, round=1, annotator=name, verdict=verdict, boxes=boxes, seconds=9,
        submitted_utc_ns=1,
    )  # fmt: skip


def asked(
    *judgements: Judgement, tier: Tier = Tier.CONSENSUS, track: int | None = 3, name: str = "a",
    purpose: Purpose = Purpose.ROUTED,
) -> Answered:  # fmt: skip
    auto = Auto(confidence=(0.95,) * 3, level=0) if purpose is Purpose.AUDIT else None
    return Answered(task(tier, track, name), 1, purpose, shown(), judgements, auto, None)


def outcome(*answered: Answered, bench: Bench = BENCH) -> list[Settled]:
    return decided(answered, TAXONOMY, bench)


def test_who_agrees_is_fused_and_who_does_not_goes_to_an_expert() -> None:
    none = (), Verdict.NO_OBJECT
    settled = outcome(
        asked(said("a", shown(10.0)), said("b", shown(10.1)), said("c", shown(10.2)), name="1"),
        asked(said("a", *none), said("b", *none), said("c", *none), name="2"),
        asked(said("a", shown(10.0)), said("b", shown(30.0)), said("c", *none), name="3"),
        asked(*(said(n, (), Verdict.CANNOT_TELL) for n in "abc"), name="4"),
        asked(said("x", shown(11.0)), tier=Tier.EXPERT, name="5"),
        asked(said("x", (), Verdict.CANNOT_TELL), tier=Tier.EXPERT, name="6"),
    )
    assert [one.outcome for one in settled] == [
        Outcome.ACCEPTED, Outcome.NO_OBJECT, Outcome.ESCALATED, Outcome.ESCALATED,
        Outcome.ACCEPTED, Outcome.UNUSABLE,
    ]  # fmt: skip
    (agreed,) = settled[0].objects
    assert agreed.made_by == "consensus of a, b, c" and agreed.confidence > 0.9
    assert agreed.boxes[1].frame == 5 and agreed.boxes[1].box.centre_m[0] == pytest.approx(15.1)


def test_who_failed_gold_is_left_out() -> None:
    one = asked(said("a", shown(10.0)), said("b", shown(10.1)), said("c", shown(90.0)))
    assert outcome(one)[0].objects[0].made_by == "consensus of a, b, c"
    bench = replace(BENCH, failed=frozenset("c"))
    (settled,) = outcome(one, bench=bench)
    assert settled.objects[0].made_by == "consensus of a, b"
    (again,) = outcome(one, bench=replace(BENCH, failed=frozenset("bc")))
    assert again.outcome is Outcome.AGAIN


def test_what_a_search_finds_is_linked_over_its_frames() -> None:
    two = tuple(
        FrameBox(frame=frame, box=box(x_m, frame, track=track))
        for frame in FRAMES for x_m, track in ((10.0, 1), (40.0, 2))
    )  # fmt: skip
    (settled,) = outcome(asked(*(said(name, two) for name in "abc"), track=None))
    assert [[b.frame for b in one.boxes] for one in settled.objects] == [[0, 5, 10]] * 2
    (drawn,) = outcome(asked(said("x", two), track=None, tier=Tier.EXPERT))
    assert len(drawn.objects) == 2
    labels = settled_labels(drive(), [TaskKey.of(task(track=None))], [drawn])
    found = [(n, b.ignored) for n, f in enumerate(labels) for b in f.record.boxes
             if b.box.track_id == 5]  # fmt: skip
    assert found == [(n, n % 5 != 0) for n in range(11)]
    middle = next(b for b in labels[7].record.boxes if b.box.track_id == 5)
    assert middle.box.centre_m[0] == pytest.approx(17.0)


def drive() -> Drive:
    """Eleven frames of a car that waits for people, and of one that was accepted."""
    frames = []
    for frame in range(11):
        waits = LabelledBox(box=box(10.0, frame), confidence=0.6, ignored=True)
        stands = LabelledBox(box=box(-20.0, frame, track=4), confidence=0.99)
        record = FrameRecord(
            drive_id="drive", mono_ns=frame * 10**8, boxes=(waits, stands), provenance=AUTO
        )
        frames.append(FrameLabels(record))
    return Drive("clip", Path("clip"), LabelSequence(tuple(frames)))


def line(*boxes: FrameBox, **changes: object) -> Settled:
    (one,) = outcome(asked(said("x", shown()), tier=Tier.EXPERT))
    objects = (Object(boxes=boxes, confidence=0.98, made_by="x"),) if boxes else ()
    return one.model_copy(update={"objects": objects} | changes)


def test_a_correction_goes_over_evenly_from_key_frame_to_key_frame() -> None:
    keys = [TaskKey.of(task())]
    told = (
        FrameBox(frame=0, box=box(10.0, 0)), FrameBox(frame=5, box=box(11.0, 5, "truck")),
    )  # fmt: skip
    labels = settled_labels(drive(), keys, [line(*told)])
    boxes = [next((b for b in f.record.boxes if b.box.track_id == 3), None) for f in labels]
    away = [b.box.centre_m[0] - 10 - n for n, b in enumerate(boxes) if b is not None]
    # From frame 8 on the nearest key frame says that nothing is there.
    assert away == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1, 1, 1]) and boxes[8:] == [None] * 3
    assert [b.box.class_name for b in boxes if b] == ["car"] * 3 + ["truck"] * 5
    assert [b.ignored for b in boxes if b] == [False] * 8
    said_by = [b.provenance.made_by for b in boxes if b and b.provenance]
    assert said_by == ["x", *["x: interpolated"] * 4, "x", *["x: interpolated"] * 2]
    assert all(f.record.boxes[-1].box.track_id == 4 for f in labels)


def test_other_ends_of_a_task() -> None:
    keys = [TaskKey.of(task())]
    gone = settled_labels(drive(), keys, [line(outcome=Outcome.NO_OBJECT)])
    assert all([b.box.track_id for b in f.record.boxes] == [4] for f in gone)
    for kept in (
        settled_labels(drive(), keys, [line(outcome=Outcome.UNUSABLE)]),
        settled_labels(drive(), keys, [line(*shown(50.0), outcome=Outcome.ESCALATED)]),
        settled_labels(drive(), keys, [line(*shown(50.0), purpose=Purpose.GOLD)]),
        settled_labels(drive(), [], [line(*shown(50.0))]),
    ):
        assert [f.record for f in kept] == [f.record for f in drive().labels.frames]


def test_audits_tighten_the_thresholds_for_good() -> None:
    plan = AuditPlan()
    wrong = asked(said("x", shown(60.0)), tier=Tier.EXPERT, purpose=Purpose.AUDIT)
    right = asked(said("x", shown(10.1)), tier=Tier.EXPERT, purpose=Purpose.AUDIT)
    bad, good = outcome(wrong)[0], outcome(right)[0]
    assert audit_state([good] * 200, RULE, plan).level == 0
    assert audit_state([bad] * 3, "1" * 64, plan).audited == 0
    state = audit_state([good] * 50 + [bad] * 8 + [good] * 500, RULE, plan)
    assert state.level > 0 and state.loosened == 0
    rule = replace(one_for_all(0.9, 0.98, TAXONOMY), level=1)
    assert rule.in_force(plan)["Car 0-20 m"] == pytest.approx(0.975)
    assert rule.strictest([(box(5.0), 0.98)], plan, TAXONOMY) == 1
    (found, *_) = found_out([bad] * 40)
    assert found.kind == "model_blind_spot" and found.cell.class_name == "car"


def test_agreement_of_annotators() -> None:
    rng = np.random.default_rng(0)
    lines = []
    for number in range(12):
        kind = ("car", "truck", "pedestrian")[number % 3]
        answers = [said(n, shown(10 + rng.normal(0, 0.05), kind)) for n in "abc"]
        lines += outcome(asked(*answers, name=str(number)))
    told = agreement(lines, TAXONOMY)
    assert told.fleiss == 1.0 and told.cohen["a", "b"] == 1.0 and told.tasks == 12
    assert told.icc["distance"].single.value > 0.9 and told.boxes == 36
    nothing = agreement([], TAXONOMY)
    assert np.isnan(nothing.fleiss) and not nothing.icc


def test_the_journal_holds_each_round_once(tmp_path: Path) -> None:
    one = line(*shown())
    with opened_journal(tmp_path) as journal:
        journal.add([one])
        with pytest.raises(ConflictError, match="decided once"):
            journal.add([one])
        with pytest.raises(ConflictError), opened_journal(tmp_path):
            pass
    assert read_journal(tmp_path) == [one] and not read_journal(tmp_path / "none")


@pytest.mark.parametrize("budget_s", [0.0, 700.0, 3000.0, None])
def test_the_budget_holds_for_all_that_is_asked(tmp_path: Path, budget_s: float | None) -> None:
    truth, auto = write_street(tmp_path, 3)
    policy = default_policy(budget_s, 0.98)
    rule, watching = one_for_all(0.9, 0.98, TAXONOMY), Watching(gold_share=0.3, audit_share=0.5)
    gold = read_drives([truth / "clip-2"])
    routed = route(read_drives([auto]), gold, Ways(rule, policy, watching, AuditPlan()))
    report = routed.record.report
    assert sum(work_s(one.task, policy.effort) for one in routed.tasks) <= policy.budget_s
    assert bool(routed.tasks) == (budget_s != 0)
    assert report.expected_errors >= report.least_expected_errors - 1e-6
    assert routed.labels["clip-2"][1] == list(gold["clip-2"].labels.frames)
    for _, frames in routed.labels.values():
        for frame in frames:
            assert all(b.ignored or b.confidence >= 0.9 for b in frame.record.boxes)
    fields = {name for one in routed.tasks for name in one.task.model_dump()}
    assert "purpose" not in fields


def test_what_people_said_is_not_routed(tmp_path: Path) -> None:
    human = Provenance(source="human", made_by="ann")
    known = drive()
    frames = tuple(
        replace(f, record=f.record.model_copy(update={"provenance": human}))
        for f in known.labels.frames
    )
    people = replace(known, labels=LabelSequence(frames))
    rule = one_for_all(0.9, 0.98, TAXONOMY)
    ways = Ways(rule, default_policy(None, 0.98), Watching(), AuditPlan())
    routed = route({"clip": people}, {}, ways)
    assert not routed.tasks and routed.labels["clip"][1] == list(frames)
