"""Closed-loop trials: what counts as critical, what is counted, kept, and compared."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from contracts.errors import CorruptError, InputError
from contracts.samples import Float64s
from sim_fleet.classes import SHAPE_KIND, SHAPE_SIZE_M, Kind, Shape
from sim_fleet.cli import app
from sim_fleet.drivers.perceivers import BlindSpotPerceiver, TruthPerceiver
from sim_fleet.drivers.ports import Perceived
from sim_fleet.scenarios.library import load_scenario
from sim_fleet.source import DriveOptions, SimFleetSource
from sim_fleet.trials import (
    RECIPES,
    DriveCounts,
    TrialsReport,
    TrialsSpec,
    compared,
    read_trials,
    run_trials,
)
from sim_fleet.trials.counting import Counting, Overheard, touched
from sim_fleet.trials.criticality import judge, reach_m
from sim_fleet.world.oracle import OracleFrame
from tests.edge_agent.bev_models import write_tiny
from tests.sim_fleet.support import drive_of

STRAIGHT = np.column_stack([1.35 + 2.0 * np.arange(60), *np.zeros((2, 60)), 2.0 * np.arange(60)])
"""A straight way ahead, from the ego's middle."""

FRAME = drive_of("everyday-country").observe()


def truth_with(
    *others: tuple[Shape, float, float, float, float], shown: float = 1.0
) -> OracleFrame:
    """An instant at 10 m/s with others by shape, x, y, speed ahead, speed to the left."""
    rows = np.array([row[1:] for row in others], np.float64).reshape(-1, 4)
    sizes = np.array([SHAPE_SIZE_M[row[0]] for row in others], np.float64).reshape(-1, 3)
    count = len(others)
    return replace(
        FRAME, ego=replace(FRAME.ego, speed_mps=10.0), track_id=np.arange(count),
        kind=np.array([SHAPE_KIND[row[0]] for row in others], np.int64),
        centre_ego_m=np.column_stack([rows[:, :2], sizes[:, 2] / 2]), size_m=sizes,
        yaw_ego_rad=np.zeros(count), velocity_ego_mps=rows[:, 2:],
        visibility=np.ones(count),
    )  # fmt: skip


def told(*objects: tuple[Kind, float, float]) -> Perceived:
    count = len(objects)
    xy: Float64s = np.array([o[1:] for o in objects], np.float64).reshape(-1, 2)
    return Perceived(xy, np.zeros(count), np.full((count, 2), 1.0), np.zeros((count, 2)),
                     np.array([o[0] for o in objects], np.int64), False)  # fmt: skip


def test_what_is_in_the_way_or_about_to_be_is_critical() -> None:
    assert [reach_m(speed) for speed in (0.0, 10.0, 30.0)] == [30.0, 40.0, 60.0]
    truth = truth_with(
        (Shape.CAR, 30.0, 0.0, 10.0, 0.0),  # ahead
        (Shape.CAR, 60.0, 0.0, 10.0, 0.0),  # too far
        (Shape.CAR, -8.0, 0.0, 10.0, 0.0),  # behind
        (Shape.CAR, 20.0, 3.5, -10.0, 0.0),  # oncoming, in its lane
        (Shape.PEDESTRIAN, 25.0, -4.0, 0.0, 1.5),  # will step in
        (Shape.PEDESTRIAN, 25.0, -4.0, 0.0, -1.5),  # walks away
        (Shape.CYCLIST, 12.0, -1.6, 5.0, 0.0),  # at the lane's edge
        (Shape.CONE, 15.0, 0.0, 0.0, 0.0),
        (Shape.CAR, 55.0, 0.0, -10.0, 0.0),  # comes near, and is still far
    )
    assert judge(STRAIGHT, truth, told()).critical.tolist() == [0, 4, 6]
    hidden = replace(truth, visibility=np.full(9, 0.2))
    assert not judge(STRAIGHT, hidden, told()).critical.size
    fog = replace(truth, conditions=replace(truth.conditions, visibility_m=22.0))
    assert judge(STRAIGHT, fog, told()).critical.tolist() == [6]
    bend = STRAIGHT.copy()
    bend[:, 1] = 0.01 * bend[:, 0] ** 2
    bend[:, 2] = np.arctan(0.02 * bend[:, 0])
    assert judge(bend, truth, told()).critical.tolist() == [3]


