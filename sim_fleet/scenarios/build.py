"""From a scenario and a seed to a world with its ego, ready to drive."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.errors import InputError
from sim_fleet.classes import SHAPE_SIZE_M, Shape, shape_named
from sim_fleet.drivers.ego import AXLE_TO_MIDDLE_M, EgoState
from sim_fleet.scenarios.spec import ActorSpec, Range, ScenarioSpec
from sim_fleet.seeds import generator
from sim_fleet.shapes.assemble import BEACON_ON, BRAKING, HEAD_ON
from sim_fleet.world.actors import HOLD, IGNORES_LIGHTS, ActorRow, Mode, actors_of, dressed
from sim_fleet.world.conditions import DEFAULT_VISIBILITY_M, Conditions
from sim_fleet.world.lanes import NONE, lane_pose, nearest_on_lane
from sim_fleet.world.paths import next_lane, trace_path
from sim_fleet.world.populate import Traffic, everyday
from sim_fleet.world.regions import region_map
from sim_fleet.world.roadmap import RoadMap
from sim_fleet.world.world import Scripts, World

_MAPS = 6
"""A region comes in this many maps; the seed says which."""

_ROUTE_M = 236.0
_TURNS = {"left": 1, "straight": 0, "right": -1}


@dataclass(frozen=True, slots=True)
class Staged:
    """A world at its first instant; `wanted_mps` is the ego's wished speed or None."""

    world: World
    ego: EgoState
    wanted_mps: float | None
    autonomy: bool


@dataclass(frozen=True, slots=True)
class _Start:
    lane: int
    s_m: float
    salt: int


def drawn(value: Range | None, default: float, rng: np.random.Generator) -> float:
    """The number, or one from its range. A draw is used up either way, so that narrowing one
    range does not change the others.
    """
    part = float(rng.random())
    if value is None:
        return default
    if isinstance(value, tuple):
        return value[0] + (value[1] - value[0]) * part
    return value


def stage(spec: ScenarioSpec, seed: int) -> Staged:
    """The first instant of a scenario under a seed. Raises `InputError` if it finds no place."""
    rng = generator(seed, "scenario", spec.id)
    region = str(spec.region)
    season = spec.season or ("spring", "summer", "autumn", "winter")[seed % 4]
    roads = region_map(region, seed % _MAPS, season)
    start = _start(spec, roads, rng)
    graph = roads.lanes
    x, y, yaw = lane_pose(graph.points, graph.first, graph.count, graph.spacing_m, start.lane,
                          start.s_m, 0.0)  # fmt: skip
    conditions = _conditions(spec, season, yaw, rng)
    limit = float(graph.speed_mps[start.lane])
    speed = drawn(spec.ego.speed_mps, 0.85 * limit, rng)
    ego_row = ActorRow(
        Shape.CAR, x, y, yaw, Mode.EGO, speed, speed, start.lane, start.s_m, salt=start.salt,
        lamps=HEAD_ON if conditions.dark else 0,
    )  # fmt: skip
    stage_ = _Cast(roads, start, conditions, rng)
    for actor in spec.actors:
        stage_.place(actor)
    traffic = Traffic()
    traffic = Traffic(
        drawn(spec.traffic.vehicles_per_km, traffic.vehicles_per_km, rng),
        drawn(spec.traffic.cyclists_per_km, traffic.cyclists_per_km, rng),
        drawn(spec.traffic.people_per_km, traffic.people_per_km, rng),
        drawn(spec.traffic.parked_ratio, traffic.parked_ratio, rng),
        drawn(spec.traffic.motorcycle_ratio, traffic.motorcycle_ratio, rng),
    )
    crowd = everyday(roads, traffic, conditions, (x, y), generator(seed, "everyday", spec.id))
    crowd = stage_.make_room(crowd, drawn(spec.clear_m, 12.0, rng))
    actors = actors_of([ego_row, *stage_.rows, *crowd])
    for row, hold_s in enumerate(stage_.holds, start=1):
        actors.floats[row, HOLD] = hold_s
    points = np.array(stage_.points, dtype=np.float64).reshape(-1, 3)
    rows = np.array(stage_.scripts, dtype=np.float64).reshape(-1, 8)
    ego = EgoState(
        x - AXLE_TO_MIDDLE_M * np.cos(yaw), y - AXLE_TO_MIDDLE_M * np.sin(yaw), yaw, speed
    )
    wanted = speed if spec.ego.speed_mps is not None else None
    return Staged(
        World(0.0, roads, conditions, actors, Scripts(rows, points)), ego, wanted,
        spec.ego.autonomy is not False,
    )  # fmt: skip


