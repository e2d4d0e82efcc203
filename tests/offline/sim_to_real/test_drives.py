"""A recorded moment among the frozen scenarios."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from contracts.errors import ConflictError, InputError
from contracts.geometry import TAXONOMY
from contracts.labels import FrameLabels, read_labels
from contracts.scenario_suite import FrozenScenario, FrozenSuite, Scenario
from models.data.drives import read_drive
from models.evaluation.predictor import Prediction
from models.student.config import student_s
from offline.gates.scenarios import Met, checked_folder, judged_scenario
from offline.sim_to_real.drives import with_recorded, write_drive
from offline.sim_to_real.recorded import Everywhere, Recorded, frames_of, pose_of, sweep_of
from offline.sim_to_real.truth import frame_labels
from tests.offline.sim_to_real.test_parts import _tracked

NS = 1_000_000_000


def recorded() -> Recorded:
    """Three sweeps of a street with one car ahead, which the ego nears by a metre each."""
    rng = np.random.default_rng(1)
    sweeps, poses, labels = [], [], []
    for k in range(3):
        mono_ns = NS + k * NS // 10
        ground = np.column_stack([rng.uniform(-30, 30, (4000, 2)), 0.02 * rng.normal(size=4000)])
        car = np.array([15.0 - k, 0.0, 0.8]) + rng.uniform(-0.9, 0.9, (300, 3)) * [2, 1, 0.8]
        points = np.concatenate([ground, car])
        poses.append(pose_of(mono_ns, np.array([float(k), 0.0, 0.0])))
        sweeps.append(sweep_of(mono_ns, points, np.full(len(points), 0.3)))
        boxes = _tracked(["Car"], np.array([[15.0 - k, 0.0, 0.8]]), k)
        labels.append(frame_labels(boxes, np.eye(4), points, poses[-1], "drive", "somebody"))
    return Recorded("A street, 1", tuple(sweeps), tuple(poses), tuple(labels), Everywhere())


SCENARIO = Scenario.model_validate({
    "name": "car-ahead", "slice": "recorded", "drive": {"recorded": "a-street-1"},
    "asks": [{"ask": "told", "who": "car", "within_m": 30, "share": 0.9}],
})  # fmt: skip
SUITE = FrozenSuite(name="road", version=4, scenarios=(
    FrozenScenario(scenario=SCENARIO.model_copy(update={"name": "other"}), folder="other",
                   frames="0" * 64, standing="must"),
))  # fmt: skip


def test_a_recording_is_a_drive_that_shows_the_same(tmp_path: Path) -> None:
    folder = write_drive(recorded(), tmp_path)
    assert folder.name == "a-street-1"
    config = student_s()
    told = list(read_drive(folder, config))
    given = list(frames_of(recorded(), config))
    assert [one.labels.record for one in told] == [one.labels.record for one in given]
    for one, two in zip(told, given, strict=True):
        assert one.frame.lidar_present
        # The clip's codec keeps points to the millimetre; a few change their cell.
        assert np.mean(np.abs(one.frame.lidar - two.frame.lidar) > 0.02) < 0.002
    with pytest.raises(ConflictError):
        write_drive(recorded(), tmp_path)


def test_a_recorded_moment_is_judged_as_any_frozen_scenario(tmp_path: Path) -> None:
    suite = with_recorded(SUITE, SCENARIO, write_drive(recorded(), tmp_path))
    assert (suite.version, len(suite.scenarios)) == (5, 2)
    assert suite.scenarios[1].standing == "target"
    held = FrozenSuite(name="road", version=5, scenarios=suite.scenarios[1:])
    folder = checked_folder(held.scenarios[0], tmp_path)
    labels = [read_labels(path) for path in sorted((folder / "labels").glob("*.npz"))]
    for sees in (True, False):
        met = [Met(one, _told(one, sees)) for one in labels]
        result = judged_scenario(held.scenarios[0], met)
        assert (result.passed, result.safety_slice) == (sees, "recorded")
    assert held.promoted(["car-ahead"]).scenarios[0].standing == "must"


def _told(labels: FrameLabels, sees: bool) -> Prediction:
    """What a model that sees all, or nothing, says."""
    config = student_s()
    boxes = labels.boxes()
    kept = np.full(len(boxes), sees)
    return Prediction(
        boxes.take(kept), np.full(int(kept.sum()), 0.9),
        np.zeros((int(kept.sum()), len(TAXONOMY.names)), np.float32), config.grid,
        np.zeros((2, config.grid.rows, config.grid.columns), np.float32), None,
        np.zeros(4, np.float32),
    )  # fmt: skip


def test_what_is_no_drive_or_is_there_already_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no labelled drive"):
        with_recorded(SUITE, SCENARIO, tmp_path)
    folder = write_drive(recorded(), tmp_path)
    with pytest.raises(InputError, match="already"):
        with_recorded(SUITE, SCENARIO.model_copy(update={"name": "other"}), folder)