def test_missed_misnamed_and_phantoms() -> None:
    truth = truth_with(
        (Shape.MOTORCYCLE, 20.0, 0.0, 9.0, 0.0), (Shape.CYCLIST, 30.0, 0.5, 9.0, 0.0),
        (Shape.BUS, 40.0, 0.0, 9.0, 0.0), (Shape.CONE, 10.0, 0.0, 0.0, 0.0),
    )  # fmt: skip
    found = judge(STRAIGHT, truth, told(
        (Kind.CAR, 21.0, 0.2), (Kind.CYCLIST, 31.0, 0.0), (Kind.CAR, 31.0, 0.9),
        (Kind.CAR, 35.0, 0.0), (Kind.CAR, 10.5, 0.0), (Kind.DEBRIS, 15.0, 0.0),
        (Kind.DEBRIS, 15.0, 6.0), (Kind.DEBRIS, 70.0, 0.0),
    ))  # fmt: skip
    assert found.critical.tolist() == [0, 1, 2]
    # The bus is told 5 m from its middle: missed, yet nothing that is not there was told.
    assert found.missed.tolist() == [False, False, True]
    assert found.misnamed.tolist() == [True, False, False]
    assert found.phantoms.tolist() == [5]


def test_footprints_that_overlap_touch() -> None:
    truth = truth_with(
        (Shape.CAR, 5.5, 0.0, 0.0, 0.0), (Shape.CAR, 6.2, 0.0, 0.0, 0.0),
        (Shape.PEDESTRIAN, 1.0, 1.1, 0.0, 0.0), (Shape.PEDESTRIAN, 1.0, 1.3, 0.0, 0.0),
    )  # fmt: skip
    assert touched(truth).tolist() == [0, 2]


def counted(perceiver: TruthPerceiver, seconds: float) -> DriveCounts:
    overheard = Overheard(perceiver)
    counting = Counting(overheard)
    options = DriveOptions(load_scenario("child-behind-parked-van"), 0, "light", seconds,
                           perceiver=overheard)  # fmt: skip
    ticks = []
    source = SimFleetSource(options, lambda tick: (ticks.append(tick), counting.see(tick))[0])
    for _ in source.samples():
        pass
    counts = counting.counts()
    engaged = [tick.wheel.engaged for tick in ticks]
    assert counts.all_disengagements == sum(
        before and not after for before, after in pairwise(engaged)
    )
    assert counts.engaged_s == pytest.approx(sum(engaged) * 0.02)
    assert counts.driven_s == seconds and counts.driven_m > 10.0
    assert counts.instants == 2 * (seconds - 1)
    return counts


def test_one_who_is_blind_to_people_is_taken_over_and_misses_them() -> None:
    blind = counted(BlindSpotPerceiver(frozenset({Kind.PEDESTRIAN})), 6.0)
    assert blind.all_disengagements >= 1
    assert blind.missed["pedestrian"] == blind.critical["pedestrian"] > 0
    assert set(blind.missed) == {"pedestrian"} and not blind.phantoms
    sees = counted(TruthPerceiver(), 6.0)
    assert not sees.missed and not sees.misnamed and not sees.phantoms
    assert sees.critical["pedestrian"] > 0


RECIPE = """apiVersion: longtail/trials/v1
name: tiny
drives:
  - {slice: one, scenario: everyday-city, seeds: [1, 2], seconds: 3}
  - {slice: other, scenario: cut-in, seeds: [1, 1], seconds: 3, tod: night, weather: {kind: rain}}
"""


@pytest.fixture
def spec(tmp_path: Path) -> TrialsSpec:
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE)
    return read_trials(path)


