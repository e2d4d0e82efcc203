"""The planner drives from what a model sees: no peeking, the same for the same seed, run once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from contracts.channels import BEV
from contracts.errors import InputError
from contracts.samples import (
    CalibrationSample,
    Detection,
    Float32s,
    ImageSample,
    LidarSample,
    MountSample,
    PerceptionFrame,
    PlanSample,
    PoseSample,
    RadarSample,
)
from edge_agent.app import Agent
from edge_agent.config import AgentConfig
from edge_agent.perception.bev import OnnxBevModel
from edge_agent.perception.runtime import load_model
from edge_agent.perception.sessions import SharedSessions
from kernels.bev.window import BevTensors
from sim_fleet.classes import Kind
from sim_fleet.drivers.perceivers import TruthPerceiver
from sim_fleet.drivers.ports import Moment, Perceived
from sim_fleet.drivers.student import (
    ACT_PROBABILITY,
    ANIMAL_M,
    STOP_PROBABILITY,
    StudentPerceiver,
)
from sim_fleet.scenarios.library import load_scenario
from sim_fleet.source import DriveOptions, SimFleetSource
from tests.edge_agent.bev_models import CONFIG, SPEC, cuboid_seen, manifest, write_tiny
from tests.sim_fleet.support import digest

OPTIONS = DriveOptions(load_scenario("sudden-brake-ahead"), 3, "s", 0.5)


class Made:
    """A model that sees the given detections in every frame."""

    digest = "ab" * 32
    class_names = CONFIG.taxonomy.names
    spec = SPEC

    def __init__(self, found: tuple[Detection, ...], light: Float32s) -> None:
        self._found, self._light = found, light

    def perceive(self, tensors: BevTensors, mono_ns: int) -> PerceptionFrame:
        return PerceptionFrame(BEV, mono_ns, self.digest, self._found, 0.0, 1.0, None, self._light)


class Watching(TruthPerceiver):
    """Sees the truth and keeps what it was given."""

    wants_samples = True

    def __init__(self) -> None:
        super().__init__()
        self.moments: list[Moment] = []

    def perceive(self, moment: Moment) -> Perceived:
        self.moments.append(moment)
        return super().perceive(moment)


def between(named: str, other: str, probability: float, x_m: float, y_m: float = 0.0) -> Detection:
    """One of two classes, the named one a little likelier."""
    share = np.zeros(len(CONFIG.taxonomy.names), np.float32)
    share[CONFIG.taxonomy.index(named)] += 0.55
    share[CONFIG.taxonomy.index(other)] += 0.45
    return replace(cuboid_seen(named, probability, x_m, y_m), distribution=share)


def test_all_samples_of_an_instant_come_before_the_plan() -> None:
    watching = Watching()
    samples = list(SimFleetSource(replace(OPTIONS, perceiver=watching)).samples())
    sensors = (CalibrationSample, MountSample, PoseSample, LidarSample, ImageSample, RadarSample)
    told = [s for moment in watching.moments for s in moment.samples if isinstance(s, sensors)]
    last_ns = max(s.mono_ns for s in told)
    emitted = [s for s in samples if isinstance(s, sensors) and s.mono_ns <= last_ns]
    assert sorted(map(digest, told)) == sorted(map(digest, emitted))
    first, second = watching.moments[:2]
    counts = {kind: sum(isinstance(s, kind) for s in first.samples) for kind in sensors}
    assert counts == {CalibrationSample: 4, MountSample: 1, PoseSample: 1, LidarSample: 1,
                      ImageSample: 4, RadarSample: 1}  # fmt: skip
    assert sum(isinstance(s, PoseSample) for s in second.samples) == 5
    # Who listens changes nothing of what is recorded.
    plain = [digest(s) for s in SimFleetSource(OPTIONS).samples()]
    assert [digest(s) for s in samples] == plain


def test_what_is_likely_enough_is_driven_for() -> None:
    found = (
        between("road_worker", "road_worker", ACT_PROBABILITY + 0.01, 9.0, -1.0),
        between("car", "car", ACT_PROBABILITY - 0.01, 20.0),
        # Hardly either of them by itself, and yet somebody.
        between("motorcycle", "cyclist", ACT_PROBABILITY - 0.15, 30.0),
    )
    red = np.array([0.45, 0.03, 0.02, 0.5], np.float32)
    perceiver = StudentPerceiver(Made(found, red))
    told = Watching()
    list(SimFleetSource(replace(OPTIONS, perceiver=told, duration_s=0.1)).samples())
    seen = perceiver.perceive(told.moments[0])
    assert seen.kind.tolist() == [Kind.ROAD_WORKER, Kind.MOTORCYCLE]
    assert seen.xy_m.tolist() == [[9.0, -1.0], [30.0, 0.0]]
    assert seen.size_m[0].tolist() == [4.5, 1.8] and seen.yaw_rad[0] == 0.25
    assert seen.velocity_mps[0].tolist() == [3.0, -0.5]
    assert seen.red_ahead and red[2] + red[3] >= STOP_PROBABILITY
    # Cattle may turn on the spot, however small they seem.
    calf = between("animal", "animal", 0.9, 15.0)
    assert calf.cuboid is not None
    small = replace(calf, cuboid=replace(calf.cuboid, size_m=(0.9, 0.4, 1.2)))
    wide = StudentPerceiver(Made((small,), red)).perceive(told.moments[0])
    assert wide.kind.tolist() == [Kind.ANIMAL] and wide.size_m.tolist() == [[ANIMAL_M, ANIMAL_M]]
    green = StudentPerceiver(Made((), np.array([0.2, 0.5, 0.1, 0.2], np.float32)))
    assert not green.perceive(told.moments[0]).red_ahead
    # Without a pose there is no answer, and nothing is there.
    blind = StudentPerceiver(Made(found, red))
    rest = [s for s in told.moments[0].samples if not isinstance(s, PoseSample)]
    nothing = blind.perceive(Moment(told.moments[0].truth, rest))
    assert nothing.kind.size == 0 and not nothing.red_ahead and blind.last is None
    assert nothing.xy_m.shape == (0, 2) and nothing.velocity_mps.shape == (0, 2)
    strange = Made((), red)
    strange.class_names = ("car", "unicorn")  # type: ignore[assignment]
    with pytest.raises(InputError, match="unicorn"):
        StudentPerceiver(strange)


def test_the_truth_is_not_looked_at() -> None:
    told = Watching()
    list(SimFleetSource(replace(OPTIONS, perceiver=told, duration_s=0.1)).samples())
    perceiver = StudentPerceiver(Made((cuboid_seen(),), np.zeros(4, np.float32)))
    seen = perceiver.perceive(Moment(None, told.moments[0].samples))  # type: ignore[arg-type]
    assert seen.kind.tolist() == [Kind.CAR]


def tiny(folder: Path, shared: SharedSessions) -> OnnxBevModel:
    # Everything that an untrained network says counts as sure, so that it matters to the plan.
    told = manifest()
    sure = told.calibration.model_copy(update={"method": "platt", "bias": 9.0})
    model = load_model(write_tiny(folder, calibration=sure), opener=shared)
    assert isinstance(model, OnnxBevModel)
    return model


def test_drives_are_the_same_for_the_same_seed_and_hang_on_the_model(tmp_path: Path) -> None:
    model = tiny(tmp_path, SharedSessions())
    source = SimFleetSource(replace(OPTIONS, perceiver_of=lambda: StudentPerceiver(model)))
    first, again = ([digest(s) for s in source.samples()] for _ in range(2))
    assert first == again
    plans = [s for s in source.samples() if isinstance(s, PlanSample)]
    truth = [s for s in SimFleetSource(OPTIONS).samples() if isinstance(s, PlanSample)]
    assert [digest(s) for s in plans] != [digest(s) for s in truth]


def test_agent_and_planner_run_the_network_once_a_frame(tmp_path: Path) -> None:
    shared = SharedSessions()
    model = tiny(tmp_path, shared)
    (session,) = shared.sessions.values()
    before = session.runs
    made: list[StudentPerceiver] = []

    def perceiver() -> StudentPerceiver:
        made.append(StudentPerceiver(model))
        return made[-1]

    source = SimFleetSource(replace(OPTIONS, perceiver_of=perceiver, duration_s=1.0))
    config = AgentConfig(state=tmp_path / "state", ring="32MB", model=tmp_path / "tiny-0.onnx")
    agent = Agent(config, source, "sim_fleet", opener=shared)
    report = asyncio.run(agent.run(stay=False))
    assert not report.rejected and not report.blind_frames
    assert report.timing is not None and report.timing.frames == 10
    assert report.model == model.digest
    # Ten frames; the agent's self-test and its warm-up, of which the former is remembered. The
    # planner's first run is before those, as the drive's start is read ahead, and is forgotten.
    assert session.runs - before <= 10 + 3
    (one,) = made
    assert one.last is not None and one.last.detections
