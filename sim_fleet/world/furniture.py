"""What stands along a street of a town: houses, trees, lamps, parking places, signs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.samples import Float64s
from sim_fleet.shapes.scenery import Prop
from sim_fleet.world import palette
from sim_fleet.world.roadmap import MapDraft

_WALK_M = 3.0
_CAR_SPACE_M = 5.9


@dataclass(frozen=True, slots=True)
class Street:
    """One side of a street: its ends, `side` 1 for the left of it, and its measures."""

    start_m: Float64s
    end_m: Float64s
    side: float
    half_m: float
    stop_m: float
    verge_m: float
    dense: bool
    season: str

    @property
    def yaw(self) -> float:
        way = self.end_m - self.start_m
        return float(np.arctan2(way[1], way[0]))

    @property
    def length_m(self) -> float:
        return float(np.hypot(*(self.end_m - self.start_m)))

    def at(self, along_m: float, out_m: float) -> Float64s:
        """World position, `out_m` from the street's middle on this side."""
        way = (self.end_m - self.start_m) / self.length_m
        left = np.array([-way[1], way[0]])
        return np.asarray(self.start_m + way * along_m + left * (self.side * out_m))


def furnish_street(draft: MapDraft, street: Street, rng: np.random.Generator) -> None:
    """Everything along one side of a street."""
    _park(draft, street, rng)
    _lamps(draft, street)
    _trees(draft, street, rng)
    if street.dense:
        _blocks(draft, street, rng)
    else:
        _houses(draft, street, rng)


def furnish_corner(
    draft: MapDraft, centre_m: Float64s, way: int, stop_m: float, half_m: float
) -> None:
    """A give-way sign for those who come from arm `way`."""
    ahead = np.array([np.cos(way * np.pi / 2), np.sin(way * np.pi / 2)])
    left = np.array([-ahead[1], ahead[0]])
    at = centre_m + ahead * stop_m + left * (half_m + 0.6)
    yaw = (way + 2) * np.pi / 2
    draft.prop(Prop.SIGN, at, yaw=yaw, colour=(0.7, 0.05, 0.05), second=(0.85, 0.85, 0.85))


def _park(draft: MapDraft, street: Street, rng: np.random.Generator) -> None:
    """Parking places beside the lane; who parks there is the traffic's to say."""
    out_m = street.half_m - 1.05
    yaw = street.yaw + (0.0 if street.side < 0 else np.pi)
    along = street.stop_m + 7.0
    while along < street.length_m - street.stop_m - 7.0:
        at = street.at(along, out_m)
        draft.parking.append((float(at[0]), float(at[1]), yaw + float(rng.normal(0, 0.015))))
        along += _CAR_SPACE_M


def _lamps(draft: MapDraft, street: Street) -> None:
    first = street.stop_m + (4.0 if street.side > 0 else 16.0)
    for along in np.arange(first, street.length_m - street.stop_m, 26.0):
        at = street.at(float(along), street.half_m + 0.6)
        inward = street.at(float(along), street.half_m - 0.4)
        yaw = float(np.arctan2(*(inward - at)[::-1]))
        draft.prop(Prop.LAMP_POST, ((at + inward) / 2), yaw=yaw)
        lit = street.at(float(along), street.half_m - 0.6)
        draft.lamps_m.append((float(lit[0]), float(lit[1]), 6.3))


def _trees(draft: MapDraft, street: Street, rng: np.random.Generator) -> None:
    gap = 15.0 if street.dense else 11.0
    out_m = street.half_m + (0.8 if street.dense else 0.75)
    along = street.stop_m + float(rng.uniform(9.0, 14.0))
    while along < street.length_m - street.stop_m - 6.0:
        if rng.random() < (0.55 if street.dense else 0.75):
            wide = float(rng.uniform(2.8, 4.6))
            size = (wide, wide, float(rng.uniform(5.5, 8.5)))
            at = street.at(along, out_m)
            draft.prop(Prop.TREE, at, yaw=float(rng.uniform(0, 6.28)), size=size,
                       colour=palette.leaves(street.season, rng))  # fmt: skip
        along += gap * float(rng.uniform(0.8, 1.3))


def _blocks(draft: MapDraft, street: Street, rng: np.random.Generator) -> None:
    """Houses wall to wall, with a gap now and then."""
    front = street.half_m + _WALK_M + 0.3
    along = front + 0.5
    end = street.length_m - front - 0.5
    while along < end - 6.0:
        length = float(min(rng.uniform(11.0, 22.0), end - along))
        if rng.random() < 0.92:
            depth = float(rng.uniform(9.0, 12.0))
            height = 3.2 * float(rng.integers(3, 8)) + 1.0
            at = street.at(along + length / 2, front + depth / 2)
            colour = palette.varied(palette.pick(palette.FACADES, rng), rng)
            second = palette.varied((0.30, 0.28, 0.26), rng, 0.3)
            yaw = street.yaw + (np.pi if street.side < 0 else 0.0)
            draft.prop(Prop.BLOCK, at, yaw=yaw, size=(length, depth, height), colour=colour,
                       second=second)  # fmt: skip
        along += length


def _houses(draft: MapDraft, street: Street, rng: np.random.Generator) -> None:
    """Detached houses behind hedges and low walls."""
    front = street.half_m + street.verge_m + _WALK_M
    along = front + 3.0
    end = street.length_m - front - 3.0
    while along < end - 10.0:
        plot = float(rng.uniform(17.0, 24.0))
        length = float(rng.uniform(9.0, 13.0))
        height = float(rng.choice((5.2, 7.4)))
        at = street.at(along + plot / 2, front + 5.5 + 4.2)
        if along + plot < end:
            draft.prop(
                Prop.HOUSE, at, yaw=street.yaw, size=(length, 8.5, height),
                colour=palette.varied(palette.pick(palette.FACADES, rng), rng),
                second=palette.varied(palette.pick(palette.ROOFS, rng), rng),
            )  # fmt: skip
            fence = Prop.HEDGE if rng.random() < 0.6 else Prop.WALL
            size = (plot * 0.55, 0.9, float(rng.uniform(0.9, 1.7)))
            if fence == Prop.WALL:
                size = (plot * 0.55, 0.3, 0.9)
            colour = palette.leaves(street.season, rng) if fence == Prop.HEDGE else (0.5, 0.45, 0.4)
            edge = street.at(along + plot * 0.32, front + 0.7)
            draft.prop(fence, edge, yaw=street.yaw, size=size, colour=colour)
            if rng.random() < 0.6:
                tree = street.at(along + plot * 0.85, front + float(rng.uniform(2.0, 5.0)))
                prop = Prop.CONIFER if rng.random() < 0.3 else Prop.TREE
                crown = (palette.pick(palette.CONIFER_LEAVES, rng) if prop == Prop.CONIFER
                         else palette.leaves(street.season, rng))  # fmt: skip
                draft.prop(prop, tree, yaw=float(rng.uniform(0, 6.28)), colour=crown)
        along += plot
