"""Small scenes for the simulator's tests, and digests of samples."""

from __future__ import annotations

import hashlib
from dataclasses import fields

import numpy as np

from contracts.samples import Sample
from sim_fleet.classes import Shape
from sim_fleet.drive import SimDrive, Tick
from sim_fleet.scenarios.library import load_scenario
from sim_fleet.sensors.mounts import EgoMotion
from sim_fleet.sensors.surroundings import Surroundings, Surveyor
from sim_fleet.source import DriveOptions, SimFleetSource
from sim_fleet.world.actors import ActorRow, Actors, actors_of
from sim_fleet.world.conditions import Conditions
from sim_fleet.world.roadmap import Ground, MapDraft, RoadMap, no_feet

CLEAR = Conditions()


def empty_map() -> RoadMap:
    """Grass without roads."""
    draft = MapDraft()
    from sim_fleet.world.lanes import LaneDraft

    draft.lanes.append(LaneDraft(np.array([[0.0, 0.0], [300.0, 0.0]]), 3.5, 20.0))
    return draft.finish(
        "country", 0, no_feet(), np.zeros(0), np.zeros((0, 2)), Ground.ASPHALT, "rural"
    )


def actors_at(*rows: tuple[Shape, float, float, float]) -> Actors:
    """The ego at the origin and actors by shape, x, y, yaw."""
    ego = ActorRow(Shape.CAR, 0.0, 0.0, 0.0)
    return actors_of([ego, *(ActorRow(shape, x, y, yaw) for shape, x, y, yaw in rows)])


def surroundings(
    actors: Actors, conditions: Conditions = CLEAR, speed_mps: float = 0.0, yaw_rate: float = 0.0
) -> Surroundings:
    """What a vehicle at the origin of an empty map sees."""
    ego = EgoMotion(0.0, 0.0, 0.0, 0.0, speed_mps, yaw_rate)
    return Surveyor(empty_map(), conditions).survey(actors, ego)


def drive_of(scenario: str, seed: int = 0, **options: object) -> SimDrive:
    """A built-in scenario, ready to drive without sensors."""
    made = DriveOptions(load_scenario(scenario), seed, **options)  # type: ignore[arg-type]
    return SimFleetSource(made).drive()


def ticks_of(scenario: str, seconds: float, seed: int = 0, **options: object) -> list[Tick]:
    return drive_of(scenario, seed, **options).run(round(seconds * 50))


def digest(sample: Sample) -> str:
    """SHA-256 over all that a sample holds."""
    sha = hashlib.sha256(type(sample).__name__.encode())
    for each in fields(sample):
        value = getattr(sample, each.name)
        sha.update(value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode())
    return sha.hexdigest()


def digest_of_all(scenario: str, seed: int, sensor_set: str, seconds: float) -> str:
    """One digest over every sample of a drive."""
    options = DriveOptions(load_scenario(scenario), seed, sensor_set, seconds)
    sha = hashlib.sha256()
    for sample in SimFleetSource(options).samples():
        sha.update(digest(sample).encode())
    return sha.hexdigest()
