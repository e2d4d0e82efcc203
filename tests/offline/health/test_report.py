"""From clips on disk to a report, by the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.loop import app
from contracts.errors import InputError
from contracts.samples import Detection, PerceptionFrame
from offline.health.reading import read_clip, seen_figures
from offline.health.records import HealthReport
from tests.offline.health.periods import car_seen, write_period


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_period(tmp_path_factory.mktemp("before") / "clips", 1000)


def _longtail(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["health", *map(str, arguments)])


def test_a_period_that_is_another_is_told_with_its_figures(before: Path, tmp_path: Path) -> None:
    now = write_period(tmp_path / "now", 0, shift=6.0)
    out = tmp_path / "health.json"
    done = _longtail(now, "--reference", before, "--out", out, "--json")
    assert done.exit_code == 0, done.exception
    report = HealthReport.model_validate_json(out.read_text())
    assert json.loads(done.stdout) == json.loads(out.read_text())
    assert report.drift is not None
    told = {(each.cohort, each.measure): each for each in report.drift.drifted}
    assert told["all", "car a frame"].now == 3
    assert ("place=48.1,11.5", "embedding") in told
    assert ("tod=night", "embedding") in told
    assert ("software=0.1.0", "embedding") in told
    # All clips are random ones, and none has a lidar.
    assert report.selection is None
    assert report.mounts == ()
    assert report.unmeasured["selection bias"] == "no triggered clip"


def test_a_period_that_is_the_same_is_told_so(before: Path, tmp_path: Path) -> None:
    done = _longtail(write_period(tmp_path / "now", 2000), "--reference", before, "--no-mounts")
    assert done.exit_code == 0, done.exception
    assert "0 of" in done.stdout


def test_vehicles_tags_make_cohorts(before: Path, tmp_path: Path) -> None:
    tags = tmp_path / "vehicles.json"
    tags.write_text(json.dumps({"car-1": {"type": "van"}}))
    now = write_period(tmp_path / "now", 0)
    done = _longtail(now, "--reference", before, "--vehicles", tags, "--json")
    assert done.exit_code == 0, done.exception
    assert '"type=van"' in done.stdout
    tags.write_text(json.dumps({"car-1": {"type": 4}}))
    assert isinstance(_longtail(now, "--vehicles", tags).exception, InputError)


def test_triggered_clips_are_held_beside_random_ones(before: Path, tmp_path: Path) -> None:
    write_period(tmp_path / "asked", 0, shift=6.0, stream="triggered", inclusion_probability=None)
    done = _longtail(before, tmp_path / "asked", "--json")
    assert done.exit_code == 0, done.exception
    report = HealthReport.model_validate_json(done.stdout)
    assert report.selection is not None
    assert report.selection.size > 0.3
    assert report.unmeasured["drift"] == "no reference clip could be used"


def test_no_embedding_is_told_by_clip(tmp_path: Path) -> None:
    done = _longtail(write_period(tmp_path / "now", 0, embedding=None), "--json")
    assert done.exit_code == 0
    report = HealthReport.model_validate_json(done.stdout)
    assert report.drift is None
    assert sum("no embedding" in why for why in report.unmeasured.values()) == 36


def test_another_unit_is_refused(before: Path) -> None:
    done = _longtail(before, "--unit", "clip")
    assert isinstance(done.exception, InputError)


def test_a_class_that_was_not_seen_counts_as_none() -> None:
    def frame(*seen: Detection) -> PerceptionFrame:
        return PerceptionFrame("/camera/front", 0, "a" * 64, seen, 0.1, 0.9)

    told = seen_figures([frame(car_seen(), car_seen(0.4), car_seen(0.1)), frame()])
    assert told["car a frame"] == 1.0
    assert told["bus a frame"] == 0.0
    assert told["confidence"] == pytest.approx(0.6)
    assert seen_figures([]) == {}


def test_a_lidar_without_a_mount_or_motion_is_told(tmp_path: Path) -> None:
    from kernels.clip.reader import read_manifest
    from tests.sim_fleet.labelled import short_drive

    clip = next(short_drive(tmp_path).rglob("clip.mcap"))
    reading = read_clip(clip, read_manifest(clip))
    assert set(reading.mounts) == {"lidar_top"}
    assert abs(reading.mounts["lidar_top"].pitch_rad) < 1e-3
