"""Motorway and country road: closed, gently curving loops, so that one may drive for ever."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from contracts.samples import Float64s
from sim_fleet.seeds import generator
from sim_fleet.shapes.scenery import Prop
from sim_fleet.world import palette
from sim_fleet.world.lanes import LaneDraft, headings, offset_line, resampled
from sim_fleet.world.roadmap import Ground, MapDraft, RoadMap, no_feet

_PIECES = 12


def _loop(radius_m: float, waves: tuple[tuple[int, float], ...], rng: np.random.Generator
          ) -> Float64s:  # fmt: skip
    """A closed curve [n, 2] with even spacing, whose first point comes again at the end."""
    angle = np.linspace(0, 2 * np.pi, 2400)
    radius = np.full(angle.shape, radius_m)
    for order, share in waves:
        size = radius_m * share * float(rng.uniform(0.6, 1.0))
        radius += size * np.sin(order * angle + float(rng.uniform(0, 2 * np.pi)))
    line = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return resampled(line, 2.0)


def _pieces(line: Float64s) -> list[Float64s]:
    """The loop cut into pieces that share their ends."""
    cuts = np.linspace(0, len(line) - 1, _PIECES + 1).astype(int)
    return [line[a : b + 1] for a, b in pairwise(cuts.tolist())]


def _carriageway(
    draft: MapDraft,
    line: Float64s,
    offsets_m: tuple[float, ...],
    width_m: float,
    speeds_mps: tuple[float, ...],
) -> None:
    """Parallel lanes along a loop, the first the leftmost; offsets are left of the line."""
    base, lanes = len(draft.lanes), len(offsets_m)
    whole = [offset_line(line, offset) for offset in offsets_m]
    for n in range(_PIECES):
        for k in range(lanes):
            own = base + n * lanes + k
            draft.lanes.append(
                LaneDraft(
                    _pieces(whole[k])[n], width_m, speeds_mps[k],
                    left=own - 1 if k else -1, right=own + 1 if k < lanes - 1 else -1,
                    after=[base + (n + 1) % _PIECES * lanes + k],
                )
            )  # fmt: skip


def motorway(seed: int, season: str) -> RoadMap:
    """Two carriageways of three lanes with hard shoulders and rails, about 4 km around."""
    rng = generator(seed, "motorway", "shape")
    line = _loop(620.0, ((2, 0.10), (3, 0.03)), rng)
    draft = MapDraft()
    lane, median = 3.65, 2.0
    inner = median + lane / 2
    offsets = tuple(-(inner + k * lane) for k in range(3))
    speeds = (35.0, 30.5, 25.0)
    _carriageway(draft, line, offsets, lane, speeds)
    _carriageway(draft, line[::-1], offsets, lane, speeds)
    edge = median + 3 * lane
    for side in (1.0, -1.0):
        draft.strip(line, side * (edge + 3.0), side * (median - 0.9), Ground.ASPHALT)
        draft.strip(line, side * (edge + 3.0), side * (edge + 0.25), Ground.SHOULDER)
    fine = resampled(line, 1.0)
    for side in (1.0, -1.0):
        for at, width in ((median - 0.2, 0.2), (edge + 0.1, 0.2)):
            draft.strip(line, side * at + width / 2, side * at - width / 2, Ground.MARKING)
        for k in (1, 2):
            at = side * (median + k * lane)
            draft.strip(fine, at + 0.1, at - 0.1, Ground.MARKING, dash=(6.0, 12.0))
    _rails(draft, line, (0.0, edge + 3.6, -edge - 3.6))
    rng = generator(seed, "motorway", "scenery")
    _greenery(draft, line, (edge + 9.0, 55.0), 0.35, season, rng)
    none = np.zeros(0)
    return draft.finish("motorway", seed, no_feet(), none, np.zeros((0, 2)), Ground.GRASS,
                        "motorway")  # fmt: skip


def country(seed: int, season: str) -> RoadMap:
    """A two-lane road through fields and woods with bends, about 2.4 km around."""
    rng = generator(seed, "country", "shape")
    line = _loop(380.0, ((2, 0.12), (3, 0.07), (5, 0.025)), rng)
    draft = MapDraft()
    lane = 3.3
    _carriageway(draft, line, (-lane / 2,), lane, (24.0,))
    _carriageway(draft, line[::-1], (-lane / 2,), lane, (24.0,))
    for k, part in enumerate(_pieces(line)):
        for side in (1.0, -1.0):
            if (k * 7 + (3 if side > 0 else 0)) % 5 < 3:
                draft.strip(part[::4], side * 80.0, side * 9.0, Ground.FIELD)
    draft.strip(line, lane + 1.0, -lane - 1.0, Ground.DIRT)
    draft.strip(line, lane + 0.35, -lane - 0.35, Ground.ASPHALT)
    fine = resampled(line, 1.0)
    draft.strip(fine, 0.1, -0.1, Ground.MARKING, dash=(4.0, 8.0))
    for side in (1.0, -1.0):
        at = side * lane
        draft.strip(line, at + 0.1, at - 0.1, Ground.MARKING)
    rng = generator(seed, "country", "scenery")
    _greenery(draft, line, (6.5, 45.0), 0.9, season, rng)
    _posts(draft, line, lane + 0.9)
    _farms(draft, line, rng)
    return draft.finish("country", seed, no_feet(), np.zeros(0), np.zeros((0, 2)), Ground.GRASS,
                        "rural")  # fmt: skip


def _rails(draft: MapDraft, line: Float64s, offsets_m: tuple[float, ...]) -> None:
    for offset in offsets_m:
        moved = resampled(offset_line(line, offset), 8.0)
        heading = headings(moved)
        for (x, y), yaw in zip(moved[:-1], heading[:-1], strict=True):
            at = (x + 4 * np.cos(yaw), y + 4 * np.sin(yaw))
            draft.prop(Prop.RAIL, at, yaw=float(yaw), size=(8.1, 0.3, 0.8),
                       colour=(0.42, 0.43, 0.45))  # fmt: skip


def _greenery(
    draft: MapDraft,
    line: Float64s,
    reach_m: tuple[float, float],
    density: float,
    season: str,
    rng: np.random.Generator,
) -> None:
    """Trees and bushes in clumps on both sides."""
    heading = headings(line)
    wave = rng.uniform(0, 6.28, 2)
    for i in range(0, len(line), 4):
        for k, side in enumerate((1.0, -1.0)):
            clump = 0.5 + 0.5 * np.sin(i * 0.017 + wave[k])
            if rng.random() > density * clump:
                continue
            out = side * (reach_m[0] + (reach_m[1] - reach_m[0]) * float(rng.random()) ** 1.8)
            x = line[i, 0] - np.sin(heading[i]) * out
            y = line[i, 1] + np.cos(heading[i]) * out
            roll = rng.random()
            wide = float(rng.uniform(3.0, 6.0))
            if roll < 0.30:
                draft.prop(Prop.CONIFER, (x, y), size=(wide, wide, wide * 2.2),
                           colour=palette.pick(palette.CONIFER_LEAVES, rng))  # fmt: skip
            elif roll < 0.8:
                draft.prop(Prop.TREE, (x, y), float(rng.uniform(0, 6.28)),
                           (wide, wide, float(rng.uniform(6.0, 11.0))),
                           palette.leaves(season, rng))  # fmt: skip
            else:
                draft.prop(Prop.BUSH, (x, y), colour=palette.leaves(season, rng))


def _posts(draft: MapDraft, line: Float64s, out_m: float) -> None:
    for side in (1.0, -1.0):
        for x, y in resampled(offset_line(line, side * out_m), 40.0)[:-1]:
            draft.prop(Prop.POST, (x, y), colour=(0.75, 0.75, 0.75), second=(0.9, 0.35, 0.1))


def _farms(draft: MapDraft, line: Float64s, rng: np.random.Generator) -> None:
    heading = headings(line)
    for i in range(60, len(line), 210):
        out = float(rng.choice((-1.0, 1.0))) * float(rng.uniform(18.0, 30.0))
        x = line[i, 0] - np.sin(heading[i]) * out
        y = line[i, 1] + np.cos(heading[i]) * out
        walls, roof = palette.pick(palette.FACADES, rng), palette.pick(palette.ROOFS, rng)
        draft.prop(Prop.HOUSE, (x, y), float(heading[i]), (14.0, 9.0, 7.0), walls, roof)
