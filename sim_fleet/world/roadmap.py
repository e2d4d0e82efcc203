"""A map: lanes, footways, signals, painted ground, and what stands beside the road."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from contracts.samples import Float64s
from sim_fleet.shapes.assemble import Placed
from sim_fleet.shapes.primitives import Rgb
from sim_fleet.shapes.scenery import PROP_SIZE_M, Prop
from sim_fleet.shapes.templates import templates
from sim_fleet.world.lanes import LaneDraft, LaneGraph, lane_graph

Int64s = NDArray[np.int64]
Place = Float64s | tuple[float, float]
"""x and y in the world."""


class Ground(IntEnum):
    """What the ground is made of."""

    GRASS = 0
    ASPHALT = 1
    MARKING = 2
    SIDEWALK = 3
    PAVING = 4
    SHOULDER = 5
    FIELD = 6
    YELLOW = 7
    DIRT = 8


DRIVABLE = frozenset({Ground.ASPHALT, Ground.MARKING, Ground.SHOULDER, Ground.YELLOW})

GREEN_S, AMBER_S, CLEAR_S = 13.0, 3.0, 1.5
CYCLE_S = 2 * (GREEN_S + AMBER_S + CLEAR_S)
GREEN, AMBER, RED = 0, 1, 2


def signal_state(t_s: float, offset_s: float, group: int) -> int:
    """`GREEN`, `AMBER` or `RED` of a group (0 or 1) of a junction's signal at `t_s`."""
    phase = (t_s + offset_s - group * CYCLE_S / 2) % CYCLE_S
    if phase < GREEN_S:
        return GREEN
    return AMBER if phase < GREEN_S + AMBER_S else RED


@dataclass(frozen=True, slots=True)
class FootGraph:
    """Where people walk: `nodes` [n, 2]; `ways` [n, 4] the next nodes or -1; `crossing` [n, 4]
    -1 for a footway, else the junction whose leg is crossed; `group` [n, 4] its signal group.
    """

    nodes: Float64s
    ways: Int64s
    crossing: Int64s
    group: Int64s


@dataclass(frozen=True, slots=True)
class SignalHeads:
    """Traffic lights: `prop` int64 [k] row of the scenery, `junction`, `group` [k]."""

    prop: Int64s
    junction: Int64s
    group: Int64s


@dataclass(frozen=True, slots=True)
class RoadMap:
    """One map, the same for the same region and seed.

    `offsets_s` [j] of the junctions' signals (NaN: none); `junctions_m` [j, 2]; `crosswalks`
    [c, 5] x, y, heading across, half length, half width; `quads` [q, 4, 2] corners in painting
    order with `paint` [q]; `base` the ground where nothing is painted; `parking` [p, 3] x, y,
    yaw; `lamps_m` [l, 3]; `road_type` as the clips' labels have it.
    """

    region: str
    seed: int
    lanes: LaneGraph
    feet: FootGraph
    offsets_s: Float64s
    junctions_m: Float64s
    crosswalks: Float64s
    quads: Float64s
    paint: Int64s
    base: Ground
    props: Placed
    heads: SignalHeads
    parking: Float64s
    lamps_m: Float64s
    road_type: str


@dataclass(slots=True)
class MapDraft:
    """A map while it is being drawn."""

    lanes: list[LaneDraft] = field(default_factory=list)
    quads: list[Float64s] = field(default_factory=list)
    paint: list[int] = field(default_factory=list)
    props: list[tuple[Prop, float, float, float, tuple[float, float, float], Rgb, Rgb]] = field(
        default_factory=list
    )
    heads: list[tuple[int, int, int]] = field(default_factory=list)
    parking: list[tuple[float, float, float]] = field(default_factory=list)
    crosswalks: list[tuple[float, float, float, float, float]] = field(default_factory=list)
    lamps_m: list[tuple[float, float, float]] = field(default_factory=list)

    def quad(self, corners: Float64s, ground: Ground) -> None:
        self.quads.append(np.asarray(corners, dtype=np.float64))
        self.paint.append(int(ground))

    def slab(self, at: Place, yaw: float, half_l: float, half_w: float, ground: Ground) -> None:
        """Paint a rectangle."""
        cos, sin = np.cos(yaw), np.sin(yaw)
        ends = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * (half_l, half_w)
        self.quad(ends @ np.array([[cos, sin], [-sin, cos]]) + (at[0], at[1]), ground)

    def strip(
        self,
        line: Float64s,
        left_m: float,
        right_m: float,
        ground: Ground,
        dash: tuple[float, float] | None = None,
    ) -> None:
        """Paint along a polyline, from `left_m` to `right_m` left of it; `dash` on and off."""
        step = np.gradient(line, axis=0)
        normal = np.stack([-step[:, 1], step[:, 0]], axis=1)
        normal /= np.maximum(np.hypot(*normal.T), 1e-9)[:, None]
        one, two = line + left_m * normal, line + right_m * normal
        along = np.concatenate(([0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))))
        for i in range(len(line) - 1):
            if dash is not None and along[i] % (dash[0] + dash[1]) >= dash[0]:
                continue
            self.quad(np.array([one[i], one[i + 1], two[i + 1], two[i]]), ground)

    def prop(
        self,
        prop: Prop,
        at: Place,
        yaw: float = 0.0,
        size: tuple[float, float, float] | None = None,
        colour: Rgb = (0.5, 0.5, 0.5),
        second: Rgb = (0.3, 0.3, 0.3),
    ) -> int:
        self.props.append(
            (prop, float(at[0]), float(at[1]), yaw, size or PROP_SIZE_M[prop], colour, second)
        )
        return len(self.props) - 1

    def placed(self) -> Placed:
        """The scenery as bodies."""
        size = len(self.props)
        of_prop = templates().of_prop
        return Placed(
            np.array([of_prop[prop] for prop, *_ in self.props], dtype=np.int64),
            np.array([[x, y, 0.0, yaw] for _, x, y, yaw, *_ in self.props]).reshape(size, 4),
            np.array([item[4] for item in self.props], dtype=np.float64).reshape(size, 3),
            np.array([[*item[5], *item[6]] for item in self.props]).reshape(size, 6),
            np.zeros((size, 2)),
            np.zeros(size, dtype=np.int64),
            np.full(size, -1, dtype=np.int64),
        )

    def finish(
        self,
        region: str,
        seed: int,
        feet: FootGraph,
        offsets_s: Float64s,
        junctions_m: Float64s,
        base: Ground,
        road_type: str,
    ) -> RoadMap:
        heads = np.array(self.heads, dtype=np.int64).reshape(-1, 3)
        return RoadMap(
            region, seed, lane_graph(self.lanes), feet, offsets_s, junctions_m,
            np.array(self.crosswalks, dtype=np.float64).reshape(-1, 5),
            np.array(self.quads).reshape(-1, 4, 2), np.array(self.paint, dtype=np.int64), base,
            self.placed(), SignalHeads(heads[:, 0], heads[:, 1], heads[:, 2]),
            np.array(self.parking, dtype=np.float64).reshape(-1, 3),
            np.array(self.lamps_m, dtype=np.float64).reshape(-1, 3), road_type,
        )  # fmt: skip


def no_feet() -> FootGraph:
    """A map where nobody walks."""
    none = np.zeros((0, 4), dtype=np.int64)
    return FootGraph(np.zeros((0, 2)), none, none, none)
