"""City and suburb: blocks between two-way streets that cross at right angles.

A node of the grid is a junction. City junctions have signals; in the suburb, streets along x
have the right of way. The outermost streets close the grid, so that one may drive for ever.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.samples import Float64s
from sim_fleet.seeds import generator
from sim_fleet.shapes.scenery import Prop
from sim_fleet.world.lanes import LaneDraft, bezier
from sim_fleet.world.roadmap import CYCLE_S, FootGraph, Ground, MapDraft, RoadMap

EAST, NORTH, WEST, SOUTH = range(4)
_STEP = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])
WALK_M = 3.0
CROSSWALK_M = 3.0


@dataclass(frozen=True, slots=True)
class GridStyle:
    """Measures of one kind of town. `pitch_m` between streets; `parking_m` beside each lane."""

    region: str
    across: int
    along: int
    pitch_m: tuple[float, float]
    lane_m: float
    parking_m: float
    speed_mps: float
    signals: bool
    verge_m: float

    @property
    def half_m(self) -> float:
        """From a street's middle to its kerb."""
        return self.lane_m + self.parking_m

    @property
    def stop_m(self) -> float:
        """From a junction's middle to its stop lines."""
        return self.half_m + CROSSWALK_M + 1.2


CITY = GridStyle("city", 4, 4, (84.0, 104.0), 3.3, 2.2, 13.0, True, 0.0)
SUBURB = GridStyle("suburb", 4, 3, (110.0, 140.0), 3.2, 2.0, 12.0, False, 1.5)


