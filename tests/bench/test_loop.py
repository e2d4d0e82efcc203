"""The loop's bench: what counts as an error, what people label, what is bought, what changed."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from bench import cli, loop
from bench.figures import Figure, figure
from bench.forgetting_arms import Scores
from bench.loop_change import Reduction, gain, mean_of, reduction, table
from bench.loop_choice import by_lot, selected
from bench.loop_critical import drive_errors, path_ahead
from bench.loop_findings import findings_of
from bench.loop_labels import COST, labelled
from bench.loop_plot import draw_loop
from bench.loop_records import Bought, LoopStudy, Measures, Turn, Way
from bench.loop_turns import Line
from bench.loop_world import PoolClip
from contracts.errors import InputError
from contracts.geometry import Box3D, Boxes, boxes_of, flat_SE3
from contracts.ids import sha256_hex
from contracts.labels import EgoPose, FrameLabels, FrameRecord, LabelledBox, Provenance
from models.evaluation.matching import FrameResult
from offline.acquisition.adapters.scoring import Scored
from offline.acquisition.cost import ClipFeatures
from sim_fleet.trials.report import DriveCounts, DriveTrial, TrialsReport

ORACLE = Provenance(source="oracle", made_by="test")
SPEED_MPS = 10.0


def box(kind: str, x: float, y: float, speed: float = 0.0) -> Box3D:
    length, width = (4.5, 1.8) if kind == "car" else (2.0, 0.8)
    return Box3D(
        centre_m=(x, y, 0.8), size_m=(length, width, 1.6), yaw_rad=0.0, class_name=kind,
        velocity_mps=(speed, 0.0),
    )  # fmt: skip


def frame(second: int, *boxes: LabelledBox) -> FrameLabels:
    return FrameLabels(
        FrameRecord(
            drive_id="drive", mono_ns=second * 10**9, boxes=boxes, light="red",
            ego_pose=EgoPose(
                position_m=(SPEED_MPS * second, 0.0, 0.0), orientation_xyzw=(0, 0, 0, 1.0)
            ),
            provenance=ORACLE, tags={"tod": "night", "weather": "rain"},
        )
    )  # fmt: skip


def shown(kind: str, x: float, y: float, visibility: float = 1.0, **more: bool) -> LabelledBox:
    return LabelledBox(box=box(kind, x, y, SPEED_MPS), visibility=visibility, points=5, **more)


def answer(labels: FrameLabels, *told: tuple[Box3D, float]) -> FrameResult:
    found: Boxes = boxes_of(each for each, _ in told)
    scores = np.array([score for _, score in told], np.float64)
    return FrameResult(found, scores, labels.boxes(), labels.ignored())


def test_the_path_is_where_the_ego_then_drove_and_straight_on_from_there() -> None:
    path = path_ahead([flat_SE3(5, 5, 0), flat_SE3(15, 5, 0), flat_SE3(25, 15, np.pi / 2)])
    assert path[0, :2] == pytest.approx([1.35, 0])
    assert path[0, 3] == 0 and (np.diff(path[:, 3]) > 0).all()
    assert path[-1, 2] == pytest.approx(np.pi / 2)
    assert path[-1, 0] == pytest.approx(20, abs=0.1)
    assert path[-1, 1] > 80
    still = path_ahead([flat_SE3(0, 0, 0)] * 3)
    assert still[:, 1] == pytest.approx(0) and still[-1, 0] > 70


def test_errors_are_counted_in_the_way_and_nowhere_else() -> None:
    rider = shown("motorcycle", 20, 0)
    labels = [
        frame(1, rider, shown("car", 20, 30)),
        frame(2, rider, shown("car", 30, 0, ignored=True), shown("cyclist", 25, 0.5, 0.1)),
        frame(3, rider),
        frame(4),
    ]
    sure = 0.9
    results = [
        answer(labels[0], (box("motorcycle", 20.5, 0), sure)),
        answer(labels[1], (box("pedestrian", 20, 0), sure), (box("car", 31, 0), sure)),
        answer(labels[2], (box("motorcycle", 20, 0), sure), (box("car", 12, 0), sure)),
        answer(labels[3], (box("car", 20, 20), sure)),
    ]
    # What the class is said to be is one thing, whether anything is there the other.
    presence = [each.scores.copy() for each in results]
    presence[2][0] = 0.1
    found = drive_errors("drive", "rain", labels, results, presence).counts
    assert found.critical == {"motorcycle": 3}
    assert found.missed == {"motorcycle": 1}
    assert found.misnamed == {"motorcycle": 1}
    assert found.phantoms == {"car": 1}
    assert found.critical_errors == 2
    assert found.instants == 4 and found.driven_s == 4.0 and found.driven_m == 40.0
    with pytest.raises(InputError, match="two poses"):
        drive_errors("drive", "rain", labels[:1], results[:1], presence[:1])


def test_people_label_what_can_be_judged_and_are_paid_for_it() -> None:
    truth = [
        frame(k, shown("motorcycle", 20, 0), shown("car", 30, 5), shown("car", 9, 9, ignored=True))
        for k in range(40)
    ]
    found = labelled(truth, "clip", 1)
    assert found == labelled(truth, "clip", 1)
    assert found != labelled(truth, "clip", 2) and found != labelled(truth, "other", 1)
    assert 70 <= found.features.boxes <= 85, "a few overlooked, hardly one that is not there"
    assert found.cost_s == COST.expected(found.features)
    (first, *_) = found.frames
    assert first.ground is None and first.record.light == "red"
    assert first.record.provenance.source == "human" and first.record.tags["tod"] == "night"


def test_by_lot_as_much_is_spent_as_may_be() -> None:
    ids = [f"{k:02d}" for k in range(50)]
    chosen = by_lot(ids, 1, 1000.0, lambda clip: 90.0 + int(clip))
    spent = sum(90.0 + int(clip) for clip in chosen.streams)
    assert abs(spent - 1000) < 70
    assert by_lot(ids[::-1], 1, 1000.0, lambda clip: 90.0 + int(clip)) == chosen
    assert by_lot(ids, 2, 1000.0, lambda clip: 90.0 + int(clip)) != chosen
    assert by_lot(ids, 1, 1e9, lambda clip: 1.0).streams.keys() == set(ids)


def pool_of(count: int) -> tuple[list[PoolClip], list[Scored]]:
    rng = np.random.default_rng(0)
    clips = [
        PoolClip(sha256_hex(f"{k}".encode()), Path(f"drive-{k}"), (0, 1), 0, 10**9, k % 7 == 0)
        for k in range(count)
    ]
    vectors = rng.normal(size=(count, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    scored = [
        Scored(
            {"disagreement": 0.5 if clip.target else 0.05, "entropy": 0.5},
            ClipFeatures(frames=2, boxes=20), vectors[k], sha256_hex(b"space"),
        )
        for k, clip in enumerate(clips)
    ]  # fmt: skip
    return clips, scored


def test_the_selector_buys_what_the_candidate_is_unsure_of_and_nothing_twice() -> None:
    clips, scored = pool_of(70)
    known = scored[0].embedding[None]
    price = COST.expected(scored[0].features)
    first = selected(clips, scored, frozenset(), known, 10 * price, 1)
    assert len(first.streams) == 10
    assert {"random", "uncertainty", "coverage"} == set(first.streams.values())
    by_stream = {clip.target for clip in clips if first.streams.get(clip.clip_id) == "uncertainty"}
    assert by_stream == {True}
    again = selected(clips, scored, frozenset(first.streams), known, 10 * price, 2)
    assert not again.streams.keys() & first.streams.keys()
    with pytest.raises(InputError, match="is bought"):
        selected(clips, scored, frozenset(c.clip_id for c in clips), known, price, 3)


def test_a_reduction_is_paired_by_seed_and_drive() -> None:
    before = np.repeat([[10.0, 20, 30, 0, 5, 7]], 5, axis=0)
    found = reduction(before, 0.6 * before)
    assert found.value == pytest.approx(0.4)
    assert found.low == pytest.approx(0.4) and found.high == pytest.approx(0.4)
    rng = np.random.default_rng(0)
    noisy = reduction(before, 0.6 * before * rng.uniform(0.5, 1.5, before.shape))
    assert noisy.low < noisy.value < noisy.high
    assert noisy.before == pytest.approx(72)
    more = gain(before, 0.5 * before, 0.9 * before)
    assert (more.value, more.low, more.high) == pytest.approx((0.4, 0.4, 0.4))
    with pytest.raises(InputError, match="nothing went wrong"):
        reduction(0 * before, before)
    with pytest.raises(InputError, match="shapes"):
        reduction(before, before[:2])
    with pytest.raises(InputError, match="no seed"):
        mean_of([])


def test_seeds_on_other_drives_are_not_compared() -> None:
    drives = trials({"a": 1, "b": 2}).drives
    assert table([drives, drives], lambda c: c.all_disengagements).tolist() == [[1, 2], [1, 2]]
    with pytest.raises(InputError, match="the same drives"):
        table([drives, drives[:1]], lambda c: c.all_disengagements)


def trials(often: dict[str, int]) -> TrialsReport:
    return TrialsReport(
        recipe="town", recipe_digest="0" * 64, model="1" * 64, manifest_digest=None,
        drives=tuple(
            DriveTrial(
                name=name, slice="rain",
                counts=DriveCounts(
                    driven_s=10, driven_m=50, engaged_s=5, disengagements={"late": count}
                ),
            )
            for name, count in often.items()
        ),
    )  # fmt: skip


def measures(errors: int, old: float, new: float, takeovers: int | None) -> Measures:
    counts = DriveCounts(
        driven_s=10, driven_m=50, engaged_s=0, critical={"motorcycle": 50},
        missed={"motorcycle": errors}, phantoms={"car": errors}, misnamed={"motorcycle": 2},
    )  # fmt: skip
    return Measures(
        model="2" * 64,
        drives=tuple(
            DriveTrial(name=name, slice=kind, counts=counts)
            for name, kind in (("a", "riders"), ("b", "animals"))
        ),
        scores=Scores(old=old, new=new, old_classes={}, new_classes={}),
        trials=None if takeovers is None else trials({"c": takeovers, "d": takeovers}),
    )


def turn(way: Way, seed: int, number: int, *told: float, tried: bool = True) -> Turn:
    errors, old, new, takeovers = told
    bought = Bought(
        clips=("3" * 64, "4" * 64), frames=8, boxes=100, rare_boxes=30, cost_s=7200.0,
        target_clips=1, streams={"random": 2}, trained=6,
    )  # fmt: skip
    found = measures(int(errors), old, new, int(takeovers) if tried else None)
    return Turn(way=way, seed=seed, turn=number, bought=bought, measures=found)


@pytest.fixture
def study() -> LoopStudy:
    turns = [
        each
        for seed in (1, 2, 3)
        for each in (
            turn("selector", seed, 1, 10, 0.81, 0.4, 6),
            turn("selector", seed, 2, 8, 0.80, 0.45, 6, tried=False),
            turn("selector", seed, 3, 5, 0.79, 0.5, 4),
            turn("random", seed, 1, 18, 0.80, 0.3, 9),
        )
    ]
    return LoopStudy(settings={}, data={}, before=measures(20, 0.8, 0.25, 10), turns=tuple(turns))


def test_what_a_study_shows(study: LoopStudy, tmp_path: Path) -> None:
    assert study.kept("selector", 2)[1] == pytest.approx(0.80 / 0.81), "of the best ever"
    found = {each.name: each for each in findings_of(study)}
    errors = found["one turn: critical false negatives and positives on the target, fewer by"]
    assert errors.found.value == pytest.approx(1 - 44 / 84) and errors.goal == ">= 25"
    riders = found["one turn: critical false negatives and positives, riders, fewer by"]
    assert isinstance(riders.found, Reduction) and riders.found.before == 42
    seen = found["one turn: disengagements on the target, fewer by"]
    assert seen.found.value == pytest.approx(0.4)
    assert found["selector over random: disengagements, of those before"].found.value == (
        pytest.approx(0.3)
    )
    assert found["turn 3 after turn 1: disengagements on the target, fewer by"].found.value == (
        pytest.approx(1 / 3)
    )
    figures = loop.figures_of(study)
    assert len({each.name for each in figures}) == len(figures) == 3 * len(found)
    assert all(math.isfinite(each.value) for each in figures)
    draw_loop(tmp_path / "loop.png", study)
    assert (tmp_path / "loop.png").stat().st_size > 5000


def test_a_study_that_was_stopped_shows_what_it_has(study: LoopStudy) -> None:
    first = study.turns[0].model_copy(
        update={"measures": study.turns[0].measures.model_copy(update={"trials": None})}
    )
    part = study.model_copy(update={"turns": (first,)})
    names = [each.name for each in findings_of(part)]
    assert any("false negatives and positives" in name for name in names)
    assert not any("disengagements" in name or "random" in name for name in names)


def test_what_says_most_is_made_first() -> None:
    order = loop.steps(2, 3)
    first, second = loop.FIRST_SEED, loop.FIRST_SEED + 1
    assert order[:2] == [(Line("selector", first, 1), False), (Line("random", first, 1), False)]
    assert order[4] == (Line("selector", first, 1), True)
    assert order[-1] == (Line("selector", second, 3), True)
    assert len(order) == 14 and len(set(order)) == 14


def test_the_command_hands_on_how_many_seeds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[object] = []

    def run(data: Sequence[Path], seeds: int) -> list[Figure]:
        seen.append((list(data), seeds))
        return [figure("share", 0.5, "%")]

    monkeypatch.setattr(loop, "run", run)
    for given in (["--seeds", "2"], []):
        result = CliRunner().invoke(cli.app, ["loop", "--data", str(tmp_path), *given, "--json"])
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["bench"] == "loop"
    assert seen == [([tmp_path], 2), ([tmp_path], loop.SEEDS)]
    assert cli.BENCHES["loop"].seeds == loop.SEEDS and cli.BENCHES["loop"].long


def test_a_study_takes_one_folder_and_two_seeds(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one folder"):
        loop.run([tmp_path, tmp_path])
    with pytest.raises(InputError, match="needs two"):
        loop.run([tmp_path], 1)
