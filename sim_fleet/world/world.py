"""The world: a map, its actors and their next instant.

`step` is a function of the world at one instant and of where the ego is; it makes new tables
and leaves the old ones as they were.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from contracts.samples import Float64s
from sim_fleet.world.actors import EGO, MODE, Actors, Mode
from sim_fleet.world.conditions import Conditions
from sim_fleet.world.roadmap import RoadMap
from sim_fleet.world.traffic import step_traffic
from sim_fleet.world.walking import SCRIPT_COLUMNS, step_scripts, step_walkers

Int64s = NDArray[np.int64]

RATE_HZ = 50
STEP_S = 1.0 / RATE_HZ


@dataclass(frozen=True, slots=True)
class Scripts:
    """Scripted actors' plans: `rows` [k, 8] (see `walking`), `points` [p, 3] x, y, speed."""

    rows: Float64s
    points: Float64s


NO_SCRIPTS = Scripts(np.zeros((0, SCRIPT_COLUMNS)), np.zeros((0, 3)))


@dataclass(frozen=True, slots=True)
class World:
    """Everything that is, at `t_s` seconds of the drive."""

    t_s: float
    roads: RoadMap
    conditions: Conditions
    actors: Actors
    scripts: Scripts

    def step(self, dt_s: float = STEP_S) -> World:
        """The world `dt_s` later, with the ego where it was; its driver moves it."""
        floats, ints = self.actors.floats, self.actors.ints
        new_floats, new_ints = floats.copy(), ints.copy()
        roads, lanes, feet = self.roads, self.roads.lanes, self.roads.feet
        modes = ints[:, MODE]
        moving = np.flatnonzero(modes == Mode.LANE)
        walking = np.flatnonzero(modes == Mode.WALK)
        step_traffic(
            floats, ints, moving, self._obstacles(), lanes.points, lanes.first, lanes.count,
            lanes.spacing_m, lanes.length_m, lanes.width_m, lanes.speed_mps, lanes.left,
            lanes.right, lanes.junction, lanes.group, lanes.connector, lanes.turn, lanes.after,
            lanes.yields, roads.offsets_s, self.t_s, dt_s, self.conditions.friction, new_floats,
            new_ints,
        )  # fmt: skip
        if walking.size:
            step_walkers(
                floats, ints, walking, feet.nodes, feet.ways, feet.crossing, feet.group,
                roads.offsets_s, self.t_s, dt_s, new_floats, new_ints,
            )  # fmt: skip
        rows = self.scripts.rows
        if rows.shape[0]:
            rows = rows.copy()
            step_scripts(
                floats, ints, self.scripts.rows, self.scripts.points, self.t_s, dt_s, new_floats,
                new_ints, rows,
            )  # fmt: skip
        return replace(
            self, t_s=self.t_s + dt_s, actors=Actors(new_floats, new_ints),
            scripts=replace(self.scripts, rows=rows),
        )  # fmt: skip

    def _obstacles(self) -> Int64s:
        """Rows that may be in someone's way: all but those parked off the lanes."""
        return np.flatnonzero(self.actors.ints[:, MODE] != Mode.PARKED)

    def with_ego(self, row_floats: Float64s, row_ints: Int64s) -> World:
        """The same instant with the ego's row replaced."""
        floats, ints = self.actors.floats.copy(), self.actors.ints.copy()
        floats[EGO], ints[EGO] = row_floats, row_ints
        return replace(self, actors=Actors(floats, ints))