def _conditions(
    spec: ScenarioSpec, season: str, yaw: float, rng: np.random.Generator
) -> Conditions:
    weather = spec.weather.kind or "clear"
    rain = drawn(spec.weather.rain_mm_h, 4.0 if weather == "rain" else 0.0, rng)
    sight = drawn(spec.weather.visibility_m, DEFAULT_VISIBILITY_M[weather], rng)
    ahead = drawn(spec.sun_ahead_deg, float(rng.uniform(-180, 180)), rng)
    return Conditions(
        weather, spec.tod or "day", season, rain, sight, yaw + float(np.deg2rad(ahead))
    )  # fmt: skip


def _start(spec: ScenarioSpec, roads: RoadMap, rng: np.random.Generator) -> _Start:
    """A lane, a place on it and a salt whose first choice is the wished turn."""
    graph = roads.lanes
    lanes = np.flatnonzero(graph.connector == 0)
    if spec.ego.lane is not None:
        from_right = np.zeros(graph.first.size, dtype=np.int64)
        for lane in lanes.tolist():
            at = lane
            while graph.right[at] != NONE:
                at = int(graph.right[at])
                from_right[lane] += 1
        lanes = lanes[from_right[lanes] == spec.ego.lane]
        if not lanes.size:
            raise InputError(f"region {spec.region} has no lane {spec.ego.lane}")
    before = drawn(spec.ego.before_junction_m, -1.0, rng)
    turn = _TURNS[spec.ego.turn] if spec.ego.turn else None
    for _ in range(400):
        lane = int(rng.choice(lanes))
        length = float(graph.length_m[lane])
        s_m = length - before if before >= 0 else float(rng.uniform(4.0, max(5.0, length * 0.25)))
        if s_m < 3.0 or s_m > length - 2.0:
            continue
        salt = int(rng.integers(1 << 20))
        following = next_lane(graph.after, lane, salt, 0)
        if following == NONE or (turn is not None and graph.turn[following] != turn):
            continue
        if turn is not None and not graph.connector[following]:
            continue
        return _Start(lane, s_m, salt)
    raise InputError(f"no start on the map suits scenario {spec.id!r}")


