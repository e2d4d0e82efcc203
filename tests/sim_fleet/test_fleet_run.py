"""Whole fleets: real agents, a real receiver, links and faults; then every invariant."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from contracts.errors import InputError
from sim_fleet.cli import app
from sim_fleet.fleet import FleetOptions, FleetReport, load_faults, run_fleet
from sim_fleet.fleet.conductor import inapplicable
from sim_fleet.fleet.faults import FaultSpec
from tests.edge_agent.bev_models import write_tiny


@pytest.fixture
def out() -> Iterator[Path]:
    """A folder that PostgreSQL can reach when root runs the tests; pytest's own is closed."""
    with tempfile.TemporaryDirectory(prefix="longtail-fleet-") as folder:
        yield Path(folder) / "run"


def check(report: FleetReport) -> None:
    assert [(each.name, each.problems) for each in report.invariants if not each.holds] == []
    assert len(report.invariants) == 9
    assert report.stalls == 0


def test_two_vehicles_an_hour_two_faults(out: Path) -> None:
    faults = ["--vehicles", "2", "--hours", "1", "--drive-minutes-per-day", "20", "--seed", "10"]
    told = CliRunner().invoke(
        app, ["run", *faults, "--faults", str(_script(out)), "--out", str(out), "--json"]
    )
    assert told.exit_code == 0, told.output
    report = FleetReport.model_validate_json((out / "report.json").read_text())
    shown = json.loads(told.stdout)
    assert shown["vehicles"] == json.loads(report.model_dump_json())["vehicles"]
    check(report)
    assert (out / "timeline.png").stat().st_size > 10_000
    assert all(fault.at_s is not None for fault in report.faults)
    assert {fault.kind for fault in report.faults} == {"power_cut", "sensor_dropout"}
    assert report.driven_s == pytest.approx(100, abs=25)
    for vehicle in report.vehicles:
        # Everybody is home: nothing waits any more.
        assert vehicle.clips == vehicle.uploaded + vehicle.evicted and vehicle.in_spool == 0
    assert sum(vehicle.uploaded for vehicle in report.vehicles) > 0
    cut = next(fault for fault in report.faults if fault.kind == "power_cut")
    rows = {vehicle.vehicle_id: vehicle for vehicle in report.vehicles}
    assert rows[cut.vehicle_id].starts == rows[cut.vehicle_id].trips + 2


def _script(out: Path) -> Path:
    path = out.parent / "own.yaml"
    path.write_text(
        "apiVersion: longtail/sim-faults/v1\nfaults:\n"
        "  - {kind: power_cut, during: drive}\n"
        "  - {kind: sensor_dropout, channels: ['/signals/*'], lasting: 3s}\n"
    )
    return path


def test_what_cannot_be_run_is_refused_before_it_starts(out: Path) -> None:
    drift = (FaultSpec(kind="extrinsics_drift"),)
    with pytest.raises(InputError, match="light sensors"):
        run_fleet(FleetOptions(out, faults=drift))
    assert not out.exists()
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        run_fleet(FleetOptions(out, hours=1))
    assert (out / "thesis.txt").exists()


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(3))
def test_eight_vehicles_a_day_every_fault(out: Path, seed: int) -> None:
    options = FleetOptions(out, vehicles=8, hours=24.0, seed=seed)
    faults = tuple(f for f in load_faults("all") if not inapplicable(f, options))
    report = run_fleet(replace(options, faults=faults))
    check(report)
    # One that waits for an upload or a pack may find none on its trips; each kind has several.
    struck = {fault.kind for fault in report.faults if fault.at_s is not None}
    assert struck == {fault.kind for fault in report.faults}, report.faults
    assert report.server_restarts >= 1


@pytest.mark.soak
def test_agent_and_planner_see_by_one_model(out: Path, tmp_path: Path) -> None:
    """An untrained network: what it sees is worth nothing, that both run on it is the point."""
    options = FleetOptions(
        out, vehicles=1, hours=0.5, seed=2, sensors="s", drive_minutes_per_day=24.0,
        model=write_tiny(tmp_path),
    )  # fmt: skip
    report = run_fleet(options)
    check(report)
    assert report.vehicles[0].driven_s >= 15
    status = json.loads((out / "vehicles/sim-001/state/status.json").read_text())
    assert status["model"] is not None
    with pytest.raises(InputError, match="sensors s or m"):
        run_fleet(replace(options, sensors="light"))


@pytest.mark.soak
def test_the_same_seed_gives_the_same_fires(out: Path) -> None:
    """The server's interleaving may differ; what vehicles do and see may not."""
    faults = load_faults("clock-jump,sensor-dropout,corrupted-part")
    options = FleetOptions(out, vehicles=2, hours=24.0, seed=5, faults=faults)
    seen = []
    for _ in range(2):
        report = run_fleet(options)
        check(report)
        fires = {(m.vehicle_id, m.what, round(m.at_s, 1)) for m in report.moments
                 if m.what in ("fire", "suppressed")}  # fmt: skip
        seen.append((fires, [(v.km, v.disengagements, v.fires) for v in report.vehicles]))
    assert seen[0] == seen[1]


@pytest.mark.soak
def test_eight_vehicles_twenty_minutes_all_sensors(out: Path) -> None:
    options = FleetOptions(
        out, vehicles=8, hours=1 / 3, seed=1, sensors="s", drive_minutes_per_day=1150.0,
        faults=load_faults("all"),
    )  # fmt: skip
    report = run_fleet(options)
    check(report)
    assert all(fault.at_s is not None for fault in report.faults), report.faults
