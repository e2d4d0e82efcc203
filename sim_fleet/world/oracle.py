"""The exact truth of one instant: boxes, velocities, visibility, lanes, signals, weather.

Visibility is the share of an actor's own rays, cast from the vehicle's roof, that nothing
else blocks: 1 in the open, 0 behind a wall. It tells nothing of light or fog.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.samples import Float64s
from sim_fleet.sensors.caster import Columns, cast_each_alone, cast_within
from sim_fleet.sensors.mounts import EgoMotion
from sim_fleet.shapes.assemble import BX, BY, BZ1, Scene, subset
from sim_fleet.shapes.primitives import CX, CY, OWNER, SPAN
from sim_fleet.world.actors import (
    EGO,
    HEIGHT,
    KIND,
    LENGTH,
    SHAPE,
    TRACK,
    VX,
    VY,
    WIDTH,
    YAW,
    X,
    Y,
)
from sim_fleet.world.conditions import Conditions
from sim_fleet.world.roadmap import RoadMap, signal_state
from sim_fleet.world.world import World

Int64s = NDArray[np.int64]

ORACLE_M = 100.0
VIEWPOINT_M = (1.2, 0.0, 1.9)
COARSE, FINE = (6, 5), (12, 9)
"""Rays across and up to judge the visibility of one actor."""


@dataclass(frozen=True, slots=True)
class OracleFrame:
    """Columns over the actors near the ego, the ego itself left out.

    `track_id`, `kind`, `shape` int64 [n]; `centre_world_m`, `centre_ego_m` [n, 3] of the boxes;
    `size_m` [n, 3]; `yaw_world_rad`, `yaw_ego_rad` [n]; `velocity_world_mps`,
    `velocity_ego_mps` [n, 2] over ground; `visibility` [n], NaN where it was not asked for.
    `signals` [k, 4]: x, y in the ego frame, state (0 green, 1 amber, 2 red), group.
    """

    t_s: float
    ego: EgoMotion
    row: Int64s
    track_id: Int64s
    kind: Int64s
    shape: Int64s
    centre_world_m: Float64s
    centre_ego_m: Float64s
    size_m: Float64s
    yaw_world_rad: Float64s
    yaw_ego_rad: Float64s
    velocity_world_mps: Float64s
    velocity_ego_mps: Float64s
    visibility: Float64s
    signals: Float64s
    conditions: Conditions
    roads: RoadMap

    def lanes_ego(self, reach_m: float = 60.0) -> list[Float64s]:
        """Centre lines near the ego, each float64 [k, 2] in the ego frame."""
        graph, lines = self.roads.lanes, []
        for lane in range(graph.first.size):
            line = graph.points[graph.first[lane] : graph.first[lane] + graph.count[lane], :2]
            local = to_ego(line, self.ego)
            near = local[np.hypot(*local.T) < reach_m]
            if near.shape[0] > 1:
                lines.append(near)
        return lines


def to_ego(xy_m: Float64s, ego: EgoMotion) -> Float64s:
    """World positions [n, 2] in the ego frame."""
    cos, sin = np.cos(ego.yaw_rad), np.sin(ego.yaw_rad)
    moved = xy_m - (ego.x_m, ego.y_m)
    return np.stack(
        [cos * moved[:, 0] + sin * moved[:, 1], -sin * moved[:, 0] + cos * moved[:, 1]], axis=1
    )


def viewpoint(ego: EgoMotion) -> Float64s:
    """Where visibility is judged from, in the world."""
    cos, sin = np.cos(ego.yaw_rad), np.sin(ego.yaw_rad)
    x, y, z = VIEWPOINT_M
    return np.array([ego.x_m + cos * x - sin * y, ego.y_m + sin * x + cos * y, z])


def visibility(
    scene: Scene, bodies: Int64s, eye_m: Float64s, rays: tuple[int, int] = COARSE
) -> Float64s:
    """Share of each body's own rays that nothing else blocks, [k] for bodies int64 [k]."""
    result = np.zeros(bodies.size)
    if not bodies.size:
        return result
    across_, up = rays
    alone = subset(scene, bodies)
    dx, dy = alone.bounds[:, BX] - eye_m[0], alone.bounds[:, BY] - eye_m[1]
    away = np.maximum(np.hypot(dx, dy), 0.5)
    half = _half_widths(alone, eye_m, away, np.arctan2(dy, dx))
    across = (np.arange(across_) + 0.5) / across_ * 2 - 1
    azimuth = (np.arctan2(dy, dx)[:, None] + half[:, None] * across).ravel()
    part = 1 - (np.arange(up) + 0.5) / up
    rise = (alone.bounds[:, BZ1][:, None] * part - eye_m[2]) / away[:, None]
    slopes = np.repeat(rise, across_, axis=0)
    columns = Columns(
        np.tile(eye_m, (azimuth.size, 1)),
        np.stack([np.cos(azimuth), np.sin(azimuth)], axis=1),
        slopes, np.zeros(azimuth.size),
    )  # fmt: skip
    lone = cast_each_alone(alone, columns, across_, 400.0)
    # What lies behind a body hides nothing of it; the ground does where it is nearer.
    limit = np.where(lone.primitive >= 0, lone.flat_m * np.float32(1 + 1e-6), np.float32(0.0))
    ground = np.full(slopes.shape, 400.0)
    np.divide(-columns.origin_m[:, 2:], slopes, out=ground, where=slopes < 0.0)
    full = cast_within(scene, columns, np.minimum(limit, ground).astype(np.float32))
    wanted = np.repeat(np.arange(bodies.size), across_)[:, None]
    own = lone.primitive >= 0
    seen = (full.primitive >= 0) & (scene.codes[full.primitive, OWNER] == bodies[wanted])
    shape = (bodies.size, across_ * up)
    totals = own.reshape(shape).sum(axis=1)
    result[:] = (own & seen).reshape(shape).sum(axis=1) / np.maximum(totals, 1)
    return result