def test_a_recipe_is_strict(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    for text, problem in (
        (RECIPE.replace("everyday-city", "everyday-town"), "4:28: no scenario 'everyday-town'"),
        (RECIPE.replace("slice: one, ", ""), "4:5: key 'slice' is missing"),
        (RECIPE.replace("tod: night", "time: night"), "5:65: unknown key 'time'"),
        (RECIPE.replace("cut-in", "everyday-city"), "5:52: everyday-city-1 is driven already"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=problem):
            read_trials(path)


def test_published_recipes_are_sound() -> None:
    for path in sorted(RECIPES.glob("*.yaml")):
        assert 20 <= len(list(read_trials(path).single())) <= 40, path


def test_trials_are_driven_once(spec: TrialsSpec, tmp_path: Path) -> None:
    lines: list[str] = []
    first = run_trials(
        spec, "truth", workers=1, folder=tmp_path, told=lambda *words: lines.append(str(words))
    )
    assert lines == [str((n, 3, d.name)) for n, d in enumerate(first.drives, 1)]
    assert [(d.name, d.slice) for d in first.drives] == [
        ("everyday-city-1", "one"), ("everyday-city-2", "one"), ("cut-in-1", "other"),
    ]  # fmt: skip
    assert first.model == "truth" and first.total("one").driven_s == 6.0
    assert first.total().driven_m == pytest.approx(sum(d.counts.driven_m for d in first.drives))
    assert TrialsReport.model_validate_json(first.model_dump_json()) == first
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.json")}
    assert len(kept) == 3
    assert run_trials(spec, "truth", workers=1, folder=tmp_path) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.json")} == kept
    # Two processes, nothing kept: the same.
    assert run_trials(spec, "truth", workers=2) == first
    next(iter(kept)).write_text("{}")
    with pytest.raises(CorruptError, match="no counts"):
        run_trials(spec, "truth", workers=1, folder=tmp_path)


def test_a_model_drives_and_is_compared(spec: TrialsSpec, tmp_path: Path) -> None:
    model = write_tiny(tmp_path)
    short = spec.model_copy(update={"drives": spec.drives[1:]})
    found = run_trials(short, model, workers=1)
    assert found.model != "truth" and found.manifest_digest is not None
    assert found.drives[0].counts.instants == 4
    with pytest.raises(InputError, match="no model"):
        run_trials(short, tmp_path / "none.onnx", workers=1)
    with pytest.raises(InputError, match="different recipes"):
        compared(run_trials(spec, "truth", workers=1), found, 0)


def test_what_changes_is_told_with_its_interval(spec: TrialsSpec) -> None:
    before = run_trials(spec, "truth", workers=1)

    def with_missed(report: TrialsReport, missed: int, critical: int) -> TrialsReport:
        drives = tuple(
            drive.model_copy(update={"counts": drive.counts.model_copy(update={
                "missed": {"car": missed + i}, "critical": {"car": critical},
            })}) for i, drive in enumerate(report.drives)
        )  # fmt: skip
        return report.model_copy(update={"drives": drives})

    found = compared(with_missed(before, 10, 20), with_missed(before, 4, 20), 3)
    missed = found.figure("critical_missed_ratio")
    assert missed.before.value == pytest.approx(33 / 60)
    assert missed.after.value == pytest.approx(15 / 60)
    assert missed.change.value == pytest.approx(15 / 33 - 1, abs=1e-4)
    assert missed.change.low is not None and missed.change.high is not None
    # Drive by drive the gap is the same, so no draw of drives can change it.
    assert missed.gap.low == missed.gap.high == -0.3
    alone = found.figure("critical_missed_ratio", "other")
    assert alone.before.value == 0.6 and alone.change.low is None
    assert found.figure("phantoms_per_min").change.value is None
    assert compared(with_missed(before, 10, 20), with_missed(before, 4, 20), 3) == found
    with pytest.raises(InputError, match="no figure 'speed'"):
        found.figure("speed")


def test_the_command_tells_all_of_it(tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(RECIPE)
    asked = ["trials", str(recipe), "--truth", "--workers", "1", "--out", str(tmp_path / "out")]
    told_ = CliRunner().invoke(app, [*asked, "--json"])
    assert told_.exit_code == 0, told_.output
    (report,) = json.loads(told_.stdout)["reports"]
    assert report["total"]["driven_s"] == 9.0 and set(report["slices"]) == {"one", "other"}
    written = TrialsReport.model_validate_json((tmp_path / "out/tiny-truth.json").read_text())
    assert written.total().driven_s == 9.0
    shown = CliRunner().invoke(app, asked)
    assert shown.exit_code == 0 and "taken over" in shown.stdout and "other" in shown.stdout
    nobody = CliRunner().invoke(app, ["trials", str(recipe), "--out", str(tmp_path)])
    assert isinstance(nobody.exception, InputError)
