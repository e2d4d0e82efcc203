"""The simulator: ray caster, cameras and a whole vehicle, on one core.

The scene is a city street with 60 actors around the vehicle, houses, trees and lamps. The
caster's peer is the same scene cast plainly in numpy, every ray against every primitive, on
fewer rays. A whole vehicle of set `s` (four cameras, lidar, radar, signals; world, planner and
oracle included, JPEG too) is measured against real time: without perception; with the student as
the planner's eyes; and with an agent on it besides, which encodes, evaluates the published
triggers and packs, and shares the student's answers (`SharedSessions`).

The student is the shipped one (`models/zoo/student-s.onnx`) or, where there is none, an untrained
int8 one of the same size; the row says which.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import structlog

from bench import scale
from bench.figures import Figure, figure, median_cpu_ns
from bench.plain_caster import cast_plainly
from edge_agent.app import Agent
from edge_agent.config import AgentConfig
from edge_agent.perception.runtime import load_model
from edge_agent.perception.sessions import SharedSessions
from edge_agent.ports import BevModel
from sim_fleet.classes import Shape
from sim_fleet.drivers.student import StudentPerceiver
from sim_fleet.scenarios.library import load_scenario
from sim_fleet.seeds import generator
from sim_fleet.sensors.camera import render
from sim_fleet.sensors.caster import Columns, cast
from sim_fleet.sensors.lidar import lidar_columns, sweep
from sim_fleet.sensors.mounts import NO_DRIFT, EgoMotion
from sim_fleet.sensors.rig import sensor_rig
from sim_fleet.sensors.surroundings import Surroundings, Surveyor
from sim_fleet.source import DriveOptions, SimFleetSource
from sim_fleet.world.actors import ActorRow, actors_of, dressed
from sim_fleet.world.conditions import Conditions
from sim_fleet.world.lanes import lane_pose
from sim_fleet.world.regions import region_map

_ACTORS = 60
_REPETITIONS = 15
SHIPPED = Path(__file__).parents[1] / "models" / "zoo" / "student-s.onnx"
_SPECS = Path(__file__).parents[1] / "trigger_specs"
_MOVING = (Shape.CAR, Shape.SUV, Shape.TRUCK, Shape.CYCLIST, Shape.PEDESTRIAN, Shape.PEDESTRIAN)


def run(repetitions: int = _REPETITIONS, drive_s: float = 6.0) -> list[Figure]:
    """All figures.

    Args:
        repetitions: of each job; the figure is the median of CPU time.
        drive_s: length of the drive whose real-time factor is told.
    """
    around = street()
    rig = sensor_rig("s")
    dense = sensor_rig("m").lidars[0]
    lidar = rig.lidars[0]
    rng = generator(0, "bench")
    sparse = lidar_columns(lidar, around.ego, NO_DRIFT)
    packed = lidar_columns(dense, around.ego, NO_DRIFT)
    few = Columns(sparse.origin_m[::32], sparse.toward[::32], sparse.slopes[::32],
                  sparse.age_s[::32])  # fmt: skip
    spent = median_cpu_ns(
        {
            "32": lambda: cast(around.scene, sparse, lidar.beams.max_m),
            "64": lambda: cast(around.scene, packed, dense.beams.max_m),
            "plain": lambda: cast_plainly(around.scene, few, lidar.beams.max_m),
            "sweep": lambda: sweep(lidar, around.scene, around.ground, around.ego,
                                   around.conditions, rng, 0),
            "camera": lambda: render(rig.cameras[0], around, rng),
        },
        repetitions,
    )  # fmt: skip
    plain = few.slopes.size / spent["plain"] * 1e3
    pixels = rig.cameras[0].width * rig.cameras[0].height
    peer = "numpy, every ray against every primitive"
    return [
        figure(
            f"lidar rays, 32 beams, {_ACTORS} actors", sparse.slopes.size / spent["32"] * 1e3,
            "M rays/s/core", goal=">= 5", reference=peer, reference_value=plain,
        ),
        figure(
            f"lidar rays, 64 beams, {_ACTORS} actors", packed.slopes.size / spent["64"] * 1e3,
            "M rays/s/core", goal=">= 5", reference=peer, reference_value=plain,
        ),
        figure("lidar points of a whole sweep with echoes and noise",
               sparse.slopes.size / spent["sweep"] * 1e3, "M rays/s/core"),
        figure("camera, cast, shaded and developed", pixels / spent["camera"] * 1e3,
               "M pixels/s/core"),
        _real_time("s", drive_s),
        _real_time("light", 4 * drive_s),
        *_with_student(drive_s),
        *scale.figures(hours=drive_s / 6),
    ]  # fmt: skip


def street() -> Surroundings:
    """A street of the city by day, with exactly 60 actors near the ego."""
    roads = region_map("city", 1)
    graph, rng = roads.lanes, generator(0, "bench street")

    def at(s_m: float, d_m: float) -> tuple[float, float, float]:
        return lane_pose(graph.points, graph.first, graph.count, graph.spacing_m, 0, s_m, d_m)

    x, y, yaw = at(25.0, 0.0)
    rows = [ActorRow(Shape.CAR, x, y, yaw)]
    near = np.argsort(np.hypot(roads.parking[:, 0] - x, roads.parking[:, 1] - y))
    rows += [dressed(ActorRow(Shape.CAR, *roads.parking[k]), rng) for k in near[:24].tolist()]
    while len(rows) <= _ACTORS:
        shape = _MOVING[len(rows) % len(_MOVING)]
        side = -5.0 if shape == Shape.PEDESTRIAN else float(rng.choice((0.0, 3.3)))
        gap = float(rng.uniform(7.0, 60.0)) * float(rng.choice((-1.0, 1.0)))
        rows.append(dressed(ActorRow(shape, *at(25.0 + gap, side)), rng))
    ego = EgoMotion(3.0, x, y, yaw, 10.0, 0.05)
    return Surveyor(roads, Conditions()).survey(actors_of(rows), ego)


def _real_time(sensor_set: str, drive_s: float) -> Figure:
    """Seconds of drive for each second of CPU."""
    spec = load_scenario("everyday-city")
    for _ in SimFleetSource(DriveOptions(spec, 0, sensor_set, 0.3)).samples():
        pass
    source = SimFleetSource(DriveOptions(spec, 1, sensor_set, drive_s))
    before = time.process_time_ns()
    for _ in source.samples():
        pass
    spent_s = (time.process_time_ns() - before) / 1e9
    return figure(f"a whole vehicle, sensor set {sensor_set}", drive_s / spent_s,
                  "times real time")  # fmt: skip


def _with_student(drive_s: float) -> list[Figure]:
    """A vehicle whose planner drives by the student, alone and with an agent on it."""
    with tempfile.TemporaryDirectory() as folder:
        path, which = _student(Path(folder))
        found = []
        for agent, what, goal in (
            (False, "perception by the student included", ">= 1.5"),
            (True, "perception by the student and an agent included", ""),
        ):
            _student_cpu_s(path, Path(folder) / f"warm-{agent}", 0.3, 0, agent)
            spent_s = _student_cpu_s(path, Path(folder) / f"state-{agent}", drive_s, 1, agent)
            found.append(
                figure(f"a whole vehicle, sensor set s, {what} ({which})", drive_s / spent_s,
                       "times real time", goal=goal)
            )  # fmt: skip
        return found


def _student(folder: Path) -> tuple[Path, str]:
    """The model's file, and what to call it."""
    if SHIPPED.exists():
        return SHIPPED, "the shipped student-s"
    # Heavy: torch is needed only to make one.
    from bench.untrained_student import write_untrained_student

    logging.getLogger().setLevel(logging.ERROR)  # the quantiser's advice
    return write_untrained_student(folder), "an untrained int8 student of size s"


def _student_cpu_s(path: Path, state: Path, drive_s: float, seed: int, agent: bool) -> float:
    """CPU seconds of a drive, all threads; loading the model is not counted."""
    shared = SharedSessions()
    model = load_model(path, opener=shared)
    if not isinstance(model, BevModel):
        raise TypeError(f"{path} is no bird's-eye model")
    options = DriveOptions(
        load_scenario("everyday-city"), seed, "s", drive_s, perceiver=StudentPerceiver(model)
    )
    source = SimFleetSource(options)
    if not agent:
        before = time.process_time_ns()
        for _ in source.samples():
            pass
        return (time.process_time_ns() - before) / 1e9
    config = AgentConfig(state=state, ring="256MB", model=path, specs=(_SPECS,))
    with _quiet():
        made = Agent(config, source, "sim_fleet", opener=shared)
        before = time.process_time_ns()
        asyncio.run(made.run(stay=False))
    return (time.process_time_ns() - before) / 1e9


@contextmanager
def _quiet() -> Iterator[None]:
    """The agent's log is not what is measured."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)
