"""What an object looks like to a lidar, so that it is known again after a gap.

Of each sighting, from the points in its box, in the object's frame: how bright it is, above and
below, how much of it is high up, and its outline seen from the side: how far below its top each
fifth of its length stays. Heights count from the top: boxes know their bottoms less well. Two
looks are compared by what both tell, in units of how much the same object's look changes between
views; front and back may be confused.

Image crops are not used: no clip of the labeller's carries images.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from contracts.geometry import Int64s
from contracts.samples import Float64s
from kernels.lidar.objects import crop
from offline.labels.kitti import TrackedBoxes
from offline.labels.points.sweep import Sweep, Sweeps

SLICES = 5
COLUMNS = 4 + SLICES
"""Brightness, of the upper and of the lower part, share of points high up, depths in m
below the top of `SLICES` parts from back to front; NaN where too few points tell.
"""
_SCALE = np.array([0.06, 0.07, 0.07, 0.15, *([0.2] * SLICES)])
_LEAST_POINTS, _LEAST_IN_SLICE, _LEAST_COMMON = 12, 3, 6
_GROUND_SHARE, _UPPER_SHARE = 0.15, 0.4
_MARGIN_M = 0.25
_TOP = 0.95
_EXPECTED = 2.0
_SLOPE, _BEST, _WORST = 0.25, -0.6, 2.0


@dataclass(frozen=True, slots=True)
class Looks:
    """Looks at `found` boxes, taken when they are asked for; sweeps in the boxes' frame."""

    found: TrackedBoxes
    sweeps: Sweeps = field(repr=False)

    def of(self, rows: Int64s) -> Float64s:
        """Looks [n, COLUMNS] at some boxes, each sweep read once."""
        result = np.full((rows.size, COLUMNS), np.nan)
        frame = self.found.frame[rows]
        for each in np.unique(frame):
            sweep = self.sweeps.get(int(each))
            if sweep is None:
                continue
            here = np.flatnonzero(frame == each)
            result[here] = looks_at(sweep, self.found.take(rows[here]))
        return result


def looks_at(sweep: Sweep, boxes: TrackedBoxes) -> Float64s:
    """Looks [n, COLUMNS] at boxes of the sweep's frame, in any order."""
    half = boxes.size_m / 2
    grown = half + np.array([_MARGIN_M, _MARGIN_M, 0.0])
    box, point = crop(sweep.xyz_m, boxes.centre_m, boxes.yaw_rad, grown)
    result = np.full((len(boxes), COLUMNS), np.nan)
    for k in np.unique(box):
        rows = point[box == k]
        away = sweep.xyz_m[rows] - boxes.centre_m[k]
        along = np.cos(boxes.yaw_rad[k]) * away[:, 0] + np.sin(boxes.yaw_rad[k]) * away[:, 1]
        up = away[:, 2] + half[k, 2]
        solid = up > _GROUND_SHARE * 2 * half[k, 2]
        if solid.sum() >= _LEAST_POINTS:
            place = (along[solid] / half[k, 0] + 1) / 2
            result[k] = _look(place, up[solid], sweep.intensity[rows][solid], 2 * half[k, 2])
    return result


def mean_look(looks: Float64s) -> Float64s:
    """Of one object's looks [n, COLUMNS] together: [COLUMNS]."""
    told = ~np.isnan(looks)
    count = told.sum(axis=0)
    total = np.where(told, looks, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def appearance_cost(one: Float64s, two: Float64s) -> Float64s:
    """What appearance adds to the cost of joining: below 0 for looks that agree, above for those
    that do not; 0 where too little is known.

    Args:
        one: looks [..., COLUMNS].
        two: looks that they are compared with, of a shape that broadcasts.
    """
    as_is = _distance(one, two)
    turned = _distance(one, np.concatenate([two[..., :4], two[..., :3:-1]], axis=-1))
    square = np.fmin(as_is, turned)
    cost = np.clip(_SLOPE * (square - _EXPECTED), _BEST, _WORST)
    return np.where(np.isnan(square), 0.0, cost)


def _distance(one: Float64s, two: Float64s) -> Float64s:
    square = ((one - two) / _SCALE) ** 2
    told = ~np.isnan(square)
    count = told.sum(axis=-1)
    total = np.where(told, square, 0.0).sum(axis=-1)
    return np.where(count >= _LEAST_COMMON, total / np.maximum(count, 1), np.nan)


def _look(place: Float64s, up: Float64s, intensity: Float64s, height: float) -> Float64s:
    top = np.quantile(up, _TOP)
    high = up > top - _UPPER_SHARE * height
    part = np.clip((place * SLICES).astype(np.int64), 0, SLICES - 1)
    depths = [
        top - np.quantile(up[part == k], _TOP) if (part == k).sum() >= _LEAST_IN_SLICE else np.nan
        for k in range(SLICES)
    ]
    bright = [
        intensity[rows].mean() if rows.sum() >= _LEAST_IN_SLICE else np.nan
        for rows in (high, ~high)
    ]
    return np.array([intensity.mean(), *bright, high.mean(), *depths])