class _Cast:
    """Places the story's actors along the ego's route."""

    def __init__(
        self, roads: RoadMap, start: _Start, conditions: Conditions, rng: np.random.Generator
    ) -> None:
        self._roads = roads
        self._rng = rng
        self._lamps = HEAD_ON if conditions.dark else 0
        graph = roads.lanes
        path = np.empty((120, 4))
        steps = trace_path(
            graph.points, graph.first, graph.count, graph.spacing_m, graph.length_m, graph.after,
            start.lane, start.s_m, 0.0, 0.0, start.salt, 0, _ROUTE_M, path,
        )  # fmt: skip
        self._path = path[:steps]
        self.rows: list[ActorRow] = []
        self.holds: list[float] = []
        self.scripts: list[list[float]] = []
        self.points: list[tuple[float, float, float]] = []

    def place(self, actor: ActorSpec) -> None:
        """Put all copies of one actor into the world."""
        rng = self._rng
        ahead, left = drawn(actor.ahead_m, 0, rng), drawn(actor.left_m, 0, rng)
        gap, spread = drawn(actor.spacing_m, 6, rng), drawn(actor.spread_left_m, 0, rng)
        turned = float(np.deg2rad(drawn(actor.turned_deg, 0, rng)))
        speed = drawn(actor.motion.speed_mps, 0, rng)
        for k in range(actor.count):
            self._place_one(actor, ahead + k * gap, left + k * spread, turned, speed)

    def _at(self, ahead_m: float, left_m: float) -> tuple[float, float, float]:
        """World pose beside the route; behind the ego along its first heading."""
        path = self._path
        x, y, heading = (float(np.interp(ahead_m, path[:, 3], path[:, k])) for k in range(3))
        over = min(ahead_m, 0.0) + max(ahead_m - float(path[-1, 3]), 0.0)
        x, y = x + over * np.cos(heading), y + over * np.sin(heading)
        return x - left_m * np.sin(heading), y + left_m * np.cos(heading), heading

    def _place_one(
        self, actor: ActorSpec, ahead: float, left: float, turned: float, speed: float
    ) -> None:
        rng, motion = self._rng, actor.motion
        shape = shape_named(actor.shape)
        x, y, heading = self._at(ahead, left)
        row = dressed(ActorRow(shape, x, y, heading + turned), rng)
        if actor.colour is not None:
            row.colour = actor.colour
        if actor.size_m is not None:
            length, width, height = (drawn(part, 1.0, rng) for part in actor.size_m)
            row.size_m = (length, width, height)
        vehicle = SHAPE_SIZE_M[shape][0] > 1.5
        row.lamps = (self._lamps if vehicle and motion.kind != "still" else 0) | (
            BEACON_ON if actor.beacon else 0
        ) | (BRAKING if actor.braking else 0)  # fmt: skip
        row.salt = int(rng.integers(1 << 20))
        hold = drawn(motion.hold_s, 0.0, rng)
        if motion.kind == "lane":
            self._on_lane(row, speed, motion.ignores_lights)
        elif motion.kind == "path":
            self._on_path(row, actor, ahead, left, speed)
        self.rows.append(row)
        self.holds.append(hold)

    def _on_lane(self, row: ActorRow, speed: float, ignores_lights: bool) -> None:
        """Match the actor to the lane at its place that runs its way."""
        graph = self._roads.lanes
        best, found = 1e9, None
        for lane in range(graph.first.size):
            s, d = nearest_on_lane(graph.points, graph.first, graph.count, graph.spacing_m, lane,
                                   row.x, row.y)  # fmt: skip
            if not 0.0 < s < graph.length_m[lane]:
                continue
            _, _, heading = lane_pose(graph.points, graph.first, graph.count, graph.spacing_m,
                                      lane, s, d)  # fmt: skip
            turn = abs(float(np.angle(np.exp(1j * (heading - row.yaw)))))
            if turn < 0.6 and abs(d) + turn < best:
                best, found = abs(d) + turn, (lane, s, d)
        if found is None or best > 5.0:
            raise InputError("no lane runs the way of this actor at its place")
        row.mode, row.lane, row.s_m, row.d_m = Mode.LANE, found[0], found[1], found[2]
        if abs(row.d_m) < 0.4:
            row.d_m *= 0.5
        row.speed_mps = row.wanted_mps = speed
        row.flags = IGNORES_LIGHTS if ignores_lights else 0

    def _on_path(
        self, row: ActorRow, actor: ActorSpec, ahead: float, left: float, speed: float
    ) -> None:
        rng, start = self._rng, actor.motion.start
        after = drawn(start.after_s, 0.0, rng)
        near = drawn(start.ego_within_m, 1e6, rng)
        soon = drawn(start.ego_within_s, 1e6, rng)
        first = len(self.points)
        for along, aside in actor.motion.path:
            x, y, _ = self._at(ahead + drawn(along, 0, rng), left + drawn(aside, 0, rng))
            self.points.append((x, y, speed))
        row.mode, row.script = Mode.SCRIPT, len(self.scripts)
        moving = after <= 0 and start.ego_within_m is None and start.ego_within_s is None
        row.speed_mps = speed if moving else 0.0
        # Distance and time are alternatives only where both are given; else the one given.
        if start.ego_within_m is not None and start.ego_within_s is None:
            soon = -1.0
        if start.ego_within_s is not None and start.ego_within_m is None:
            near = -1.0
        self.scripts.append(
            [after, near, first, len(self.points) - first,
             drawn(actor.motion.accel_mps2, 2.5, rng), -1.0, 0.0, soon]
        )  # fmt: skip

    def make_room(self, crowd: list[ActorRow], clear_m: float) -> list[ActorRow]:
        """The everyday actors that do not stand where the story's do."""
        places = np.array([(row.x, row.y) for row in self.rows]).reshape(-1, 2)
        kept = []
        for row in crowd:
            gaps = np.hypot(places[:, 0] - row.x, places[:, 1] - row.y)
            room = 6.2 if row.mode == Mode.PARKED else clear_m
            if not gaps.size or gaps.min() > room:
                kept.append(row)
        return kept
