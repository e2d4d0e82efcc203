"""Vehicles on a tour of given drives: dealt, at hours that have their light, their truth kept."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from client import CloudClient
from contracts.errors import InputError
from contracts.labels import read_labels
from contracts.samples import PoseSample
from kernels.clip.reader import read_manifest
from sim_fleet.cli import app
from sim_fleet.fleet import FleetOptions, run_fleet
from sim_fleet.fleet.clip_truth import truth_of_clips
from sim_fleet.fleet.conductor import plan_fleet
from sim_fleet.fleet.job import TruthSettings
from sim_fleet.fleet.schedule import scenario_of
from sim_fleet.fleet.server import ReceiverProcess
from sim_fleet.fleet.tour import HOURS, plan_tour
from sim_fleet.fleet.trip_source import TripOrder, TripSource
from sim_fleet.scenarios.library import load_scenario
from sim_fleet.source import START_NS, DriveOptions
from sim_fleet.trials import RECIPES, TrialsSpec, read_trials
from tests.sim_fleet.labelled import short_drive


def tour(*drives: dict[str, object]) -> TrialsSpec:
    return TrialsSpec.model_validate({
        "apiVersion": "longtail/trials/v1", "name": "tour",
        "drives": [{"slice": "one", "seconds": 3, **drive} for drive in drives],
    })  # fmt: skip


def test_every_drive_is_dealt_once_at_an_hour_that_has_its_light() -> None:
    spec = read_trials(RECIPES / "new-town.yaml")
    spec = spec.model_copy(update={"drives": (*spec.drives, *read_trials(
        RECIPES / "old-roads.yaml").drives)})  # fmt: skip
    plans = plan_tour(spec, 4, 7)
    assert plans == plan_tour(spec, 4, 7) != plan_tour(spec, 4, 8)
    driven = [trip for plan in plans for trip in plan.trips if trip.drive_s > 0]
    wanted = sorted(drive.name for _, drive in spec.single())
    assert sorted(trip.drive.name for trip in driven if trip.drive is not None) == wanted
    for trip in driven:
        first, last = HOURS[trip.tod]
        assert first <= trip.start_s / 3600 and trip.end_s / 3600 <= last
        assert trip.drive is not None and scenario_of(trip) == trip.drive.scenario
    for plan in plans:
        assert [trip.index for trip in plan.trips] == list(range(len(plan.trips)))
        assert plan.trips[-1].drive_s == 0 and plan.trips[-2].then == "garage"
        for trip, after in zip(plan.trips[:-1], plan.trips[1:], strict=True):
            assert trip.parked_s == pytest.approx(after.start_s - trip.end_s) and trip.parked_s > 60


def test_a_tour_that_cannot_be_driven_is_refused(tmp_path: Path) -> None:
    two = tour({"scenario": "cut-in", "seeds": [1, 1]},
               {"scenario": "cut-in", "seeds": [2, 1], "vehicle_type": "van"})  # fmt: skip
    with pytest.raises(InputError, match="2 types of vehicle"):
        plan_tour(two, 1, 0)
    assert [plan.vehicle_type for plan in plan_tour(two, 5, 0)] == ["car", "van"]
    dusk = tour({"scenario": "everyday-city", "seeds": [1, 50], "tod": "dusk"})
    with pytest.raises(InputError, match="50 drives by dusk are too many"):
        plan_tour(dusk, 1, 0)
    options = FleetOptions(tmp_path / "out", vehicles=2, tour=two)
    assert options.carried == "s" and len(plan_fleet(options)) == 2
    with pytest.raises(InputError, match="sensors s or m"):
        run_fleet(FleetOptions(tmp_path / "out", truth=tmp_path / "truth"))


def test_a_trip_leaves_its_truth(tmp_path: Path) -> None:
    options = DriveOptions(load_scenario("everyday-city"), 7, "s", 1.2)
    order = TripOrder("sim-001-t0-1", 1_750_000_000_000_000_000, skip_s=0.5)
    source = TripSource(options, order, lambda _: None, lambda: None, lambda: None,
                        TruthSettings(folder=tmp_path, every_s=0.2))  # fmt: skip
    poses = {s.mono_ns for s in source.samples() if isinstance(s, PoseSample)}
    files = sorted((tmp_path / "sim-001-t0-1" / "labels").iterdir())
    instants = [int(path.stem) for path in files]
    assert instants == [START_NS + round(t * 1e8) for t in (6, 8, 10)]
    assert poses.issuperset(instants)
    record = read_labels(files[0]).record
    assert record.drive_id == "sim-001-t0-1" and record.provenance.source == "oracle"
    assert record.boxes and record.tags["scenario"] == "everyday-city"


def test_a_clip_gets_the_truth_of_its_own_instants(tmp_path: Path) -> None:
    drive = short_drive(tmp_path / "made")
    manifest = read_manifest(drive / "clip.mcap")
    known = tmp_path / "truth" / manifest.drive_id / "labels"
    known.mkdir(parents=True)
    labels = sorted((drive / "labels").iterdir())
    for path in labels:
        (known / path.name).write_bytes(path.read_bytes())
    for outside in (manifest.actual.start_mono_ns - 1, manifest.actual.end_mono_ns + 1):
        (known / f"{outside}.npz").write_bytes(b"not of this clip")
    pulled = tmp_path / "clips" / "abc123.mcap"
    pulled.parent.mkdir()
    pulled.write_bytes((drive / "clip.mcap").read_bytes())
    asked = ["truth", str(pulled), str(drive), "--truth", str(tmp_path / "truth"),
             "--out", str(tmp_path / "out")]  # fmt: skip
    told = CliRunner().invoke(app, asked)
    assert told.exit_code == 0 and "2 clips, 4 true instants" in told.stdout, told.output
    for name in ("abc123", drive.name):
        folder = tmp_path / "out" / name
        assert sorted(p.name for p in (folder / "labels").iterdir()) == [p.name for p in labels]
        assert (folder / "clip.mcap").read_bytes() == pulled.read_bytes()
    again = truth_of_clips([pulled], tmp_path / "truth", tmp_path / "out")
    assert [(one.folder.name, one.instants) for one in again] == [("abc123", 2)]
    with pytest.raises(InputError, match="no truth of its drive"):
        truth_of_clips([pulled], tmp_path / "made", tmp_path / "other")


@pytest.fixture
def out() -> Iterator[Path]:
    """A folder that PostgreSQL can reach when root runs the tests; pytest's own is closed."""
    with tempfile.TemporaryDirectory(prefix="longtail-fleet-") as folder:
        yield Path(folder)


@pytest.mark.soak
def test_what_a_fleet_on_tour_sends_has_its_truth(out: Path) -> None:
    spec = tour({"scenario": "sudden-brake-ahead", "seeds": [1, 2], "seconds": 8})
    with ReceiverProcess(out / "own") as receiver:
        options = FleetOptions(
            out / "run", vehicles=2, tour=spec, truth=out / "truth", url=receiver.url
        )
        report = run_fleet(replace(options, workers=1))
        assert report.holds and report.sensors == "s"
        assert report.driven_s == 16.0 and [v.trips for v in report.vehicles] == [1, 1]
        cloud = CloudClient(receiver.url)
        rows = list(cloud.search(""))
        assert rows
        (out / "clips").mkdir()
        for row in rows:
            cloud.pull(row.clip_id, out / "clips")
    found = truth_of_clips([out / "clips"], out / "truth", out / "true")
    assert len(found) == len(rows) and all(one.instants > 20 for one in found)
