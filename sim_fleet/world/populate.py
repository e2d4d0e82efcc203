"""Fills a map with its everyday traffic: who drives, cycles, walks and is parked where."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim_fleet.classes import SHAPE_SIZE_M, Shape
from sim_fleet.shapes.assemble import HEAD_ON
from sim_fleet.world.actors import ActorRow, Mode, dressed
from sim_fleet.world.conditions import Conditions
from sim_fleet.world.lanes import lane_pose
from sim_fleet.world.roadmap import RoadMap

_FOUR_WHEELS = (
    (Shape.CAR, 0.52), (Shape.SUV, 0.20), (Shape.VAN, 0.10), (Shape.TRUCK, 0.06),
    (Shape.BUS, 0.05),
)  # fmt: skip
_PARKED_MIX = ((Shape.CAR, 0.66), (Shape.SUV, 0.26), (Shape.VAN, 0.08))
_FOOT_MIX = ((Shape.PEDESTRIAN, 0.92), (Shape.STROLLER_PUSHER, 0.05),
             (Shape.WHEELCHAIR_USER, 0.03))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Traffic:
    """How busy it is: vehicles and cyclists for each kilometre of lane, people for each
    kilometre of street, the share of parking places that are taken, and that of motorcycles
    among the vehicles.
    """

    vehicles_per_km: float = 12.0
    cyclists_per_km: float = 2.0
    people_per_km: float = 30.0
    parked_ratio: float = 0.55
    motorcycle_ratio: float = 0.07


def _chosen(mix: tuple[tuple[Shape, float], ...], rng: np.random.Generator) -> Shape:
    shapes, weights = zip(*mix, strict=True)
    return Shape(int(rng.choice([int(shape) for shape in shapes], p=np.array(weights))))


def _vehicle_mix(motorcycle_ratio: float) -> tuple[tuple[Shape, float], ...]:
    whole = sum(share for _, share in _FOUR_WHEELS)
    rest = tuple((s, share / whole * (1 - motorcycle_ratio)) for s, share in _FOUR_WHEELS)
    return (*rest, (Shape.MOTORCYCLE, motorcycle_ratio))


def everyday(
    world: RoadMap,
    traffic: Traffic,
    conditions: Conditions,
    keep_clear: tuple[float, float],
    rng: np.random.Generator,
    clear_m: float = 14.0,
) -> list[ActorRow]:
    """All everyday actors; none within `clear_m` of the place that is kept clear."""
    rows = [
        *_driving(world, traffic, conditions, rng),
        *_walking(world, traffic, rng),
        *_parked(world, traffic, rng),
    ]
    x, y = keep_clear
    return [
        row for row in rows
        if (row.mode == Mode.PARKED and np.hypot(row.x - x, row.y - y) > 5.0)
        or np.hypot(row.x - x, row.y - y) > clear_m + row.speed_mps
    ]  # fmt: skip


def _driving(
    world: RoadMap, traffic: Traffic, conditions: Conditions, rng: np.random.Generator
) -> list[ActorRow]:
    graph, rows = world.lanes, []
    mix = _vehicle_mix(traffic.motorcycle_ratio)
    lamps = HEAD_ON if conditions.dark else 0
    for lane in np.flatnonzero(graph.connector == 0).tolist():
        length, limit = float(graph.length_m[lane]), float(graph.speed_mps[lane])
        rate = traffic.vehicles_per_km + (traffic.cyclists_per_km if limit < 20 else 0.0)
        if rate <= 0:
            continue
        s = float(rng.exponential(1000 / rate)) * 0.5 + 8.0
        while s < length - 12.0:
            cyclist = limit < 20 and rng.random() * rate < traffic.cyclists_per_km
            shape = Shape.CYCLIST if cyclist else _chosen(mix, rng)
            if cyclist and rng.random() < 0.2:
                shape = Shape.SCOOTER_RIDER
            if world.region == "motorway" and graph.right[lane] == -1 and rng.random() < 0.5:
                shape = Shape.TRUCK
            if shape == Shape.BUS and world.region in {"motorway", "country"}:
                shape = Shape.VAN
            d = -(float(graph.width_m[lane]) / 2 - 0.45) if cyclist else float(rng.normal(0, 0.12))
            wanted = (
                float(rng.uniform(3.8, 6.5)) if cyclist else limit * float(rng.uniform(0.86, 1.06))
            )
            if shape == Shape.TRUCK:
                wanted = min(wanted, 24.5)
            x, y, yaw = lane_pose(graph.points, graph.first, graph.count, graph.spacing_m, lane,
                                  s, d)  # fmt: skip
            speed = min(wanted, limit) * float(rng.uniform(0.7, 0.95))
            row = ActorRow(
                shape, x, y, yaw, Mode.LANE, speed, wanted, lane, s, d,
                salt=int(rng.integers(1_000_000)), gap_s=float(rng.uniform(1.1, 1.9)), lamps=lamps,
            )  # fmt: skip
            rows.append(dressed(row, rng))
            s += SHAPE_SIZE_M[shape][0] + 7.0 + 1.6 * speed + float(rng.exponential(900 / rate))
    return rows


def _walking(world: RoadMap, traffic: Traffic, rng: np.random.Generator) -> list[ActorRow]:
    feet, rows = world.feet, []
    for node in range(feet.nodes.shape[0]):
        for way in (2, 3):
            goal = int(feet.ways[node, way])
            if goal < 0:
                continue
            start, end = feet.nodes[node], feet.nodes[goal]
            length = float(np.hypot(*(end - start)))
            for _ in range(int(rng.poisson(traffic.people_per_km * length / 2000))):
                part = float(rng.uniform(0.05, 0.95))
                at = start + (end - start) * part
                yaw = float(np.arctan2(*(end - start)[::-1]))
                salt = int(rng.integers(1_000_000))
                shift = ((salt * 37) % 100 / 100 * 1.6 - 0.8, (salt * 53) % 100 / 100 * 1.6 - 0.8)
                shape = _chosen(_FOOT_MIX, rng)
                pace = float(rng.uniform(1.0, 1.7))
                size = _person_size(shape, rng)
                row = ActorRow(
                    shape, at[0] + shift[0], at[1] + shift[1], yaw, Mode.WALK, pace, pace,
                    size_m=size, salt=salt, node=node, goal=goal, bold=int(rng.random() < 0.15),
                )  # fmt: skip
                rows.append(dressed(row, rng))
    return rows


def _person_size(shape: Shape, rng: np.random.Generator) -> tuple[float, float, float]:
    length, width, height = SHAPE_SIZE_M[shape]
    child = shape == Shape.PEDESTRIAN and rng.random() < 0.12
    scale = float(rng.uniform(0.62, 0.78)) if child else float(rng.uniform(0.93, 1.07))
    return length * (0.5 + 0.5 * scale), width * (0.4 + 0.6 * scale), height * scale


def _parked(world: RoadMap, traffic: Traffic, rng: np.random.Generator) -> list[ActorRow]:
    rows = []
    for x, y, yaw in world.parking:
        if rng.random() < traffic.parked_ratio:
            shape = _chosen(_PARKED_MIX, rng)
            row = ActorRow(shape, float(x), float(y), float(yaw), Mode.PARKED)
            rows.append(dressed(row, rng))
    return rows
