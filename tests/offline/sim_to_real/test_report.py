"""The whole report, by the command: on recordings where these are at hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from cli.loop import app
from contracts.errors import InputError
from offline.sim_to_real.records import SimToReal
from offline.sim_to_real.report import PAGE_FILE, REPORT_FILE, recordings
from tests.sim_fleet.labelled import short_drive

MODEL = Path(__file__).resolve().parents[3] / "models" / "zoo" / "student-s.onnx"


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return short_drive(tmp_path_factory.mktemp("short"))


def _longtail(*arguments: object) -> Result:
    told = ["sim-to-real", "--model", MODEL, *arguments]
    return CliRunner().invoke(app, list(map(str, told)))


def test_simulated_drives_alone_are_measured(drive: Path, tmp_path: Path) -> None:
    done = _longtail("--simulated", drive, "--out", tmp_path, "--json")
    assert done.exit_code == 0, done.exception
    report = SimToReal.model_validate_json((tmp_path / REPORT_FILE).read_text())
    assert json.loads(done.stdout) == json.loads((tmp_path / REPORT_FILE).read_text())
    (one,) = report.sets
    assert (one.kind, one.frames, one.sensors) == ("simulated", 2, ("lidar", "radar", "camera"))
    vehicles = [f for f in one.figures if f.group == "vehicle"]
    assert [f.range_m for f in vehicles] == ["all", "0-20", "20-40", "40-80"]
    assert vehicles[0].truths == sum(f.truths for f in vehicles[1:])
    assert one.inputs.points["0-20"] > one.inputs.points["20-40"] > 0
    obstacles = [f for f in one.figures if f.group == "obstacle"]
    assert all(f.ap is None and f.truths == 0 for f in obstacles)
    assert (tmp_path / PAGE_FILE).read_text().startswith("<!doctype html>")


def test_nothing_to_measure_is_refused(tmp_path: Path) -> None:
    assert isinstance(_longtail("--out", tmp_path).exception, InputError)
    empty = tmp_path / "empty"
    empty.mkdir()
    done = _longtail("--real", empty, "--out", tmp_path)
    assert "neither an Argoverse" in str(done.exception)


def test_real_sweeps_are_measured_beside_simulated_ones_with_as_few_sensors(
    shared_data: Path, drive: Path, tmp_path: Path
) -> None:
    done = _longtail("--real", shared_data / "av2", "--simulated", drive, "--out", tmp_path)
    assert done.exit_code == 0, done.exception
    report = SimToReal.model_validate_json((tmp_path / REPORT_FILE).read_text())
    real, whole, blind = report.sets
    assert (real.kind, real.frames, real.sensors) == ("real", 2, ("lidar",))
    assert blind.name == "simulated, only lidar"
    assert (whole.sensors, blind.sensors) == (("lidar", "radar", "camera"), ("lidar",))
    assert blind.inputs == whole.inputs
    assert sum(f.truths for f in real.figures if f.range_m == "all") > 50
    assert real.notes == ("2 of 156 annotated frames have a sweep at hand",)


def test_real_sweeps_stand_on_the_ground(shared_data: Path) -> None:
    """An Argoverse log's ego frame lies in its rear axle: a wheel's radius over the road."""
    from offline.health.ground_tilt import ground_tilt

    found = list(recordings([shared_data / "av2", shared_data / "kitti_tracking"]))
    assert [len(each.sweeps) for each in found] == [2, 30]
    for each in found:
        tilts = [ground_tilt(s.xyz_m.astype(np.float64), np.array([1.0, 0, 1.7]))
                 for s in each.sweeps[::5]]  # fmt: skip
        heights = [tilt.height_m for tilt in tilts if tilt is not None]
        assert abs(np.median(heights)) < 0.03
    # The KITTI vehicle rolls on at a little over 3 m/s.
    places = np.array([pose.position_m[:2] for pose in found[1].poses])
    steps = np.hypot(*np.diff(places, axis=0).T)
    assert steps.min() > 0.25
    assert steps.max() < 0.45