def _half_widths(alone: Scene, eye_m: Float64s, away: Float64s, middle: Float64s) -> Float64s:
    """Half the angle that each body's primitives span, as seen from the eye."""
    owner = alone.codes[:, OWNER]
    dx, dy = alone.values[:, CX] - eye_m[0], alone.values[:, CY] - eye_m[1]
    turned = np.angle(np.exp(1j * (np.arctan2(dy, dx) - middle[owner])))
    reach = np.abs(turned) + np.arctan2(0.6 * alone.values[:, SPAN], away[owner])
    half = np.zeros(alone.first.size)
    np.maximum.at(half, owner, reach)
    return np.minimum(half, 1.4)


def observe(
    world: World,
    ego: EgoMotion,
    scene: Scene | None,
    reach_m: float = ORACLE_M,
    rays: tuple[int, int] = COARSE,
) -> OracleFrame:
    """The truth around the ego; visibility is judged only when the scene is given."""
    floats, ints = world.actors.floats, world.actors.ints
    away = np.hypot(floats[:, X] - ego.x_m, floats[:, Y] - ego.y_m)
    rows = np.flatnonzero(away < reach_m)
    rows = rows[rows != EGO]
    near, codes = floats[rows], ints[rows]
    centre = np.column_stack([near[:, X], near[:, Y], near[:, HEIGHT] / 2])
    local = centre.copy()
    local[:, :2] = to_ego(centre[:, :2], ego)
    cos, sin = np.cos(ego.yaw_rad), np.sin(ego.yaw_rad)
    velocity = near[:, [VX, VY]]
    turned = np.stack(
        [cos * velocity[:, 0] + sin * velocity[:, 1], -sin * velocity[:, 0] + cos * velocity[:, 1]],
        axis=1,
    )
    seen = np.full(rows.size, np.nan)
    if scene is not None:
        body_of = np.full(world.actors.count, -1, dtype=np.int64)
        moving = np.flatnonzero(scene.actor >= 0)
        body_of[scene.actor[moving]] = moving
        known = np.flatnonzero(body_of[rows] >= 0)
        seen[known] = visibility(scene, body_of[rows][known], viewpoint(ego), rays)
    return OracleFrame(
        world.t_s, ego, rows, codes[:, TRACK], codes[:, KIND], codes[:, SHAPE], centre, local,
        near[:, [LENGTH, WIDTH, HEIGHT]], near[:, YAW],
        np.angle(np.exp(1j * (near[:, YAW] - ego.yaw_rad))), velocity, turned, seen,
        _signals(world, ego), world.conditions, world.roads,
    )  # fmt: skip


def _signals(world: World, ego: EgoMotion) -> Float64s:
    roads = world.roads
    heads = roads.heads
    if not heads.prop.size:
        return np.zeros((0, 4))
    places = to_ego(roads.props.pose[heads.prop, :2], ego)
    states = [
        signal_state(world.t_s, float(roads.offsets_s[junction]), group)
        for junction, group in zip(heads.junction.tolist(), heads.group.tolist(), strict=True)
    ]
    table = np.column_stack([places, states, heads.group])
    return np.asarray(table[np.hypot(places[:, 0], places[:, 1]) < ORACLE_M], dtype=np.float64)