class GridMap:
    """Draws one town; `finish` gives its map."""

    def __init__(self, style: GridStyle, seed: int, season: str) -> None:
        self._style = style
        self._seed = seed
        self._season = season
        rng = generator(seed, style.region, "streets")
        low, high = style.pitch_m
        self._x = np.concatenate(([0.0], np.cumsum(rng.uniform(low, high, style.across - 1))))
        self._y = np.concatenate(([0.0], np.cumsum(rng.uniform(low, high, style.along - 1))))
        self._draft = MapDraft()
        self._inward: dict[tuple[int, int, int], int] = {}
        self._outward: dict[tuple[int, int, int], int] = {}

    def finish(self) -> RoadMap:
        """The whole map."""
        self._paint_blocks()
        for i, j, way in self._streets():
            self._street(i, j, way)
        for i, j in self._nodes():
            self._junction(i, j)
        self._paint_markings()
        self._furnish()
        count = len(self._nodes())
        rng = generator(self._seed, self._style.region, "signals")
        offsets = rng.uniform(0, CYCLE_S, count) if self._style.signals else np.full(count, np.nan)
        centres = np.array([self._centre(i, j) for i, j in self._nodes()])
        return self._draft.finish(
            self._style.region, self._seed, self._feet(), offsets, centres, Ground.GRASS, "urban"
        )

    # Topology --------------------------------------------------------------------------------

    def _nodes(self) -> list[tuple[int, int]]:
        return [(i, j) for i in range(self._x.size) for j in range(self._y.size)]

    def _number(self, i: int, j: int) -> int:
        return i * self._y.size + j

    def _inside(self, i: int, j: int) -> bool:
        return 0 <= i < self._x.size and 0 <= j < self._y.size

    def _ways(self, i: int, j: int) -> list[int]:
        return [way for way in range(4) if self._inside(*(np.array([i, j]) + _STEP[way]))]

    def _centre(self, i: int, j: int) -> Float64s:
        return np.array([self._x[i], self._y[j]])

    def _streets(self) -> list[tuple[int, int, int]]:
        return [(i, j, way) for i, j in self._nodes() for way in (EAST, NORTH)
                if way in self._ways(i, j)]  # fmt: skip

    # Lanes -----------------------------------------------------------------------------------

    def _street(self, i: int, j: int, way: int) -> None:
        """Both lanes between a node and its neighbour, and the street's ground."""
        style = self._style
        one, two = self._centre(i, j), self._centre(*(np.array([i, j]) + _STEP[way]))
        ahead = _STEP[way].astype(float)
        left = np.array([-ahead[1], ahead[0]])
        start, end = one + ahead * style.stop_m, two - ahead * style.stop_m
        ni, nj = (int(v) for v in np.array([i, j]) + _STEP[way])
        for direction, (a, b, side, node, arm) in enumerate(
            ((start, end, -left, (ni, nj), way), (end, start, left, (i, j), (way + 2) % 4))
        ):
            middle = side * style.lane_m / 2
            self._draft.lanes.append(
                LaneDraft(
                    np.array([a + middle, b + middle]), style.lane_m, style.speed_mps,
                    junction=self._number(*node) if style.signals else -1, group=arm % 2,
                )
            )  # fmt: skip
            lane = len(self._draft.lanes) - 1
            self._inward[(*node, arm)] = lane
            other = (i, j) if direction == 0 else (ni, nj)
            self._outward[(*other, arm)] = lane
        line = np.linspace(one, two, 24)
        self._draft.strip(line, style.half_m, -style.half_m, Ground.ASPHALT)

    def _junction(self, i: int, j: int) -> None:
        """Connectors through a node, and who yields to whom."""
        style = self._style
        made: list[tuple[int, int, int]] = []
        for arm in range(4):
            came = self._inward.get((i, j, arm))
            if came is None:
                continue
            for out in range(4):
                turn = (out - arm + 4) % 4
                leave = self._outward.get((i, j, out))
                if leave is None or turn == 2:
                    continue
                start = self._draft.lanes[came].line[-1]
                end = self._draft.lanes[leave].line[0]
                line = bezier(start, end, arm * np.pi / 2, out * np.pi / 2)
                self._draft.lanes.append(
                    LaneDraft(
                        line, style.lane_m, style.speed_mps if turn == 0 else 6.5, connector=True,
                        turn={0: 0, 1: 1, 3: -1}[turn], after=[leave],
                    )
                )  # fmt: skip
                lane = len(self._draft.lanes) - 1
                self._draft.lanes[came].after.append(lane)
                made.append((lane, arm, self._draft.lanes[lane].turn))
        for lane, arm, turn in made:
            for other, other_arm, other_turn in made:
                if other_arm != arm and self._must_yield(arm, turn, other_arm, other_turn):
                    gaps = (
                        self._draft.lanes[lane].line[:, None] - self._draft.lanes[other].line[None]
                    )
                    if np.hypot(gaps[..., 0], gaps[..., 1]).min() < 2.6:
                        self._draft.lanes[lane].yields.append(other)

    def _must_yield(self, arm: int, turn: int, other_arm: int, other_turn: int) -> bool:
        opposite = (arm + 2) % 4 == other_arm
        if opposite:
            return turn == 1 and other_turn != 1
        if self._style.signals:
            return False
        if arm % 2 != other_arm % 2:
            return arm % 2 == 1  # streets along x have the right of way
        return False

    # Paint -----------------------------------------------------------------------------------

    def _paint_blocks(self) -> None:
        style, draft = self._style, self._draft
        wide = style.half_m + style.verge_m + WALK_M
        for i, j, way in self._streets():
            one, two = self._centre(i, j), self._centre(*(np.array([i, j]) + _STEP[way]))
            middle, half = (one + two) / 2, float(np.hypot(*(two - one))) / 2
            draft.slab(middle, way * np.pi / 2, half + wide, wide, Ground.SIDEWALK)
            if style.verge_m:
                reach = style.half_m + style.verge_m
                draft.slab(middle, way * np.pi / 2, half - wide, reach, Ground.GRASS)
        if style.region == "city":
            for i in range(self._x.size - 1):
                for j in range(self._y.size - 1):
                    one, two = self._centre(i, j), self._centre(i + 1, j + 1)
                    long, deep = (float(v) for v in (two - one) / 2 - wide)
                    draft.slab((one + two) / 2, 0.0, long, deep, Ground.PAVING)

    def _paint_markings(self) -> None:
        style, draft = self._style, self._draft
        for i, j in self._nodes():
            draft.slab(self._centre(i, j), 0.0, style.half_m, style.half_m, Ground.ASPHALT)
        for i, j, way in self._streets():
            one, two = self._centre(i, j), self._centre(*(np.array([i, j]) + _STEP[way]))
            ahead = _STEP[way].astype(float)
            line = np.linspace(one + ahead * style.stop_m, two - ahead * style.stop_m, 121)
            draft.strip(line, 0.1, -0.1, Ground.MARKING, dash=(3.0, 4.5))
            for side in (1, -1):
                edge = side * style.lane_m
                draft.strip(line, edge + 0.09, edge - 0.09, Ground.MARKING, dash=(1.5, 1.5))
        for i, j in self._nodes():
            for way in self._ways(i, j):
                self._crosswalk(i, j, way)

    def _crosswalk(self, i: int, j: int, way: int) -> None:
        style, draft = self._style, self._draft
        ahead = _STEP[way].astype(float)
        left = np.array([-ahead[1], ahead[0]])
        middle = self._centre(i, j) + ahead * (style.half_m + CROSSWALK_M / 2)
        across = float(np.arctan2(left[1], left[0]))
        stripes = round(2 * style.half_m)
        for k in range(stripes):
            place = middle + left * (-style.half_m + 2 * style.half_m * (k + 0.5) / stripes)
            draft.slab(place, way * np.pi / 2, CROSSWALK_M / 2, 0.26, Ground.MARKING)
        draft.crosswalks.append(
            (float(middle[0]), float(middle[1]), across, style.half_m, CROSSWALK_M / 2)
        )
        # The stop line of those who come towards the junction on this arm.
        stop = self._centre(i, j) + ahead * style.stop_m + left * style.lane_m / 2
        draft.slab(stop, way * np.pi / 2, 0.18, style.lane_m / 2 - 0.1, Ground.MARKING)

    # Footways --------------------------------------------------------------------------------

    def _feet(self) -> FootGraph:
        """Four corners at each junction; legs without a street have a plain footway."""
        style = self._style
        reach = style.half_m + max(style.verge_m, 0.0) + WALK_M / 2
        cross = style.half_m + CROSSWALK_M / 2
        quadrants = ((1, 1), (-1, 1), (-1, -1), (1, -1))
        nodes = []
        for i, j in self._nodes():
            for sx, sy in quadrants:
                shift = np.array([sx, sy]) * max(cross, reach if style.verge_m else cross)
                nodes.append(self._centre(i, j) + shift)
        size = len(nodes)
        ways = np.full((size, 4), -1, dtype=np.int64)
        crossing, group = ways.copy(), ways.copy()
        for i, j in self._nodes():
            base = 4 * self._number(i, j)
            has = self._ways(i, j)
            for q, (sx, sy) in enumerate(quadrants):
                # Around this junction: over the leg along x, then over the leg along y.
                for slot, (leg, other) in enumerate((
                    (EAST if sx > 0 else WEST, quadrants.index((sx, -sy))),
                    (NORTH if sy > 0 else SOUTH, quadrants.index((-sx, sy))),
                )):  # fmt: skip
                    ways[base + q, slot] = base + other
                    if leg in has:
                        crossing[base + q, slot] = self._number(i, j)
                        group[base + q, slot] = leg % 2
                for slot, leg in ((2, EAST if sx > 0 else WEST), (3, NORTH if sy > 0 else SOUTH)):
                    if leg in has:
                        near = self._number(*(int(v) for v in np.array([i, j]) + _STEP[leg]))
                        there = (-sx, sy) if slot == 2 else (sx, -sy)
                        ways[base + q, slot] = 4 * near + quadrants.index(there)
        return FootGraph(np.array(nodes), ways, crossing, group)

    # Furniture -------------------------------------------------------------------------------

    def _furnish(self) -> None:
        from sim_fleet.world.furniture import Street, furnish_corner, furnish_street

        style = self._style
        rng = generator(self._seed, style.region, "furniture")
        for i, j, way in self._streets():
            one, two = self._centre(i, j), self._centre(*(np.array([i, j]) + _STEP[way]))
            for side in (1.0, -1.0):
                street = Street(
                    one, two, side, style.half_m, style.stop_m, style.verge_m,
                    style.region == "city", self._season,
                )  # fmt: skip
                furnish_street(self._draft, street, rng)
        if style.signals:
            for i, j in self._nodes():
                for way in self._ways(i, j):
                    ahead = _STEP[way].astype(float)
                    left = np.array([-ahead[1], ahead[0]])
                    # Right of the lane that comes towards the junction on this arm, by its line.
                    at = self._centre(i, j) + ahead * style.stop_m + left * (style.half_m + 0.7)
                    prop = self._draft.prop(Prop.SIGNAL, at, yaw=(way + 2) * np.pi / 2)
                    self._draft.heads.append((prop, self._number(i, j), way % 2))
                    far = self._centre(i, j) - ahead * (style.half_m + 3.6)
                    far += left * (style.half_m + 0.7)
                    prop = self._draft.prop(Prop.SIGNAL, far, yaw=(way + 2) * np.pi / 2)
                    self._draft.heads.append((prop, self._number(i, j), way % 2))
        else:
            for i, j in self._nodes():
                for way in self._ways(i, j):
                    if way % 2 == 1:
                        furnish_corner(self._draft, self._centre(i, j), way, style.stop_m,
                                       style.half_m)  # fmt: skip
