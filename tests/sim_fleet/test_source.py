"""The source: the same bytes for the same seed, and an agent that takes all of them."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from contracts.errors import InputError
from contracts.samples import (
    CalibrationSample,
    ImageSample,
    LidarSample,
    PlanSample,
    PoseSample,
    RadarSample,
    Sample,
    SignalSample,
)
from edge_agent.app import Agent
from edge_agent.config import AgentConfig
from edge_agent.drive.door import Door
from sim_fleet.scenarios.library import load_scenario
from sim_fleet.source import DriveOptions, SimFleetSource
from tests.sim_fleet.support import digest, digest_of_all

ROOT = Path(__file__).resolve().parents[2]
DRIVE = ("cyclist-at-night-in-rain", 5, "s", 0.5)


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    name, seed, sensor_set, seconds = DRIVE
    options = DriveOptions(load_scenario(name), seed, sensor_set, seconds)
    return list(SimFleetSource(options).samples())


def test_the_same_seed_gives_the_same_bytes_in_another_process() -> None:
    code = (
        "from tests.sim_fleet.support import digest_of_all\n"
        f"print(digest_of_all{DRIVE!r})"
    )  # fmt: skip
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    assert told == digest_of_all(*DRIVE)
    assert told != digest_of_all(DRIVE[0], 6, *DRIVE[2:])


def test_rates_order_and_door(samples: list[Sample]) -> None:
    assert all(a.mono_ns <= b.mono_ns for a, b in itertools.pairwise(samples))
    door = Door()
    assert [rejected for sample in samples if (rejected := door.check(sample))] == []
    kinds = (CalibrationSample, ImageSample, LidarSample, PlanSample, PoseSample, RadarSample)
    counts = {kind: sum(isinstance(s, kind) for s in samples) for kind in kinds}
    assert counts == {CalibrationSample: 4, ImageSample: 20, LidarSample: 5, PlanSample: 5,
                      PoseSample: 25, RadarSample: 5}  # fmt: skip
    name, seed, sensor_set, seconds = DRIVE
    told = SimFleetSource(DriveOptions(load_scenario(name), seed, sensor_set, seconds)).describe()
    assert {s.name for s in samples if isinstance(s, SignalSample)} <= told.signals
    assert {s.channel for s in samples if isinstance(s, ImageSample)} == set(told.camera_channels)
    assert told.labels["weather"] == "rain" and told.labels["tod"] == "night"


def test_leaving_sensors_out_changes_nothing_else(samples: list[Sample]) -> None:
    name, seed, _, seconds = DRIVE
    light = SimFleetSource(DriveOptions(load_scenario(name), seed, "light", seconds)).samples()
    rest = [s for s in samples if isinstance(s, SignalSample | PoseSample | PlanSample)]
    alone = [s for s in light if isinstance(s, SignalSample | PoseSample | PlanSample)]
    assert [digest(s) for s in rest] == [digest(s) for s in alone]


def test_the_agent_drives_on_it_unchanged(tmp_path: Path) -> None:
    options = DriveOptions(load_scenario("sudden-brake-ahead"), 2, "light", 8.0)
    config = AgentConfig(state=tmp_path, ring="32MB")
    agent = Agent(config, SimFleetSource(options), "sim_fleet")
    report = asyncio.run(agent.run(stay=False))
    assert report.finished and not report.rejected
    assert report.samples["SignalSample"] > 8000
    assert report.samples["PlanSample"] == 80
    assert report.drive_s == pytest.approx(7.98, abs=0.03)


def test_sensors_of_a_truck_sit_higher() -> None:
    spec = load_scenario(DRIVE[0])
    low, high = (
        SimFleetSource(DriveOptions(spec, 1, "s", 0.1, vehicle_type=kind)).rig.cameras[0].mount.z_m
        for kind in ("car", "truck")
    )
    assert high == pytest.approx(low + 1.3)
    with pytest.raises(InputError, match="did you mean 'truck'"):
        SimFleetSource(DriveOptions(spec, 1, "s", 0.1, vehicle_type="trucks"))
