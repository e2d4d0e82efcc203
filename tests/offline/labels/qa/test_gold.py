"""Gold in the queue, what it tells of annotators, and the simulated annotators themselves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from contracts.errors import InputError
from contracts.geometry import TAXONOMY, Boxes
from contracts.review import Purpose, ReviewTask, Tier, Verdict, task_id_of
from models.evaluation.overlap import paired_iou_3d
from offline.labels.qa.annotators import VERDICTS, Annotator, Drift, Noise
from offline.labels.qa.effort import Effort
from offline.labels.qa.gold import (
    PLANTS,
    GoldPlan,
    GoldRecord,
    Mix,
    Plant,
    judged,
    new_record,
    planted,
    queue_with_gold,
    smoothed,
    with_outcomes,
)
from tests.offline.labels.qa.boxes import cars

CLASSES = len(TAXONOMY.names)
PERFECT = Noise(
    centre_m=0, centre_ratio=0, size_ratio=0, yaw_rad=0, flip=0, miss=0, miss_at_100_m=0,
    miss_hidden=0, wrong_class=0, waved_through=0, needless=0, false_boxes=0,
)  # fmt: skip


def street(n: int, rng: np.random.Generator) -> Boxes:
    """Cars all around, 5 to 75 m away."""
    away, turn = rng.uniform(5, 75, n), rng.uniform(-np.pi, np.pi, n)
    return cars(np.column_stack([away * np.cos(turn), away * np.sin(turn), turn]).tolist())


def task(number: int, tier: Tier = Tier.CONSENSUS, priority: float = 0.0) -> ReviewTask:
    return ReviewTask(
        task_id=task_id_of("run", f"clip{number}", 1, (0, 5)), clip_id=f"clip{number}", track=1,
        class_name="car", tier=tier, judgements_wanted=3 if tier is Tier.CONSENSUS else 1,
        frames=(0, 5), proposal_digest="0" * 64, priority=priority, cost_s=30,
    )  # fmt: skip


def test_gold_is_mixed_in_at_its_share_and_looks_like_its_neighbour() -> None:
    routed = [task(n, Tier.EXPERT if n % 3 else Tier.CONSENSUS, n / 10) for n in range(2000)]
    gold = [task(10_000 + n) for n in range(500)]
    queue = queue_with_gold(routed, gold, 0.1, seed=4)
    assert [one for one, why in queue if why is Purpose.ROUTED] == routed
    places = [n for n, (_, why) in enumerate(queue) if why is Purpose.GOLD]
    assert len(places) / len(queue) == pytest.approx(0.1, abs=0.02)
    for n in places:
        after = next(one for one, why in queue[n:] if why is Purpose.ROUTED)
        assert (queue[n][0].tier, queue[n][0].priority) == (after.tier, after.priority)
        assert set(queue[n][0].model_dump()) == set(after.model_dump())
    # Gaps between gold are those of independent draws, not of a rhythm.
    gaps = np.diff(places)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.3)
    assert queue == queue_with_gold(routed, gold, 0.1, seed=4)
    assert queue != queue_with_gold(routed, gold, 0.1, seed=5)
    assert len(queue_with_gold(routed, gold[:3], 0.5, seed=1)) == 2003


def test_plants_come_in_their_shares_and_moved_ones_are_off() -> None:
    rng = np.random.default_rng(1)
    truth = street(3000, rng)
    plant, proposal = planted(truth, CLASSES, rng)
    assert np.bincount(plant) / 3000 == pytest.approx(Mix().shares(), abs=0.03)
    overlap = paired_iou_3d(proposal, truth)
    assert overlap[plant == PLANTS.index(Plant.MOVED)].max() < 0.7
    assert overlap[plant == PLANTS.index(Plant.RIGHT)] == pytest.approx(1)
    assert overlap[plant == PLANTS.index(Plant.INVENTED)].max() == 0
    changed = proposal.class_index != truth.class_index
    assert (changed == (plant == PLANTS.index(Plant.RECLASSED))).all()


def answered(annotator: Annotator, n: int, seed: int, record: GoldRecord) -> GoldRecord:
    """A record after n gold tasks."""
    rng = np.random.default_rng(seed)
    truth = street(n, rng)
    plant, proposal = planted(truth, CLASSES, rng)
    there = plant != PLANTS.index(Plant.INVENTED)
    found = annotator.review(proposal, truth, there, np.ones(n), rng)
    outcomes = judged(truth, there, found.boxes, found.kept(), CLASSES)
    return with_outcomes(record, outcomes, GoldPlan())


def test_a_perfect_annotator_passes_and_a_careless_one_fails() -> None:
    perfect = answered(Annotator(PERFECT, Effort()), 400, 1, new_record(CLASSES))
    assert perfect.passed == perfect.answered == 400
    assert perfect.failed_at is None
    assert perfect.recall().found == perfect.recall().planted > 300
    good = answered(Annotator(Noise(), Effort()), 400, 1, new_record(CLASSES))
    assert good.failed_at is None
    assert 0.05 < good.rms[0] < 0.5
    careless = Annotator(Noise().grown(6), Effort())
    bad = answered(careless, 400, 1, new_record(CLASSES))
    assert bad.failed_at is not None
    assert bad.pass_rate()[1] < good.pass_rate()[0]
    assert bad.rms[0] > good.rms[0]
    table = smoothed(bad.confusion)
    assert table.sum(axis=1) == pytest.approx(1)
    assert table[0, 0] < smoothed(good.confusion)[0, 0]


def test_records_add_up() -> None:
    annotator = Annotator(Noise(), Effort())
    parts = answered(annotator, 50, 2, answered(annotator, 70, 1, new_record(CLASSES)))
    assert parts.answered == 120
    assert parts.confusion.sum() == 120


def test_answers_are_judged_by_existence_class_and_overlap() -> None:
    truth = cars([[10, 0, 0]] * 5)
    answer = cars([[10, 0, np.pi], [12, 0, 0], [10, 0, 0], [10, 0, 0], [10, 0, 0]])
    answer = replace(answer, class_index=np.array([0, 0, 1, 0, 0]))
    there = np.array([True, True, True, False, True])
    said = np.array([True, True, True, True, False])
    found = judged(truth, there, answer, said, CLASSES)
    assert found.passed.tolist() == [True, False, False, False, False]
    assert found.truth.tolist() == [0, 0, 0, CLASSES, 0]
    assert found.said.tolist() == [0, 0, 1, 0, CLASSES]
    assert found.axis_rad[0] == pytest.approx(0, abs=1e-9)
    assert np.isnan(found.centre_m[3:]).all()


def test_annotators_are_as_exact_as_people_were() -> None:
    rng = np.random.default_rng(3)
    truth = street(3000, rng)
    overlap = paired_iou_3d(Annotator(Noise(), Effort()).blurred(truth, rng), truth)
    assert 0.80 < (overlap >= 0.7).mean() < 0.92
    assert 0.50 < (overlap >= 0.8).mean() < 0.70


def test_annotators_overlook_what_is_far_and_hidden() -> None:
    noise = Noise(false_boxes=0)
    annotator, rng = Annotator(noise, Effort()), np.random.default_rng(4)
    near, far = cars([[5, 0, 0]] * 4000), cars([[80, 0, 0]] * 4000)
    seen = (
        len(annotator.draw(near, np.ones(4000), rng)),
        len(annotator.draw(far, np.zeros(4000), rng)),
    )
    assert seen[0] / 4000 == pytest.approx(1 - 0.005 - 0.0025, abs=0.005)
    assert seen[1] / 4000 == pytest.approx(0.995 * 0.96 * 0.9, abs=0.02)
    ghosts = Annotator(PERFECT.model_copy(update={"false_boxes": 1.0}), Effort())
    assert sum(len(ghosts.draw(near.take(np.arange(1)), np.ones(1), rng)) for _ in range(300)) == (
        pytest.approx(600, abs=70)
    )


def test_confusions_stay_among_classes_that_look_alike() -> None:
    rng = np.random.default_rng(5)
    truth = street(2000, rng)
    sloppy = Annotator(PERFECT.model_copy(update={"wrong_class": 0.3}), Effort())
    said = sloppy.blurred(truth, rng).class_index
    assert set(said.tolist()) == {TAXONOMY.index(name) for name in ("car", "truck", "bus")}
    assert (said != 0).mean() == pytest.approx(0.3, abs=0.04)


def test_work_takes_longer_where_something_must_be_moved() -> None:
    rng = np.random.default_rng(6)
    truth = street(1000, rng)
    off = replace(truth, centre_m=truth.centre_m + np.array([3.0, 0, 0]))
    annotator, there = Annotator(PERFECT, Effort()), np.ones(1000, bool)
    right = annotator.review(truth, truth, there, np.ones(1000), rng)
    moved = annotator.review(off, truth, there, np.ones(1000), rng)
    assert {VERDICTS[v] for v in right.verdict.tolist()} == {Verdict.VERIFIED}
    assert {VERDICTS[v] for v in moved.verdict.tolist()} == {Verdict.ADJUSTED}
    assert moved.boxes.centre_m == pytest.approx(truth.centre_m)
    assert right.seconds.mean() == pytest.approx(3, rel=0.05)
    assert moved.seconds.mean() == pytest.approx(21, rel=0.05)
    gone = annotator.review(off, truth, ~there, np.ones(1000), rng)
    assert not gone.kept().any()


def test_drift_grows_and_stays() -> None:
    drift = Drift(after=100, over=50, factor=5)
    assert [drift.at(n) for n in (0, 99, 124, 149, 999)] == pytest.approx([1, 1, 3, 5, 5])
    assert Noise().grown(1) == Noise()
    assert Noise().grown(100).miss == 0.5
    with pytest.raises(InputError, match="by"):
        Noise().grown(0)
    with pytest.raises(InputError, match="plants"):
        Mix(moved=0.9, invented=0.9).shares()
